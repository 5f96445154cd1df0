"""Durable files inside one directory: read, replace, remove, sync. Knows nothing about what the files hold."""

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
    """A file as it was read.

    Attributes:
        data: its content; None if it was larger than asked for.
        status: its status before the read.
        settled: whether every later write leaves another time of change.
    """

    data: bytes | None
    status: os.stat_result
    settled: bool


def identity(status: os.stat_result, data: bytes | None) -> str:
    """Return what tells one written content from another.

    Holds no ctime, which a rename changes. Times alone are not enough: before Linux 6.13 they stand still for
    milliseconds.
    """
    return f"{status.st_ino}:{status.st_size}:{status.st_mtime_ns}:{zlib.crc32(data or b''):08x}"


def open_regular(path: str, flags: int, mode: int = 0o600) -> tuple[int, os.stat_result]:
    """Open a regular file; never follow a link, and never wait for the other end of a pipe.

    Raises:
        FleetFormatError: it is no regular file.
    """
    try:
        fd = _open(path, flags | _NO_FOLLOW | _NO_BLOCK | _BINARY, mode)
    except FileNotFoundError:
        raise
    except OSError as error:
        # The system refuses a link, a directory or a socket with one of these; none names the kind.
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
        # Without this the first read after a write updates the time of access. That is a write, which waits for the
        # journal: beside other writers it took a third of the time of an fsync.
        return os.open(path, flags | _NO_ATIME, mode)
    except PermissionError as error:
        if error.errno != errno.EPERM:
            raise
        return os.open(path, flags, mode)  # the file belongs to another account


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
    """Return whether every write from now on leaves another time of change."""
    # On Windows st_ctime is the time of creation.
    return not _WINDOWS and time.time() - status.st_ctime > _COARSEST_TIME


def _read_all(fd: int, size: int, most_bytes: int) -> bytes | None:
    if size > most_bytes:
        return None
    data = os.read(fd, size + 1)
    # A read may return less than there is. It asks for one byte more, so that it notices a file that has grown.
    while len(data) != size and (more := os.read(fd, most_bytes + 1 - len(data))):
        data += more
        if len(data) > most_bytes:
            return None
    return data


def read_some(fd: int, size: int) -> bytes:
    """Return the next ``size`` bytes of a file, fewer only at its end: one read may return less than there is."""
    data = os.read(fd, size)
    while 0 < len(data) < size and (more := os.read(fd, size - len(data))):
        data += more
    return data


def exists(path: str) -> bool:
    """Return whether anything has that name; raise an error that does not tell."""
    try:
        os.lstat(path)
    except FileNotFoundError:
        return False
    return True


def unchanged(path: str, before: Stored | None) -> bool:
    """Return whether the file is still the one that was read, with no write since; for None, whether it is missing."""
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
    """Write all of ``data``: one write may take only a part."""
    while (taken := os.write(fd, data)) < len(data):
        data = data[taken:]


def temporary_name(path: str) -> str:
    """Return an unused name beside ``path``, which :func:`sweep` recognises."""
    directory, _, name = path.rpartition(os.sep)
    # Not a fixed name: after a split lock, two writers would write the same file, and rename it.
    return f"{directory}{os.sep}.{name}.{secrets.token_hex(8)}.tmp"


def write_new(path: str, data: bytes, like: os.stat_result | None) -> str:
    """Write ``data`` durably into a new file, and return its identity.

    The file gets the mode of ``like``, without that 0600. If root makes it, it also gets the owner of ``like``, without
    that the directory's. Its name is not durable. An error leaves the file behind.

    Raises:
        FileExistsError: the file exists.
    """
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NO_FOLLOW | _BINARY, 0o600)
    try:
        made = stat.S_IMODE(os.fstat(fd).st_mode)
        # An umask may take even the owner's rights. (Compared before chmod: some mounts have one mode for all files.)
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
    """If root has made a file, give it to the account that owns ``like`` (a status or a path)."""
    if _WINDOWS or os.geteuid() != 0:
        return
    owner = os.stat(like) if isinstance(like, str) else like
    if (owner.st_uid, owner.st_gid) != (0, 0):
        # Never through a link: that account may have put one there meanwhile.
        os.chown(target, owner.st_uid, owner.st_gid, follow_symlinks=isinstance(target, int))


def rename(source: str, target: str) -> None:
    """Rename a file over another; on Windows, retry for a second while another program has the target open."""
    give_up = runtime.monotonic() + _RENAME_SECONDS
    while True:
        try:
            return os.replace(source, target)
        except PermissionError:
            if not _WINDOWS or runtime.monotonic() > give_up:
                raise
            time.sleep(0.01)


def remove(path: str) -> None:
    """Remove a file if it exists."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass


def remove_directory(path: str) -> None:
    """Remove a directory if it exists and is empty."""
    try:
        os.rmdir(path)
    except FileNotFoundError:
        pass
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise


def is_temporary(entry: str, name: str) -> bool:
    """Return whether a directory entry has the name of a temporary file of ``name``."""
    return entry.startswith(f".{name}.") and _TEMPORARY.fullmatch(entry) is not None


def sweep(path: str) -> None:
    """Remove the temporary files that dead writers of ``path`` have left. Its directory may be missing."""
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


def retry_eintr(list_directory: Callable[[str], T], path: str) -> T:
    """Call ``os.listdir`` or ``os.scandir``, again if a signal interrupts it: unlike other calls, Python does not."""
    while True:
        try:
            return list_directory(path)
        except InterruptedError:
            pass


def make_directories(path: str) -> int:
    """Make a directory and the missing ones above it, with mode 0700, and return how many were made. Syncs none."""
    try:
        return _make_directory(path)
    except FileNotFoundError:
        parent = os.path.dirname(path)
        if parent == path:
            raise
        # Not make_directories(path) again: below a dangling link that would never end.
        return make_directories(parent) + _make_directory(path)


def _make_directory(path: str) -> int:
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        return 0
    refuse_link(path)  # another account may have put one there since
    if os.lstat(path).st_mode & 0o700 != 0o700:  # the umask has taken rights of the owner, who could make no file in it
        os.chmod(path, 0o700)
    match_owner(path, os.path.dirname(path))
    return 1


def refuse_link(path: str) -> None:
    """Raise an OSError if the path of a user's directory is a symbolic link."""
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return
    if stat.S_ISLNK(status.st_mode):
        raise OSError(errno.ELOOP, "A user's directory must not be a symbolic link", path)


class Directory:
    """An open directory, which can be synced even after it was moved."""

    __slots__ = ("_fd", "_path")

    def __init__(self, path: str) -> None:
        self._path = path
        self._fd = -1 if _WINDOWS else os.open(path, os.O_RDONLY | _DIRECTORY)

    def sync(self) -> None:
        """Make the names in the directory durable. Windows has no call for that."""
        if self._fd >= 0:
            try:
                _sync(self._fd)
            except OSError as error:
                set_filename(error, self._path)
                raise

    def close(self) -> None:
        """Close the directory."""
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
    """Make a file's content durable, whichever program wrote it."""
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
        pass  # it is closed: Linux closes first, and a second close could hit another thread's file
    except OSError as error:
        set_filename(error, path)
        raise


def set_filename(error: BaseException, path: str) -> None:
    """Give an error of a call on a descriptor the name of the file: it has none, or the descriptor's number."""
    if isinstance(error, OSError) and not isinstance(error.filename, str):
        error.filename = path
