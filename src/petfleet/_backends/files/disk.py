"""Durable files inside one directory: read, replace, remove, sync. Blocking, and ignorant of what the files hold."""

from __future__ import annotations

import errno
import os
import re
import secrets
import stat
import sys
import time
import zlib
from collections.abc import Callable
from typing import Final, NamedTuple, TypeVar

from petfleet._model.errors import FleetFormatError
from petfleet._util import runtime

try:
    import fcntl
except ImportError:  # pragma: no cover (Windows)
    _FULL_SYNC: int | None = None
else:
    # macOS: fsync leaves the data in the drive's cache.
    _FULL_SYNC = getattr(fcntl, "F_FULLFSYNC", None)

T = TypeVar("T")

_WINDOWS = sys.platform == "win32"
_NO_FOLLOW: Final = getattr(os, "O_NOFOLLOW", 0)
_NO_BLOCK: Final = getattr(os, "O_NONBLOCK", 0)
_NO_ATIME: Final = getattr(os, "O_NOATIME", 0)
_BINARY: Final = getattr(os, "O_BINARY", 0)
_DIRECTORY: Final = getattr(os, "O_DIRECTORY", 0)
_TEMPORARY = re.compile(r"\.[^/]+\.[0-9a-f]{16}\.tmp")
_COARSEST_TIME = 2.5  # seconds after which any file system gives two writes different times
_RENAME_SECONDS = 1.0  # how long a refused rename is retried on Windows


class Stored(NamedTuple):
    """A file as it was read; ``data`` is None where it was larger than asked for.

    ``settled`` says that whatever wrote it after that has left another time of change.
    """

    data: bytes | None
    status: os.stat_result
    settled: bool


def identity(status: os.stat_result, data: bytes | None) -> str:
    """Return what tells one written content from another.

    Unlike ctime, a rename leaves all of it alone. Times alone do not tell: before Linux 6.13 they stand still for
    milliseconds.
    """
    return f"{status.st_ino}:{status.st_size}:{status.st_mtime_ns}:{zlib.crc32(data or b''):08x}"


def open_regular(path: str, flags: int, mode: int = 0o600) -> tuple[int, os.stat_result]:
    """Open a regular file, never following a link and never waiting for a pipe's other end.

    Raises:
        FleetFormatError: something else stands there.
    """
    try:
        fd = _open(path, flags | _NO_FOLLOW | _NO_BLOCK | _BINARY, mode)
    except FileNotFoundError:
        raise
    except OSError as error:
        # A link, a directory or a socket is refused with an errno of its own; none says what stands there.
        if error.errno in (errno.ELOOP, errno.EISDIR, errno.ENXIO):
            _refuse_irregular(path, os.lstat(path))
        raise
    try:
        status = os.fstat(fd)
        _refuse_irregular(path, status)
    except BaseException as error:
        set_filename(error, path)
        close(fd, path)
        raise
    return fd, status


def _open(path: str, flags: int, mode: int) -> int:
    try:
        # Noting the time of each first read after a write is a write too, and waits for a journal that is being
        # written: beside other writers it took as long as a third of an fsync.
        return os.open(path, flags | _NO_ATIME, mode)
    except PermissionError as error:
        if error.errno != errno.EPERM:
            raise
        return os.open(path, flags, mode)  # another account's file


def _refuse_irregular(path: str, status: os.stat_result) -> None:
    kind = stat.S_IFMT(status.st_mode)
    if kind != stat.S_IFREG:
        names = {stat.S_IFLNK: "a symbolic link", stat.S_IFDIR: "a directory", stat.S_IFIFO: "a pipe"}
        raise FleetFormatError(path, f"a regular file, not {names.get(kind, 'a device or socket')}")


def read(path: str, most_bytes: int) -> Stored | None:
    """Return the file's whole content; None only if there is no such file."""
    try:
        fd, status = open_regular(path, os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        is_settled = settled(status)
        return Stored(_read_all(fd, status.st_size, most_bytes), status, is_settled)
    except OSError as error:
        set_filename(error, path)
        raise
    finally:
        close(fd, path)


def settled(status: os.stat_result) -> bool:
    """Return whether whatever writes that file from now on leaves another time of change."""
    # On Windows it is the time of its creation.
    return not _WINDOWS and time.time() - status.st_ctime > _COARSEST_TIME


def _read_all(fd: int, size: int, most_bytes: int) -> bytes | None:
    if size > most_bytes:
        return None
    data = os.read(fd, size + 1)
    # A read may return less than there is; one byte more was asked for, so that only a grown file returns more.
    while len(data) != size and (more := os.read(fd, most_bytes + 1 - len(data))):
        data += more
        if len(data) > most_bytes:
            return None
    return data


def read_some(fd: int, most: int) -> bytes:
    """Return what comes next in a file, ``most`` bytes unless it ends before: a read may return less than there is."""
    data = os.read(fd, most)
    while 0 < len(data) < most and (more := os.read(fd, most - len(data))):
        data += more
    return data


def exists(path: str) -> bool:
    """Return whether anything has that name; an error that leaves it open is raised."""
    try:
        os.lstat(path)
    except FileNotFoundError:
        return False
    return True


def unchanged(path: str, before: Stored | None) -> bool:
    """Return whether the name still means the file that was read, unwritten since; None: still means nothing."""
    if before is None:
        return not exists(path)
    if before.settled:
        try:
            return _same(os.lstat(path), before.status)
        except FileNotFoundError:
            return False
    try:
        now = read(path, len(before.data or b""))
    except FleetFormatError:
        return False
    return now is not None and _same(now.status, before.status) and now.data == before.data


def _same(one: os.stat_result, other: os.stat_result) -> bool:
    return (one.st_ino, one.st_size, one.st_ctime_ns) == (other.st_ino, other.st_size, other.st_ctime_ns)


def write_all(fd: int, data: bytes) -> None:
    """Write all of ``data``: a write may take less than it was given."""
    while (taken := os.write(fd, data)) < len(data):
        data = data[taken:]


def temporary_name(path: str) -> str:
    """Return a name beside ``path`` that no one else uses, and that :func:`sweep` knows."""
    directory, _, name = path.rpartition(os.sep)
    # Never a fixed name: after a split lock two writers would write into and rename the same file.
    return f"{directory}{os.sep}.{name}.{secrets.token_hex(8)}.tmp"


def write_new(path: str, data: bytes, like: os.stat_result | None) -> str:
    """Write ``data`` durably into a file that must not exist yet, and return its identity.

    It gets the mode (and, for root, the owner) of ``like``, or 0600 (and the directory's owner). Its name is not
    durable, and on an error it is left behind.
    """
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NO_FOLLOW | _BINARY, 0o600)
    try:
        made = stat.S_IMODE(os.fstat(fd).st_mode)
        # An umask may have taken even the owner's rights. (No more is asked for: some mounts have one mode for all.)
        mode = made | 0o600 if like is None else stat.S_IMODE(like.st_mode)
        if made != mode:
            os.chmod(path if _WINDOWS else fd, mode)
        match_owner(fd, os.path.dirname(path) if like is None else like)
        write_all(fd, data)
        _sync(fd)
        return identity(os.fstat(fd), data)
    except OSError as error:
        set_filename(error, path)
        raise
    finally:
        close(fd, path)


def match_owner(target: int | str, like: os.stat_result | str) -> None:
    """Give a file that root makes in another account's place to that account; nothing for anyone but root."""
    if _WINDOWS or os.geteuid() != 0:
        return
    owner = os.stat(like) if isinstance(like, str) else like
    if (owner.st_uid, owner.st_gid) != (0, 0):
        # Never through a link: that account may have put one in the place of what was made.
        os.chown(target, owner.st_uid, owner.st_gid, follow_symlinks=isinstance(target, int))


def rename(source: str, target: str) -> None:
    """Rename a file over another; on Windows, try again for a bounded time while someone holds the target open."""
    give_up = runtime.monotonic() + _RENAME_SECONDS
    while True:
        try:
            return os.replace(source, target)
        except PermissionError:
            if not _WINDOWS or runtime.monotonic() > give_up:
                raise
            time.sleep(0.01)


def remove(path: str) -> None:
    """Remove a file if it is there."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass


def remove_directory(path: str) -> None:
    """Remove a directory if it is there and empty."""
    try:
        os.rmdir(path)
    except FileNotFoundError:
        pass
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise


def is_temporary(entry: str, name: str) -> bool:
    """Return whether an entry of a directory is named like a temporary file of writers of ``name``."""
    return entry.startswith(f".{name}.") and _TEMPORARY.fullmatch(entry) is not None


def sweep(path: str) -> None:
    """Remove the temporary files of writers of ``path`` that did not live to rename them, if there is its directory."""
    directory, name = os.path.split(path)
    try:
        entries = retry_eintr(os.listdir, directory)
    except FileNotFoundError:
        return
    for entry in entries:
        if is_temporary(entry, name):
            try:
                remove(os.path.join(directory, entry))
            except IsADirectoryError:
                pass  # not ours


def retry_eintr(look: Callable[[str], T], path: str) -> T:
    """Return what looking into a directory gives; the interpreter itself tries other calls again, but not these."""
    while True:
        try:
            return look(path)
        except InterruptedError:
            pass


def make_directories(path: str) -> int:
    """Make a directory and what is missing above it, mode 0700, and return how many that were. None is synced."""
    try:
        return _make_directory(path)
    except FileNotFoundError:
        parent = os.path.dirname(path)
        if parent == path:
            raise
        # Not by calling itself again for path: that would never end below a dangling link.
        return make_directories(parent) + _make_directory(path)


def _make_directory(path: str) -> int:
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        return 0
    refuse_link(path)  # that another account has put there since
    if os.lstat(path).st_mode & 0o700 != 0o700:  # by such an umask nothing could be made in it
        os.chmod(path, 0o700)
    match_owner(path, os.path.dirname(path))
    return 1


def refuse_link(path: str) -> None:
    """Raise an OSError if a symbolic link stands where a directory of ours should be, or is to be made."""
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return
    if stat.S_ISLNK(status.st_mode):
        raise OSError(errno.ELOOP, "A symbolic link is not followed in the place of a user's directory", path)


class Directory:
    """An open directory, to sync it even after someone has moved it."""

    __slots__ = ("_fd", "_path")

    def __init__(self, path: str) -> None:
        self._path = path
        self._fd = -1 if _WINDOWS else os.open(path, os.O_RDONLY | _DIRECTORY)

    def sync(self) -> None:
        """Make the names in it durable. Windows has no call for that."""
        if self._fd >= 0:
            try:
                _sync(self._fd)
            except OSError as error:
                set_filename(error, self._path)
                raise

    def close(self) -> None:
        """Close it."""
        if self._fd >= 0:
            close(self._fd, self._path)


def sync_directory(path: str) -> None:
    """Make the names in a directory durable."""
    directory = Directory(path)
    try:
        directory.sync()
    finally:
        directory.close()


def sync_file(path: str) -> None:
    """Make a file's content durable, whoever wrote it."""
    fd, _ = open_regular(path, os.O_RDWR if _WINDOWS else os.O_RDONLY)
    try:
        _sync(fd)
    except OSError as error:
        set_filename(error, path)
        raise
    finally:
        close(fd, path)


def _sync(fd: int) -> None:
    if _FULL_SYNC is not None:
        try:
            fcntl.fcntl(fd, _FULL_SYNC)
        except OSError as error:
            if error.errno not in (errno.ENOTSUP, errno.EINVAL, errno.ENOTTY):
                raise
        else:
            return
    os.fsync(fd)


def close(fd: int, path: str) -> None:
    """Close a file."""
    try:
        os.close(fd)
    except InterruptedError:
        pass  # closed all the same: Linux closes first, and to close it again might hit another thread's file
    except OSError as error:
        set_filename(error, path)
        raise


def set_filename(error: BaseException, path: str) -> None:
    """Put the file's name into the system's error of a call on a descriptor, which has none, or a number for one."""
    if isinstance(error, OSError) and not isinstance(error.filename, str):
        error.filename = path
