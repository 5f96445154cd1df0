"""Where a root is: the file system, whether its locks exclude and its directories sync, and what that means."""

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
from petfleet.cli.checks.finding import reason
from petfleet.cli.output import printable

_MOUNTS: Final = "/proc/self/mountinfo"
_ROUNDS: Final = 9
_WINDOWS: Final = sys.platform == "win32"  # has no call that syncs a directory
_OTHER_MACHINES: Final = re.compile(
    "9p|afs|beegfs|ceph|cifs|coda|fuse(blk|[.].*)?|gfs2|glusterfs|gpfs|lustre|ncpfs|nfs4?|ocfs2|orangefs|prl_fs|pvfs2"
    "|smb[23]|smbfs|vboxsf|virtiofs|vmhgfs",
    re.DOTALL,
)


class Surroundings(NamedTuple):
    """Where a root is; None is what could not be found out.

    Attributes:
        file_system: its type, like ``ext4``.
        mount_point: where that is mounted.
        locks: whether a lock excludes a second one.
        directory_sync: whether a directory can be synced.
        fsync_seconds: what one commit costs there at least: to write, fsync, rename, fsync the directory. A median.
        warnings: what to know before relying on it, one printable line each.
    """

    file_system: str | None
    mount_point: str | None
    locks: bool | None
    directory_sync: bool | None
    fsync_seconds: float | None
    warnings: list[str]


class _Probe:
    """What was tried in the root, with private files that are removed whatever happens."""

    def __init__(self, root: str) -> None:
        self._root = root
        self.locks: bool | None = None
        self.directory_sync: bool | None = None
        self.fsync_seconds: float | None = None
        self.warnings: list[str] = []

    def run(self) -> None:
        # Never taken for a user: that would be a directory.
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


def look_around(root: str | os.PathLike[str]) -> Surroundings:
    """Return what there is to know of the place of a root. Never raises an OSError: what is refused is a warning.

    Takes about ten commits' time, and for that long two files in the root that no store looks at.

    Not promised: that locks exclude other machines; on one machine that cannot be tried.

    Args:
        root: the directory of all fleets; links are followed.
    """
    root = os.path.realpath(root)
    file_system, mount_point = _mount(root)
    probe = _Probe(root)
    probe.run()
    warnings = [*_known(file_system), *probe.warnings]
    return Surroundings(file_system, mount_point, probe.locks, probe.directory_sync, probe.fsync_seconds, warnings)


def _mount(path: str) -> tuple[str | None, str | None]:
    """Return the type and the mount point of the file system that a real path is on."""
    try:
        with open(_MOUNTS, "rb") as file:
            lines = file.read().splitlines()
    except OSError:
        return None, None  # only Linux tells
    file_system, mount_point = None, None
    for line in lines:
        before, _, after = line.partition(b" - ")
        fields = before.split(b" ")
        if len(fields) < 6 or not after:
            continue
        there = _unescaped(fields[4])
        # Of two on the same place, the last one hides the first.
        if f"{path}/".startswith(f"{there.rstrip('/')}/") and len(there) >= len(mount_point or ""):
            file_system, mount_point = _unescaped(after.split(b" ")[0]), there
    return file_system, mount_point


def _unescaped(field: bytes) -> str:
    return os.fsdecode(re.sub(rb"\\([0-3][0-7]{2})", lambda found: bytes([int(found[1], 8)]), field))


def _known(file_system: str | None) -> list[str]:
    """Return what is known of that type of file system."""
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
