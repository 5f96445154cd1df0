"""What a user's file holds, and what that means; a file that others may just be rewriting is read again."""

from __future__ import annotations

import os
import time
from typing import Final, NamedTuple, TypeAlias

from petfleet._backends.files import disk
from petfleet._backends.files.paths import UserPaths
from petfleet._backends.state import ABSENT, State, parse_state
from petfleet._toml import limits
from petfleet._util import runtime
from petfleet._util.cache import BoundedCache

# Seconds. The old program truncates the file and writes it in place: what cannot be parsed and is empty, or was written
# to no longer ago than this, is read again for no longer than this.
_TORN_SECONDS: Final = 0.1
_TORN_PAUSE: Final = 0.002  # seconds between two of these reads


class _Known(NamedTuple):
    """The last bytes that a user's commit saw, and what they mean."""

    data: bytes | None
    state: State


Fingerprint: TypeAlias = tuple[int, ...]


class Reader:
    """Reads fleets, under the user's lock or without, and remembers the last ones."""

    def __init__(self) -> None:
        # Bytes are compared, so this cannot be stale.
        self._known: BoundedCache[str, _Known] = BoundedCache(1024, 8 * 1024 * 1024)
        self._waited_for: BoundedCache[str, str] = BoundedCache(
            2048, 1024 * 1024
        )  # a user's file that stayed torn: its identity

    def remember(self, paths: UserPaths, data: bytes | None, state: State) -> None:
        """Keep what those bytes mean."""
        # A fleet holds about three times the bytes of its text.
        self._known.put(paths.user_id, _Known(data, state), 4 * len(data or b""))

    def forget(self, paths: UserPaths) -> None:
        """Keep nothing of that user."""
        self._known.forget(paths.user_id)

    def read(self, paths: UserPaths) -> tuple[disk.Stored | None, State]:
        """Read the fleet file and say what it means; again, while it looks as if something were rewriting it."""
        give_up = runtime.monotonic() + _TORN_SECONDS
        while True:
            # Of before the read: to be held up after it makes no file look old, and uses up no one's last try.
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
        """Return whether a file that means no fleet may just be being rewritten, or was at that time."""
        if self._waited_for.get(paths.user_id) == identity(stored):
            return False
        if not stored.data:
            return True  # however old it looks: a truncated file gets its size first, and its time up to 20 ms later
        try:
            # Not by its time when it was opened: it may have been truncated between that and the read.
            written = os.lstat(paths.fleet).st_mtime
        except FileNotFoundError:
            return True
        return since <= written <= time.time() + _TORN_SECONDS

    def _state(self, paths: UserPaths, stored: disk.Stored | None) -> State:
        if stored is None:
            return ABSENT
        known = self._known.get(paths.user_id)
        if known is not None and stored.data is not None and known.data == stored.data:
            return known.state
        return parse_state(stored.data, stored.status.st_size, paths.user_id, paths.fleet)


def fingerprint(paths: UserPaths) -> Fingerprint | None:
    """Return what tells a user's file from what it was, without reading it; None where only reading it does."""
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
    """Return what tells this content from any other, and from no file."""
    return "none" if stored is None else disk.identity(stored.status, stored.data)
