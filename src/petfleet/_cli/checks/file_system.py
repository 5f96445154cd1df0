"""Checks the file system of a root: its type, whether its locks exclude, and whether its directories can be synced."""

from __future__ import annotations

import os
import re
import statistics
import sys
import time
from contextlib import closing
from typing import Final, NamedTuple

from petfleet._backends.files import disk
from petfleet._backends.files.lock import UserLock
from petfleet._cli.checks.finding import reason
from petfleet._cli.output import printable

_MOUNTS: Final = "/proc/self/mountinfo"
_ROUNDS: Final = 9
_WINDOWS: Final = sys.platform == "win32"  # has no call that syncs a directory
_OTHER_MACHINES: Final = re.compile(
    "9p|afs|beegfs|ceph|cifs|coda|fuse(blk|[.].*)?|gfs2|glusterfs|gpfs|lustre|ncpfs|nfs4?|ocfs2|orangefs|prl_fs|pvfs2"
    "|smb[23]|smbfs|vboxsf|virtiofs|vmhgfs",
    re.DOTALL,
)


class FileSystem(NamedTuple):
    """What was found out about the file system of a root; None for what is unknown.

    Attributes:
        file_system: its type, like ``ext4``.
        mount_point: where it is mounted.
        locks: whether a lock excludes a second one.
        directory_sync: whether a directory can be synced.
        fsync_seconds: the median time to write, sync and rename a file, and to sync its directory: the least that a
            commit takes.
        warnings: what to know before relying on it, one printable line each.
    """

    file_system: str | None
    mount_point: str | None
    locks: bool | None
    directory_sync: bool | None
    fsync_seconds: float | None
    warnings: list[str]


class _Probe:
    """Tries out the root with private files, which are removed whatever happens."""

    def __init__(self, root: str) -> None:
        self._root = root
        self.locks: bool | None = None
        self.directory_sync: bool | None = None
        self.fsync_seconds: float | None = None
        self.warnings: list[str] = []

    def run(self) -> None:
        # Not mistaken for a user, which is a directory.
        path = disk.temporary_name(os.path.join(self._root, "petfleet-check"))
        try:
            disk.write_new(path, b"petfleet check\n", None)
            self.locks = self._try_locks(path)
            self.directory_sync = None if _WINDOWS else self._try_directory_sync()
            if self.directory_sync is not False:
                self.fsync_seconds = statistics.median(self._round(path) for _ in range(_ROUNDS))
        except OSError as error:
            self._warn(f"{self._root} cannot be written to ({reason(error)}): what was not tried is unknown")
        finally:
            self._remove(path)

    def _try_locks(self, path: str) -> bool:
        try:
            with closing(UserLock(path, create=False)) as one, closing(UserLock(path, create=False)) as other:
                taken = (one.try_acquire(), other.try_acquire())
        except OSError as error:
            self._warn(f"locks are refused ({reason(error)}): no store works here")
            return False
        if taken != (True, False):
            self._warn("locks do not exclude one another: changes will be lost; use another file system")
        return taken == (True, False)

    def _try_directory_sync(self) -> bool:
        try:
            disk.sync_directory(self._root)
        except OSError as error:
            self._warn(
                f"directories cannot be synced ({reason(error)}): no commit can be confirmed; use another file system"
            )
            return False
        return True

    def _round(self, path: str) -> float:
        began = time.perf_counter()
        temporary = disk.temporary_name(os.path.join(self._root, "petfleet-check"))
        try:
            disk.write_new(temporary, b"petfleet check\n", None)
            disk.rename(temporary, path)
        except BaseException:
            self._remove(temporary)
            raise
        disk.sync_directory(self._root)
        return time.perf_counter() - began

    def _remove(self, path: str) -> None:
        try:
            disk.remove(path)
        except OSError as error:
            if os.path.lexists(path):
                self._warn(f"{path} is left behind ({reason(error)}): remove it")

    def _warn(self, text: str) -> None:
        self.warnings.append(printable(text))


def probe(root: str | os.PathLike[str]) -> FileSystem:
    """Try out the file system of a root. Raises no OSError: a refusal is a warning.

    It takes about as long as ten commits. Meanwhile there are two files in the root that no store reads.

    Not promised: that locks exclude other machines, which cannot be tried on one machine.

    Args:
        root: the directory of all fleets; links are followed.
    """
    root = os.path.realpath(root)
    file_system, mount_point = _mount(root)
    tried = _Probe(root)
    tried.run()
    warnings = [*_known(file_system), *tried.warnings]
    return FileSystem(file_system, mount_point, tried.locks, tried.directory_sync, tried.fsync_seconds, warnings)


def _mount(path: str) -> tuple[str | None, str | None]:
    """Return the type and the mount point of the file system of a real path."""
    try:
        with open(_MOUNTS, "rb") as file:
            lines = file.read().splitlines()
    except OSError:
        return None, None  # only Linux has it
    above: tuple[str | None, str | None] = None, None
    same_device: tuple[str | None, str | None] = None, None
    device = _device(path)
    for line in lines:
        before, _, after = line.partition(b" - ")
        fields = before.split(b" ")
        if len(fields) < 6 or not after:
            continue
        found = _unescaped(after.split(b" ")[0]), _unescaped(fields[4])
        # If two are mounted at the same place, the last one hides the first.
        if f"{path}/".startswith(f"{found[1].rstrip('/')}/") and len(found[1]) >= len(above[1] or ""):
            above = found
        if fields[2] == device:
            same_device = found
    # In a chroot, the mount point above the path may be outside, and then it is not listed. The same file system may be
    # mounted at a second place, though. The device alone would not do: on btrfs, stat returns another one.
    return same_device if above[1] is None else above


def _device(path: str) -> bytes | None:
    """Return the device number of a path as the list of mounts has it."""
    try:
        number = os.stat(path).st_dev
    except OSError:
        return None
    return b"%d:%d" % (os.major(number), os.minor(number))


def _unescaped(field: bytes) -> str:
    return os.fsdecode(re.sub(rb"\\([0-3][0-7]{2})", lambda found: bytes([int(found[1], 8)]), field))


def _known(file_system: str | None) -> list[str]:
    """Return warnings about a type of file system."""
    if file_system is None:
        return []
    name = printable(file_system)
    if _OTHER_MACHINES.fullmatch(file_system):
        return [f"{name}: locks may hold on one machine only: one machine, one root"]
    if file_system in ("tmpfs", "ramfs"):
        return [f"{name}: nothing survives a power cut; use a disk for what is to last"]
    if file_system == "overlay":
        return [f"{name}: a container's own layer goes with the container; mount a directory for the root"]
    return []
