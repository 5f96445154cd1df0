"""Acting as another account of the system, which only root can do."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

NOBODY: Final = 65534


@contextlib.contextmanager
def as_nobody() -> Iterator[None]:
    """Be another account for a while, as far as files are concerned: not by setuid, which nothing would undo."""
    groups = os.getgroups()
    os.setgroups([])
    os.setegid(NOBODY)
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(groups)


def owners(directory: Path) -> set[tuple[int, int]]:
    """Return the accounts and groups that own anything in a directory, or the directory itself."""
    found = [path.lstat() for path in [directory, *directory.rglob("*")]]
    return {(status.st_uid, status.st_gid) for status in found}
