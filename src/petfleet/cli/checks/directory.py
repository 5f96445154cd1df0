"""Looking through a root for what is not as petfleet leaves it. Blocking; beside writers at work it finds nothing."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator

from petfleet._backends.files import disk
from petfleet._backends.files.paths import FLEET_FILE, UserPaths
from petfleet._backends.files.reader import Reader
from petfleet._model.errors import FleetFormatError, InvalidNameError
from petfleet._model.names import check_user_id
from petfleet.cli.checks import content, leftovers, repair
from petfleet.cli.checks.finding import Finding as Finding
from petfleet.cli.checks.finding import not_a_file, reason, unreadable
from petfleet.cli.checks.leftovers import Traces
from petfleet.cli.checks.permissions import DIRECTORY, FILE, MAX_LOOKS, may_settle, rights
from petfleet.cli.output import printable


def check(root: str | os.PathLike[str], *, repair: bool, lock_timeout: float) -> Iterator[list[Finding]]:
    """Yield what is wrong with each entry of the root, in the system's order: one list an entry, mostly an empty one.

    Without ``repair`` nothing is changed, and a user's lock is taken only for a moment, where a writer may have died.
    With it, what dead writers left is recovered, and a file that means no fleet is set aside; nothing else is touched.

    Not promised: to see what comes into the root while it is looked through.

    Args:
        root: the directory of all fleets.
        repair: whether to repair what can be, each user under that user's lock.
        lock_timeout: seconds to wait for a user's lock, 0 or more. Where it stays held, a writer is at work.

    Raises:
        OSError: the root cannot be listed. Any other error of the system is a finding.
    """
    return _Check(os.path.abspath(root), repair, lock_timeout).entries()


class _Check:
    def __init__(self, root: str, repair: bool, lock_timeout: float) -> None:
        self._root = root
        self._repair = repair
        self._lock_timeout = lock_timeout
        self._owner = -1
        self._reader = Reader()

    def entries(self) -> Iterator[list[Finding]]:
        self._owner = os.stat(self._root).st_uid
        with disk.retry_eintr(os.scandir, self._root) as entries:
            while True:
                try:
                    entry = next(entries, None)
                except OSError as error:
                    yield [unreadable(self._root, error, None)]
                    return
                if entry is None:
                    return
                yield self._entry(entry)

    def _entry(self, entry: os.DirEntry[str]) -> list[Finding]:
        try:
            linked = entry.is_symlink()
            if not linked and not entry.is_dir(follow_symlinks=False):
                return []
        except OSError as error:
            return [unreadable(entry.path, error, None)]
        try:
            check_user_id(entry.name)
        except InvalidNameError as error:
            message = f"{error.rule}: no store takes it; rename it, or move it out of the root"
            return [] if linked else [Finding("invalid-name", entry.path, message, None)]
        if linked:
            return list(_link(entry))
        place = UserPaths(self._root, entry.name)
        found = self._user(place)
        return repair.repair(self._root, place, found, self._lock_timeout) if self._repair else found

    def _user(self, place: UserPaths) -> list[Finding]:
        for _ in range(MAX_LOOKS):
            found = list(self._look(place))
            paths = {one.path for one in found if one.kind == "unreadable"}
            # Of a file that may not be looked at, the directory tells.
            if not paths or not any(map(may_settle, {*paths, place.directory})):
                break
        return found

    def _look(self, place: UserPaths) -> Iterator[Finding]:
        try:
            seen = leftovers.look(place)
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            if place.user_id != "lost+found":  # the one at the root of a disk, closed to all but the administrator
                yield unreadable(place.directory, error, place.user_id)
                yield from rights(place.user_id, place.directory, DIRECTORY, self._owner)
            return
        if not seen.files and not seen.temporaries:
            return  # not ours
        yield from content.fleet(place, self._reader)
        if isinstance(seen.trouble, FleetFormatError):
            yield not_a_file(place.lock, seen.trouble, place.user_id)
        elif seen.trouble is not None:
            yield unreadable(place.lock, seen.trouble, place.user_id)
        yield from _left(place, seen, self._lock_timeout)
        yield from rights(place.user_id, place.directory, DIRECTORY, self._owner)
        for name in sorted(seen.files):
            yield from rights(place.user_id, os.path.join(place.directory, name), FILE, self._owner)


def _link(entry: os.DirEntry[str]) -> Iterator[Finding]:
    try:
        os.stat(os.path.join(entry.path, FLEET_FILE))
        target = printable(os.readlink(entry.path))
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EINVAL):
            yield unreadable(entry.path, error, entry.name)
    else:
        message = f"a symbolic link to {target}, which no store follows: put the directory itself in its place"
        yield Finding("link", entry.path, message, entry.name)


def _left(place: UserPaths, seen: Traces, lock_timeout: float) -> Iterator[Finding]:
    """Yield what dead writers left of what was seen in a user's directory."""
    try:
        found = leftovers.confirm(place, seen, lock_timeout)
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        yield unreadable(place.directory, error, place.user_id)
        return
    perhaps, why = "", ""
    if found.trouble is not None:
        perhaps, why = "perhaps ", f" (its lock could not be tried: {reason(found.trouble)})"
    way_out = "the next program to use the fleet clears up, or petfleet check --repair"
    for name in sorted(found.temporaries):
        message = f"{perhaps}a temporary file that no living writer uses{why}: {way_out}"
        yield Finding("leftover", os.path.join(place.directory, name), message, place.user_id)
    if found.unfinished is not None:
        message = f"{perhaps}a writer that died or could not sync, {printable(found.unfinished)}{why}: {way_out}"
        yield Finding("dead-writer", place.lock, message, place.user_id)
