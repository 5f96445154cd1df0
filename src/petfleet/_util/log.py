"""The logger named petfleet, reached in a way that cannot fail a call."""

from __future__ import annotations

import logging
from collections.abc import Callable

_logger = logging.getLogger("petfleet")


def debug(message: str, *arguments: object) -> None:
    """Log what is of interest to who looks for it."""
    if _logger.isEnabledFor(logging.DEBUG):
        _log(logging.DEBUG, message, *arguments)


def warning(message: str, *arguments: object) -> None:
    """Log what an operator should know."""
    _log(logging.WARNING, message, *arguments)


def best_effort(action: Callable[..., object], *arguments: object) -> bool:
    """Do what the outcome of a call does not depend on; what fails is logged."""
    try:
        action(*arguments)
    except Exception as error:  # noqa: BLE001 - not even running out of memory may fail a call that is durable
        warning("%s; left for the next call to tidy up", error)
        return False
    return True


def _log(level: int, message: str, *arguments: object) -> None:
    try:
        _logger.log(level, message, *arguments)
    except Exception:  # noqa: BLE001
        # A handler that raises (its pipe is closed, its disk is full) must not make a durable change look failed, or
        # end the thread that looks after others' locks. The handler's own handleError is the place to notice.
        pass
