"""Links, pipes and the like in the place of petfleet's files: calls name them, and neither follow nor change them."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Callable
from pathlib import Path

import pytest

from petfleet import FleetStore, PetFleet, dumps, fleet_path, loads
from petfleet._backends.files import disk
from petfleet._backends.files.backend import FileBackend
from tests.conftest import pet
from tests.support.bad_texts import HEAD, refuse
from tests.support.commits import add, commit, leave_dead_writer, load
from tests.support.irregular import IRREGULAR, MAKERS, contents, make_directory
from tests.support.store_calls import ALL, CAREFUL, LOCKED, OVERWRITE, entries, put

PLANTED = "0011223344556677"
TEXT = dumps(PetFleet("user", [pet("mira")], "mira"))
ANOTHER_USER = "A user's directory must not be a symbolic link"
each_kind = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)


@pytest.mark.parametrize("size", [2**24 + 1, 2**40], ids=["a byte", "far"])
async def test_a_file_that_is_too_large_is_reported(store: FleetStore, root: Path, size: int) -> None:
    """More than 16 MiB is not even read, and stays as it is."""
    path = put(root, HEAD)
    os.truncate(path, size)
    before = path.stat()
    await refuse(CAREFUL, store, path, f"at most 16777216 bytes, not {size}")
    after = path.stat()
    assert (after.st_ino, after.st_size, after.st_mtime_ns) == (before.st_ino, size, before.st_mtime_ns)


@pytest.mark.parametrize("name", ["fleet.toml", "fleet.toml.lock"])
@pytest.mark.parametrize(("make", "expected"), IRREGULAR.values(), ids=IRREGULAR)
async def test_what_is_no_regular_file_is_reported(
    store: FleetStore, root: Path, name: str, make: Callable[[Path], None], expected: str
) -> None:
    """Every call that needs it says what is there, waits for nothing, and changes neither it nor a link's target."""
    path = put(root, TEXT.encode())
    irregular = path.with_name(name)
    irregular.unlink(missing_ok=True)
    make(irregular)
    status, before = irregular.lstat(), contents(root.parent)
    await refuse(ALL if name == "fleet.toml" else {"save overwrite": OVERWRITE, **LOCKED}, store, irregular, expected)
    assert (irregular.lstat().st_ino, irregular.lstat().st_mode) == (status.st_ino, status.st_mode)
    after = contents(root.parent)
    for found in (before, after):
        found.pop(f"{path}.lock", None)
    assert after == before
    if name == "fleet.toml.lock":
        assert await store.peek("user") == PetFleet("user", [pet("mira")], "mira")


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


# --- temporary files -------------------------------------------------------------------------------------------------


@each_kind
async def test_a_temporary_name_that_is_taken(
    store: FleetStore, root: Path, make: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even to a guessed name nothing is written where a link leads; the call fails, and the next one does not."""
    fleet = await store.save(PetFleet("user", [pet("mira")], "mira"))
    path = fleet_path("user", root)
    planted = path.with_name(f".fleet.toml.{PLANTED}.tmp")
    make(planted)
    before = contents(root.parent)
    with monkeypatch.context() as patch:
        patch.setattr(secrets, "token_hex", lambda size: PLANTED)
        with pytest.raises(FileExistsError) as caught:
            await store.add("user", pet("nova"))
    assert caught.value.filename == str(planted)
    after = contents(root.parent)
    for found in (before, after):
        found.pop(str(planted), None)
        found.pop(f"{path}.lock")
    assert after == before
    assert await store.add("user", pet("nova")) == fleet.with_pet(pet("nova"))
    assert loads(path.read_bytes()) == fleet.with_pet(pet("nova"))


@each_kind
def test_what_is_planted_at_temporary_names_does_not_stop_a_recovery(
    backend: FileBackend, path: Path, make: Callable[[Path], None]
) -> None:
    """Links are removed and not followed, a directory is left alone, and everything else is as after any crash."""
    commit(backend, add("mira"))
    leave_dead_writer(path)
    planted = path.with_name(f".fleet.toml.{PLANTED[::-1]}.tmp")
    make(planted)
    before = contents(path.parent.parent.parent)
    fleet = commit(backend, load)
    assert fleet is not None
    assert fleet.get("mira") is not None
    assert planted.is_dir() == (make is make_directory)
    assert not path.with_name(".fleet.toml.00112233445566aa.tmp").exists()
    after = contents(path.parent.parent.parent)
    assert {name: after.get(name) for name in before if ".fleet.toml" not in name and not name.endswith(".lock")} == {
        name: data for name, data in before.items() if ".fleet.toml" not in name and not name.endswith(".lock")
    }


# --- directories -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", ["elsewhere", "nowhere", "user", "root/other"])
async def test_a_link_in_the_place_of_a_user_directory(store: FleetStore, root: Path, target: str) -> None:
    """No call follows it: what it leads to could be another user's, and is not synced where it is."""
    (root / "other").mkdir(parents=True)
    (root.parent / "elsewhere").mkdir()
    (root.parent / "elsewhere" / "fleet.toml").write_text(TEXT)
    (root / "user").symlink_to("user" if target == "user" else root.parent / target.replace("root", root.name))
    before = contents(root.parent)
    for name, call in ALL.items():
        with pytest.raises(OSError, match=ANOTHER_USER) as caught:
            await call(store, "user")
        assert (caught.value.errno, caught.value.filename) == (errno.ELOOP, str(root / "user")), name
    assert [user_id async for user_id in store.users()] == []
    assert contents(root.parent) == before


@pytest.mark.parametrize("link", ["root", "above"])
async def test_a_link_in_the_place_of_the_root_or_above_it(tmp_path: Path, link: str) -> None:
    """The root may be anywhere: it is the caller's own choice."""
    real = tmp_path / "disk"
    real.mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(real)
    root = tmp_path / "link" if link == "root" else tmp_path / "link" / "a" / "root"
    there = real if link == "root" else real / "a" / "root"
    async with FleetStore(root) as store:
        for name, call in CAREFUL.items():
            user_id = f"user {name}"
            await store.add(user_id, pet("nova"))
            await store.add(user_id, pet("mira"))
            if name not in ("save", "save replacing", "add"):
                await call(store, user_id)
            assert entries(there / user_id) == (None if name == "delete" else ["fleet.toml", "fleet.toml.lock"])
        found = {user_id async for user_id in store.users()}
    assert found == {f"user {name}" for name in CAREFUL.keys() - {"delete"}}
    assert set(entries(there) or ()) == found


def test_these_tests_can_fail(backend: FileBackend, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the check for links, a link in the place of a user's directory is followed."""
    elsewhere = path.parent.parent.with_name("elsewhere")
    elsewhere.mkdir()
    path.parent.parent.mkdir()
    path.parent.symlink_to(elsewhere)
    with pytest.raises(OSError, match=ANOTHER_USER):
        commit(backend, add("mira"))
    monkeypatch.setattr(disk, "refuse_link", lambda path: None)
    commit(backend, add("mira"))
    assert entries(elsewhere) == ["fleet.toml", "fleet.toml.lock"]
