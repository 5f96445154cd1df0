"""What the operating system tells of changes in the directories of watched users, as far as it does. Blocking."""

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

_STEP_MS: Final = 20  # how often it looks whether something was told: each look takes the interpreter for a moment
_BURST_MS: Final = 60  # how long what is told in a row is gathered at most
_MAX_TRIES: Final = 3  # to arm while directories come and go


class Notices:
    """Tells of whom something was changed. It may miss some, or all: to be sure, look now and then.

    For one thread. It never raises for what the operating system refuses; that is one warning in the log.

    Args:
        root: the directory of all fleets; it need not exist.
        stop: ends a wait early.
    """

    def __init__(self, root: str, stop: StopSignal) -> None:
        self._root = root
        self._stop = stop
        self._notify: RustNotify | None = None
        self._armed: dict[str, tuple[int, int]] | None = None  # each directory that is watched, and which one it is
        self._users: dict[str, str] = {}  # the users' directories, whether they exist or not
        self._anchor = ""  # the root, or the nearest directory above it that exists
        self._trusted = False
        self._warned = False

    def subscribe(self, users: Iterable[str]) -> bool:
        """Have changes told of these users from now on; True if what was changed before it returned may be untold."""
        self._users = {UserPaths(self._root, user).directory: user for user in users}
        wanted = self._directories()
        if self._trusted and wanted == self._armed:
            return False
        for _ in range(_MAX_TRIES):
            self._arm(wanted)
            before, wanted = wanted, self._directories()
            if before == wanted:
                break  # else one was made just before its parent was armed
        return True

    def invalidate(self) -> bool:
        """Arm anew the next time, whatever is armed: something was not told."""
        self._trusted = False
        return True

    def wait(self, seconds: float) -> set[str] | None:
        """Wait until something is told, at most so long.

        Returns:
            The users of whom something was changed; None if it may be anyone, or the time is over, or it was stopped.
        """
        if self._notify is not None:
            try:
                # Not back too early; and 0 would be for ever.
                told = self._notify.watch(_BURST_MS, _STEP_MS, max(1, math.ceil(seconds * 1000)), self._stop)
            except Exception as error:  # noqa: BLE001 - whatever it is, the looks go on
                self._refused(error)
            else:
                return self._meant(path for _, path in told) if isinstance(told, set) else None
        runtime.sleep_unless(self._stop.is_set, seconds)
        return None

    def close(self) -> None:
        """End it; its descriptors are closed soon after."""
        if self._notify is not None:
            self._notify.close()
        self._notify = self._armed = None

    def _arm(self, wanted: dict[str, tuple[int, int]]) -> None:
        # Not watchfiles.watch(): it logs each change as INFO, and cannot be called back without arming anew.
        from watchfiles._rust_notify import RustNotify

        # First, so that there are never two: an account has 128 of them. What it still had to tell is looked at anyway.
        self.close()
        try:
            # Not recursive: it would watch all users.
            self._notify = RustNotify(list(wanted), False, False, 0, False, True)
        except Exception as error:  # noqa: BLE001 - of several kinds, when the system's limits are reached
            self._refused(error)
        else:
            self._armed = wanted
            self._trusted = True
            self._warned = False

    def _refused(self, error: Exception) -> None:
        self.close()
        if not self._warned:
            log.warning("watching %s by looking now and then, since no changes are told: %s", self._root, error)
            self._warned = True

    def _directories(self) -> dict[str, tuple[int, int]]:
        """Return what is to be armed: each path that is a directory now, and which one that is."""
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

    def _meant(self, paths: Iterable[str]) -> set[str] | None:
        """Return whose files these paths are; None if one of them is a directory, or nothing that is known."""
        users = set()
        for path in paths:
            parent = os.path.dirname(path)
            if parent in self._users:
                users.add(self._users[parent])
            elif parent != self._anchor or path in self._users or f"{self._root}{os.sep}".startswith(path + os.sep):
                self._trusted = False  # a directory made again may have the number of the one before
                return None
        return users


def _directory(path: str, *, follow: bool) -> tuple[int, int] | None:
    """Return which directory has that name; None if there is none, or it may not be looked at."""
    try:
        status = os.stat(path, follow_symlinks=follow)
    except OSError:
        return None
    return (status.st_dev, status.st_ino) if stat.S_ISDIR(status.st_mode) else None
