"""Checks for what dead writers left beside a fleet, as opposed to what a writer at work is using. Changes nothing."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Final, NamedTuple

from petfleet._backends.files import disk
from petfleet._backends.files.lock import UserLock, lock_timeout_error
from petfleet._backends.files.paths import LOCK_FILE, UserPaths
from petfleet._cli.checks.finding import Finding, reason, unreadable
from petfleet._cli.output import printable
from petfleet._model.errors import FleetFormatError
from petfleet._model.names import FLEET_FILE

_PAUSE: Final = 0.002  # seconds between two tries
_STAY: Final = 0.25  # seconds for which something must stay unchanged to be a leftover, if its lock cannot be tried


class Leftovers(NamedTuple):
    """What of petfleet's is in a user's directory.

    Attributes:
        files: which of the fleet file and the lock file exist.
        temporaries: the names of the temporary files.
        unfinished: the writer that has noted in the lock file that it began a commit, and when.
        trouble: why the lock file could not be read or locked.
    """

    files: frozenset[str] = frozenset()
    temporaries: frozenset[str] = frozenset()
    unfinished: str | None = None
    trouble: OSError | FleetFormatError | None = None

    @property
    def suspicious(self) -> bool:
        """Whether a writer is at work, or has died."""
        return bool(self.temporaries) or self.unfinished is not None

    def lasting(self, later: Leftovers) -> Leftovers:
        """Return what is still there later. A writer at work uses other names and times for its next commit."""
        unfinished = self.unfinished if self.unfinished == later.unfinished else None
        return self._replace(temporaries=self.temporaries & later.temporaries, unfinished=unfinished)


def read(paths: UserPaths) -> Leftovers:
    """Return what is there now, without taking the lock.

    Raises:
        OSError: the directory cannot be read; FileNotFoundError if it has gone.
    """
    files, temporaries = _entries(paths)
    try:
        # Read-only, even though nothing is written: watchers of the directory are notified when a writable file closes.
        with closing(UserLock(paths.lock, create=False, writable=False)) as lock:
            return Leftovers(files, temporaries, _unfinished(lock))
    except (FileNotFoundError, NotADirectoryError):
        return Leftovers(files, temporaries)
    except (OSError, FleetFormatError) as error:
        return Leftovers(files, temporaries, trouble=error)


def check_leftovers(paths: UserPaths, seen: Leftovers, lock_timeout: float) -> Iterator[Finding]:
    """Yield what dead writers left in a user's directory.

    Args:
        paths: the user's.
        seen: what was there a moment ago.
        lock_timeout: seconds to wait for the lock.
    """
    try:
        found = confirm(paths, seen, lock_timeout)
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        yield unreadable(paths.directory, error, paths.user_id)
        return
    perhaps, why = "", ""
    if found.trouble is not None:
        perhaps, why = "perhaps ", f" (its lock could not be tried: {reason(found.trouble)})"
    way_out = "the next program to use the fleet clears up, or petfleet check --repair"
    for name in sorted(found.temporaries):
        message = f"{perhaps}a temporary file that no living writer uses{why}: {way_out}"
        yield Finding("leftover", os.path.join(paths.directory, name), message, paths.user_id)
    if found.unfinished is not None:
        message = f"{perhaps}a writer that died or could not sync, {printable(found.unfinished)}{why}: {way_out}"
        yield Finding("dead-writer", paths.lock, message, paths.user_id)


def confirm(paths: UserPaths, seen: Leftovers, lock_timeout: float) -> Leftovers:
    """Return what no writer is using: what is there under the lock, or nothing if others keep the lock.

    If the lock cannot be tried, ``trouble`` says why, and the rest is what stayed unchanged for a while.

    Args:
        paths: the user's.
        seen: what was there a moment ago.
        lock_timeout: seconds to wait for the lock.

    Raises:
        OSError: the directory cannot be read; FileNotFoundError if it has gone.
    """
    give_up = time.monotonic() + lock_timeout
    while seen.suspicious:
        try:
            with closing(_open(paths.lock)) as lock:
                if lock.try_acquire() and lock.is_at_path():
                    return Leftovers(*_entries(paths), _unfinished(lock))
                seen = seen.lasting(Leftovers(*_entries(paths), _unfinished(lock)))
        except FileNotFoundError:
            # A writer makes its temporary file beside a lock file that it holds. A deletion may have come between the
            # two reads, but no file of that name comes back.
            return _wait_for_change(paths, seen)
        except (OSError, FleetFormatError) as error:
            return _wait_for_change(paths, seen)._replace(trouble=error)
        if time.monotonic() >= give_up:
            break
        time.sleep(_PAUSE)
    return Leftovers()


@contextmanager
def locked(paths: UserPaths, lock_timeout: float) -> Iterator[UserLock]:
    """Hold the user's lock; its file is made if it is missing.

    Args:
        paths: the user's.
        lock_timeout: seconds to wait for it.

    Raises:
        LockTimeoutError: others keep it.
        OSError, FleetFormatError: it cannot be taken.
    """
    give_up = time.monotonic() + lock_timeout
    while True:
        disk.refuse_link(paths.directory)
        with closing(UserLock(paths.lock, create=True)) as lock:
            # In the other order, a deletion could unlink the file between the two.
            if lock.try_acquire() and lock.is_at_path():
                yield lock
                return
        if time.monotonic() >= give_up:
            raise lock_timeout_error(paths.lock, lock_timeout)
        time.sleep(_PAUSE)


def _wait_for_change(paths: UserPaths, seen: Leftovers) -> Leftovers:
    give_up = time.monotonic() + _STAY
    seen = seen.lasting(read(paths))
    while seen.suspicious and time.monotonic() < give_up:
        time.sleep(_PAUSE)
        seen = seen.lasting(read(paths))
    return seen


def _entries(paths: UserPaths) -> tuple[frozenset[str], frozenset[str]]:
    files, temporaries = set(), set()
    with disk.retry_eintr(os.scandir, paths.directory) as entries:
        for entry in entries:
            if entry.name in (FLEET_FILE, LOCK_FILE):
                files.add(entry.name)
            # Writers neither make directories nor remove them.
            elif disk.is_temporary(entry.name, FLEET_FILE) and not entry.is_dir(follow_symlinks=False):
                temporaries.add(entry.name)
    return frozenset(files), frozenset(temporaries)


def _open(path: str) -> UserLock:
    try:
        return UserLock(path, create=False)
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise
        # Not from /proc/locks, which does not show locks of other machines and containers.
        return UserLock(path, create=False, writable=False)


def _unfinished(lock: UserLock) -> str | None:
    marker = lock.marker()
    return marker.note if marker is not None and marker.state == "writing" else None
