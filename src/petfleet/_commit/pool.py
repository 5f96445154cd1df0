"""Worker threads: as many in parallel as the storage can use, urgent jobs first."""

from __future__ import annotations

import heapq
import itertools
import threading
import weakref
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Final, Generic, TypeVar

from petfleet._commit.sizing import Sizing
from petfleet._util import log, runtime

T = TypeVar("T")
Tickets = runtime.Queue[object]

_AHEAD: Final = 0.1  # seconds: no other job goes ahead of one that has waited this long
_STUCK_SECONDS: Final = 0.05  # without a job begun: then all threads count as stuck
_END: Final = object()  # instead of a ticket


class Pool(Generic[T]):
    """Runs jobs in daemon threads of its own; ``run`` returns how many seconds a job's write took, or 0."""

    def __init__(self, run: Callable[[T], float], least: int, most: int, timers: runtime.Timers) -> None:
        self._run = run
        self._sizing = Sizing(least, most)
        self._timers = timers
        self._lock = runtime.Lock()
        self._changed = runtime.Condition(self._lock)  # notified when a thread has finished a job
        self._ready: list[tuple[float, int, T]] = []  # a heap of jobs
        self._number = itertools.count()
        self._busy: set[object] = set()  # a ticket for each thread that is neither idle nor has released its slot
        self._mine = threading.local()
        self._tickets: Tickets = runtime.Queue()  # wake idle threads
        self._ended: runtime.Queue[threading.Thread] = runtime.Queue()
        self.idle = self._ending = self._begun = self._begun_before = 0
        self._closed = self._check_is_due = False

    def __del__(self) -> None:
        for _ in range(self.idle):
            self._tickets.put(_END)

    def submit(self, thing: T, *, ahead: bool) -> None:
        """Run ``thing`` soon; with ``ahead``, before all others that have waited for less than 0.1 s.

        Raises:
            OSError: there is no thread, and none can be started; ``thing`` does not run.
        """
        entry = (runtime.monotonic() - _AHEAD * ahead, next(self._number), thing)
        with self._lock:
            self._closed = False
            heapq.heappush(self._ready, entry)
            try:
                self._start_one()
            except OSError:
                self._ready.remove(entry)
                heapq.heapify(self._ready)
                raise

    def release_slot(self, wait: Callable[[], object]) -> None:
        """Wait in a thread of the pool, while another thread has its slot."""
        with self._lock:
            self._busy.discard(self._mine.ticket)
            self._changed.notify_all()
            with suppress(OSError):  # then the ready jobs wait for this thread
                if self._ready:
                    self._start_one()
        try:
            wait()
        finally:
            with self._lock:
                self._busy.add(self._mine.ticket)

    def is_used(self) -> bool:
        """Return whether there is any thread, idle or not, except those that have released their slots."""
        with self._lock:
            return bool(self.idle or self._busy)

    def end_idle(self) -> None:
        """Wait for the running jobs, and end threads that have nothing to do, until the next submit."""
        with self._lock:
            self._closed = True
            for _ in range(self.idle):
                self._tickets.put(_END)
            self._ending, self.idle = self._ending + self.idle, 0
            before = self._busy.copy()
            self._changed.wait_for(lambda: before.isdisjoint(self._busy))
            ending, self._ending = self._ending, 0
        for _ in range(ending):
            self._ended.get().join()

    def _is_room(self) -> bool:
        return len(self._busy) < self._sizing.at_once

    def _start_one(self) -> None:
        """Let a thread run what is ready, or check later whether to add one; OSError if there is none at all."""
        if self._is_room():
            ticket = object()
            self._busy.add(ticket)
            try:
                if self.idle:
                    self.idle -= 1
                    self._tickets.put(ticket)
                else:
                    work = partial(_work, weakref.ref(self), self._tickets, self._ended, ticket)
                    runtime.start_thread(work, "petfleet")
                return
            except BaseException as error:
                self._busy.discard(ticket)  # after an interrupt its thread may exist, and waits for another ticket
                if not self._busy or not isinstance(error, OSError):
                    raise
        if not self._check_is_due and (self._is_room() or self._sizing.at_once < self._sizing.most):
            with suppress(OSError):  # without a timer thread, the threads that exist run the job later
                self._timers.call_later(_STUCK_SECONDS, self._check)
                self._check_is_due, self._begun_before = True, self._begun

    def _check(self) -> None:
        """Add threads if none of them has begun a job for some time."""
        with self._lock:
            self._check_is_due = False
            if self._ready and self._begun == self._begun_before:
                self._sizing.double()
            for _ in self._ready[: self._sizing.at_once]:
                self._start_one()

    def work(self, ticket: object) -> bool:
        """Run what is ready; return whether the thread then waits for another ticket."""
        while True:
            with self._lock:
                expected = ticket in self._busy
                self._busy.discard(ticket)
                self._changed.notify_all()
                if not expected or not self._ready or not self._is_room():
                    self._ending += self._closed
                    self.idle += not self._closed
                    return not self._closed
                ticket = self._mine.ticket = object()
                self._busy.add(ticket)
                self._begun += 1
                _, _, thing = heapq.heappop(self._ready)
            began = runtime.thread_time()
            try:
                if (took := self._run(thing)) > 0:
                    with self._lock:
                        self._sizing.judge(took, runtime.thread_time() - began)
            except BaseException as error:  # noqa: BLE001 - the thread must survive, for the jobs that wait
                log.warning("a job failed with an error that reached no call: %r", error)
            del thing


def _work(pool: weakref.ref[Pool[T]], tickets: Tickets, ended: runtime.Queue[threading.Thread], ticket: object) -> None:
    """Run jobs for each ticket. An idle thread does not keep its pool alive."""
    while ticket is not _END and (there := pool()) is not None:
        goes_on = there.work(ticket)
        del there
        ticket = tickets.get() if goes_on else _END
    ended.put(threading.current_thread())
