"""File systems in image files: made, mounted through loop devices, and copied as a power cut would leave them."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.torture.means import program

_QUIET_SECONDS: Final = 0.02  # longer than a tick: before Linux 6.13, two writes within one have the same time
_WAIT_SECONDS: Final = 60  # how long the kernel may go on writing


@dataclass(frozen=True, slots=True)
class FileSystem:
    """A kind of file system, and how it is mounted.

    Attributes:
        name: the kind and its options, for people.
        make: the program that makes one, and its options.
        megabytes: the size of the image, about the least that the program accepts; it is sparse.
        options: for each mount.
        copy_options: for the mount of a copy besides.
    """

    name: str
    make: tuple[str, ...]
    megabytes: int
    options: str = ""
    copy_options: str = ""


_EXT4: Final = ("mkfs.ext4", "-q", "-F")
FILE_SYSTEMS: Final = (
    FileSystem("ext4", _EXT4, 32),
    FileSystem("ext4 noauto_da_alloc,commit=120", _EXT4, 32, "noauto_da_alloc,commit=120"),
    FileSystem("xfs", ("mkfs.xfs", "-q"), 300, copy_options="nouuid"),
    FileSystem("btrfs commit=120", ("mkfs.btrfs", "-q"), 110, "commit=120"),
)


def make(system: FileSystem, image: Path) -> None:
    """Make an empty file system in an image file that does not exist yet."""
    with open(image, "xb") as file:
        file.truncate(system.megabytes * 1024 * 1024)
    _run(*system.make, str(image))


@contextmanager
def mounted(system: FileSystem, image: Path, at: Path, *, is_copy: bool = False) -> Iterator[None]:
    """Mount an image at a directory, which replays its journal; unmounted at the end, if nothing uses it any more."""
    options = ",".join(filter(None, ("loop", system.options, system.copy_options if is_copy else "")))
    _run("mount", "-o", options, str(image), str(at))
    try:
        yield
    finally:
        _run("umount", str(at))


def cut(image: Path, target: Path) -> None:
    """Copy the image of a mounted file system while nobody uses it: what has not reached the device is not in it."""
    give_up = time.monotonic() + _WAIT_SECONDS
    while True:
        before = os.stat(image)
        if 0 <= time.time() - before.st_mtime < _QUIET_SECONDS:
            time.sleep(_QUIET_SECONDS)
            continue
        _run("cp", "--sparse=always", str(image), str(target))
        after = os.stat(image)
        # The kernel writes on its own too, and what is copied meanwhile is a state that never was on the device.
        if (before.st_mtime_ns, before.st_ctime_ns) == (after.st_mtime_ns, after.st_ctime_ns):
            return
        assert time.monotonic() < give_up, f"{image} never stood still"


def _run(*command: str) -> None:
    done = subprocess.run([program(command[0]) or command[0], *command[1:]], capture_output=True, text=True)
    if done.returncode:
        raise OSError(f"{' '.join(command)}: {done.stderr.strip()}")
