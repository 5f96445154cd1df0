"""Watching fleets: one thread per store reads the fleets of watched users, and wakes the tasks that wait for a change.

The notices of the operating system only make it fast. What makes it reliable is that every watched user is read once a
second: notices get lost (a queue overflows, the file system is on a network, a limit is reached, an ancestor of the
root is renamed). One thread serves all watches, since an account may have only 128 inotify instances, and a server
hundreds of watches. So a disk that is stuck under one user delays the watches of all.
"""

from __future__ import annotations

import concurrent.futures
import errno
import hashlib
import math
import threading
import weakref
from collections.abc import AsyncIterator
from functools import partial
from typing import NamedTuple

import anyio

from petfleet._backends.protocol import Backend
from petfleet._commit import Waiter
from petfleet._model.errors import copy_error
from petfleet._model.fleet import PetFleet
from petfleet._toml import encode
from petfleet._util import runtime
from petfleet._util.fork import start_clean_in_child


class _Outcome(NamedTuple):
    """What reading a user's fleet returned or raised; equal keys mean equal outcomes."""

    key: object
    found: PetFleet | Exception


class _Watched:
    """A watched user."""

    def __init__(self, user_id: str) -> None:
        self.user_id = user_id
        self.watches: weakref.WeakSet[Watch] = weakref.WeakSet()
        # Strong references: often nothing else refers to a waiting task, and the garbage collector would destroy it.
        self.waiters: set[Waiter] = set()
        self.joined = 0  # the number of the first turn that serves the latest watch
        self.fingerprint: object = None
        self.outcome: _Outcome | None = None
        self.last_read: float = 0  # the number of the last turn that read the fleet

    def wake(self) -> None:
        """Wake all tasks that wait for an outcome."""
        Waiter.wake(self.waiters.copy())

    def is_left(self) -> bool:
        """Return whether nothing watches the user any more."""
        for waiter in self.waiters.copy():
            if waiter.loop_is_closed():
                self.waiters.discard(waiter)  # its task never wakes, and keeps its watch alive
        return not self.watches and not self.waiters


class _WatchThread:
    """A running thread, and the signal that ends its waits."""

    thread: threading.Thread

    def __init__(self) -> None:
        self.stopped = False

    def is_set(self) -> bool:
        """Return whether to stop waiting: a watch joined, or the interpreter waits for its threads to end."""
        return self.stopped or not threading.main_thread().is_alive()


class Watching:
    """Serves all watches of a store, in a thread that lives as long as there are any.

    Args:
        backend: where the fleets live.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self.start_clean()
        start_clean_in_child(self)

    def start_clean(self) -> None:
        """Start without thread and watches. Also called in a forked child, whose watches join again."""
        self._mutex = threading.Lock()
        self._users: dict[str, _Watched] = {}
        self._running: _WatchThread | None = None
        self._turn = 0

    # --- in the event loop -------------------------------------------------------------------------------------------

    def watch(self, user_id: str) -> Watch:
        """Return a watch, which joins when it is first awaited; ModuleNotFoundError if watchfiles is missing."""
        self._backend.check_notices()
        return Watch(self, user_id)

    def join(self, watch: Watch) -> _Watched:
        """Return the user that the watch waits for, and start the thread if there is none.

        Raises:
            OSError: the thread could not be started.
        """
        with self._mutex:
            if self._running is None:
                current = _WatchThread()
                # Not a daemon: the interpreter unwinds daemons wherever they are when it ends, and Rust code, in which
                # watchfiles waits, must not be unwound. This thread ends by itself after the main thread.
                current.thread = runtime.start_thread(partial(self._work, current), "petfleet-watch", daemon=False)
                self._running = current
            watched = self._users.get(watch._user_id)
            if watched is None:
                watched = self._users[watch._user_id] = _Watched(watch._user_id)
            if watch not in watched.watches:
                watched.watches.add(watch)
                # A read under way may return what was there before the call.
                watch._since = watched.joined = self._turn + 1
                self._running.stopped = True
            return watched

    def leave(self, watch: Watch) -> None:
        """Remove a watch, and wake the tasks that wait in it."""
        with self._mutex:
            watched = self._users.get(watch._user_id)
            if self._running is not None:
                self._running.stopped = True
        if watched is not None:
            watched.watches.discard(watch)
            watched.wake()

    async def aclose(self) -> None:
        """End the thread if nothing is watched any more."""
        with self._mutex:
            self._forget_left()
            if self._users or self._running is None:
                return
            current, self._running = self._running, None
            current.stopped = True
        await anyio.to_thread.run_sync(current.thread.join, abandon_on_cancel=True)

    # --- in the thread -----------------------------------------------------------------------------------------------

    def _work(self, current: _WatchThread) -> None:
        try:
            self._watch_all(current)
        except BaseException as error:  # noqa: BLE001 - every error must reach the waiting tasks
            self._fail(current, error)

    def _watch_all(self, current: _WatchThread) -> None:
        # In no attribute: a forked child must not touch, nor even drop, what threads of its parent use.
        notices = self._backend.notices(current)
        at_once = self._backend.snapshots_at_once
        # It starts threads only when it needs them.
        readers = concurrent.futures.ThreadPoolExecutor(at_once, "petfleet-watch-read")
        try:
            next_poll = math.inf
            named: set[str] | None = None  # the users that notices name; None means all
            while watched := self._begin(current):
                is_poll = runtime.monotonic() >= next_poll
                new = {user_id for user_id, each in watched.items() if each.joined > each.last_read}
                if is_poll:
                    named = None
                # Before reading, so that no change between the two is missed.
                if (named is None or new) and notices.subscribe(watched):
                    named = None
                if named is None:
                    named = set(watched)
                    next_poll = runtime.monotonic() + self._backend.poll_seconds
                due = [watched[user_id] for user_id in (named | new) & watched.keys()]
                changed = list((map if at_once == 1 else readers.map)(self._refresh, due))
                if any(changed) and is_poll and notices.invalidate():
                    named = None
                else:
                    named = notices.wait(next_poll - runtime.monotonic())
        finally:
            readers.shutdown()
            notices.close()

    def _begin(self, current: _WatchThread) -> dict[str, _Watched]:
        """Begin a turn, and return the watched users; none to end."""
        if not threading.main_thread().is_alive():
            raise OSError(errno.ECANCELED, "the interpreter is ending: petfleet watches no more", str(self._backend))
        with self._mutex:
            if self._running is not current:
                return {}
            self._forget_left()
            if not self._users:
                self._running = None
            current.stopped = False
            self._turn += 1
            return self._users.copy()

    def _forget_left(self) -> None:
        for user_id, watched in list(self._users.items()):
            if watched.is_left():
                del self._users[user_id]

    def _refresh(self, watched: _Watched) -> bool:
        """Read a user's fleet, and return whether the outcome has changed."""
        changed = False
        found = self._read(watched)
        if found is not None:
            before, (watched.fingerprint, watched.outcome) = watched.outcome, found
            changed = before is None or before.key != watched.outcome.key
        first = watched.last_read < watched.joined
        watched.last_read = self._turn
        if changed or first:
            watched.wake()
        return changed

    def _read(self, watched: _Watched) -> tuple[object, _Outcome] | None:
        """Return what is there now, and its fingerprint; None if nothing has changed since the last time."""
        try:
            snapshot = self._backend.snapshot(watched.user_id, watched.fingerprint)
        except Exception as error:  # noqa: BLE001 - it belongs to the watches
            return None, _Outcome((type(error), str(error)), error.with_traceback(None))
        if snapshot is None:
            return None
        fleet = snapshot.fleet or PetFleet(watched.user_id)
        return snapshot.fingerprint, _Outcome(_key(fleet), fleet)

    def _fail(self, current: _WatchThread, error: BaseException) -> None:
        """Give all watches an error; the next call of any of them starts a thread again."""
        with self._mutex:
            if self._running is not current:
                return
            users, self._users, self._running = self._users, {}, None
        if not isinstance(error, Exception):
            error = RuntimeError(f"{type(error).__name__}: {error}")
        # A key unlike any other, so that an equal error is reported again the next time.
        outcome = _Outcome(object(), error.with_traceback(None))
        for watched in users.values():
            watched.outcome = outcome
            watched.last_read = math.inf
            watched.wake()


class Watch(AsyncIterator[PetFleet]):
    """An iterator over a user's fleet, now and after every change, as :meth:`petfleet.FleetStore.watch` returns it.

    Use it in one task at a time. Programs do not create it themselves.
    """

    __module__ = "petfleet"

    # Not a generator: closing one that was dropped early needs an event loop.

    def __init__(self, watching: Watching, user_id: str) -> None:
        self._watching = watching
        self._given: object = None  # the key of what was returned or raised last
        self._closed = False
        self._user_id = user_id
        self._since = 0

    async def __anext__(self) -> PetFleet:
        """Return the fleet: in the first call as it is now, in later ones after its next change.

        Raises:
            StopAsyncIteration: the watch was closed.
            Exception: the fleet cannot be read now. The same error is raised once; the next call waits for a change.
        """
        while not self._closed:
            watched = self._watching.join(self)
            waiter = Waiter()
            watched.waiters.add(waiter)
            try:
                # Only after adding the waiter, so that any later outcome wakes it.
                if self._new(watched) is None and not self._closed:
                    await waiter.wait(math.inf)
            finally:
                # Without a lock: the garbage collector may close a dead loop's coroutine inside any lock of ours.
                watched.waiters.discard(waiter)
            outcome = self._new(watched)
            if outcome is not None:
                self._given = outcome.key
                if isinstance(outcome.found, Exception):
                    raise copy_error(outcome.found)
                return outcome.found
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """End the iteration, also for a task that waits in it. May be called more than once.

        Dropping the iterator ends it too.
        """
        self._closed = True
        self._watching.leave(self)

    def _new(self, watched: _Watched) -> _Outcome | None:
        """Return the outcome if it was read since this watch began, and differs from the last one returned."""
        # Checked before the outcome is fetched: the thread sets the two in the opposite order.
        if watched.last_read < self._since:
            return None
        outcome = watched.outcome
        return None if outcome is None or outcome.key == self._given else outcome


def _key(fleet: PetFleet) -> object:
    try:
        text = encode.dumps(fleet)
    except ValueError:
        text = repr(fleet)  # readable in its own layout, but too large in ours
    return hashlib.sha256(text.encode()).digest()
