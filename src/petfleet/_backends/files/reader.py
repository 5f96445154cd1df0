"""Reading a user's fleet file. A file that another program may be rewriting in place is read again."""

from __future__ import annotations

import os
import time
from typing import Final, NamedTuple, TypeAlias

from petfleet._backends.files import disk
from petfleet._backends.files.paths import UserPaths
from petfleet._backends.state import ABSENT, State, oversized_state, parse_state
from petfleet._toml import limits
from petfleet._util import runtime
from petfleet._util.cache import BoundedCache

# Seconds. The old program truncates the file and writes it in place. So a file that is no fleet, and is empty or was
# written to less than this ago, is read again, for at most this long.
_TORN_SECONDS: Final = 0.1
_TORN_PAUSE: Final = 0.002  # seconds between two of these reads


class _Known(NamedTuple):
    """The bytes that the user's last commit left, and the state that they mean."""

    data: bytes | None
    state: State


Fingerprint: TypeAlias = tuple[int, ...]


class Reader:
    """Reads fleet files, with the user's lock or without, and keeps parsed states in a cache."""

    def __init__(self) -> None:
        # A cached state counts only if the file still holds the same bytes, so it cannot be stale.
        self._known: BoundedCache[str, _Known] = BoundedCache(1024, 8 * 1024 * 1024)
        # For each user whose file stayed torn, its identity.
        self._waited_for: BoundedCache[str, str] = BoundedCache(2048, 1024 * 1024)

    def remember(self, paths: UserPaths, data: bytes | None, state: State) -> None:
        """Keep the state that those bytes mean."""
        # A parsed fleet takes about three times the bytes of its text.
        self._known.put(paths.user_id, _Known(data, state), 4 * len(data or b""))

    def forget(self, paths: UserPaths) -> None:
        """Drop what is kept of that user."""
        self._known.forget(paths.user_id)

    def read(self, paths: UserPaths) -> tuple[disk.Stored | None, State]:
        """Return the fleet file and its state; wait, for at most 0.1 s, while another program may be rewriting it."""
        give_up = runtime.monotonic() + _TORN_SECONDS
        while True:
            # Taken before reading, so that a later delay neither makes the file look old nor uses up the last retry.
            began, now = runtime.monotonic(), time.time()
            stored = disk.read(paths.fleet, limits.MAX_BYTES)
            state = self._state(paths, stored)
            if stored is None or stored.data is None or state.error is None or not state.overwritable:
                return stored, state
            if not self._may_be_torn(paths, stored, now - _TORN_SECONDS):
                return stored, state
            if began > give_up:
                self._waited_for.put(paths.user_id, identity(stored), len(paths.user_id))
                return stored, state
            time.sleep(_TORN_PAUSE)

    def _may_be_torn(self, paths: UserPaths, stored: disk.Stored, since: float) -> bool:
        """Return whether another program may be rewriting a file that is no fleet, or was since that time."""
        if self._waited_for.get(paths.user_id) == identity(stored):
            return False
        if not stored.data:
            return True  # even if it looks old: a truncated file gets its size at once, its time up to 20 ms later
        try:
            # Not the time that it had when it was opened: it may have been truncated between the open and the read.
            written = os.lstat(paths.fleet).st_mtime
        except FileNotFoundError:
            return True
        return since <= written <= time.time() + _TORN_SECONDS

    def _state(self, paths: UserPaths, stored: disk.Stored | None) -> State:
        if stored is None:
            return ABSENT
        known = self._known.get(paths.user_id)
        if stored.data is None:
            return oversized_state(stored.status.st_size, paths.fleet)
        if known is not None and known.data == stored.data:
            return known.state
        return parse_state(stored.data, paths.user_id, paths.fleet)


def fingerprint(paths: UserPaths) -> Fingerprint | None:
    """Return what differs whenever the user's file has changed, without reading it; None if only reading can tell."""
    found: Fingerprint = ()
    try:
        directory = os.lstat(paths.directory)
        found = (directory.st_dev, directory.st_ino)
        file = os.lstat(paths.fleet)
    except FileNotFoundError:
        return found
    except OSError:
        return None
    if not disk.settled(file):
        return None
    return (*found, file.st_ino, file.st_size, file.st_ctime_ns)


def identity(stored: disk.Stored | None) -> str:
    """Return what tells this content from any other, and from a missing file."""
    return "none" if stored is None else disk.identity(stored.status, stored.data)
