"""One commit in blocking code: what it asks of the operating system, in which order."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from petfleet import PetFleet, dumps
from petfleet._backends.files import disk
from petfleet._backends.files.backend import FileBackend
from petfleet._commit.change import Change, Kind, carry_out
from tests.conftest import pet
from tests.support.commits import CLEAN, FLEET, LOCK, WRITING, add, commit, delete, load, names
from tests.support.recording_os import RecordingOS, os_with
from tests.torture import means


def test_a_change_is_written_synced_renamed_and_its_directory_synced(backend: FileBackend, system: RecordingOS) -> None:
    """No step of the protocol may be missing or come earlier."""
    commit(backend, add("mira"))
    system.calls.clear()
    commit(backend, add("otto"))
    assert system.calls == [
        WRITING,
        ("write", "TEMPORARY"),
        ("fsync", "TEMPORARY"),
        ("replace", "TEMPORARY -> u/fleet.toml"),
        ("fsync", "u"),
        CLEAN,
    ]


def test_the_first_change_makes_its_directories_durable_up_to_the_top(
    backend: FileBackend, system: RecordingOS, root: Path
) -> None:
    """A new fleet's directory, and a new root, must survive a power cut too."""
    commit(backend, add("mira"))
    made = [path for call, path in system.calls if call == "mkdir"]
    synced = [path for call, path in system.calls if call == "fsync"]
    assert made == [".", "u"]
    assert synced[:3] == ["TEMPORARY", "u", "."]
    assert synced[3:] == ["above"] * len(root.parents)
    assert system.calls[-1] == CLEAN


def test_a_second_user_syncs_the_root_but_not_all_above_again(backend: FileBackend, system: RecordingOS) -> None:
    """What is above the root was made durable once."""
    commit(backend, add("mira"))
    system.calls.clear()
    turn = backend.begin("v", create=True)
    assert turn.try_turn()
    carry_out([Change(lambda stored: PetFleet("v", [pet("otto")]), Kind.CREATE)], turn, lambda phase: None)
    turn.close()
    assert [path for call, path in system.calls if call == "fsync"] == ["TEMPORARY", "v", "."]


def test_a_load_of_what_we_wrote_syncs_nothing(backend: FileBackend, system: RecordingOS) -> None:
    """The marker says that it is durable already."""
    commit(backend, add("mira"))
    system.calls.clear()
    commit(backend, load, Kind.READ)
    assert system.calls == []


def test_nothing_changed_writes_nothing(backend: FileBackend, system: RecordingOS) -> None:
    """An equal fleet costs no write and no sync."""
    commit(backend, add("mira"))
    system.calls.clear()
    commit(backend, lambda stored: PetFleet("u", [pet("mira")], "mira"))
    assert system.calls == []


def test_deleting_removes_the_fleet_durably_and_then_all_that_is_ours(
    backend: FileBackend, system: RecordingOS, path: Path
) -> None:
    """The unlink is durable before the call returns; the rest is tidied away."""
    commit(backend, add("mira"))
    system.calls.clear()
    assert commit(backend, delete, Kind.CHANGE) is None
    assert system.calls == [
        WRITING,
        ("unlink", FLEET),
        ("fsync", "u"),
        CLEAN,
        ("unlink", LOCK),
        ("rmdir", "u"),
        ("fsync", "."),
    ]
    assert not path.parent.exists()


def test_deleting_leaves_foreign_files(backend: FileBackend, path: Path) -> None:
    """Only what is ours goes."""
    commit(backend, add("mira"))
    path.with_name("manifest.toml").write_text("x = 1\n")
    path.with_name(".fleet.toml.00112233445566aa.tmp").write_text("of a writer that died")
    commit(backend, delete, Kind.CHANGE)
    assert names(path) == {"manifest.toml"}


def test_a_failed_creation_leaves_nothing(backend: FileBackend, path: Path) -> None:
    """The directory made for a change that raised is removed again."""

    def fails(stored: PetFleet | None) -> PetFleet:
        raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        commit(backend, fails)
    assert not path.parent.exists()


def test_short_writes_are_continued(backend: FileBackend, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write that takes three bytes at a time still writes all of them."""
    monkeypatch.setattr(disk, "os", os_with(write=lambda fd, data: os.write(fd, data[:3])))
    fleet = commit(backend, add("mira"))
    assert fleet is not None
    assert path.read_text() == dumps(fleet)


def test_a_file_that_grows_while_it_is_read_is_read_to_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a short read nor a size that was true a moment ago ends the reading."""
    file = tmp_path / "file"
    file.write_bytes(b"0123456789")
    monkeypatch.setattr(disk, "os", os_with(read=lambda fd, size: os.read(fd, min(size, 3))))
    stored = disk.read(str(file), 100)
    assert stored is not None
    assert stored.data == b"0123456789"
    assert disk._read_all(os.open(file, os.O_RDONLY), 4, 100) == b"0123456789"
    assert disk._read_all(os.open(file, os.O_RDONLY), 4, 8) is None


def test_new_files_are_private_and_old_modes_stay(backend: FileBackend, path: Path) -> None:
    """0700 and 0600 at first; an operator's chmod is kept."""
    commit(backend, add("mira"))
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o640)
    commit(backend, add("otto"))
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_each_commit_writes_under_a_name_of_its_own(
    backend: FileBackend, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two writers after a split lock must not write into one temporary file."""
    used: list[str] = []
    write_new = disk.write_new

    def watched(path: str, data: bytes, like: os.stat_result | None) -> str:
        used.append(path)
        return write_new(path, data, like)

    monkeypatch.setattr(disk, "write_new", watched)
    for name in ("a", "b", "c"):
        commit(backend, add(name))
    assert len(set(used)) == 3


def test_a_planted_temporary_file_is_not_written_through(
    backend: FileBackend, path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Even if there is a link at the temporary name, nothing outside is changed."""
    commit(backend, add("mira"))
    victim = tmp_path / "victim"
    victim.write_text("precious")
    planted = path.with_name(".fleet.toml.0123456789abcdef.tmp")
    planted.symlink_to(victim)
    monkeypatch.setattr(disk, "temporary_name", lambda path: str(planted))
    with pytest.raises(FileExistsError):
        commit(backend, add("otto"))
    assert victim.read_text() == "precious"


def test_root_leaves_another_accounts_fleet_to_that_account(backend: FileBackend, path: Path, root: Path) -> None:
    """What root makes in another account's directory belongs to that account."""
    means.need("root")
    root.mkdir()
    os.chown(root, 12345, 23456)
    commit(backend, add("mira"))
    commit(backend, add("otto"))
    for made in (path.parent, path, path.with_name("fleet.toml.lock")):
        assert (made.stat().st_uid, made.stat().st_gid) == (12345, 23456)
