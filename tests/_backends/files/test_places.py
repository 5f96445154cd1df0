"""Links, pipes and the like planted where petfleet's files go are neither followed, waited for nor written to."""

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
from tests._backends.files.test_bad_files import dangling_link_at, directory_at, link_at, socket_at
from tests.conftest import pet
from tests.support.bad_texts import refuse
from tests.support.commits import add, commit, leave_dead_writer, load
from tests.support.store_calls import ALL, CAREFUL, LOCKED, OVERWRITE, entries
from tests.torture import means

PLANTED = "0011223344556677"
TEXT = dumps(PetFleet("user", [pet("mira")], "mira"))


def link_to_a_directory_at(path: Path) -> None:
    """Make a link to a directory elsewhere."""
    path.parent.parent.with_name("elsewhere").mkdir(exist_ok=True)
    path.symlink_to(path.parent.parent.with_name("elsewhere"))


def link_inside_at(path: Path) -> None:
    """Make a link to a file of the user's own."""
    path.with_name("own.toml").write_text(TEXT)
    path.symlink_to("own.toml")


def loop_at(path: Path) -> None:
    """Make a link to itself."""
    path.symlink_to(path.name)


def device_at(path: Path) -> None:
    """Make a device of its own that is as endless as /dev/zero."""
    means.need("linux", "root")
    try:
        os.mknod(path, 0o600 | 0o020000, os.makedev(1, 5))
    except PermissionError:
        pytest.skip("not even root may make a device here")


LINK = "a regular file, not a symbolic link"
OTHERS: dict[str, tuple[Callable[[Path], None], str]] = {
    "link to a directory": (link_to_a_directory_at, LINK),
    "link to one's own file": (link_inside_at, LINK),
    "loop": (loop_at, LINK),
    "device": (device_at, "a regular file, not a device or socket"),
}
ANYTHING: dict[str, Callable[[Path], None]] = {
    **{name: make for name, (make, _) in OTHERS.items()},
    "link": link_at,
    "dangling link": dangling_link_at,
    "pipe": os.mkfifo,
    "socket": socket_at,
}


def outside(directory: Path) -> dict[str, bytes | None]:
    """Return what there is in a directory, with the content of files; links are not followed."""
    found: dict[str, bytes | None] = {}
    for path in sorted(directory.rglob("*")):
        found[str(path)] = path.read_bytes() if path.is_file() and not path.is_symlink() else None
    return found


@pytest.mark.parametrize("name", ["fleet.toml", "fleet.toml.lock"])
@pytest.mark.parametrize(("make", "expected"), OTHERS.values(), ids=OTHERS)
async def test_more_that_is_no_file(
    store: FleetStore, root: Path, name: str, make: Callable[[Path], None], expected: str
) -> None:
    """Every call says what stands there, waits for nobody and leaves it, and what it points to, alone."""
    path = fleet_path("user", root)
    path.parent.mkdir(parents=True)
    path.write_text(TEXT)
    planted = path.with_name(name)
    planted.unlink(missing_ok=True)
    make(planted)
    before = (planted.lstat(), outside(root.parent))
    calls = ALL if name == "fleet.toml" else {"save overwrite": OVERWRITE, **LOCKED}
    await refuse(calls, store, planted, expected)
    after = (planted.lstat(), outside(root.parent))
    assert (after[0].st_ino, after[0].st_mode) == (before[0].st_ino, before[0].st_mode)
    after[1].pop(f"{path}.lock", None)
    before[1].pop(f"{path}.lock", None)
    assert after[1] == before[1]


@pytest.mark.parametrize("make", [*ANYTHING.values(), directory_at], ids=[*ANYTHING, "directory"])
async def test_a_temporary_name_that_is_taken(
    store: FleetStore, root: Path, make: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever guesses the name gets nothing written to where it leads; the call fails, the next one does not."""
    fleet = await store.save(PetFleet("user", [pet("mira")], "mira"))
    path = fleet_path("user", root)
    planted = path.with_name(f".fleet.toml.{PLANTED}.tmp")
    make(planted)
    before = outside(root.parent)
    with monkeypatch.context() as patch:
        patch.setattr(secrets, "token_hex", lambda size: PLANTED)
        with pytest.raises(FileExistsError) as caught:
            await store.add("user", pet("nova"))
    assert caught.value.filename == str(planted)
    after = outside(root.parent)
    for found in (before, after):
        found.pop(str(planted), None)
        found.pop(f"{path}.lock")
    assert after == before
    assert await store.add("user", pet("nova")) == fleet.with_pet(pet("nova"))
    assert loads(path.read_bytes()) == fleet.with_pet(pet("nova"))


@pytest.mark.parametrize("make", [*ANYTHING.values(), directory_at], ids=[*ANYTHING, "directory"])
def test_what_is_planted_at_temporary_names_does_not_stop_a_recovery(
    backend: FileBackend, path: Path, make: Callable[[Path], None]
) -> None:
    """Links are removed and not followed, a directory is left alone, and everything else is as after any crash."""
    commit(backend, add("mira"))
    leave_dead_writer(path)
    planted = path.with_name(f".fleet.toml.{PLANTED[::-1]}.tmp")
    make(planted)
    before = outside(path.parent.parent.parent)
    fleet = commit(backend, load)
    assert fleet is not None
    assert fleet.get("mira") is not None
    assert planted.is_dir() == (make is directory_at)
    assert not path.with_name(".fleet.toml.00112233445566aa.tmp").exists()
    after = outside(path.parent.parent.parent)
    assert {name: after.get(name) for name in before if ".fleet.toml" not in name and not name.endswith(".lock")} == {
        name: data for name, data in before.items() if ".fleet.toml" not in name and not name.endswith(".lock")
    }


LINKED = "A user's directory must not be a symbolic link"


@pytest.mark.parametrize("target", ["elsewhere", "nowhere", "user", "root/other"])
async def test_a_link_in_the_place_of_a_user_directory(store: FleetStore, root: Path, target: str) -> None:
    """No call follows it: what it leads to could be another user's, and is not synced where it is."""
    (root / "other").mkdir(parents=True)
    (root.parent / "elsewhere").mkdir()
    (root.parent / "elsewhere" / "fleet.toml").write_text(TEXT)
    (root / "user").symlink_to("user" if target == "user" else root.parent / target.replace("root", root.name))
    before = outside(root.parent)
    for name, call in ALL.items():
        with pytest.raises(OSError, match=LINKED) as caught:
            await call(store, "user")
        assert (caught.value.errno, caught.value.filename) == (errno.ELOOP, str(root / "user")), name
    assert [user_id async for user_id in store.users()] == []
    assert outside(root.parent) == before


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


def test_the_harness_can_fail(backend: FileBackend, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the look for links taken out, a link in the place of a user's directory is followed."""
    elsewhere = path.parent.parent.with_name("elsewhere")
    elsewhere.mkdir()
    path.parent.parent.mkdir()
    path.parent.symlink_to(elsewhere)
    with pytest.raises(OSError, match=LINKED):
        commit(backend, add("mira"))
    monkeypatch.setattr(disk, "refuse_link", lambda path: None)
    commit(backend, add("mira"))
    assert entries(elsewhere) == ["fleet.toml", "fleet.toml.lock"]
