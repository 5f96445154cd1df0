"""What a repair changes, what it leaves as it is, and what it reports."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import anyio
import pytest

from petfleet import FleetFormatError, FleetStore, LockTimeoutError, PetFleet, dumps
from petfleet._backends.files import reader
from petfleet._backends.files.lock import UserLock
from petfleet._backends.files.paths import UserPaths
from petfleet._cli.checks import leftovers, repair
from petfleet._cli.checks.repair import set_aside
from tests.cli.check_helpers import (
    TEMPORARY,
    PatchedModule,
    fail,
    found,
    mark_writing,
    put_files,
    snapshot,
)
from tests.conftest import pet
from tests.support.commits import once_before
from tests.support.recording_os import RecordingOS, refuse
from tests.support.store_calls import entries

BAD = b'user_id = "u"\npets = [] oops\n'
GOOD = dumps(PetFleet("u", [pet("nova")], "nova")).encode()
ASIDE = "fleet.toml.corrupt-20261122T201500Z"


@pytest.fixture(autouse=True)
def _same_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set everything aside in the same second."""
    there = time.gmtime(1_795_378_500)
    monkeypatch.setattr(repair, "time", PatchedModule(time, gmtime=lambda: there))


@pytest.fixture
def paths(root: Path) -> UserPaths:
    """The paths of user u."""
    return UserPaths(str(root), "u")


def test_what_a_dead_writer_left_is_recovered(root: Path) -> None:
    """Its temporary file is removed, the fleet's bytes stay, and the next check finds nothing."""
    path = put_files(root, "u")
    before = path.read_bytes()
    path.with_name(TEMPORARY).write_text("half a wri")
    mark_writing(path)
    assert [(one.kind, one.repaired) for one in found(root, repair=True)] == [
        ("leftover", "removed"),
        ("dead-writer", "recovered"),
    ]
    assert path.read_bytes() == before
    assert entries(path.parent) == ["fleet.toml", "fleet.toml.lock"]
    assert found(root) == []


@pytest.mark.parametrize("fleet", [True, False])
def test_a_temporary_file_without_a_lock_file_is_removed(root: Path, fleet: bool) -> None:
    """It does not matter whether there is a fleet."""
    path = put_files(root, "u", lock=False)
    if not fleet:
        path.unlink()
    path.with_name(TEMPORARY).touch()
    assert [(one.kind, one.repaired) for one in found(root, repair=True)] == [("leftover", "removed")]
    assert path.exists() == fleet
    assert found(root) == []


def test_a_writer_that_died_deleting_is_recovered_from(root: Path) -> None:
    """Nothing is left of the user."""
    path = put_files(root, "u")
    mark_writing(path)
    path.unlink()
    assert [(one.kind, one.repaired) for one in found(root, repair=True)] == [("dead-writer", "recovered")]
    assert not path.parent.exists()


@pytest.mark.parametrize("dead", [False, True])
@pytest.mark.parametrize("lock", [False, True])
def test_a_broken_file_is_set_aside(root: Path, lock: bool, dead: bool) -> None:
    """Its bytes get another name, the user can start a new fleet, and nothing else is left."""
    path = put_files(root, "u", BAD, lock=lock)
    if dead:
        mark_writing(path)
        path.with_name(TEMPORARY).touch()
    repaired = {one.kind: one.repaired for one in found(root, repair=True)}
    recovered = {"leftover": "removed", "dead-writer": "recovered"}
    assert repaired == {"unparsable": f"set aside as {path.parent / ASIDE}", **(recovered if dead else {})}
    assert (path.parent / ASIDE).read_bytes() == BAD
    assert entries(path.parent) == [ASIDE]
    assert found(root) == []

    async def use() -> None:
        store = FleetStore(root)
        assert await store.load("u") == PetFleet("u")
        await store.add("u", pet("mira"))
        await store.aclose()

    anyio.run(use)
    assert entries(path.parent) == ["fleet.toml", ASIDE, "fleet.toml.lock"]
    assert found(root) == []


def test_a_file_that_is_too_large_is_set_aside(root: Path) -> None:
    """It is moved without being read."""
    path = put_files(root, "u")
    os.truncate(path, 2**40)
    (finding,) = found(root, repair=True)
    assert finding.repaired == f"set aside as {path.parent / ASIDE}"
    assert (path.parent / ASIDE).stat().st_size == 2**40


def test_an_earlier_copy_is_not_replaced(root: Path, paths: UserPaths) -> None:
    """Three files in one second get three names."""
    directory = put_files(root, "u", BAD).parent
    for number in range(3):
        (directory / "fleet.toml").write_bytes(BAD + b"%d" % number)
        os.utime(directory / "fleet.toml", (1, 1))
        suffix = f"-{number}" if number else ""
        assert set_aside(paths, 5.0) == f"{directory}/{ASIDE}{suffix}"
    names = (ASIDE, f"{ASIDE}-1", f"{ASIDE}-2")
    assert [(directory / name).read_bytes()[-1:] for name in names] == [b"0", b"1", b"2"]


def test_setting_aside_is_one_rename_that_is_synced(root: Path, paths: UserPaths, system: RecordingOS) -> None:
    """A crash leaves the old name or the new one; after the return it is the new one."""
    put_files(root, "u", BAD)
    set_aside(paths, 5.0)
    assert system.calls == [("replace", f"u/fleet.toml -> u/{ASIDE}"), ("fsync", "u")]


def mend(path: Path) -> None:
    """Replace a bad file by a good one, as an editor does."""
    path.with_name("editing").write_bytes(GOOD)
    path.with_name("editing").chmod(0o600)
    path.with_name("editing").replace(path)


@pytest.mark.parametrize("happens", [mend, Path.unlink, lambda path: shutil.rmtree(path.parent)])
def test_a_file_mended_before_the_lock_is_left_alone(
    root: Path, happens: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The repair reads it again under the lock, and it is no finding any more."""
    path = put_files(root, "u", BAD)
    once_before(monkeypatch, leftovers, "locked", lambda: happens(path))
    assert found(root, repair=True) == []
    assert ASIDE not in (entries(path.parent) or [])
    if happens is mend:
        assert path.read_bytes() == GOOD


@pytest.mark.parametrize("happens", [mend, Path.unlink])
def test_a_file_mended_after_the_last_read_is_left_alone(
    root: Path, paths: UserPaths, happens: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that is not the one that was read is read again."""
    path = put_files(root, "u", BAD)
    once_before(monkeypatch, repair, "_free_name", lambda: happens(path))
    assert set_aside(paths, 5.0) is None
    assert ASIDE not in (entries(path.parent) or [])


def test_the_old_program_may_finish_its_rewrite(root: Path, paths: UserPaths, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that it has truncated is read again, under the lock, until it is complete."""
    path = put_files(root, "u", BAD)
    once_before(monkeypatch, leftovers, "locked", lambda: path.write_bytes(b""))
    monkeypatch.setattr(reader, "time", PatchedModule(time, sleep=lambda seconds: path.write_bytes(GOOD)))
    assert set_aside(paths, 5.0) is None
    assert path.read_bytes() == GOOD


def test_a_lock_file_that_is_replaced_is_locked_again(
    root: Path, paths: UserPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another writer may have committed under the new lock file."""
    path = put_files(root, "u", BAD)
    calls = once_before(monkeypatch, repair, "_free_name", lambda: path.with_name("fleet.toml.lock").unlink())
    assert set_aside(paths, 5.0) == str(path.parent / ASIDE)
    assert len(calls) == 2


def test_a_lock_file_unlinked_before_it_was_locked_is_not_used(
    root: Path, paths: UserPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lock on it excludes nobody: a writer holds the new file at the path."""
    path = put_files(root, "u", BAD)
    held: list[UserLock] = []

    def replace() -> None:
        path.with_name("fleet.toml.lock").unlink()
        held.append(UserLock(paths.lock, create=True))
        assert held[0].try_acquire()

    once_before(monkeypatch, UserLock, "try_acquire", replace)
    reads = once_before(monkeypatch, reader.Reader, "read", lambda: None)
    with pytest.raises(LockTimeoutError):
        set_aside(paths, 0.02)
    held[0].close()
    assert reads == []
    assert path.read_bytes() == BAD


def test_a_file_that_keeps_being_replaced_is_left_alone(
    root: Path, paths: UserPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a limited number of tries it counts as a lock that others keep."""
    path = put_files(root, "u", BAD)
    looks = itertools.cycle([True, False])  # when the lock was taken, and before the rename
    monkeypatch.setattr(UserLock, "is_at_path", lambda self: next(looks))
    with pytest.raises(LockTimeoutError):
        set_aside(paths, 5.0)
    assert path.read_bytes() == BAD


def test_a_link_put_in_the_place_of_the_directory_is_not_followed(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is renamed, locked or created at its target."""
    path = put_files(root, "u", BAD)

    def plant() -> None:
        path.parent.rename(root.parent / "elsewhere")
        path.parent.symlink_to(root.parent / "elsewhere")
        before.update(snapshot(root.parent))

    before: dict[str, tuple[object, ...]] = {}
    once_before(monkeypatch, leftovers, "locked", plant)
    (finding,) = found(root, repair=True)
    assert (finding.kind, finding.repaired) == ("unparsable", None)
    assert "; not repaired: " in finding.message
    assert "A user's directory must not be a symbolic link" in finding.message
    assert snapshot(root.parent) == before


def test_a_pipe_put_in_the_place_of_the_file_is_left_alone(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only a regular file is set aside."""
    path = put_files(root, "u", BAD)

    def plant() -> None:
        path.unlink()
        os.mkfifo(path)

    once_before(monkeypatch, leftovers, "locked", plant)
    (finding,) = found(root, repair=True)
    assert finding.message.endswith("; not repaired: expected a regular file, not a pipe")
    assert path.is_fifo()


def test_a_lock_that_stays_held_leaves_the_file(root: Path) -> None:
    """The finding names the holder."""
    path = put_files(root, "u", BAD)
    before = snapshot(root)
    with contextlib.closing(UserLock(f"{path}.lock", create=False)) as lock:
        assert lock.try_acquire()
        (finding,) = found(root, repair=True, lock_timeout=0.02)
    assert finding.repaired is None
    assert re.search(rf"; not repaired: {path}.lock not locked within 0.02 s, held by pid \d+ on ", finding.message)
    assert snapshot(root) == before


def test_a_lock_that_is_released_is_waited_for(root: Path, paths: UserPaths, monkeypatch: pytest.MonkeyPatch) -> None:
    """The caller limits the time."""
    put_files(root, "u", BAD)
    lock = UserLock(paths.lock, create=False)
    assert lock.try_acquire()
    monkeypatch.setattr(leftovers, "time", PatchedModule(time, sleep=lambda seconds: lock.close()))
    assert set_aside(paths, 3600.0) is not None


def test_a_refused_rename_leaves_the_file(root: Path, system: RecordingOS) -> None:
    """The finding has the system's error."""
    path = put_files(root, "u", BAD)
    refuse(system, "replace", f"u/fleet.toml -> u/{ASIDE}", errno.EROFS)
    (finding,) = found(root, repair=True)
    assert finding.repaired is None
    assert finding.message.endswith("; not repaired: [Errno 30] Read-only file system")
    assert path.read_bytes() == BAD


def test_a_new_name_that_cannot_be_synced_is_reported(root: Path, system: RecordingOS) -> None:
    """After a power cut the file may have its old name; the finding also names what else was not done."""
    path = put_files(root, "u", BAD)
    refuse(system, "fsync", "u", errno.EIO)
    (finding,) = found(root, repair=True)
    aside = path.parent / ASIDE
    assert finding.repaired == f"set aside as {aside}"
    assert f"; {aside}: the change may or may not stand" in finding.message
    assert finding.message.endswith("; what else is to be tidied up is left: Input/output error")
    assert aside.read_bytes() == BAD


def test_a_recovery_that_fails_says_why(root: Path) -> None:
    """A leftover that has gone all the same is reported as removed. Here another user's file prevents the rest."""
    path = put_files(root, "u", b'user_id = "other"\npets = []\n')
    mark_writing(path)
    path.with_name(TEMPORARY).touch()
    foreign, leftover, dead = found(root, repair=True)
    assert (foreign.kind, foreign.repaired) == ("foreign-user-id", None)
    assert (leftover.kind, leftover.repaired) == ("leftover", "removed")
    assert (dead.kind, dead.repaired) == ("dead-writer", None)
    with pytest.raises(FleetFormatError) as caught:
        anyio.run(FleetStore(root).load, "u")
    assert dead.message.endswith(f"; not repaired: {caught.value}")


def test_a_leftover_that_stays_without_an_error_is_reported(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """petfleet only logs which files it could not remove."""
    path = put_files(root, "u")
    path.with_name(TEMPORARY).touch()
    monkeypatch.setattr(repair, "_recover", lambda *arguments: None)
    (finding,) = found(root, repair=True)
    assert (finding.kind, finding.repaired) == ("leftover", None)
    assert finding.message.endswith("; not repaired: it is still there")


def test_a_root_that_is_not_utf8(tmp_path: Path) -> None:
    """It can be checked, and broken files can be set aside, but a store cannot recover there."""
    root = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff"))
    mark_writing(put_files(root, "u", BAD))
    unparsable, dead = found(root, repair=True)
    assert unparsable.repaired == rf"set aside as {tmp_path}/\udcff/u/{ASIDE}"
    assert dead.repaired is None
    assert "; not repaired: root '" in dead.message


@pytest.mark.parametrize("error", [errno.EIO, errno.ENOENT])
def test_a_directory_that_can_no_longer_be_read(root: Path, error: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A repair that cannot be confirmed is not reported, unless the directory has gone."""
    path = put_files(root, "u", b'user_id = "other"\npets = []\n')
    path.with_name(TEMPORARY).touch()
    once_before(monkeypatch, repair, "_recover", lambda: monkeypatch.setattr(leftovers, "read", fail(error)))
    foreign, leftover = found(root, repair=True)
    assert foreign.repaired is None
    assert leftover.repaired == ("removed" if error == errno.ENOENT else None)
    assert leftover.message.endswith("; not repaired: [Errno 5] Input/output error") == (error == errno.EIO)
