"""Files in one directory: what is at a path, and what differs between platforms."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from petfleet import FleetFormatError
from petfleet._backends.files import disk
from tests.conftest import Clock, wait_until
from tests.support.irregular import IRREGULAR
from tests.support.recording_os import os_with


@pytest.mark.parametrize(("make", "expected"), IRREGULAR.values(), ids=IRREGULAR)
def test_only_a_regular_file_is_read(tmp_path: Path, make: Callable[[Path], None], expected: str) -> None:
    """The error says what is there instead, and nothing waits for a pipe's other end."""
    path = tmp_path / "u" / "fleet.toml"
    path.parent.mkdir()
    make(path)
    with pytest.raises(FleetFormatError) as caught:
        disk.read(str(path), 100)
    assert (caught.value.path, caught.value.expected) == (str(path), expected)


def test_a_file_larger_than_asked_for_has_no_data(tmp_path: Path) -> None:
    """Its status is returned."""
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

    def nowhere(path: str, mode: int) -> None:
        raise FileNotFoundError(errno.ENOENT, "no", path)

    monkeypatch.setattr(disk, "os", os_with(mkdir=nowhere))
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

    monkeypatch.setattr(disk, "fcntl", Fcntl())
    monkeypatch.setattr(disk, "_FULL_SYNC", 51)
    monkeypatch.setattr(disk, "os", os_with(fsync=lambda fd: done.append("plain")))
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

    def replace(source: str, target: str) -> None:
        if refusals:
            raise refusals.pop()
        os.replace(source, target)

    monkeypatch.setattr(disk, "_WINDOWS", True)
    monkeypatch.setattr(disk, "_RENAME_SECONDS", 3600)
    monkeypatch.setattr(disk, "os", os_with(replace=replace))
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


# --- reading writes nothing ------------------------------------------------------------------------------------------


def test_reading_does_not_note_the_time(tmp_path: Path) -> None:
    """The time of the last read stays, which would cost a write of its own."""
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    for path in (ours, theirs):
        path.write_bytes(b"data")
        os.utime(path, (1, 1))  # so old that any mount that notes the times of reads notes this one
        assert (disk.read(str(path), 100) if path == ours else path.read_bytes()) is not None
    if theirs.stat().st_atime == 1:
        pytest.skip("this mount never notes the time of a read")
    assert ours.stat().st_atime == 1


QUIET = 1 << 40  # no flag of any system


def refuse_to_open(monkeypatch: pytest.MonkeyPatch, refusal: int, *, always: bool) -> list[bool]:
    """Refuse to open files, always or only with QUIET; the list says for each try whether it had QUIET."""
    opened: list[bool] = []

    def refused(path: str, flags: int, mode: int) -> int:
        quiet = bool(flags & QUIET)
        opened.append(quiet)
        if quiet or always:
            raise OSError(refusal, os.strerror(refusal), path)
        return os.open(path, flags, mode)

    monkeypatch.setattr(disk, "_NO_ATIME", QUIET)
    monkeypatch.setattr(disk, "os", os_with(open=refused))
    return opened


def test_another_accounts_file_is_read_although_the_time_is_noted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the owner may read without noting the time; other accounts read all the same."""
    opened = refuse_to_open(monkeypatch, errno.EPERM, always=False)
    (tmp_path / "file").write_bytes(b"data")
    stored = disk.read(str(tmp_path / "file"), 100)
    assert stored is not None
    assert stored.data == b"data"
    assert opened == [True, False]


@pytest.mark.parametrize(
    ("refusal", "tries"), [(errno.EACCES, [True]), (errno.EPERM, [True, False]), (errno.EIO, [True])]
)
def test_a_file_that_may_not_be_read_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refusal: int, tries: list[bool]
) -> None:
    """It is not tried a second time where that cannot help."""
    opened = refuse_to_open(monkeypatch, refusal, always=True)
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file") as caught:
        disk.read(str(tmp_path / "file"), 100)
    assert (caught.value.errno, caught.value.filename) == (refusal, str(tmp_path / "file"))
    assert opened == tries


def test_an_error_while_reading_names_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system's own error does not; one that names a file keeps it."""

    error = OSError(errno.EIO, "Input/output error")

    def read(fd: int, size: int) -> bytes:
        raise error

    monkeypatch.setattr(disk, "os", os_with(read=read))
    path = tmp_path / "file"
    path.touch()
    for named in (str(path), "another file"):
        with pytest.raises(OSError, match="Input/output error") as caught:
            disk.read(str(path), 100)
        assert caught.value.filename == named
        error = OSError(errno.EIO, "Input/output error", "another file")


# --- whether a file is still what was read ---------------------------------------------------------------------------


def replaced(path: Path) -> None:
    other = path.with_name("other")
    other.write_bytes(path.read_bytes())
    other.replace(path)


def rewritten(path: Path) -> None:
    before = path.stat().st_ctime_ns

    def is_written() -> bool:
        path.write_bytes(b"DATA")
        return path.stat().st_ctime_ns != before

    wait_until(is_written)  # before Linux 6.13 a clock tick may have to pass


def linked(path: Path) -> None:
    path.rename(path.with_name("target"))
    path.symlink_to(path.with_name("target"))


CHANGES: dict[str, Callable[[Path], object]] = {
    "another file": replaced,
    "another size": lambda path: path.write_bytes(b"data and more"),
    "rewritten": rewritten,
    "a link to it": linked,
    "missing": Path.unlink,
}


@pytest.mark.parametrize("finest_time", [-1e9, 1e9], ids=["old", "recent"])
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_file_that_was_changed_is_noticed(
    tmp_path: Path, change: Callable[[Path], object], finest_time: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever was done to it, and whether or not its times can be relied on."""
    monkeypatch.setattr(disk, "_COARSEST_TIME", finest_time)
    path = tmp_path / "file"
    path.write_bytes(b"data")
    stored = disk.read(str(path), 100)
    assert disk.unchanged(str(path), stored)
    change(path)
    assert not disk.unchanged(str(path), stored)
    assert disk.unchanged(str(path), None) == (change is Path.unlink)


@pytest.mark.parametrize("finest_time", [-1e9, 1e9], ids=["old", "recent"])
def test_a_link_to_what_was_read_is_not_what_was_read(
    tmp_path: Path, finest_time: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is the name itself that has to mean the file."""
    monkeypatch.setattr(disk, "_COARSEST_TIME", finest_time)
    (tmp_path / "file").write_bytes(b"data")
    (tmp_path / "link").symlink_to("file")
    assert not disk.unchanged(str(tmp_path / "link"), disk.read(str(tmp_path / "file"), 100))


class _Status:
    """A status that differs from another in one number."""

    def __init__(self, status: os.stat_result, name: str) -> None:
        self._status = status
        setattr(self, name, getattr(status, name) + 1)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._status, name)


@pytest.mark.parametrize("finest_time", [-1e9, 1e9], ids=["old", "recent"])
@pytest.mark.parametrize("name", ["st_ino", "st_size", "st_ctime_ns"])
def test_each_of_three_numbers_tells(
    tmp_path: Path, name: str, finest_time: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The number of the file, its size and the time of its last change, even where the others are the same."""
    monkeypatch.setattr(disk, "_COARSEST_TIME", finest_time)
    (tmp_path / "file").write_bytes(b"data")
    stored = disk.read(str(tmp_path / "file"), 100)
    assert stored is not None
    other: Any = _Status(stored.status, name)
    assert not disk.unchanged(str(tmp_path / "file"), stored._replace(status=other))


def test_only_a_file_that_was_changed_just_now_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After some seconds the time shows any later change; before, a coarse clock might hide one."""
    path = tmp_path / "file"
    path.write_bytes(b"data")
    clock = Clock()
    clock.time = lambda: clock.now  # type: ignore[attr-defined] # the one of its kind
    monkeypatch.setattr(disk, "time", clock)
    read = disk.read
    reads: list[str] = []

    def noted(path: str, most_bytes: int) -> disk.Stored | None:
        reads.append(path)
        return read(path, most_bytes)

    monkeypatch.setattr(disk, "read", noted)
    for age, read_again in ((0.1, 0), (-0.1, 1), (-100.0, 1)):
        clock.now = path.stat().st_ctime + disk._COARSEST_TIME + age
        stored = disk.read(str(path), 100)
        reads.clear()
        assert disk.unchanged(str(path), stored)
        assert len(reads) == read_again, age


def test_a_time_of_creation_tells_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which is what Windows has in the place of the time of the last change; simulated, never run there."""
    path = tmp_path / "file"
    path.write_bytes(b"data")
    monkeypatch.setattr(disk, "_COARSEST_TIME", -1e9)
    monkeypatch.setattr(disk, "_WINDOWS", True)
    stored = disk.read(str(path), 100)
    path.write_bytes(b"DATA")
    monkeypatch.setattr(disk, "_same", lambda one, other: True)  # so does an inode that is used again, say
    assert not disk.unchanged(str(path), stored)


def test_a_file_that_was_read_just_after_its_last_change_is_read_again_however_late(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A change in the same moment as the read has left no other time, and syncing may take more than a second."""
    path = tmp_path / "file"
    path.write_bytes(b"data")
    clock = Clock()
    clock.time = lambda: clock.now  # type: ignore[attr-defined] # the one of its kind
    clock.now = path.stat().st_ctime
    monkeypatch.setattr(disk, "time", clock)
    stored = disk.read(str(path), 100)
    path.write_bytes(b"DATA")
    monkeypatch.setattr(disk, "_same", lambda one, other: True)  # the time stood still
    clock.now += 100
    assert not disk.unchanged(str(path), stored)


@pytest.mark.parametrize(
    ("euid", "owner", "given"),
    [(0, (1000, 2000), [(7, 1000, 2000)]), (0, (0, 0), []), (1000, (1000, 2000), [])],
    ids=["of an account", "of root itself", "not made by root"],
)
def test_what_root_has_made_is_given_to_the_owner(
    euid: int, owner: tuple[int, int], given: list[tuple[int, int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tried without root's rights; test_owners.py tries it with them."""
    chowned: list[tuple[int, int, int]] = []

    def chown(target: int, uid: int, gid: int, *, follow_symlinks: bool) -> None:
        assert follow_symlinks  # the target is a descriptor
        chowned.append((target, uid, gid))

    monkeypatch.setattr(disk, "os", os_with(geteuid=lambda: euid, chown=chown))
    disk.match_owner(7, os.stat_result((0o40700, 1, 1, 1, *owner, 0, 0, 0, 0)))
    assert chowned == given
