"""The waiting calls of one user. No I/O, no threads."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from petfleet._commit.change import Change, Kind
from petfleet._commit.waiter import Waiter
from petfleet._model.fleet import PetFleet
from petfleet._util import runtime

# Phases: what calls wait for, in the words of a timeout error.
NO_THREAD: Final = "since all threads of the store are busy: try again, or raise threads"
OTHERS_TURN: Final = ""  # the backend names the holder

_MAX_BATCH: Final = 256  # longer batches would hold the lock, and the interpreter, for too long


class PendingCall(Change):
    """A change that a task waits for."""

    __slots__ = ("cancelled", "done", "enqueued", "expired", "taken", "waiter")

    def __init__(self, apply: Callable[[PetFleet | None], PetFleet | None], kind: Kind) -> None:
        super().__init__(apply, kind)
        self.enqueued = runtime.monotonic()
        self.waiter = Waiter()
        self.taken = False  # from now on only its outcome ends the wait
        self.done = False  # it has its result or error
        self.expired = False  # its time is over
        self.cancelled = False  # its task does not wait any more

    def waits(self) -> bool:
        """Return whether a task still waits for it."""
        return not self.cancelled and not self.waiter.loop_is_closed()

    def expire(self) -> bool:
        """Cancel the call, since its time is over. Return True if it was taken: then its outcome follows."""
        self.expired = True
        self.cancelled = not self.taken
        return self.taken

    def outcome(self) -> PetFleet | None:
        """Return its result or raise its error."""
        if self.error is not None:
            try:
                raise self.error
            finally:
                self.error = None  # or the error, its traceback and this frame would keep each other alive
        return self.result


def mark_done(calls: Sequence[PendingCall]) -> None:
    """Mark calls as done. Hold the engine's mutex if another thread may wait for them."""
    for call in calls:
        call.done = True


def wake_tasks(calls: Sequence[PendingCall]) -> None:
    """Wake the tasks that wait for these calls."""
    Waiter.wake([call.waiter for call in calls])


class UserQueue:
    """One user's calls, waiting and taken. Hold the engine's mutex for every method but ``enter``."""

    def __init__(self, user_id: str) -> None:
        self.user_id = user_id
        self.waiting: deque[PendingCall] = deque()
        self.taken: list[PendingCall] = []
        self.tried_at = 0.0  # when the last try for the turn began
        self.refused_at: float | None = None  # since when another process has had the turn
        self.overtaken = 0  # times in a row
        self.ticket: object = None  # of a job that waits for the turn, or for a timer; None: a thread runs it
        self._compact_at = 64
        self.enter(NO_THREAD)

    def enter(self, phase: str) -> None:
        """Note what the calls wait for from now on, in the words of a timeout error."""
        self.phase, self.since = phase, runtime.monotonic()

    def append(self, call: PendingCall) -> None:
        """Add a call at the back."""
        if len(self.waiting) >= self._compact_at:
            # Calls that gave up would pile up behind a holder that never lets go.
            self.waiting = deque(filter(PendingCall.waits, self.waiting))
            self._compact_at = 2 * len(self.waiting) + 64
        self.waiting.append(call)

    def any_waits(self) -> bool:
        """Return whether any task still waits, and drop abandoned calls at the front."""
        while self.waiting and not self.waiting[0].waits():
            self.waiting.popleft()
        return bool(self.waiting)

    def is_under_way(self, call: PendingCall) -> bool:
        """Return whether a call is under way: taken, or waiting for nothing but this process."""
        return not call.done and (call.taken or (self.phase is not OTHERS_TURN and call.waits()))

    def take(self) -> list[PendingCall]:
        """Take the next calls: from now on they take full effect, or fail."""
        self.tried_at = runtime.monotonic()
        while self.waiting and len(self.taken) < _MAX_BATCH:
            call = self.waiting.popleft()
            if not call.cancelled:
                call.taken = True
                self.taken.append(call)
        return self.taken

    def requeue(self) -> list[PendingCall]:
        """Put the taken calls back at the front, since nothing has happened. Return those whose time is over."""
        taken, self.taken = self.taken, []
        for call in taken:
            call.taken = False
        self.waiting.extendleft(call for call in reversed(taken) if not call.expired)
        return [call for call in taken if call.expired]

    def refuse(self) -> list[PendingCall]:
        """Remove and return the calls that waited at the last try."""
        refused: list[PendingCall] = []
        while self.waiting and self.waiting[0].enqueued <= self.tried_at:
            refused.append(self.waiting.popleft())
        return refused
