"""Others replace the lock file or the fleet file in the middle of a commit."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import filelock
import pytest

from petfleet import PetFleet, dumps, loads
from petfleet._backends.files import disk, lock
from petfleet._backends.files.backend import FileBackend
from petfleet._backends.files.lock import UserLock
from petfleet._backends.protocol import OvertakenError
from petfleet._commit.change import Change, Kind, carry_out
from tests.conftest import pet
from tests.support.commits import (
    LOCK,
    add,
    attempt,
    commit,
    delete,
    leave_dead_writer,
    load,
    names,
    once_before,
    stored,
)


@pytest.mark.parametrize(("change", "kind"), [(add("otto"), Kind.CREATE), (load, Kind.READ)], ids=["add", "load"])
def test_a_lock_file_unlinked_before_it_was_locked_is_not_used(
    backend: FileBackend, path: Path, monkeypatch: pytest.MonkeyPatch, change: Any, kind: Kind
) -> None:
    """A lock on an unlinked file excludes no other: the commit takes the file at the path."""
    commit(backend, add("mira"))
    lock_path = path.with_name("fleet.toml.lock")

    def another_holds_a_new_lock() -> None:
        lock_path.unlink()
        held.append(UserLock(str(lock_path), create=True))
        assert held[0].try_acquire()

    held: list[UserLock] = []
    once_before(monkeypatch, UserLock, "try_acquire", another_holds_a_new_lock)
    assert not attempt(backend, Change(change, kind))
    held[0].close()
    assert stored(path) == ["mira"]
    assert attempt(backend, Change(change, kind))
    assert stored(path) == (["mira", "otto"] if kind is Kind.CREATE else ["mira"])


def test_a_lock_file_replaced_while_writing_makes_the_commit_start_over(
    backend: FileBackend, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Someone else may have committed under the new lock file: nothing is renamed over that."""
    commit(backend, add("mira"))
    lock_path = path.with_name("fleet.toml.lock")

    def split_the_lock() -> None:
        lock_path.unlink()
        monkeypatch.setattr(disk, "unchanged", lambda path, before: True)  # leave it to the lock's own check

    calls = once_before(monkeypatch, disk, "write_new", split_the_lock)
    commit(backend, add("otto"))
    assert len(calls) == 2
    assert stored(path) == ["mira", "otto"]
    assert names(path) == {"fleet.toml", "fleet.toml.lock"}


@pytest.mark.parametrize("change", ["add", "delete"])
def test_what_an_editor_saved_meanwhile_is_not_replaced_unseen(
    backend: FileBackend, path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    """The commit starts over from the file as it is now."""
    commit(backend, add("mira"))
    seen: list[PetFleet | None] = []

    def edit() -> None:
        path.write_text(dumps(PetFleet("u", [pet("mira"), pet("edited")], "edited")))

    def watched(fleet: PetFleet | None) -> PetFleet | None:
        seen.append(fleet)
        return add("otto")(fleet) if change == "add" else delete(fleet)

    once_before(monkeypatch, UserLock, "mark_writing", edit)
    commit(backend, watched)
    assert [len(fleet.pets) if fleet else 0 for fleet in seen] == [1, 2]
    if change == "add":
        assert stored(path) == ["mira", "edited", "otto"]
    else:
        assert not path.exists()


def test_a_fleet_that_appears_meanwhile_is_not_replaced_unseen(
    backend: FileBackend, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old program takes no lock when it creates one."""

    def appear() -> None:
        path.write_text(dumps(PetFleet("u", [pet("mira")])))

    once_before(monkeypatch, disk, "write_new", appear)
    commit(backend, add("otto"))
    assert stored(path) == ["mira", "otto"]


def test_a_lock_file_replaced_again_and_again_counts_as_busy(
    backend: FileBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine tries again until the call's deadline."""
    commit(backend, add("mira"))
    monkeypatch.setattr(UserLock, "is_at_path", lambda self: False)
    assert not attempt(backend, Change(load, Kind.READ))


def test_a_load_beside_nothing_looks_only_after_it_was_taken(backend: FileBackend, root: Path) -> None:
    """What arrives after the look at the beginning must not be answered by it."""
    turn = backend.begin("u", create=False)
    assert turn.try_turn()
    commit(FileBackend(str(root)), add("mira"))  # another process adds, in between
    change = Change(load, Kind.READ)
    with pytest.raises(OvertakenError):
        carry_out([change], turn, lambda phase: None)
    turn.close()
    assert attempt(backend, change)
    assert change.result == PetFleet("u", [pet("mira")], "mira")


def test_a_creator_that_joins_a_load_beside_nothing_is_not_answered_without_the_lock(
    backend: FileBackend, path: Path
) -> None:
    """Only calls that cannot create may be: what they made would not be written."""
    first, joined = Change(load, Kind.READ), Change(add("mira"), Kind.CREATE)
    turn = backend.begin("u", create=False)
    assert turn.try_turn()
    with pytest.raises(OvertakenError):
        carry_out([first, joined], turn, lambda phase: None)
    turn.close()
    assert not path.parent.exists()
    assert attempt(backend, first, joined)
    assert first.result is None
    assert joined.result == PetFleet("u", [pet("mira")], "mira")
    assert stored(path) == ["mira"]


def test_a_lock_that_appears_beside_a_load_of_nothing_is_respected(
    backend: FileBackend, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Someone is creating the fleet at this moment."""

    def appear() -> None:
        path.parent.mkdir(parents=True)
        held.append(UserLock(str(path) + ".lock", create=True))
        assert held[0].try_acquire()

    held: list[UserLock] = []
    once_before(monkeypatch, disk, "exists", appear)
    assert not attempt(backend, Change(load, Kind.READ))
    held[0].close()


def test_the_lock_is_had_again_after_all_of_that(backend: FileBackend) -> None:
    """No descriptor and no lock stays behind."""
    commit(backend, add("mira"))
    assert backend.holder("u") is None
    assert backend.holder("nobody") is None
    assert not lock._descriptors


def test_a_write_that_only_its_bytes_betray_is_not_replaced_unseen(
    backend: FileBackend, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Same inode, same size, and a time that stood still: the bytes are compared too."""
    commit(backend, add("mira"))
    monkeypatch.setattr(disk, "_same", lambda one, other: True)
    once_before(monkeypatch, disk, "write_new", lambda: path.write_text(path.read_text().replace("mira", "lora")))
    commit(backend, add("otto"))
    assert stored(path) == ["lora", "otto"]


def test_an_error_of_an_attempt_that_started_over_is_forgotten(
    backend: FileBackend, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What failed at first may happen in the end, and then it did."""
    commit(backend, add("mira"))

    def another_adds() -> None:
        path.write_text(dumps(PetFleet("u", [pet("mira"), pet("otto")], "mira")))

    once_before(monkeypatch, disk, "write_new", another_adds)
    changes = [
        Change(lambda fleet: fleet and fleet.with_last_active("mira", 1), Kind.CHANGE),
        Change(lambda fleet: fleet and fleet.with_last_active("otto", 2), Kind.CHANGE),
    ]
    assert attempt(backend, *changes)
    assert [change.error for change in changes] == [None, None]
    assert loads(path.read_bytes()).pet("otto").last_active == 2


def test_deleting_removes_what_a_writer_left_that_died_at_once(backend: FileBackend, path: Path) -> None:
    """A directory without a fleet is the user's too; only a delete removes it."""
    path.parent.mkdir(parents=True)
    assert commit(backend, load, Kind.READ) is None
    assert path.parent.exists()
    path.with_name(".fleet.toml.00112233445566aa.tmp").write_text("half a wri")  # without a lock file: a power cut
    assert commit(backend, delete, Kind.DELETE) is None
    assert not path.parent.exists()


def test_a_link_put_in_the_fleets_place_meanwhile_is_refused(
    backend: FileBackend, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not the file that was read, so the commit starts over, and then reports the link."""
    commit(backend, add("mira"))

    def put_a_link() -> None:
        path.unlink()
        path.symlink_to(tmp_path / "elsewhere")

    once_before(monkeypatch, disk, "write_new", put_a_link)
    with pytest.raises(ValueError, match="a regular file, not a symbolic link"):
        commit(backend, add("otto"))
    assert path.is_symlink()


def test_a_foreign_write_while_its_forerunner_is_synced_is_read_again(
    backend: FileBackend, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a load returns is what was synced."""
    path.parent.mkdir(parents=True)
    path.write_text(dumps(PetFleet("u", [pet("mira")])))
    once_before(monkeypatch, disk, "sync_directory", lambda: path.write_text(dumps(PetFleet("u", [pet("lora")]))))
    assert commit(backend, load, Kind.READ) == PetFleet("u", [pet("lora")])


def test_what_someone_writes_after_a_recovery_is_not_taken_for_what_was_synced(
    backend: FileBackend, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The recovered bytes are durable, the new ones are not: they are synced before they are returned."""
    commit(backend, add("mira"))
    leave_dead_writer(path)
    mark_clean = UserLock.mark_clean

    def edited(lock: UserLock, identity: str) -> None:
        mark_clean(lock, identity)
        if not synced:
            path.write_text(dumps(PetFleet("u", [pet("lora")])))

    synced: list[str] = []
    sync_file = disk.sync_file

    def watched(name: str) -> None:
        synced.append(name)
        sync_file(name)

    monkeypatch.setattr(UserLock, "mark_clean", edited)
    monkeypatch.setattr(disk, "sync_file", watched)
    assert commit(backend, load, Kind.READ) == PetFleet("u", [pet("lora")])
    assert synced == [str(path)]


def test_a_refused_lock_is_tried_and_waited_for_on_one_descriptor(
    backend: FileBackend, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To open the file for each try would cost ten times as much."""
    commit(backend, add("mira"))
    ours = UserLock(f"{path}.lock", create=False)
    assert ours.try_acquire()
    turn = backend.begin("u", create=True)
    assert not turn.try_turn()
    assert not turn.try_turn()
    waits = threading.Event()
    once_before(monkeypatch, UserLock, "acquire", waits.set)
    waiting = threading.Thread(target=turn.wait_turn)
    waiting.start()
    assert waits.wait(30)
    assert len(lock._descriptors) == 2
    ours.close()
    waiting.join()
    change = Change(add("nova"), Kind.CREATE)
    carry_out([change], turn, lambda phase: None)
    assert backend.holder("u") is not None
    turn.close()
    assert change.result == PetFleet("u", [pet("mira"), pet("nova")], "mira")
    assert stored(path) == ["mira", "nova"]


def test_a_deletion_beside_nothing_gives_way_to_whoever_comes(backend: FileBackend, root: Path) -> None:
    """What a dead writer has left is removed under the lock; if another one has it by then, the try is over."""
    (root / "u").mkdir(parents=True)
    turn = backend.begin("u", create=False)
    assert turn.try_turn()
    nothing = turn.read()
    with filelock.FileLock(root / LOCK), pytest.raises(OvertakenError):
        turn.write(nothing, nothing)
    turn.close()
    assert commit(backend, delete, Kind.DELETE) is None
    assert not (root / "u").exists()
