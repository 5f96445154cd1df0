"""The threads that commit: no more of them at once than the disk has use for, and what is urgent first."""

from __future__ import annotations

import concurrent.futures
import errno
import heapq
import itertools
import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, Generic, TypeVar

from petfleet import logs

T = TypeVar("T")

_AHEAD: Final = 0.1  # seconds: what has waited so long is not overtaken any more
_LEAST_AT_ONCE: Final = 4
# Commits a second worth having threads for. A process gets three times as many done, but commits that compete for the
# processor look slow too: with 2,000 here, more and more of them were let in, and did a third less together.
_PER_SECOND: Final = 600
_WINDOW: Final = 1024  # jobs that are judged together; fewer at first
_STUCK_SECONDS: Final = 0.05


class Workers(Generic[T]):
    """Runs things in threads of its own.

    More threads than the disk keeps busy only take the interpreter from one another: with 32 at once, 64 tasks on many
    users did a third less, and a quiet user waited behind all of them. So at once run as many as it takes for
    _PER_SECOND, judged by the fastest of the last jobs: 4 on a disk that takes a millisecond for one, 6 on one that
    takes ten, 30 on one that takes fifty. If all of these are stuck in something slow, more are let in, up to ``most``.

    Args:
        run: called in a thread with each thing; returns whether it waited for the disk as a commit does.
        most: the most threads.
    """

    def __init__(self, run: Callable[[T], bool], most: int) -> None:
        self._run = run
        self._most = most
        self._executor = self._new_executor()
        self._lock = threading.Lock()
        self._ready: list[tuple[float, int, T]] = []  # a heap
        self._number = itertools.count()
        self._begun = 0
        self._busy: set[object] = set()  # one for each thread that was asked for and has not ended
        self._watch_ticket: object | None = None  # while a thread looks after the others
        self._at_once = _LEAST_AT_ONCE  # if there may be so many
        self._aside = 0  # of the busy ones, those that only wait for something
        self._extra = 0  # as many more, since all seemed stuck
        self._fastest = math.inf
        self._judged = 0
        self._window = 16

    def submit(self, thing: T, *, ahead: bool) -> None:
        """Have ``thing`` run soon, ``ahead`` of those that are not and wait for less than a tenth of a second.

        Raises:
            RuntimeError: there is no thread, and none could be started; ``thing`` will not be run.
        """
        now = time.monotonic()
        entry = (now - _AHEAD if ahead else now, next(self._number), thing)
        with self._lock:
            heapq.heappush(self._ready, entry)
            try:
                self._start_one()
            except RuntimeError:
                if not self._busy:
                    self._ready.remove(entry)
                    heapq.heapify(self._ready)
                    # It keeps what it could not start, and would count that as idle threads.
                    self._executor.shutdown(wait=False, cancel_futures=True)
                    self._executor = self._new_executor()
                    raise
                # Those that are there will come to it.

    def any_waiting(self) -> bool:
        """Return whether anything waits for a thread."""
        return bool(self._ready)

    def aside(self, threads: int) -> None:
        """Let so many more threads run, in place of some that are going to wait; negative to take it back."""
        with self._lock:
            self._aside += threads
            if self._ready and threads > 0:
                try:
                    self._start_one()
                except RuntimeError:
                    pass  # then they wait for these threads after all

    def shutdown(self) -> None:
        """Wait until nothing is left to run, and end the threads. Nothing may be submitted any more."""
        self._executor.shutdown()

    # --- with the lock -----------------------------------------------------------------------------------------------

    def _allowed(self) -> int:
        return min(self._at_once + self._aside + self._extra, self._most)

    def _start_one(self) -> None:
        if len(self._busy) < self._allowed():
            ticket = object()
            self._busy.add(ticket)
            try:
                self._executor.submit(self._work, ticket)
            except BaseException:
                self._busy.discard(ticket)  # the executor may keep it and run it later
                raise
        elif self._watch_ticket is None and len(self._busy) < self._most:
            self._watch_ticket = object()
            try:
                self._executor.submit(self._watch, self._watch_ticket)
            except BaseException:
                self._watch_ticket = None
                raise

    def _new_executor(self) -> concurrent.futures.ThreadPoolExecutor:
        return concurrent.futures.ThreadPoolExecutor(self._most + 1, "petfleet")  # one to look after the others

    # --- in the threads ----------------------------------------------------------------------------------------------

    def _work(self, ticket: object) -> None:
        while (entry := self._next(ticket)) is not None:
            start = time.monotonic()
            try:
                if self._run(entry[2]):
                    self._judge(time.monotonic() - start)
            except BaseException as error:  # noqa: BLE001 - the thread must go on, for those that wait
                logs.warning("a commit ended in an error that no call could be told: %r", error)

    def _next(self, ticket: object) -> tuple[float, int, T] | None:
        with self._lock:
            if not self._ready:
                self._extra = 0
            elif ticket in self._busy and len(self._busy) <= self._allowed():
                self._begun += 1
                return heapq.heappop(self._ready)
            self._busy.discard(ticket)
            return None

    def _watch(self, ticket: object) -> None:
        """While things wait, let more threads in whenever none of them has begun for some time."""
        begun = -1
        while True:
            with self._lock:
                if self._watch_ticket is not ticket:
                    return  # refused, yet kept
                if not self._ready:
                    self._watch_ticket = None
                    return
                if self._begun == begun:
                    self._extra = min(2 * self._extra + 1, self._most)
                    try:
                        for _ in range(min(len(self._ready), self._allowed() - len(self._busy))):
                            self._start_one()
                    except RuntimeError:
                        pass  # no more threads to be had
                begun = self._begun
            time.sleep(_STUCK_SECONDS)

    def _judge(self, seconds: float) -> None:
        with self._lock:
            self._fastest = min(self._fastest, seconds)
            self._judged += 1
            if self._judged >= self._window:
                at_once = math.ceil(self._fastest * _PER_SECOND)
                self._at_once = max(at_once, _LEAST_AT_ONCE)
                self._fastest, self._judged = math.inf, 0
                self._window = min(2 * self._window, _WINDOW)


@contextmanager
def threads_may_run_out() -> Iterator[None]:
    """Turn the error of a thread that could not be started into one that calls are documented to raise."""
    try:
        yield
    except RuntimeError as error:
        raise OSError(
            errno.EAGAIN, f"petfleet could not start a thread ({error}): allow the process more of them"
        ) from error
