"""The logger named petfleet. Logging never fails a call."""

from __future__ import annotations

import logging
from collections.abc import Callable

_logger = logging.getLogger("petfleet")


def debug(message: str, *arguments: object) -> None:
    """Log at DEBUG."""
    if _logger.isEnabledFor(logging.DEBUG):
        _log(logging.DEBUG, message, *arguments)


def warning(message: str, *arguments: object) -> None:
    """Log at WARNING what an operator should know."""
    _log(logging.WARNING, message, *arguments)


def best_effort(action: Callable[..., object], *arguments: object) -> bool:
    """Run an action that no outcome depends on. An error is logged; return whether there was none."""
    try:
        action(*arguments)
    except Exception as error:  # noqa: BLE001 - a durable call must not fail afterwards, even without memory
        warning("%s; left for the next call to tidy up", error)
        return False
    return True


def _log(level: int, message: str, *arguments: object) -> None:
    try:
        _logger.log(level, message, *arguments)
    except Exception:  # noqa: BLE001
        # A handler that raises (its pipe is closed, its disk is full) must not make a durable change look failed, or
        # end a thread that serves other users. The handler's own handleError is the place to notice.
        pass
