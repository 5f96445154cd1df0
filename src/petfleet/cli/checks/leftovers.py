"""What writers that died may have left beside a fleet, told from what living ones are just using. Changes nothing."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Final, NamedTuple

from petfleet._backends.files import disk
from petfleet._backends.files.lock import UserLock, lock_timeout_error
from petfleet._backends.files.paths import FLEET_FILE, LOCK_FILE, UserPaths
from petfleet._model.errors import FleetFormatError

_PAUSE: Final = 0.002  # seconds between two looks
_WATCHED: Final = 0.25  # seconds that a temporary file has to stay where no lock can tell whether it is in use


class Traces(NamedTuple):
    """What a user's directory holds of petfleet's.

    Attributes:
        files: which of the fleet and the lock file are there.
        temporaries: the names of the temporary files.
        unfinished: who says in the lock file to be writing, and since when.
        trouble: why the lock file could not be looked into, or not be locked.
    """

    files: frozenset[str] = frozenset()
    temporaries: frozenset[str] = frozenset()
    unfinished: str | None = None
    trouble: OSError | FleetFormatError | None = None

    @property
    def suspicious(self) -> bool:
        """Whether a writer is at work, or has died."""
        return bool(self.temporaries) or self.unfinished is not None

    def lasting(self, later: Traces) -> Traces:
        """Return what a later look still shows. A living writer's traces go: each commit's are told from the next's."""
        unfinished = self.unfinished if self.unfinished == later.unfinished else None
        return self._replace(temporaries=self.temporaries & later.temporaries, unfinished=unfinished)


def look(place: UserPaths) -> Traces:
    """Return what there is just now, without the lock.

    Raises:
        OSError: the directory cannot be looked into; FileNotFoundError if it has gone.
    """
    files, temporaries = _entries(place)
    try:
        # Not to be written to, not even where nothing is: who watches the directory would be told of each close.
        with closing(UserLock(place.lock, create=False, writable=False)) as lock:
            return Traces(files, temporaries, _unfinished(lock))
    except (FileNotFoundError, NotADirectoryError):
        return Traces(files, temporaries)
    except (OSError, FleetFormatError) as error:
        return Traces(files, temporaries, trouble=error)


def confirm(place: UserPaths, seen: Traces, lock_timeout: float) -> Traces:
    """Return what no living writer uses: as it is under the lock, or nothing where the lock stays held by others.

    Where the lock cannot be tried, ``trouble`` says why, and the rest is what stayed while it was watched.

    Args:
        seen: what made it worth a look.
        lock_timeout: seconds to wait for the lock.

    Raises:
        OSError: the directory cannot be looked into; FileNotFoundError if it has gone.
    """
    give_up = time.monotonic() + lock_timeout
    while seen.suspicious:
        try:
            with closing(_open(place.lock)) as lock:
                if lock.try_acquire() and lock.is_at_path():
                    return Traces(*_entries(place), _unfinished(lock))
                seen = seen.lasting(Traces(*_entries(place), _unfinished(lock)))
        except FileNotFoundError:
            # A writer makes its temporary file beside a lock file that it holds. A deletion may have come in between
            # the two looks, but no file of that name comes back.
            return _watch(place, seen)
        except (OSError, FleetFormatError) as error:
            return _watch(place, seen)._replace(trouble=error)
        if time.monotonic() >= give_up:
            break
        time.sleep(_PAUSE)
    return Traces()


@contextmanager
def locked(place: UserPaths, lock_timeout: float) -> Iterator[UserLock]:
    """Hold the user's lock for a while, making its file if need be.

    Args:
        lock_timeout: seconds to wait for it.

    Raises:
        LockTimeoutError: it stayed held.
        OSError, FleetFormatError: it cannot be had.
    """
    give_up = time.monotonic() + lock_timeout
    while True:
        disk.refuse_link(place.directory)
        with closing(UserLock(place.lock, create=True)) as lock:
            # The other way round, it could be unlinked by a deletion in between.
            if lock.try_acquire() and lock.is_at_path():
                yield lock
                return
        if time.monotonic() >= give_up:
            raise lock_timeout_error(place.lock, lock_timeout)
        time.sleep(_PAUSE)


def _watch(place: UserPaths, seen: Traces) -> Traces:
    give_up = time.monotonic() + _WATCHED
    seen = seen.lasting(look(place))
    while seen.suspicious and time.monotonic() < give_up:
        time.sleep(_PAUSE)
        seen = seen.lasting(look(place))
    return seen


def _entries(place: UserPaths) -> tuple[frozenset[str], frozenset[str]]:
    files, temporaries = set(), set()
    with disk.retry_eintr(os.scandir, place.directory) as entries:
        for entry in entries:
            if entry.name in (FLEET_FILE, LOCK_FILE):
                files.add(entry.name)
            # No writer makes a directory, and none removes it.
            elif disk.is_temporary(entry.name, FLEET_FILE) and not entry.is_dir(follow_symlinks=False):
                temporaries.add(entry.name)
    return frozenset(files), frozenset(temporaries)


def _open(path: str) -> UserLock:
    try:
        return UserLock(path, create=False)
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise
        # Not by /proc/locks: it shows nothing of other machines and containers.
        return UserLock(path, create=False, writable=False)


def _unfinished(lock: UserLock) -> str | None:
    marker = lock.marker()
    return marker.note if marker is not None and marker.state == "writing" else None
