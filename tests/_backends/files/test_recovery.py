"""The marker, and what is made durable before it is returned."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from petfleet import PetFleet, dumps, loads
from petfleet._backends.files import disk
from petfleet._backends.files.backend import FileBackend
from petfleet._commit.change import Kind
from tests.conftest import pet
from tests.support.commits import CLEAN, FLEET, WRITING, add, commit, delete, leave_dead_writer, load, marker, names
from tests.support.recording_os import RecordingOS, refuse


def test_the_marker_says_writing_while_writing_and_clean_after(
    backend: FileBackend, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever dies in between is noticed by the next holder."""
    seen: list[str] = []
    rename = disk.rename

    def watched(source: str, target: str) -> None:
        seen.append(marker(path))
        rename(source, target)

    monkeypatch.setattr(disk, "rename", watched)
    commit(backend, add("mira"))
    assert (seen, marker(path)) == (["writing"], "clean")


def test_after_a_dead_writer_the_same_bytes_are_written_anew(
    backend: FileBackend, system: RecordingOS, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What it left may never have been synced, and a sync that failed once does not fail again."""
    commit(backend, add("mira"))
    before = path.read_bytes()
    inode = path.stat().st_ino
    leave_dead_writer(path)
    system.calls.clear()
    loaded = commit(backend, load, Kind.READ)
    assert loaded == loads(before)
    assert path.read_bytes() == before
    assert path.stat().st_ino != inode
    assert system.calls == [
        ("unlink", "TEMPORARY"),
        WRITING,
        ("write", "TEMPORARY"),
        ("fsync", "TEMPORARY"),
        ("replace", "TEMPORARY -> u/fleet.toml"),
        ("fsync", "u"),
        ("fsync", "."),
        CLEAN,
    ]
    assert names(path) == {"fleet.toml", "fleet.toml.lock"}
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert f"recovering after pid {os.getpid()} on " in caplog.text


def test_a_writer_that_died_deleting_is_recovered_from(backend: FileBackend, system: RecordingOS, path: Path) -> None:
    """The unlink is made durable, and what is left of the user goes."""
    commit(backend, add("mira"))
    leave_dead_writer(path)
    path.unlink()
    system.calls.clear()
    assert commit(backend, load, Kind.READ) is None
    assert ("fsync", "u") in system.calls
    assert not path.parent.exists()


def test_deleting_what_a_dead_deletion_left_is_durable(backend: FileBackend, system: RecordingOS, path: Path) -> None:
    """The fleet is gone, and a power cut must not bring back anything of the user."""
    commit(backend, add("mira"))
    leave_dead_writer(path)
    path.unlink()
    assert commit(backend, delete, Kind.DELETE) is None
    assert system.calls[-2:] == [("rmdir", "u"), ("fsync", ".")]
    system.calls.clear()
    assert commit(backend, delete, Kind.DELETE) is None
    assert system.calls == [("fsync", ".")]  # the process that removed the directory may not have synced


def test_a_new_process_removes_what_a_power_cut_left(root: Path, path: Path) -> None:
    """Even where the marker says clean: it is never synced itself."""
    commit(FileBackend(str(root)), add("mira"))
    path.with_name(".fleet.toml.00112233445566aa.tmp").write_text("half a wri")
    path.with_name(".fleet.toml.swp").write_text("an editor's")
    commit(FileBackend(str(root)), load, Kind.READ)
    assert names(path) == {"fleet.toml", "fleet.toml.lock", ".fleet.toml.swp"}


@pytest.mark.parametrize(("change", "kind", "left"), [(load, Kind.READ, ["u"]), (delete, Kind.DELETE, [])])
def test_what_a_power_cut_left_of_a_first_write_is_removed(
    root: Path, path: Path, change: Callable[[PetFleet | None], PetFleet | None], kind: Kind, left: list[str]
) -> None:
    """On btrfs the temporary file may be there without the lock file that was made before it."""
    path.parent.mkdir(parents=True)
    path.with_name(".fleet.toml.00112233445566aa.tmp").write_text("half a wri")
    assert commit(FileBackend(str(root)), change, kind) is None
    assert [entry.name for entry in root.iterdir()] == left
    assert left == [] or names(path) == set()


def test_a_fleet_without_a_marker_is_synced_before_it_is_returned(
    backend: FileBackend, system: RecordingOS, path: Path
) -> None:
    """The old program syncs nothing; what load returned must survive a power cut."""
    path.parent.mkdir(parents=True)
    path.write_text(dumps(PetFleet("u", [pet("mira")])))
    commit(backend, load, Kind.READ)
    assert [call for call in system.calls if call[0] == "fsync"][:3] == [
        ("fsync", FLEET),
        ("fsync", "u"),
        ("fsync", "."),
    ]
    system.calls.clear()
    commit(backend, load, Kind.READ)
    assert system.calls == []


def test_a_file_rewritten_by_others_is_synced_again(backend: FileBackend, system: RecordingOS, path: Path) -> None:
    """A clean marker speaks of the file that we wrote, not of the one that is there now."""
    commit(backend, add("mira"))
    path.write_text(dumps(PetFleet("u", [pet("otto")])))
    system.calls.clear()
    loaded = commit(backend, load, Kind.READ)
    assert loaded is not None
    assert loaded.get("otto") is not None
    assert ("fsync", FLEET) in system.calls


def test_a_failed_sync_is_never_repeated_but_written_anew(
    backend: FileBackend, system: RecordingOS, path: Path
) -> None:
    """The kernel may drop the data and report the error only once."""
    path.parent.mkdir(parents=True)
    path.write_text(dumps(PetFleet("u", [pet("mira")])))
    refuse(system, "fsync", FLEET, errno.EIO)
    with pytest.raises(OSError, match=r"fleet\.toml") as caught:
        commit(backend, load, Kind.READ)
    assert caught.value.errno == errno.EIO
    assert marker(path) == "writing"
    system.calls.clear()
    commit(backend, load, Kind.READ)
    assert ("replace", "TEMPORARY -> u/fleet.toml") in system.calls


def test_recovery_makes_the_directories_above_durable_too(system: RecordingOS, root: Path, path: Path) -> None:
    """The writer that died may have made them, and died before it synced them."""
    commit(FileBackend(str(root)), add("mira"))
    leave_dead_writer(path)
    system.calls.clear()
    commit(FileBackend(str(root)), load, Kind.READ)
    synced = [where for call, where in system.calls if call == "fsync"]
    assert synced == ["TEMPORARY", "u", ".", *["above"] * len(root.parents)]


def test_a_root_made_again_is_made_durable_again(
    backend: FileBackend, system: RecordingOS, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may have the inode number of the one that was removed."""
    commit(backend, add("mira"))
    status = os.stat(root)
    shutil.rmtree(root)
    monkeypatch.setattr(system, "stat", lambda path: status if path == str(root) else os.stat(path))
    system.calls.clear()
    commit(backend, add("mira"))
    assert [where for call, where in system.calls if call == "fsync"].count("above") == len(root.parents)


def test_contents_are_told_apart_even_where_times_stand_still(path: Path, root: Path) -> None:
    """Before Linux 6.13 two writes within milliseconds have one time."""
    root.mkdir()
    status = os.stat(root)
    assert disk.identity(status, b"last_active = 1") != disk.identity(status, b"last_active = 2")


def test_an_absence_without_a_marker_is_synced_before_it_is_returned(
    backend: FileBackend, system: RecordingOS, path: Path
) -> None:
    """A writer may have died deleting, and another program emptied its marker: the unlink must not come undone."""
    commit(backend, add("mira"))
    leave_dead_writer(path)
    path.unlink()
    path.with_name("fleet.toml.lock").write_bytes(b"")
    system.calls.clear()
    assert commit(backend, load, Kind.READ) is None
    assert ("fsync", "u") in system.calls
    assert not path.parent.exists()
