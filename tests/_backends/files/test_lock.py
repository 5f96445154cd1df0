"""The lock file: the lock, the marker, and the holder."""

from __future__ import annotations

import errno
import fcntl
import os
import platform
import re
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock, Timeout

from petfleet._backends.files import disk, lock
from petfleet._backends.files.lock import Marker, UserLock, holder
from petfleet._backends.protocol import Holder
from tests.support.recording_os import os_with


@pytest.fixture
def name(tmp_path: Path) -> str:
    return str(tmp_path / "fleet.toml.lock")


def test_one_lock_excludes_another_in_the_same_thread(name: str) -> None:
    """A second descriptor is refused, in the same thread too."""
    one, two = UserLock(name, create=True), UserLock(name, create=False)
    assert one.try_acquire()
    assert not two.try_acquire()
    one.close()
    assert two.try_acquire()
    two.close()


def test_any_filelock_is_excluded_and_excludes(name: str) -> None:
    """Other programs can join in."""
    ours = UserLock(name, create=True)
    ours.mark_clean("1:2:3")
    assert ours.try_acquire()
    theirs = FileLock(name)
    with pytest.raises(Timeout):
        theirs.acquire(timeout=0)
    ours.close()
    with theirs.acquire(timeout=0):
        ours = UserLock(name, create=False)
        assert not ours.try_acquire()
    # Most versions of filelock empty the file that they have locked: then there is no marker, never a wrong one.
    assert ours.marker() in (Marker("clean", "1:2:3"), None)
    ours.close()


def test_closing_unlocks_even_if_a_copy_of_the_descriptor_lives_on(name: str) -> None:
    """A forked child may hold one."""
    ours = UserLock(name, create=True)
    assert ours.try_acquire()
    copy = os.dup(ours._fd)
    ours.close()
    other = UserLock(name, create=False)
    assert other.try_acquire()
    other.close()
    os.close(copy)


def test_a_missing_lock_file_is_not_created_unasked(name: str) -> None:
    """Loading creates nothing."""
    with pytest.raises(FileNotFoundError):
        UserLock(name, create=False)
    assert not os.path.exists(name)


@pytest.mark.parametrize(
    "content", [b"", b"\0", b"12345\n", b"\0petfleet clean", b"\0petfleet sleeping 1\n", b"petfleet clean 1:2:3\n"]
)
def test_a_lock_file_without_a_marker_has_none(name: str, content: bytes) -> None:
    """An empty, a truncated or a foreign one says nothing."""
    Path(name).write_bytes(content)
    ours = UserLock(name, create=False)
    assert ours.marker() is None
    ours.close()


def test_a_marker_replaces_a_longer_one(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Byte 0 is left alone: Windows locks it."""
    monkeypatch.setattr(platform, "node", lambda: "h" * 300)
    ours = UserLock(name, create=True)
    ours.mark_writing()
    long = ours.marker()
    ours.mark_clean("none")
    assert long is not None
    assert long.state == "writing"
    assert long.note.startswith(f"pid {os.getpid()} on {'h' * 64} since ")
    assert ours.marker() == Marker("clean", "none")
    assert Path(name).read_bytes()[:1] == b"\0"
    ours.close()


def test_a_marker_that_is_read_in_pieces_is_read_whole(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of a marker would count as none, and the recovery would be left out."""
    ours = UserLock(name, create=True)
    assert ours.marker() is None
    ours.mark_writing()
    whole = ours.marker()

    for module in (lock, disk):
        monkeypatch.setattr(module, "os", os_with(read=lambda fd, most: os.read(fd, min(most, 7))))
    assert ours.marker() == whole
    assert whole is not None
    ours.close()


def test_the_path_must_still_mean_the_locked_file(name: str) -> None:
    """Unlinked or replaced, it does not."""
    ours = UserLock(name, create=True)
    assert ours.is_at_path()
    os.unlink(name)
    assert not ours.is_at_path()
    Path(name).touch()
    assert not ours.is_at_path()
    os.unlink(name)
    os.rmdir(os.path.dirname(name))
    Path(os.path.dirname(name)).touch()
    assert not ours.is_at_path()
    ours.close()


@pytest.mark.parametrize("take", [UserLock.try_acquire, UserLock.acquire], ids=["at once", "waiting"])
def test_a_file_system_without_locks_is_an_error_that_names_the_file(
    name: str, monkeypatch: pytest.MonkeyPatch, take: Callable[[UserLock], object]
) -> None:
    """Never go on unlocked."""

    def unsupported(fd: int, operation: int = 0, *, blocking: bool = True) -> bool:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(lock, "lock_descriptor", unsupported)
    monkeypatch.setattr(fcntl, "flock", unsupported)
    ours = UserLock(name, create=True)
    with pytest.raises(OSError, match=r"Function not implemented.*fleet\.toml\.lock"):
        take(ours)
    ours.close()


def test_a_lock_is_waited_for_until_it_is_released(name: str) -> None:
    """The waiting thread has the lock as soon as its holder lets go."""
    ours, theirs = UserLock(name, create=True), UserLock(name, create=False)
    assert ours.try_acquire()
    waiting = threading.Thread(target=theirs.acquire)
    waiting.start()
    ours.close()
    waiting.join()
    third = UserLock(name, create=False)
    assert not third.try_acquire()
    theirs.close()
    assert third.try_acquire()
    third.close()


def test_the_holder_is_told_by_the_kernel(name: str) -> None:
    """Pid and host, as an operator needs them."""
    ours = UserLock(name, create=True)
    assert holder(name) is None
    assert ours.try_acquire()
    found = holder(name)
    ours.close()
    if not Path("/proc/locks").exists():
        pytest.skip("this kernel has no /proc/locks")
    assert found == Holder(f"pid {os.getpid()} on {socket.gethostname()}")


def test_the_holder_is_told_by_the_marker_where_the_kernel_does_not(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On macOS, or when the holder runs in another container."""
    (tmp_path / "locks").touch()
    monkeypatch.setattr(lock, "_KERNEL_LOCKS", str(tmp_path / "locks"))
    ours = UserLock(name, create=True)
    assert ours.try_acquire()
    ours.mark_writing()
    assert holder(name) == Holder(f"pid {os.getpid()} on {socket.gethostname()}")
    monkeypatch.setattr(lock, "_KERNEL_LOCKS", str(tmp_path / "absent"))
    assert holder(name) == Holder(f"pid {os.getpid()} on {socket.gethostname()}")
    ours.mark_clean("none")
    assert holder(name) == Holder(None)
    ours.close()
    assert holder(name) is None
    assert holder(str(tmp_path / "no such file")) is None


@pytest.mark.parametrize(
    ("mode", "pid", "reason"),
    [
        ("READ", "1", "held by {} .*a shared lock"),
        ("WRITE", "999999999", "held for {}, which has ended: "),
    ],
    ids=["a reader", "a dead process"],
)
def test_an_unusual_holder_is_told_with_the_way_out(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str, pid: str, reason: str
) -> None:
    """Waiting for a writer would not help."""
    ours = UserLock(name, create=True)
    assert ours.try_acquire()
    device = f"{os.major(ours.status.st_dev):02x}:{os.minor(ours.status.st_dev):02x}"
    line = f"1: FLOCK  ADVISORY  {mode} {pid} {device}:{ours.status.st_ino} 0 EOF"
    (tmp_path / "locks").write_text(f"{line}\n")
    monkeypatch.setattr(lock, "_KERNEL_LOCKS", str(tmp_path / "locks"))
    who = f"pid {pid} on {socket.gethostname()}"
    found = holder(name)
    ours.close()
    assert found is not None
    assert found.name == who
    assert re.match(reason.format(who), found.reason or "")


def test_a_lock_file_that_cannot_be_given_to_its_account_is_not_left_open(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error passes, and no descriptor stays."""

    def refused(fd: int, like: str) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(disk, "match_owner", refused)
    with pytest.raises(PermissionError):
        UserLock(name, create=True)
    assert not lock._descriptors


@pytest.mark.parametrize(
    ("refused", "call"),
    [
        ("lseek", UserLock.marker),
        ("lseek", UserLock.mark_writing),
        ("read", UserLock.marker),
    ],
)
def test_an_error_on_the_descriptor_names_the_file(
    name: str, refused: str, call: Callable[[UserLock], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system's own error does not."""
    ours = UserLock(name, create=True)

    def fail(*arguments: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        for module in (lock, disk):
            patch.setattr(module, "os", os_with(**{refused: fail}))
        with pytest.raises(OSError, match="Input/output error") as caught:
            call(ours)
    assert (caught.value.errno, caught.value.filename) == (errno.EIO, name)
    ours.close()
