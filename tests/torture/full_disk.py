"""A file system that is really full: small ones, filled up to the last blocks or inodes."""

from __future__ import annotations

import errno
import itertools
import os
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

from petfleet import PetFleet
from tests.conftest import pet
from tests.torture.means import program
from tests.torture.operations import OPERATIONS
from tests.torture.trial import Trial

_LARGE: Final = PetFleet("u", [pet(f"pet{number}") for number in range(100)])  # some blocks, so that half of it fits
_BY_NAME: Final = {operation.name: operation for operation in OPERATIONS}


OPERATIONS_THAT_FILL: Final = tuple(
    replace(_BY_NAME[name], call=lambda store: store.save(_LARGE, overwrite=True), after=_LARGE, result=_LARGE)
    for name in ("create", "add", "add after a dead writer", "add to a foreign fleet")
)
OPERATIONS_THAT_DO_NOT: Final = (_BY_NAME["load"], _BY_NAME["touch"], _BY_NAME["delete"], _BY_NAME["peek"])


@contextmanager
def small_file_system(kind: str, directory: Path) -> Iterator[Path]:
    """Mount one of some megabytes and some dozens of inodes, ``tmpfs`` or ``ext4``."""
    place = directory / "mounted"
    place.mkdir()
    if kind == "tmpfs":
        _run("mount", "-t", "tmpfs", "-o", "size=1m,nr_inodes=40", "tmpfs", place)
    else:
        image = directory / "image"
        with open(image, "wb") as file:
            file.truncate(4 * 1024 * 1024)
        _run("mkfs.ext4", "-q", "-b", 1024, "-m", 0, "-N", 40, image)
        _run("mount", "-o", "loop", image, place)
    try:
        yield place
    finally:
        _run("umount", "--lazy", place)


def _run(*command: object) -> None:
    name, *arguments = map(str, command)
    done = subprocess.run([program(name) or name, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, f"{command}: {done.stderr}"


class Ballast:
    """What fills a file system, but for a few blocks or inodes."""

    def __init__(self, place: Path) -> None:
        self._directory = place / "ballast"
        self._block = os.statvfs(place).f_bsize

    def leave_blocks(self, blocks: int) -> None:
        """Take all room but so many blocks."""
        self._directory.mkdir()
        with open(self._directory / "large", "wb", buffering=0) as file:
            size = 0
            for piece in (64 * self._block, self._block):
                try:
                    while True:
                        size += file.write(bytes(piece))
                except OSError as error:
                    assert error.errno == errno.ENOSPC  # noqa: PT017 - anything else is no full disk
            file.truncate(max(0, size - blocks * self._block))
        _sync(self._directory)

    def leave_inodes(self, inodes: int) -> None:
        """Take all inodes but so many."""
        self._directory.mkdir()
        taken: list[Path] = []
        try:
            for number in itertools.count():
                path = self._directory / str(number)
                path.touch(exist_ok=False)
                taken.append(path)
        except OSError as error:
            assert error.errno == errno.ENOSPC  # noqa: PT017 - anything else is no full disk
        for path in taken[:inodes]:
            path.unlink()

    def free(self) -> None:
        """Take it all away."""
        shutil.rmtree(self._directory)
        _sync(self._directory.parent)  # what was freed can be had again only after that


def _sync(directory: Path) -> None:
    fd = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def fill_up(place: Path, fill: Callable[[Ballast, int], None]) -> Counter[str]:
    """Try each operation with nothing left, one block or inode left, two, ..., until it succeeds.

    Returns:
        how many calls failed, by what it was that found no room.

    Raises:
        AssertionError: something was not as promised.
    """
    refused: Counter[str] = Counter()
    for operation in OPERATIONS_THAT_FILL + OPERATIONS_THAT_DO_NOT:
        for left in itertools.count():
            ballast = Ballast(place)
            with Trial(operation, place / "fleets") as trial:
                trial.system.syncs = True
                fill(ballast, left)
                try:
                    trial.attempt(operation, {})
                    refused.update(f"{fault.name} {fault.path}" for fault in trial.system.failed)
                    failed = trial.failed
                finally:
                    ballast.free()
                assert not failed or operation in OPERATIONS_THAT_FILL, f"{operation.name} needs room"
                trial.settle(set())
            if not failed:
                break
    return refused
