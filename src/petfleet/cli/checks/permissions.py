"""Who may do what with a user's files, and whose they are."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator
from typing import Final

from petfleet.cli.checks.finding import Finding, command

DIRECTORY: Final = 0o700
FILE: Final = 0o600
# Seconds. What was made just now gets the rights that an umask took, and from root its owner, a moment later.
_NEW: Final = 1.0
_PAUSE: Final = 0.02  # seconds between two looks at it
MAX_LOOKS: Final = 50


def rights(user_id: str, path: str, expected: int, owner: int) -> Iterator[Finding]:
    """Yield what is wrong with the mode and the owner of one of a user's files or of the directory.

    Args:
        expected: the mode that it should have, ``DIRECTORY`` or ``FILE``; anything as private, for the owner, will do.
        owner: the uid that it should have.
    """
    try:
        status = _settled(path, expected, owner)
    except OSError:
        return  # gone; or refused, which to read it was too
    kind = stat.S_IFDIR if expected == DIRECTORY else stat.S_IFREG
    if status is None or stat.S_IFMT(status.st_mode) != kind:
        return  # of anything else it is told that it is there
    mode = stat.S_IMODE(status.st_mode)
    if not _is_private(mode, expected):
        way_out = command("chmod", f"{expected:o}", path)
        yield Finding("mode", path, f"mode {mode:04o}, expected {expected:04o}, the owner's alone: {way_out}", user_id)
    if status.st_uid != owner:
        way_out = command("chown", str(owner), path)
        yield Finding("owner", path, f"uid {status.st_uid}, expected the root's owner {owner}: {way_out}", user_id)


def may_settle(path: str) -> bool:
    """Return whether what stands in the way of reading this may be over in a moment; if so, after that moment."""
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
    """Return what is known of a file; None if it is as expected, or still changing after many looks."""
    before = None
    for _ in range(MAX_LOOKS):
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
