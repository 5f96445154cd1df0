"""Checks the mode and the owner of a user's files."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator
from typing import Final

from petfleet._cli.checks.finding import Finding, command

DIRECTORY: Final = 0o700
FILE: Final = 0o600
# Seconds. A writer makes a file first, and gives it the rights that the umask took and its owner a moment later.
_NEW: Final = 1.0
_PAUSE: Final = 0.02  # seconds between two tries
MAX_TRIES: Final = 50


def check_permissions(user_id: str, path: str, expected: int, owner: int) -> Iterator[Finding]:
    """Yield what is wrong with the mode and the owner of a user's directory or of a file in it.

    Args:
        user_id: the user that it belongs to.
        path: where it is.
        expected: the mode that it should have, ``DIRECTORY`` or ``FILE``. The owner may have more rights.
        owner: the uid that it should have.
    """
    try:
        status = _settled(path, expected, owner)
    except OSError:
        return  # it has gone; or reading it was refused too, which is a finding
    kind = stat.S_IFDIR if expected == DIRECTORY else stat.S_IFREG
    if status is None or stat.S_IFMT(status.st_mode) != kind:
        return  # it is something else, which is another finding
    mode = stat.S_IMODE(status.st_mode)
    if not _is_private(mode, expected):
        way_out = command("chmod", f"{expected:o}", path)
        yield Finding("mode", path, f"mode {mode:04o}, expected {expected:04o}, the owner's alone: {way_out}", user_id)
    if status.st_uid != owner:
        way_out = command("chown", str(owner), path)
        yield Finding("owner", path, f"uid {status.st_uid}, expected the root's owner {owner}: {way_out}", user_id)


def may_settle(path: str) -> bool:
    """Return whether a refusal to read this may soon be over, since it is new; if so, wait a moment first."""
    try:
        if not _is_new(os.lstat(path)):
            return False
    except FileNotFoundError:
        pass
    except OSError:
        return False
    time.sleep(_PAUSE)
    return True


def _settled(path: str, expected: int, owner: int) -> os.stat_result | None:
    """Return a file's status; None if it is as expected, or still changes after many tries."""
    before = None
    for _ in range(MAX_TRIES):
        status = os.lstat(path)
        if _is_private(status.st_mode, expected) and status.st_uid == owner:
            return None
        now = (status.st_ino, status.st_ctime_ns)
        if now == before or not _is_new(status):
            return status
        before = now
        time.sleep(_PAUSE)
    return None


def _is_new(status: os.stat_result) -> bool:
    return 0 <= time.time() - status.st_ctime < _NEW


def _is_private(mode: int, expected: int) -> bool:
    return mode & 0o077 == 0 and mode & expected == expected
