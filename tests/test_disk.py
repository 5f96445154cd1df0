"""Files in one directory: what stands there, and what cannot be had on this platform."""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path

import pytest

from petfleet import FleetFormatError, disk


@pytest.mark.parametrize("kind", ["link", "directory", "pipe", "socket"])
def test_only_a_regular_file_is_read(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says what stands there instead, and nothing waits for a pipe's other end."""
    monkeypatch.chdir(tmp_path)  # a socket's path has a length limit
    path = tmp_path / "fleet.toml"
    if kind == "link":
        path.symlink_to(tmp_path / "nowhere")
    elif kind == "directory":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind("fleet.toml")
    words = {"link": "a symbolic link", "directory": "a directory", "pipe": "a pipe", "socket": "a device or socket"}
    with pytest.raises(FleetFormatError) as caught:
        disk.read(str(path), 100)
    assert (caught.value.path, caught.value.expected) == (str(path), f"a regular file, not {words[kind]}")


def test_a_file_larger_than_asked_for_has_no_data(tmp_path: Path) -> None:
    """Its status is still told."""
    path = tmp_path / "file"
    path.write_bytes(b"12345")
    stored = disk.read(str(path), 4)
    assert stored is not None
    assert stored.data is None
    assert stored.status.st_size == 5
    assert disk.read(str(path), 5) is not None


def test_existence_is_only_denied_by_no_such_file(tmp_path: Path) -> None:
    """A name below a file is an error, not an absence."""
    (tmp_path / "file").touch()
    assert disk.exists(str(tmp_path / "file"))
    assert not disk.exists(str(tmp_path / "other"))
    with pytest.raises(NotADirectoryError):
        disk.exists(str(tmp_path / "file" / "below"))


def test_a_refused_removal_is_an_error_unless_the_directory_is_in_use(tmp_path: Path) -> None:
    """Absent or not empty is as good as removed."""
    disk.remove_directory(str(tmp_path / "absent"))
    (tmp_path / "used" / "by").mkdir(parents=True)
    disk.remove_directory(str(tmp_path / "used"))
    assert (tmp_path / "used").exists()
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError):
        disk.remove_directory(str(tmp_path / "file"))


def test_a_root_that_can_never_exist_ends_the_making_of_directories(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where even the top is missing, the error is raised."""

    class Nowhere:
        @staticmethod
        def mkdir(path: str, mode: int) -> None:
            raise FileNotFoundError(errno.ENOENT, "no", path)

        def __getattr__(self, name: str) -> object:
            return getattr(os, name)

    monkeypatch.setattr(disk, "os", Nowhere())
    with pytest.raises(FileNotFoundError):
        disk.make_directories("/a/b")


@pytest.mark.parametrize(("refusal", "synced"), [(None, ["full"]), (errno.ENOTSUP, ["full", "plain"])])
def test_macos_is_asked_to_empty_the_drives_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refusal: int | None, synced: list[str]
) -> None:
    """Where F_FULLFSYNC is not supported, fsync has to do."""
    done: list[str] = []

    class Fcntl:
        @staticmethod
        def fcntl(fd: int, command: int) -> None:
            done.append("full")
            if refusal is not None:
                raise OSError(refusal, "refused")

    class System:
        @staticmethod
        def fsync(fd: int) -> None:
            done.append("plain")

        def __getattr__(self, name: str) -> object:
            return getattr(os, name)

    monkeypatch.setattr(disk, "fcntl", Fcntl())
    monkeypatch.setattr(disk, "_FULL_SYNC", 51)
    monkeypatch.setattr(disk, "os", System())
    disk.sync_directory(str(tmp_path))
    assert done == synced


def test_a_real_error_of_macos_is_not_taken_for_missing_support(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """EIO must not be followed by an fsync that succeeds."""

    class Fcntl:
        @staticmethod
        def fcntl(fd: int, command: int) -> None:
            raise OSError(errno.EIO, "refused")

    monkeypatch.setattr(disk, "fcntl", Fcntl())
    monkeypatch.setattr(disk, "_FULL_SYNC", 51)
    with pytest.raises(OSError, match="refused") as caught:
        disk.sync_directory(str(tmp_path))
    assert caught.value.filename == str(tmp_path)


def test_windows_syncs_no_directory_and_retries_a_refused_rename(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Someone may hold the target open for a moment; simulated, never run there."""
    refusals = [PermissionError(errno.EACCES, "in use")] * 2

    class System:
        @staticmethod
        def replace(source: str, target: str) -> None:
            if refusals:
                raise refusals.pop()
            os.replace(source, target)

        def __getattr__(self, name: str) -> object:
            return getattr(os, name)

    monkeypatch.setattr(disk, "_WINDOWS", True)
    monkeypatch.setattr(disk, "os", System())
    disk.sync_directory(str(tmp_path / "never opened"))
    temporary = disk.temporary_name(str(tmp_path / "file"))
    disk.write_new(temporary, b"data", os.stat(tmp_path))
    disk.rename(temporary, str(tmp_path / "file"))
    assert (tmp_path / "file").read_bytes() == b"data"
    disk.sync_file(str(tmp_path / "file"))
    refusals.extend([PermissionError(errno.EACCES, "in use")] * 3)
    monkeypatch.setattr(disk, "_RENAME_SECONDS", -1.0)
    with pytest.raises(PermissionError):
        disk.rename(str(tmp_path / "file"), str(tmp_path / "other"))


def test_elsewhere_a_refused_rename_is_an_error_at_once(tmp_path: Path) -> None:
    """No retrying where it cannot help."""
    (tmp_path / "file").touch()
    (tmp_path / "directory").mkdir()
    with pytest.raises(IsADirectoryError):
        disk.rename(str(tmp_path / "file"), str(tmp_path / "directory"))
