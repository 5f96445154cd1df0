"""A file that is no fleet gets an error with file, line and way out, and stays as it is."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from petfleet import (
    FleetFormatError,
    FleetStore,
    PetFleet,
    dumps,
)
from tests.calls import ALL, CAREFUL, LOCKED, OVERWRITE, Call, put

HEAD = b'user_id = "user"\n'
PET = b'[[pets]]\npet_name = "mira"\nrole = "friend"\nmanifest_path = "mira.toml"\nlast_active = '
BROKEN: dict[str, tuple[bytes, str, int | None, int | None]] = {
    "cut off": (b"", "the required field user_id", None, None),
    "no TOML": (
        HEAD + b"pets = [] oops\n",
        "valid TOML (Expected newline or end of document after a statement)",
        2,
        11,
    ),
    "no user_id": (b"pets = []\n", "the required field user_id", None, None),
    "no pets": (HEAD, "the required field pets", None, None),
    "a pet without a field": (HEAD + b'\n[[pets]]\npet_name = "mira"\n', "the required field role of pet 1", 3, None),
    "user_id no string": (b"pets = []\nuser_id = 7\n", "user_id to be a string, found 7", 2, None),
    "active_pet no string": (HEAD + b"pets = []\nactive_pet = 1.5\n", "active_pet to be a string, found 1.5", 3, None),
    "pets no array": (HEAD + b'pets = "mira"\n', "pets to be an array of tables, found 'mira'", 2, None),
    "a pet no table": (HEAD + b"pets = [1]\n", "a table for pet 1, found 1", 2, None),
    "last_active no integer": (
        HEAD + PET + b"1\n\n" + PET + b'"2"\n',
        "last_active of pet 2 to be an integer of 64 bits, found '2'",
        12,
        None,
    ),
    "last_active a boolean": (
        HEAD + PET + b"true\n",
        "last_active of pet 1 to be an integer of 64 bits, found True",
        6,
        None,
    ),
    "last_active too large": (
        HEAD + PET + b"9223372036854775808\n",
        "a pet that can be stored (last_active 9223372036854775808 does not fit into 64 bits)",
        2,
        None,
    ),
    "no UTF-8": (HEAD + b'pets = []\nnote = "\xff"\n', "UTF-8", 3, 9),
    "UTF-16": ("user_id".encode("utf-16"), "UTF-8", 1, 1),
    "deep nesting": (HEAD + b"pets = []\nx = " + b"[" * 5000, "at most 100 levels of nesting", 3, None),
}
WAY_OUT = "; repair it or move it away (a fleet file that cannot be parsed: save with overwrite=True replaces it)"


async def refuse(
    calls: dict[str, Call],
    store: FleetStore,
    path: Path,
    expected: str,
    line: int | None = None,
    column: int | None = None,
) -> None:
    """Make the calls, and see that each fails and says where, what was expected and what to do."""
    where = "".join(f", {what} {number}" for what, number in (("line", line), ("column", column)) if number)
    for name, call in calls.items():
        with pytest.raises(FleetFormatError) as caught:
            await call(store, "user")
        error = caught.value
        assert (error.path, error.expected, error.line, error.column) == (str(path), expected, line, column), name
        assert str(error) == f"{path}{where}: expected {expected}{WAY_OUT}"


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN.keys())
async def test_a_broken_file_is_reported_and_never_overwritten_unasked(
    store: FleetStore, root: Path, broken: tuple[bytes, str, int | None, int | None]
) -> None:
    """Every call says the same, the bytes stay as they are, and only save(overwrite=True) replaces them."""
    data, expected, line, column = broken
    path = put(root, data)
    await refuse(CAREFUL, store, path, expected, line, column)
    assert path.read_bytes() == data
    fleet = await OVERWRITE(store, "user")
    assert path.read_bytes() == dumps(await store.load("user")).encode()
    assert await store.load("user") == fleet


@pytest.mark.parametrize("size", [2**24 + 1, 2**40], ids=["a byte", "far"])
async def test_a_file_that_is_too_large_is_reported(store: FleetStore, root: Path, size: int) -> None:
    """More than 16 MiB is not even read, and stays as it is."""
    path = put(root, HEAD)
    os.truncate(path, size)
    before = path.stat()
    await refuse(CAREFUL, store, path, f"at most 16777216 bytes, not {size}")
    after = path.stat()
    assert (after.st_ino, after.st_size, after.st_mtime_ns) == (before.st_ino, size, before.st_mtime_ns)


async def test_another_users_file_is_reported_by_every_call(store: FleetStore, root: Path) -> None:
    """A copied directory, or one that the file system calls the same: not even overwrite=True touches it."""
    data = b'user_id = "other"\npets = []\n'
    path = put(root, data)
    await refuse(ALL, store, path, "user_id = 'user', found 'other'", 1)
    assert path.read_bytes() == data


async def test_a_change_is_not_asked_about_a_broken_file(store: FleetStore, root: Path) -> None:
    """There is no fleet that it could be given."""
    put(root, b"oops")
    asked: list[PetFleet] = []
    with pytest.raises(FleetFormatError):
        await store.update("user", lambda fleet: asked.append(fleet) or fleet)  # type: ignore[func-returns-value]  # None
    assert asked == []


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
