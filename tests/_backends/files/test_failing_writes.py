"""Commits that fail, and files that must not be misread."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path
from types import SimpleNamespace

import anyio
import anyio.to_thread
import pytest

from petfleet import FleetFormatError, FleetStore, PetFleet, UnconfirmedCommitError, dumps, loads
from petfleet._backends.files import lock
from petfleet._backends.files.backend import FileBackend
from petfleet._commit.change import Change, Kind
from petfleet._toml import encode, limits
from tests.conftest import pet
from tests.support.commits import FLEET, LOCK, add, attempt, commit, delete, leave_dead_writer, load, marker, names
from tests.support.recording_os import RecordingOS, refuse


@pytest.mark.parametrize("call", ["write", "fsync", "open"])
def test_a_failure_before_the_rename_leaves_the_old_file(
    backend: FileBackend, system: RecordingOS, path: Path, call: str
) -> None:
    """The error passes with errno and file name; no temporary file stays, and the marker is clean."""
    commit(backend, add("mira"))
    before = path.read_bytes()
    refuse(system, call, "TEMPORARY", errno.ENOSPC)
    with pytest.raises(OSError) as caught:  # noqa: PT011 - the attributes are checked
        commit(backend, add("otto"))
    assert caught.value.errno == errno.ENOSPC
    assert call == "open" or str(caught.value.filename).endswith(".tmp")
    assert path.read_bytes() == before
    assert names(path) == {"fleet.toml", "fleet.toml.lock"}
    assert marker(path) == "clean"


def test_a_temporary_file_that_cannot_be_removed_is_left_to_the_next_holder(
    backend: FileBackend, system: RecordingOS, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The marker stays, the first error is the one raised, and the next call tidies up."""
    commit(backend, add("mira"))

    def before(name: str, where: str) -> None:
        if (name, where) in (("fsync", "TEMPORARY"), ("unlink", "TEMPORARY")):
            raise OSError(errno.EIO if name == "fsync" else errno.EPERM, "refused")

    system.before = before
    with pytest.raises(OSError) as caught:  # noqa: PT011 - the attribute is checked
        commit(backend, add("otto"))
    assert caught.value.errno == errno.EIO
    assert marker(path) == "writing"
    assert "left for the next call to tidy up" in caplog.text
    system.before = lambda name, where: None
    commit(backend, add("otto"))
    assert names(path) == {"fleet.toml", "fleet.toml.lock"}


def test_a_recovery_that_fails_leaves_the_marker_to_the_next(
    backend: FileBackend, system: RecordingOS, path: Path
) -> None:
    """What was not confirmed before is not confirmed by a failure to write it anew."""
    commit(backend, add("mira"))
    leave_dead_writer(path)
    refuse(system, "write", "TEMPORARY", errno.ENOSPC)
    with pytest.raises(OSError, match="No space left"):
        commit(backend, load, Kind.READ)
    assert marker(path) == "writing"
    assert names(path) == {"fleet.toml", "fleet.toml.lock"}
    system.before = lambda name, where: None
    system.calls.clear()
    commit(backend, load, Kind.READ)
    assert ("replace", "TEMPORARY -> u/fleet.toml") in system.calls


def test_a_failed_creation_on_a_full_disk_leaves_nothing(backend: FileBackend, system: RecordingOS, path: Path) -> None:
    """Neither the directory nor the lock file made for it."""
    refuse(system, "write", "TEMPORARY", errno.ENOSPC)
    with pytest.raises(OSError, match="No space left"):
        commit(backend, add("mira"))
    assert not path.parent.exists()


async def test_an_error_of_the_unlocking_does_not_fail_a_durable_call(
    store: FleetStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The descriptor is closed all the same, and that unlocks too."""

    def refused(fd: int) -> None:
        raise OSError(errno.EIO, "refused")

    monkeypatch.setattr(lock, "unlock_descriptor", refused)
    assert (await store.add("u", pet("mira"))).get("mira") is not None
    assert "refused" in caplog.text
    monkeypatch.undo()
    assert await anyio.to_thread.run_sync(store._backend.holder, "u") is None


@pytest.mark.parametrize("synced", ["u", "."])
def test_an_unconfirmed_commit_says_so_and_is_written_anew(
    backend: FileBackend, system: RecordingOS, path: Path, synced: str
) -> None:
    """The new file is in place; whether it survives is open until the next call has recovered."""
    refuse(system, "fsync", synced, errno.EIO)
    with pytest.raises(UnconfirmedCommitError) as caught:
        commit(backend, add("mira"))
    assert caught.value.path == str(path)
    assert isinstance(caught.value.__cause__, OSError)
    assert marker(path) == "writing"
    inode = path.stat().st_ino
    system.before = lambda name, where: None
    loaded = commit(backend, load, Kind.READ)
    assert loaded is not None
    assert loaded.get("mira") is not None
    assert path.stat().st_ino != inode
    assert marker(path) == "clean"


def test_an_unconfirmed_commit_is_told_to_every_call_of_the_batch(
    backend: FileBackend, system: RecordingOS, path: Path
) -> None:
    """Loads before the change too: they are answered from nothing that was not confirmed."""
    commit(backend, add("mira"))
    refuse(system, "fsync", "u", errno.EIO)
    changes = [Change(load, Kind.READ), Change(add("otto"), Kind.CREATE), Change(load, Kind.READ)]
    assert attempt(backend, *changes)
    assert [type(change.error) for change in changes] == [UnconfirmedCommitError] * 3
    assert len({id(change.error) for change in changes}) == 3


def test_a_refused_write_fails_the_changes_and_answers_the_loads(
    backend: FileBackend, system: RecordingOS, path: Path
) -> None:
    """Nothing was changed: the loads of the batch get what is there."""
    stored = commit(backend, add("mira"))
    refuse(system, "write", "TEMPORARY", errno.ENOSPC)
    changes = [Change(load, Kind.READ), Change(add("otto"), Kind.CREATE), Change(load, Kind.READ)]
    assert attempt(backend, *changes)
    assert isinstance(changes[1].error, OSError)
    assert changes[1].error.errno == errno.ENOSPC
    assert [changes[0].error, changes[2].error] == [None, None]
    assert changes[0].result == changes[2].result == stored


def test_a_deletion_that_cannot_tell_what_is_left_says_so(
    backend: FileBackend, system: RecordingOS, path: Path
) -> None:
    """There is no fleet, but what a dead writer left may still be there: that is no success."""
    path.parent.mkdir(parents=True)
    looks: list[None] = []

    def before(name: str, where: str) -> None:
        if (name, where) == ("lstat", "u"):
            looks.append(None)
            if len(looks) > 1:  # after the one at the beginning
                raise OSError(errno.EIO, "refused")

    system.before = before
    with pytest.raises(OSError, match="refused"):
        commit(backend, delete, Kind.DELETE)
    assert path.parent.exists()
    system.before = lambda name, where: None
    assert commit(backend, delete, Kind.DELETE) is None
    assert not path.parent.exists()


def test_a_marker_that_cannot_be_cleaned_does_not_fail_a_durable_call(
    backend: FileBackend, system: RecordingOS, path: Path
) -> None:
    """After the last sync nothing can fail the call; the next one recovers."""
    commit(backend, add("mira"))
    synced: list[bool] = []

    def before(name: str, where: str) -> None:
        if (name, where) == ("fsync", "u"):
            synced.append(True)
        if (name, where) == ("write", LOCK) and synced:
            raise OSError(errno.EIO, "refused")

    system.before = before
    fleet = commit(backend, add("otto"))
    assert fleet is not None
    assert marker(path) == "writing"
    system.before = lambda name, where: None
    assert commit(backend, load, Kind.READ) == fleet


def test_what_is_about_to_be_written_is_parsed_back(
    backend: FileBackend, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A text that means something else is never written."""
    commit(backend, add("mira"))
    before = path.read_bytes()
    text = encode.Parts.text
    monkeypatch.setattr(encode.Parts, "text", lambda pieces: text(pieces).replace("otto", "0tto"))
    with pytest.raises(ValueError, match="reads back differently"):
        commit(backend, add("otto"))
    assert path.read_bytes() == before


@pytest.mark.parametrize("error", [errno.EACCES, errno.EIO, errno.ENOTDIR, errno.EMFILE])
def test_only_no_such_file_means_no_fleet(backend: FileBackend, system: RecordingOS, path: Path, error: int) -> None:
    """Any other failure to read is an error, and nothing is overwritten."""
    commit(backend, add("mira"))
    before = path.read_bytes()
    refuse(system, "open", FLEET, error)
    for change, kind in ((add("otto"), Kind.CREATE), (load, Kind.READ)):
        with pytest.raises(OSError) as caught:  # noqa: PT011 - the attribute is checked
            commit(FileBackend(str(path.parent.parent)), change, kind)
        assert caught.value.errno == error
    assert path.read_bytes() == before


def test_the_user_id_inside_must_be_the_one_asked_for(backend: FileBackend, path: Path) -> None:
    """A copied directory, or a file system that folds case, is noticed by every call."""
    path.parent.mkdir(parents=True)
    path.write_text(dumps(PetFleet("U", [pet("mira")])))
    for change, kind in (
        (load, Kind.READ),
        (add("otto"), Kind.CREATE),
        (delete, Kind.CHANGE),
        (lambda stored: PetFleet("u"), Kind.OVERWRITE),
    ):
        with pytest.raises(FleetFormatError, match="user_id = 'u', found 'U'"):
            commit(backend, change, kind)
    assert loads(path.read_bytes()).user_id == "U"


def test_a_recovery_that_cannot_sync_is_an_ordinary_error(
    backend: FileBackend, system: RecordingOS, path: Path
) -> None:
    """Nothing of the new call was tried, so its error must not say that it may have happened."""
    refuse(system, "fsync", "u", errno.EIO)
    with pytest.raises(UnconfirmedCommitError):
        commit(backend, add("mira"))
    for change, kind in ((add("otto"), Kind.CREATE), (load, Kind.READ)):
        with pytest.raises(OSError, match="Input/output error") as caught:
            commit(backend, change, kind)
        assert not isinstance(caught.value, UnconfirmedCommitError)
    assert marker(path) == "writing"


def test_an_error_of_closing_the_directory_does_not_fail_a_durable_call(
    backend: FileBackend, system: RecordingOS, path: Path
) -> None:
    """Everything was synced before."""
    commit(backend, add("mira"))
    refuse(system, "close", "u", errno.EIO)
    fleet = commit(backend, add("otto"))
    assert fleet is not None
    assert path.read_text() == dumps(fleet)


def test_users_leaves_out_what_it_may_not_look_into(
    backend: FileBackend, system: RecordingOS, root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Like the lost+found of a mounted disk; but a failing disk is an error."""
    commit(backend, add("mira"))
    (root / "loop").symlink_to("loop")
    assert list(backend.users()) == ["u"]
    assert "left out of the users" in caplog.text
    refuse(system, "lstat", FLEET, errno.EIO)
    with pytest.raises(OSError, match="Input/output error"):
        list(backend.users())


@pytest.mark.parametrize(("error", "confirmed"), [(errno.EACCES, True), (errno.EINVAL, True), (errno.EIO, False)])
def test_what_is_above_the_root_is_synced_as_far_as_anyone_could(
    backend: FileBackend, system: RecordingOS, path: Path, error: int, confirmed: bool
) -> None:
    """Where we may not look, nothing more can be done; a failing disk leaves the commit unconfirmed."""
    refuse(system, "fsync", "above", error)
    if confirmed:
        assert commit(backend, add("mira")) is not None
    else:
        with pytest.raises(UnconfirmedCommitError):
            commit(backend, add("mira"))
    assert marker(path) == ("clean" if confirmed else "writing")


def test_a_fleet_too_large_in_our_own_layout_can_be_made_smaller(
    backend: FileBackend, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Read in a tighter layout of someone else's, it loads; what is still too large fails that call alone."""
    handle = 'pet_name="a",role="r",manifest_path="m",last_active=1'
    monkeypatch.setattr(limits, "MAX_BYTES", 150)
    path.parent.mkdir(parents=True)
    path.write_text(f'user_id="u"\npets=[{{{handle}}},{{{handle}}}]\n')
    loaded = commit(backend, load, Kind.READ)
    assert loaded is not None
    with pytest.raises(ValueError, match="150 are allowed"):
        commit(backend, lambda stored: stored and stored.with_last_active("a", 2), Kind.CHANGE)
    assert commit(backend, lambda stored: stored and stored.without_pet("a"), Kind.CHANGE) == loaded.without_pet("a")


@pytest.mark.parametrize(
    ("call", "where"),
    [("fstat", LOCK), ("fstat", FLEET), ("close", FLEET), ("chmod", "TEMPORARY"), ("close", "TEMPORARY")],
)
def test_an_error_of_a_call_on_a_descriptor_names_the_file(
    backend: FileBackend, system: RecordingOS, path: Path, call: str, where: str
) -> None:
    """The system gives no name for it, or the descriptor's number."""
    commit(backend, add("mira"))
    path.chmod(0o640)

    def before(name: str, called: str) -> None:
        if (name, called) == (call, where):
            raise OSError(errno.EIO, "refused", *([7] if name == "chmod" else []))

    system.before = before
    with pytest.raises(OSError, match="refused") as caught:
        commit(backend, add("otto"))
    assert isinstance(caught.value.filename, str)
    assert Path(caught.value.filename).parent == path.parent


def test_an_interrupted_close_is_done(backend: FileBackend, system: RecordingOS) -> None:
    """The system has closed the file all the same."""

    def before(name: str, where: str) -> None:
        if name == "close":
            raise InterruptedError(errno.EINTR, "interrupted")

    system.before = before
    assert commit(backend, add("mira")) is not None


def test_an_interrupted_look_into_a_directory_is_taken_again(
    backend: FileBackend, system: RecordingOS, path: Path
) -> None:
    """The interpreter does not do that by itself."""
    commit(backend, add("mira"))
    leave_dead_writer(path)
    interrupted: list[str] = []

    def before(name: str, where: str) -> None:
        if name in ("listdir", "scandir") and interrupted.count(name) < 3:
            interrupted.append(name)
            raise InterruptedError(errno.EINTR, "interrupted")

    system.before = before
    assert commit(FileBackend(str(path.parent.parent)), load, Kind.READ) is not None
    assert list(backend.users()) == ["u"]
    assert len(interrupted) == 6


def test_a_root_made_again_is_synced_although_making_the_rest_failed(
    backend: FileBackend, system: RecordingOS, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may have the inode number of the one before, whose name was durable."""
    number = SimpleNamespace(st_dev=1, st_ino=1, st_uid=0, st_gid=0)
    monkeypatch.setattr(system, "stat", lambda path: number, raising=False)
    commit(backend, add("mira"))
    shutil.rmtree(root)

    def before(name: str, where: str) -> None:
        if (name, where) == ("mkdir", "u") and root.exists():
            raise OSError(errno.ENOSPC, "refused")

    system.before = before
    with pytest.raises(OSError, match="refused"):
        commit(backend, add("mira"))
    system.before = lambda name, where: None
    system.calls.clear()
    commit(backend, add("mira"))
    assert ("fsync", "above") in system.calls
