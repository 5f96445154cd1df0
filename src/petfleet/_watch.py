"""Watching fleets: one thread a store looks at the files of watched users, and wakes who waits for a change.

What the operating system tells of changes (``notices``) only makes it fast. What makes it sure is a look at every
watched user once a second: notices get lost (a queue that overflows, a network file system, a limit reached, an
ancestor of the root that is renamed). One thread for all watchers, since an account may have 128 inotify instances, and
hundreds of streams of a server one watcher each; so a disk that is stuck under one user holds up the others' watchers.
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
from petfleet._commit.waiter import Waiter
from petfleet._model.errors import copy_error
from petfleet._model.fleet import PetFleet
from petfleet._toml import encode
from petfleet._util import runtime
from petfleet._util.fork import start_clean_in_child


class _Outcome(NamedTuple):
    """What a look at a user's file brought; equal keys mean the same."""

    key: object
    found: PetFleet | Exception


class _Watched:
    """A user, and who watches."""

    def __init__(self, user_id: str) -> None:
        self.user_id = user_id
        self.watches: weakref.WeakSet[Watch] = weakref.WeakSet()
        # Held, since nothing else may hold a task that waits: the garbage collector would end it.
        self.waiters: set[Waiter] = set()
        self.joined = 0  # the first turn that looks for the last one who joined
        self.fingerprint: object = None
        self.outcome: _Outcome | None = None
        self.looked: float = 0  # the turn of the last look

    def wake(self) -> None:
        """Have all who wait look at the outcome."""
        Waiter.wake(self.waiters.copy())

    def is_left(self) -> bool:
        """Return whether no one watches any more."""
        for waiter in self.waiters.copy():
            if waiter.loop_is_closed():
                self.waiters.discard(waiter)  # its task will never be woken, and holds its watch
        return not self.watches and not self.waiters


class _WatchThread:
    """One life of the thread."""

    thread: threading.Thread

    def __init__(self) -> None:
        self.called = False

    def is_set(self) -> bool:
        """Return whether to stop waiting: someone joined, or the interpreter waits for its threads to end."""
        return self.called or not threading.main_thread().is_alive()


class Watching:
    """Looks after all watches of a store, in a thread that lives as long as there are any.

    Args:
        backend: where the fleets live.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self.start_clean()
        start_clean_in_child(self)

    def start_clean(self) -> None:
        """Begin without thread and watches: when made, and in a forked child, whose watches join again."""
        self._mutex = threading.Lock()
        self._users: dict[str, _Watched] = {}
        self._shift: _WatchThread | None = None
        self._turn = 0

    # --- in the event loop -------------------------------------------------------------------------------------------

    def watch(self, user_id: str) -> Watch:
        """Return a watch, which joins when it is first asked; ModuleNotFoundError if what it takes is missing."""
        self._backend.check_notices()
        return Watch(self, user_id)

    def join(self, watch: Watch) -> _Watched:
        """Return what the watch waits for, looked after by a thread.

        Raises:
            OSError: the thread could not be started.
        """
        with self._mutex:
            if self._shift is None:
                shift = _WatchThread()
                # Not a daemon: the interpreter's end unwinds those wherever they are, and watchfiles waits in Rust
                # code, which must not be unwound. It ends by itself once the main thread has. (Without _shift, too.)
                shift.thread = runtime.start_thread(partial(self._work, shift), "petfleet-watch", daemon=False)
                self._shift = shift
            watched = self._users.get(watch._user_id)
            if watched is None:
                watched = self._users[watch._user_id] = _Watched(watch._user_id)
            if watch not in watched.watches:
                watched.watches.add(watch)
                watch._since = watched.joined = self._turn + 1  # a look under way may see what was before the call
                self._shift.called = True
            return watched

    def leave(self, watch: Watch) -> None:
        """Forget a watch, and wake who waits in it."""
        with self._mutex:
            watched = self._users.get(watch._user_id)
            if self._shift is not None:
                self._shift.called = True
        if watched is not None:
            watched.watches.discard(watch)
            watched.wake()

    async def aclose(self) -> None:
        """End the thread if no one watches any more."""
        with self._mutex:
            self._forget_left()
            if self._users or self._shift is None:
                return
            shift, self._shift = self._shift, None
            shift.called = True
        await anyio.to_thread.run_sync(shift.thread.join, abandon_on_cancel=True)

    # --- in the thread -----------------------------------------------------------------------------------------------

    def _work(self, shift: _WatchThread) -> None:
        try:
            self._look_after_all(shift)
        except BaseException as error:  # noqa: BLE001 - whatever it is, those who wait must hear of it
            self._fail(shift, error)

    def _look_after_all(self, shift: _WatchThread) -> None:
        # In no attribute: after a fork the child must not touch, nor even drop, what threads of the parent use.
        notices = self._backend.notices(shift)
        at_once = self._backend.snapshots_at_once
        lookers = concurrent.futures.ThreadPoolExecutor(at_once, "petfleet-look")  # starts threads as it needs them
        try:
            next_look = math.inf
            named: set[str] | None = None  # all of them
            while watched := self._begin(shift):
                late = runtime.monotonic() >= next_look
                new = {user_id for user_id, each in watched.items() if each.joined > each.looked}
                if late:
                    named = None
                # Before the look: what changes between the two must not be missed.
                if (named is None or new) and notices.subscribe(watched):
                    named = None
                if named is None:
                    named = set(watched)
                    next_look = runtime.monotonic() + self._backend.poll_seconds
                due = [watched[user_id] for user_id in (named | new) & watched.keys()]
                changed = list((map if at_once == 1 else lookers.map)(self._look, due))
                if any(changed) and late and notices.invalidate():
                    named = None
                else:
                    named = notices.wait(next_look - runtime.monotonic())
        finally:
            lookers.shutdown()
            notices.close()

    def _begin(self, shift: _WatchThread) -> dict[str, _Watched]:
        """Begin a turn, and return who is watched; no one to end."""
        if not threading.main_thread().is_alive():
            raise OSError(errno.ECANCELED, "the interpreter is ending: petfleet watches no more", str(self._backend))
        with self._mutex:
            if self._shift is not shift:
                return {}
            self._forget_left()
            if not self._users:
                self._shift = None
            shift.called = False
            self._turn += 1
            return self._users.copy()

    def _forget_left(self) -> None:
        for user_id, watched in list(self._users.items()):
            if watched.is_left():
                del self._users[user_id]

    def _look(self, watched: _Watched) -> bool:
        """Look at a user's file, and return whether something else was found than the last time."""
        changed = False
        look = self._found(watched)
        if look is not None:
            before, (watched.fingerprint, watched.outcome) = watched.outcome, look
            changed = before is None or before.key != watched.outcome.key
        first = watched.looked < watched.joined
        watched.looked = self._turn
        if changed or first:
            watched.wake()
        return changed

    def _found(self, watched: _Watched) -> tuple[object, _Outcome] | None:
        """Return what is there now, and its fingerprint; None if nothing has changed since the last time."""
        try:
            look = self._backend.snapshot(watched.user_id, watched.fingerprint)
        except Exception as error:  # noqa: BLE001 - it belongs to those who watch
            return None, _Outcome((type(error), str(error)), error.with_traceback(None))
        if look is None:
            return None
        fleet = look.fleet or PetFleet(watched.user_id)
        return look.fingerprint, _Outcome(_key(fleet), fleet)

    def _fail(self, shift: _WatchThread, error: BaseException) -> None:
        """Have all who watch hear of an error; whoever goes on after it starts a thread again."""
        with self._mutex:
            if self._shift is not shift:
                return
            users, self._users, self._shift = self._users, {}, None
        if not isinstance(error, Exception):
            error = RuntimeError(f"{type(error).__name__}: {error}")
        # With a key like no other: they hear of the next one too, though it be the same.
        outcome = _Outcome(object(), error.with_traceback(None))
        for watched in users.values():
            watched.outcome = outcome
            watched.looked = math.inf
            watched.wake()


class Watch(AsyncIterator[PetFleet]):
    """What :meth:`petfleet.FleetStore.watch` returns: the user's fleet, now and whenever it was changed."""

    # An object and no generator: one that is dropped before its end needs an event loop to be closed.

    def __init__(self, watching: Watching, user_id: str) -> None:
        self._watching = watching
        self._given: object = None  # the key of what was returned or raised last
        self._closed = False
        self._user_id = user_id
        self._since = 0

    async def __anext__(self) -> PetFleet:
        """Return the fleet, as soon as it is another one than before; raise what keeps it from being read, once."""
        while not self._closed:
            watched = self._watching.join(self)
            waiter = Waiter()
            watched.waiters.add(waiter)
            try:
                # Only now: what is found after this look wakes the waiter.
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
        """End the iteration, that of a task which waits in it too. Dropping the iterator does as well."""
        self._closed = True
        self._watching.leave(self)

    def _new(self, watched: _Watched) -> _Outcome | None:
        """Return what was found, if a look since this watch began found it, and it is not what was given last."""
        if watched.looked < self._since:  # read before the outcome: the thread writes it after that
            return None
        outcome = watched.outcome
        return None if outcome is None or outcome.key == self._given else outcome


def _key(fleet: PetFleet) -> object:
    try:
        text = encode.dumps(fleet)
    except ValueError:
        text = repr(fleet)  # readable in its own layout, but too large in ours
    return hashlib.sha256(text.encode()).digest()
