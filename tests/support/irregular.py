"""What may be where a regular file of petfleet should be: links, pipes, devices, sockets, directories."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from petfleet import PetFleet, dumps
from tests.torture import means

FLEET: Final = dumps(PetFleet("user")).encode()


def make_directory(path: Path) -> None:
    """Make a directory."""
    path.mkdir()


def _link_to_a_fleet(path: Path) -> None:
    elsewhere = path.parent.parent / "elsewhere.toml"
    elsewhere.write_bytes(FLEET)
    path.symlink_to(elsewhere)


def _link_to_nothing(path: Path) -> None:
    path.symlink_to(path.parent.parent / "nowhere.toml")


def _link_to_a_directory(path: Path) -> None:
    elsewhere = path.parent.parent.with_name("elsewhere")
    elsewhere.mkdir(exist_ok=True)
    path.symlink_to(elsewhere)


def _link_to_a_file_of_the_user(path: Path) -> None:
    path.with_name("own.toml").write_bytes(FLEET)
    path.symlink_to("own.toml")


def _link_to_itself(path: Path) -> None:
    path.symlink_to(path.name)


def _socket(path: Path) -> None:
    here = os.getcwd()
    os.chdir(path.parent)  # the path may be longer than a socket's may be
    try:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(path.name)
    finally:
        os.chdir(here)


def _device(path: Path) -> None:
    """Make a device that is as endless as /dev/zero."""
    means.need("linux", "root")
    try:
        os.mknod(path, 0o600 | 0o020000, os.makedev(1, 5))
    except PermissionError:
        pytest.skip("not even root may make a device here")


_LINK: Final = "a regular file, not a symbolic link"
_SPECIAL: Final = "a regular file, not a device or socket"
# How to make each of them at a path, and what a FleetFormatError then says was expected there.
IRREGULAR: Final[dict[str, tuple[Callable[[Path], None], str]]] = {
    "directory": (make_directory, "a regular file, not a directory"),
    "pipe": (os.mkfifo, "a regular file, not a pipe"),
    "socket": (_socket, _SPECIAL),
    "device": (_device, _SPECIAL),
    "link": (_link_to_a_fleet, _LINK),
    "dangling link": (_link_to_nothing, _LINK),
    "link to a directory": (_link_to_a_directory, _LINK),
    "link to one's own file": (_link_to_a_file_of_the_user, _LINK),
    "loop": (_link_to_itself, _LINK),
}
MAKERS: Final = {name: make for name, (make, _) in IRREGULAR.items()}


def contents(directory: Path) -> dict[str, bytes | None]:
    """Return the paths of all that is in a directory, with the bytes of regular files; links are not followed."""
    found: dict[str, bytes | None] = {}
    for path in sorted(directory.rglob("*")):
        found[str(path)] = path.read_bytes() if path.is_file() and not path.is_symlink() else None
    return found
