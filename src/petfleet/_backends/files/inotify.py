"""Notices of changes in the directories of watched users, from the operating system."""

from __future__ import annotations

import math
import os
import stat
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from petfleet._backends.files.paths import UserPaths
from petfleet._backends.protocol import StopSignal
from petfleet._util import log, runtime

if TYPE_CHECKING:
    from watchfiles._rust_notify import RustNotify

_STEP_MS: Final = 20  # between two checks for events: each check holds the interpreter for a moment
_BURST_MS: Final = 60  # how long events in a row are gathered at most
_MAX_TRIES: Final = 3  # of subscribing while directories come and go


class Notices:
    """Tells whose files have changed, for one thread. It may miss changes: the store polls besides.

    Never raises if the operating system refuses to watch: it logs one warning, and tells nothing until it can.

    Args:
        root: the directory of all fleets; it need not exist.
        stop: ends a wait early.
    """

    def __init__(self, root: str, stop: StopSignal) -> None:
        self._root = root
        self._stop = stop
        self._notify: RustNotify | None = None
        self._subscribed: dict[str, tuple[int, int]] | None = None  # each watched path, with device and inode
        self._users: dict[str, str] = {}  # the users by directory, whether it exists or not
        self._anchor = ""  # the root, or the nearest directory above it that exists
        self._valid = False  # whether what is subscribed is still what should be
        self._warned = False

    def subscribe(self, users: Iterable[str]) -> bool:
        """Tell of changes of these users from now on; True if changes made before this returned may be missed."""
        self._users = {UserPaths(self._root, user).directory: user for user in users}
        wanted = self._directories()
        if self._valid and wanted == self._subscribed:
            return False
        for _ in range(_MAX_TRIES):
            self._subscribe(wanted)
            before, wanted = wanted, self._directories()
            if before == wanted:
                break  # otherwise a directory was made just before its parent was watched
        return True

    def invalidate(self) -> bool:
        """Make the next call of subscribe start over, since a change was missed."""
        self._valid = False
        return True

    def wait(self, seconds: float) -> set[str] | None:
        """Wait until a file has changed, for at most that time, or until the signal to stop is set.

        Returns:
            The users whose files may have changed; None for all of them, and if nothing was told.
        """
        if self._notify is not None:
            try:
                # Rounded up, so that it does not return early; 0 would wait forever.
                events = self._notify.watch(_BURST_MS, _STEP_MS, max(1, math.ceil(seconds * 1000)), self._stop)
            except Exception as error:  # noqa: BLE001 - whatever it is, polling goes on
                self._refused(error)
            else:
                return self._users_of(path for _, path in events) if isinstance(events, set) else None
        runtime.sleep_unless(self._stop.is_set, seconds)
        return None

    def close(self) -> None:
        """Stop watching; the descriptors are closed soon after."""
        if self._notify is not None:
            self._notify.close()
        self._notify = self._subscribed = None

    def _subscribe(self, wanted: dict[str, tuple[int, int]]) -> None:
        # Not watchfiles.watch(): it logs each change as INFO, and cannot be stopped without subscribing anew.
        from watchfiles._rust_notify import RustNotify

        # Before the next one is made: an account has only 128 inotify instances. The caller takes a snapshot of all
        # users after this, so the events that are dropped here are not missed.
        self.close()
        try:
            # Not recursive: that would watch every user's directory.
            self._notify = RustNotify(list(wanted), False, False, 0, False, True)
        except Exception as error:  # noqa: BLE001 - several kinds of errors mean that a limit is reached
            self._refused(error)
        else:
            self._subscribed = wanted
            self._valid = True
            self._warned = False

    def _refused(self, error: Exception) -> None:
        self.close()
        if not self._warned:
            log.warning("watching %s by polling, since the system tells of no changes: %s", self._root, error)
            self._warned = True

    def _directories(self) -> dict[str, tuple[int, int]]:
        """Return each directory to watch that exists now, with its device and inode."""
        self._anchor = self._root
        while (anchor := _directory(self._anchor, follow=True)) is None and self._anchor != os.path.dirname(
            self._anchor
        ):
            self._anchor = os.path.dirname(self._anchor)
        found = {} if anchor is None else {self._anchor: anchor}
        if self._anchor == self._root:
            for path in self._users:
                if (directory := _directory(path, follow=False)) is not None:
                    found[path] = directory
        return found

    def _users_of(self, paths: Iterable[str]) -> set[str] | None:
        """Return the users whose files these are; None if one is a watched directory, or cannot be attributed."""
        users = set()
        for path in paths:
            parent = os.path.dirname(path)
            if parent in self._users:
                users.add(self._users[parent])
            elif parent != self._anchor or path in self._users or f"{self._root}{os.sep}".startswith(path + os.sep):
                self._valid = False  # a directory that is made again may get the same inode
                return None
        return users


def _directory(path: str, *, follow: bool) -> tuple[int, int] | None:
    """Return device and inode of a directory; None if there is none, or it is not accessible."""
    try:
        status = os.stat(path, follow_symlinks=follow)
    except OSError:
        return None
    return (status.st_dev, status.st_ino) if stat.S_ISDIR(status.st_mode) else None
