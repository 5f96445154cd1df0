"""One user's lock file: an OS lock on it, and in it a marker of how the last writer left.

The lock is the one that any ``filelock.FileLock`` (3.30 or newer) takes on the same path, so other programs can join
in. Unlinking the file splits the lock; whoever takes it checks that the path still means the locked file.
"""

from __future__ import annotations

import os
import platform
import re
import threading
import time
from typing import Final, NamedTuple

from filelock import lock_descriptor, unlock_descriptor

from petfleet._backends.files import disk
from petfleet._backends.protocol import Holder
from petfleet._model.errors import LockTimeoutError

try:
    import fcntl
except ImportError:  # pragma: no cover (Windows)
    fcntl = None  # type: ignore[assignment] # there it is a module, too

_MARKER_BYTES: Final = 160
_MARKER_AT: Final = 1  # Windows locks byte 0
_MARKER = re.compile(rb"petfleet (clean|writing) ([^\n]*?) *\n")
_KERNEL_LOCKS = "/proc/locks"


class Marker(NamedTuple):
    """How the last writer left: ``clean`` or ``writing``, with the identity of its file or its own description."""

    state: str
    note: str


class UserLock:
    """An open lock file; locked after :meth:`try_acquire` returned True. Close it in any case."""

    def __init__(self, path: str, *, create: bool, writable: bool = True) -> None:
        """Open the lock file; FileNotFoundError if it is missing and not to be created, or its directory is.

        Without ``writable`` it can be locked on most file systems, but not marked.
        """
        self.path = path
        self.fresh = False  # whether its directory was made just now, so that nothing was ever in it
        self._held = False
        self.status: os.stat_result  # of the file, when it was opened
        self._fd, self.status = _open(path, create=create, writable=writable)

    def try_acquire(self) -> bool:
        """Take the lock if it is free; an error if the file system has no such lock."""
        try:
            self._held = lock_descriptor(self._fd, blocking=False)
        except OSError as error:
            disk.set_filename(error, self.path)
            raise
        return self._held

    def acquire(self) -> None:
        """Wait for the lock for as long as it takes; the kernel hands it on in the order of asking."""
        try:
            if fcntl is None:  # pragma: no cover (Windows has no such wait)
                self._held = lock_descriptor(self._fd, poll_interval=0.01)
            else:
                fcntl.flock(self._fd, fcntl.LOCK_EX)  # what lock_descriptor calls, which polls when it is to wait
                self._held = True
        except OSError as error:
            disk.set_filename(error, self.path)
            raise

    def is_at_path(self) -> bool:
        """Return whether the path, followed from the root, still means this file."""
        try:
            there = os.lstat(self.path)
        except (FileNotFoundError, NotADirectoryError):
            return False
        return (there.st_ino, there.st_dev) == (self.status.st_ino, self.status.st_dev)

    def marker(self) -> Marker | None:
        """Return the marker, or None where no petfleet has left one."""
        try:
            os.lseek(self._fd, _MARKER_AT, os.SEEK_SET)
            found = _MARKER.match(disk.read_some(self._fd, _MARKER_BYTES))
        except OSError as error:
            disk.set_filename(error, self.path)
            raise
        return Marker(found[1].decode(), found[2].decode(errors="replace")) if found else None

    def mark_writing(self) -> None:
        """Say that a commit has begun. Not synced: after a power cut what is on the disk is durable anyway."""
        self._mark(f"writing pid {os.getpid()} on {platform.node()[:64]} since {time.time():.3f}")

    def mark_clean(self, identity: str) -> None:
        """Say that everything is on disk: the file of that identity, and its name."""
        self._mark(f"clean {identity}")

    def _mark(self, text: str) -> None:
        try:
            os.lseek(self._fd, _MARKER_AT, os.SEEK_SET)
            disk.write_all(self._fd, f"petfleet {text:<{_MARKER_BYTES - 10}}\n".encode())
        except OSError as error:
            disk.set_filename(error, self.path)
            raise

    def close(self) -> None:
        """Release the lock, if it is held, and close the file."""
        try:
            if self._held:
                # Closing is not enough: a child forked in between may still hold a copy of the descriptor.
                unlock_descriptor(self._fd)
                self._held = False
        except OSError as error:
            disk.set_filename(error, self.path)
            raise
        finally:
            _close(self._fd, self.path)


def holder(path: str) -> Holder | None:
    """Return who holds that lock file, as far as it can be told; None if no one does."""
    try:
        lock = UserLock(path, create=False)
        try:
            if lock.try_acquire():
                return None
            return _kernel_holder(lock.status) or Holder(_writer(lock.marker()))
        finally:
            lock.close()
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        return Holder(None)  # it only decorates an error message


def lock_timeout_error(path: str, waited: float) -> LockTimeoutError:
    """Return the error of one who has waited in vain for that lock file, without a store."""
    return LockTimeoutError(path, waited, *(holder(path) or Holder(None)))


def _kernel_holder(status: os.stat_result) -> Holder | None:
    """Return which process has the lock by the kernel's list."""
    device = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}"
    line = re.compile(rf"^\d+: FLOCK +\w+ +(READ|WRITE) +([1-9]\d*) +(\w+:\w+):{status.st_ino} ", re.MULTILINE)
    try:
        with open(_KERNEL_LOCKS, encoding="ascii") as file:
            locks = line.findall(file.read())
    except FileNotFoundError:  # not Linux
        return None
    for mode, pid, where in locks:
        # Some file systems (btrfs, overlay) have another device there than stat tells.
        if where == device or _has_open(pid, status):
            name = f"pid {pid} on {platform.node()}"
            if not os.path.exists(f"/proc/{pid}"):
                return Holder(name, f"held for {name}, which has ended: end the process that it left the lock to")
            if mode == "READ":
                return Holder(name, f"held by {name} as a shared lock, for reading: try again when it has let go")
            return Holder(name)
    return None


def _has_open(pid: str, status: os.stat_result) -> bool:
    try:
        with os.scandir(f"/proc/{pid}/fd") as descriptors:
            return any(os.path.samestat(descriptor.stat(), status) for descriptor in descriptors)
    except OSError:
        return False  # it has ended, or is another account's


def _writer(marker: Marker | None) -> str | None:
    """Return who has said that a commit has begun, and not that it is over."""
    return marker.note.partition(" since ")[0] if marker is not None and marker.state == "writing" else None


class _Forks:
    """Forks begun and ended, counted so that an open in between is noticed."""

    def __init__(self) -> None:
        self.begun = 0
        self.ended = 0
        self._one_at_a_time = threading.Lock()

    def before(self) -> None:
        self._one_at_a_time.acquire()
        self.begun += 1

    def after_in_parent(self) -> None:
        self.ended = self.begun
        self._one_at_a_time.release()

    def after_in_child(self) -> None:
        # Closed and not unlocked: the lock belongs to the open file that both share, so unlocking would free the
        # parent's; and a copy kept open would hold it after the parent has died.
        for fd in _descriptors:
            os.close(fd)
        _descriptors.clear()
        self.ended = self.begun
        self._one_at_a_time = threading.Lock()


_descriptors: set[int] = set()
_forks = _Forks()
if hasattr(os, "register_at_fork"):  # pragma: no branch (Windows has no fork)
    os.register_at_fork(
        before=_forks.before, after_in_parent=_forks.after_in_parent, after_in_child=_forks.after_in_child
    )


def _open(path: str, *, create: bool, writable: bool) -> tuple[int, os.stat_result]:
    flags = (os.O_RDWR if writable else os.O_RDONLY) | (os.O_CREAT if create else 0)
    while True:
        forks = _forks.ended
        fd, status = disk.open_regular(path, flags)
        _descriptors.add(fd)
        if _forks.begun == forks:
            break
        # A child may have got a copy before the number was noted, and would keep this lock alive: take another.
        _close(fd, path)
        time.sleep(0.0001)
    try:
        if create:
            if status.st_size == 0 and status.st_mode & 0o600 != 0o600:  # made just now, by such an umask
                os.chmod(fd, 0o600)
            disk.match_owner(fd, os.path.dirname(path))
    except BaseException as error:
        disk.set_filename(error, path)
        _close(fd, path)
        raise
    return fd, status


def _close(fd: int, path: str) -> None:
    # In this order: a child must never close a number that by then means another file.
    _descriptors.discard(fd)
    disk.close(fd, path)
