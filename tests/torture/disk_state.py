"""States of a disk as values: laid out in a directory, read from one, and compared.

A lock file's marker may note the inode's number and the time of the fleet file beside it. Both survive a crash, but not
being laid out as a new file, so the marker is told the new ones where it had those of the file.
"""

from __future__ import annotations

import itertools
import os
import re
import stat
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple


class FileState(NamedTuple):
    """A file: its content and mode, and its inode's number and time of change."""

    data: bytes
    mode: int
    number: int = 0
    changed_ns: int = 0


Tree = frozenset[tuple[str, FileState | None]]  # paths; None: a directory

_CLEAN: Final = re.compile(rb"clean (\d+):(\d+):(\d+):([0-9a-f]{8}) *")
_WRITING: Final = re.compile(rb"writing pid \d+ on \S+ since [\d.]+ *")
_RANDOM: Final = re.compile(r"\.[0-9a-f]{16}\.tmp$")


def put(tree: Tree, directory: Path) -> None:
    """Lay that state out in an empty directory."""
    laid: dict[str, FileState | None] = {}
    for path, state in sorted(tree, key=lambda entry: entry[0]):
        place = f"{directory}/{path}"
        if state is None:
            os.mkdir(place, 0o700)
            laid[path] = None
        else:
            fd = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            os.fchmod(fd, state.mode)
            os.write(fd, state.data)
            os.utime(fd, ns=(state.changed_ns, state.changed_ns))
            laid[path] = state._replace(number=os.fstat(fd).st_ino)
            os.close(fd)
    for path, state in _retold(dict(tree), laid).items():
        if state is not None and state != laid[path]:
            with open(f"{directory}/{path}", "r+b") as file:
                file.write(state.data)


def look(directory: Path) -> Tree:
    """Return the state that a directory has."""
    found: dict[str, FileState | None] = {}
    for place in directory.rglob("*"):
        status = place.stat()
        file = stat.S_ISREG(status.st_mode)
        mode = stat.S_IMODE(status.st_mode)
        found[str(place.relative_to(directory))] = (
            FileState(place.read_bytes(), mode, status.st_ino, status.st_mtime_ns) if file else None
        )
    return frozenset(found.items())


def canonical(tree: Tree) -> Tree:
    """Return the same state with other arbitrary values, so that states are equal that differ in nothing else.

    Arbitrary are the random part of a temporary name, process ids, hosts, times, and the numbers of inodes.
    """
    temporaries, numbers = itertools.count(), itertools.count(1)
    old: dict[str, FileState | None] = {}
    new: dict[str, FileState | None] = {}
    for path, state in sorted(tree, key=lambda entry: (entry[0].endswith(".tmp"), entry[0])):
        name = _RANDOM.sub(lambda found: f".{next(temporaries):016x}.tmp", path)
        old[name] = state
        number = next(numbers)
        new[name] = None if state is None else state._replace(number=number, changed_ns=number)
    return frozenset(_retold(old, new, b"writing pid 1 on host since 1.000").items())


def _retold(
    old: Mapping[str, FileState | None], new: Mapping[str, FileState | None], writing: bytes | None = None
) -> dict[str, FileState | None]:
    """Return the new files with markers that mean of them what they meant of the old ones."""
    told = dict(new)
    for path, state in new.items():
        if state is None or not path.endswith(".lock"):
            continue
        fleet = path.removesuffix(".lock")
        data = _CLEAN.sub(partial(_note, old.get(fleet), new.get(fleet)), state.data)
        if writing is not None:
            data = _WRITING.sub(lambda found: writing.ljust(len(found[0])), data)
        told[path] = state._replace(data=data)
    return told


def _note(before: FileState | None, after: FileState | None, found: re.Match[bytes]) -> bytes:
    number = changed_ns = 0
    if before is not None and after is not None and int(found[1]) == before.number:
        number = after.number
        changed_ns = after.changed_ns if int(found[3]) == before.changed_ns else 0
    return (b"clean %d:%b:%d:%b" % (number, found[2], changed_ns, found[4])).ljust(len(found[0]))
