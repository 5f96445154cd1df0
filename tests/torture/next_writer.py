"""The first call after a writer's death: it recovers without waiting, tidies up, and says so."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from petfleet import PetFleet, fleet_path, loads
from petfleet._backends.files.lock import UserLock


class Warned(logging.Handler):
    """The warnings that petfleet has logged."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a message."""
        self.messages.append(record.getMessage())


@contextmanager
def heard() -> Iterator[Warned]:
    """Collect the warnings that petfleet logs."""
    warned = Warned()
    logging.getLogger("petfleet").addHandler(warned)
    try:
        yield warned
    finally:
        logging.getLogger("petfleet").removeHandler(warned)


def stored(root: Path, user_id: str) -> PetFleet | None:
    """Return what the user's file holds, without petfleet's reading of files."""
    try:
        return loads(fleet_path(user_id, root).read_bytes(), user_id=user_id)
    except FileNotFoundError:
        return None


def unfinished(root: Path, user_id: str) -> str | None:
    """Return the description of the writer that died in the middle, from the marker; None if there was none."""
    try:
        lock = UserLock(f"{fleet_path(user_id, root)}.lock", create=False)
    except FileNotFoundError:
        return None
    try:
        marker = lock.marker()
    finally:
        lock.close()
    return marker.note if marker is not None and marker.state == "writing" else None


def expected_warnings(root: Path, user_id: str) -> list[str]:
    """Return the warnings that the next writer must log."""
    writer = unfinished(root, user_id)
    path = fleet_path(user_id, root)
    return [] if writer is None else [f"{path}: recovering after {writer} did not finish writing"]


def check_tidy(root: Path, user_id: str) -> None:
    """Raise AssertionError if more is left of the user than a fleet and its lock file, which says clean."""
    try:
        left = set(os.listdir(fleet_path(user_id, root).parent))
    except FileNotFoundError:
        return
    # A call that reads leaves an empty directory that a dead writer has made.
    assert left in ({"fleet.toml", "fleet.toml.lock"}, set()), f"{sorted(left)} are left of {user_id}"
    assert unfinished(root, user_id) is None, f"{user_id} is still to be recovered"
