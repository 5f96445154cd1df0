"""One user's lock file. It carries an OS lock, and its content is a marker that says how the last writer ended.

The lock is the same that ``filelock.FileLock`` (3.30 or newer) takes on this path, so other programs can take part.
Unlinking the file splits the lock, so after locking it one must check that the path still leads to the locked file.
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
    """How the last writer ended.

    Attributes:
        state: ``clean`` or ``writing``.
        note: the identity of the file that is clean, or a description of the writer.
    """

    state: str
    note: str


class UserLock:
    """An open lock file, locked after :meth:`try_acquire` returned True. Always close it."""

    def __init__(self, path: str, *, create: bool, writable: bool = True) -> None:
        """Open the lock file.

        Args:
            path: of the lock file.
            create: whether to create the file if it is missing.
            writable: without this, the file can be locked on most file systems, but not marked.

        Raises:
            FileNotFoundError: the file is missing and ``create`` is False, or its directory is missing.
        """
        self.path = path
        self.fresh = False  # whether its directory was just made, so that no fleet was ever in it
        self._held = False
        self.status: os.stat_result  # when the file was opened
        self._fd, self.status = _open(path, create=create, writable=writable)

    def try_acquire(self) -> bool:
        """Take the lock if it is free. Raise an OSError if the file system has no such locks."""
        try:
            self._held = lock_descriptor(self._fd, blocking=False)
        except OSError as error:
            disk.set_filename(error, self.path)
            raise
        return self._held

    def acquire(self) -> None:
        """Wait for the lock, however long that takes. The kernel grants it in the order of asking."""
        try:
            if fcntl is None:  # pragma: no cover (Windows has no such wait)
                self._held = lock_descriptor(self._fd, poll_interval=0.01)
            else:
                fcntl.flock(self._fd, fcntl.LOCK_EX)  # as lock_descriptor does, but that polls when it waits
                self._held = True
        except OSError as error:
            disk.set_filename(error, self.path)
            raise

    def is_at_path(self) -> bool:
        """Return whether the path still leads to this file."""
        try:
            there = os.lstat(self.path)
        except (FileNotFoundError, NotADirectoryError):
            return False
        return (there.st_ino, there.st_dev) == (self.status.st_ino, self.status.st_dev)

    def marker(self) -> Marker | None:
        """Return the marker; None if no petfleet has written one."""
        try:
            os.lseek(self._fd, _MARKER_AT, os.SEEK_SET)
            found = _MARKER.match(disk.read_some(self._fd, _MARKER_BYTES))
        except OSError as error:
            disk.set_filename(error, self.path)
            raise
        return Marker(found[1].decode(), found[2].decode(errors="replace")) if found else None

    def mark_writing(self) -> None:
        """Mark that a commit has begun. Not synced: after a power cut, whatever can be read is durable anyway."""
        self._mark(f"writing pid {os.getpid()} on {platform.node()[:64]} since {time.time():.3f}")

    def mark_clean(self, identity: str) -> None:
        """Mark that the file of that identity is on disk, and its name too."""
        self._mark(f"clean {identity}")

    def _mark(self, text: str) -> None:
        try:
            os.lseek(self._fd, _MARKER_AT, os.SEEK_SET)
            disk.write_all(self._fd, f"petfleet {text:<{_MARKER_BYTES - 10}}\n".encode())
        except OSError as error:
            disk.set_filename(error, self.path)
            raise

    def close(self) -> None:
        """Release the lock if it is held, and close the file."""
        try:
            if self._held:
                # Closing is not enough: a forked child may have a copy of the descriptor.
                unlock_descriptor(self._fd)
                self._held = False
        except OSError as error:
            disk.set_filename(error, self.path)
            raise
        finally:
            _close(self._fd, self.path)


def holder(path: str) -> Holder | None:
    """Return the process that holds the lock on that file, as far as it is known; None if the lock is free."""
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
        return Holder(None)  # this only adds to an error message, so it must not fail


def lock_timeout_error(path: str, waited: float) -> LockTimeoutError:
    """Return the error for a lock file that was waited for in vain, without a store."""
    return LockTimeoutError(path, waited, *(holder(path) or Holder(None)))


def _kernel_holder(status: os.stat_result) -> Holder | None:
    """Return the process that has the lock according to the kernel's list."""
    device = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}"
    line = re.compile(rf"^\d+: FLOCK +\w+ +(READ|WRITE) +([1-9]\d*) +(\w+:\w+):{status.st_ino} ", re.MULTILINE)
    try:
        with open(_KERNEL_LOCKS, encoding="ascii") as file:
            locks = line.findall(file.read())
    except FileNotFoundError:  # not Linux
        return None
    for mode, pid, where in locks:
        # Some file systems (btrfs, overlay) have another device in the list than in stat.
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
        return False  # the process has ended, or belongs to another account


def _writer(marker: Marker | None) -> str | None:
    """Return the writer that has marked the begin of a commit, but not its end."""
    return marker.note.partition(" since ")[0] if marker is not None and marker.state == "writing" else None


class _Forks:
    """Counts forks begun and ended, so that an open during a fork is noticed."""

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
        # Closed, not unlocked: parent and child share the open file, so unlocking here would release the parent's lock.
        # Not left open: a copy here would hold the lock after the parent has died.
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
        # A child may have got a copy before the number was noted, and would hold this lock: open the file again.
        _close(fd, path)
        time.sleep(0.0001)
    try:
        if create:
            if status.st_size == 0 and status.st_mode & 0o600 != 0o600:  # just made, and the umask has taken rights
                os.chmod(fd, 0o600)
            disk.match_owner(fd, os.path.dirname(path))
    except BaseException as error:
        disk.set_filename(error, path)
        _close(fd, path)
        raise
    return fd, status


def _close(fd: int, path: str) -> None:
    # In this order: a child must never close a number that already means another file.
    _descriptors.discard(fd)
    disk.close(fd, path)
