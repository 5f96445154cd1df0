"""What is no regular file, is too large, or is in the way of a directory: each call says so and leaves it alone."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from petfleet import FleetStore, PetFleet
from tests.support.bad_texts import HEAD, refuse
from tests.support.store_calls import ALL, CAREFUL, LOCKED, OVERWRITE, put


@pytest.mark.parametrize("size", [2**24 + 1, 2**40], ids=["a byte", "far"])
async def test_a_file_that_is_too_large_is_reported(store: FleetStore, root: Path, size: int) -> None:
    """More than 16 MiB is not even read, and stays as it is."""
    path = put(root, HEAD)
    os.truncate(path, size)
    before = path.stat()
    await refuse(CAREFUL, store, path, f"at most 16777216 bytes, not {size}")
    after = path.stat()
    assert (after.st_ino, after.st_size, after.st_mtime_ns) == (before.st_ino, size, before.st_mtime_ns)


def directory_at(path: Path) -> None:
    """Make a directory."""
    path.mkdir()


def link_at(path: Path) -> None:
    """Make a link to a good fleet elsewhere."""
    elsewhere = path.parent.parent / "elsewhere.toml"
    elsewhere.write_bytes(HEAD + b"pets = []\n")
    path.symlink_to(elsewhere)


def dangling_link_at(path: Path) -> None:
    """Make a link to nothing."""
    path.symlink_to(path.parent.parent / "nowhere.toml")


def socket_at(path: Path) -> None:
    """Make a socket; its path may be longer than a socket's may be."""
    here = os.getcwd()
    os.chdir(path.parent)
    try:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(path.name)
    finally:
        os.chdir(here)


IRREGULAR = {
    "directory": (directory_at, "a regular file, not a directory"),
    "pipe": (os.mkfifo, "a regular file, not a pipe"),
    "link": (link_at, "a regular file, not a symbolic link"),
    "dangling link": (dangling_link_at, "a regular file, not a symbolic link"),
    "socket": (socket_at, "a regular file, not a device or socket"),
}


@pytest.mark.parametrize(("make", "expected"), IRREGULAR.values(), ids=IRREGULAR.keys())
async def test_what_is_no_file_where_the_fleet_should_be(
    store: FleetStore, root: Path, make: Callable[[Path], None], expected: str
) -> None:
    """Every call, overwriting too, says what stands there, waits for nobody and leaves it alone."""
    path = put(root, b"")
    path.unlink()
    make(path)
    before = path.lstat()
    await refuse(ALL, store, path, expected)
    assert (path.lstat().st_ino, path.lstat().st_mode) == (before.st_ino, before.st_mode)
    if (root / "elsewhere.toml").exists():
        assert (root / "elsewhere.toml").read_bytes() == HEAD + b"pets = []\n"
    assert not (root / "nowhere.toml").exists()


@pytest.mark.parametrize(("make", "expected"), IRREGULAR.values(), ids=IRREGULAR.keys())
async def test_what_is_no_file_where_the_lock_file_should_be(
    store: FleetStore, root: Path, make: Callable[[Path], None], expected: str
) -> None:
    """Without a lock nothing but peek goes on, and neither the fleet nor what stands there is touched."""
    path = put(root, HEAD + b"pets = []\n")
    lock_path = path.with_name("fleet.toml.lock")
    make(lock_path)
    before = lock_path.lstat()
    await refuse({"save overwrite": OVERWRITE, **LOCKED}, store, lock_path, expected)
    assert (lock_path.lstat().st_ino, lock_path.lstat().st_mode) == (before.st_ino, before.st_mode)
    assert path.read_bytes() == HEAD + b"pets = []\n"
    assert not (root / "nowhere.toml").exists()
    assert await store.peek("user") == PetFleet("user")


@pytest.mark.parametrize("place", ["root", "root/user"])
async def test_a_file_where_a_directory_should_be(tmp_path: Path, place: str) -> None:
    """The system's own error names it, and the file stays."""
    in_the_way = tmp_path / place
    in_the_way.parent.mkdir(exist_ok=True)
    in_the_way.write_bytes(b"something else")
    store = FleetStore(tmp_path / "root")
    for name, call in ALL.items():
        with pytest.raises(NotADirectoryError) as caught:
            await call(store, "user")
        assert str(caught.value.filename).startswith(str(in_the_way)), name
    assert in_the_way.read_bytes() == b"something else"
    if place == "root":
        with pytest.raises(NotADirectoryError):
            assert [user_id async for user_id in store.users()]
