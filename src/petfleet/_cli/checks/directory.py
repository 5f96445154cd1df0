"""Checks all entries of a root directory. Blocking. It reports nothing about files that a writer is using."""

from __future__ import annotations

import os
from collections.abc import Iterator

from petfleet._backends.files import disk
from petfleet._backends.files.paths import UserPaths
from petfleet._backends.files.reader import Reader
from petfleet._cli.checks import content, leftovers
from petfleet._cli.checks.finding import Finding, not_a_file, unreadable
from petfleet._cli.checks.link import check_link
from petfleet._cli.checks.permissions import DIRECTORY, FILE, MAX_TRIES, check_permissions, may_settle
from petfleet._cli.checks.repair import repair_user
from petfleet._model.errors import FleetFormatError, InvalidNameError
from petfleet._model.names import check_user_id


def check(root: str | os.PathLike[str], *, repair: bool, lock_timeout: float) -> Iterator[list[Finding]]:
    """Yield what is wrong with each entry of the root, in the system's order: one list an entry, mostly an empty one.

    Without ``repair`` it changes nothing, and takes a user's lock only for a moment, if a writer may have died. With
    it, it recovers what dead writers left, and sets aside files that are not fleets; it touches nothing else.

    Not promised: to see entries that are added to the root meanwhile.

    Args:
        root: the directory of all fleets.
        repair: whether to repair what can be repaired, each user under the user's lock.
        lock_timeout: seconds to wait for a user's lock, 0 or more. If others keep it, a writer is at work.

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
            return list(check_link(entry))
        paths = UserPaths(self._root, entry.name)
        found = self._user(paths)
        return repair_user(self._root, paths, found, self._lock_timeout) if self._repair else found

    def _user(self, paths: UserPaths) -> list[Finding]:
        for _ in range(MAX_TRIES):
            found = list(self._check(paths))
            refused = {one.path for one in found if one.kind == "unreadable"}
            # If a file cannot even be examined, its directory may be new.
            if not refused or not any(map(may_settle, {*refused, paths.directory})):
                break
        return found

    def _check(self, paths: UserPaths) -> Iterator[Finding]:
        try:
            seen = leftovers.read(paths)
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            if paths.user_id != "lost+found":  # a disk has one, which only its administrator may read
                yield unreadable(paths.directory, error, paths.user_id)
                yield from check_permissions(paths.user_id, paths.directory, DIRECTORY, self._owner)
            return
        if not seen.files and not seen.temporaries:
            return  # it is not a user's directory
        yield from content.check_file(paths, self._reader)
        if isinstance(seen.trouble, FleetFormatError):
            yield not_a_file(paths.lock, seen.trouble, paths.user_id)
        elif seen.trouble is not None:
            yield unreadable(paths.lock, seen.trouble, paths.user_id)
        yield from leftovers.check_leftovers(paths, seen, self._lock_timeout)
        yield from check_permissions(paths.user_id, paths.directory, DIRECTORY, self._owner)
        for name in sorted(seen.files):
            yield from check_permissions(paths.user_id, os.path.join(paths.directory, name), FILE, self._owner)
