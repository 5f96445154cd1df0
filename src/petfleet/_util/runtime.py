"""The engine's threads, locks, queues, timers and clock, in one place, so that a test can replace them."""

from __future__ import annotations

import errno
import functools
import heapq
import itertools
import queue
import threading
import time
from collections.abc import Callable
from typing import Final

from petfleet._util import log

Lock = threading.Lock
Condition = threading.Condition
Queue = queue.SimpleQueue
sleep = time.sleep
# Wrapped, because tests of our users freeze time (freezegun, time-machine) by replacing the functions that modules
# name: with a frozen clock, a loop that waits until a time would never end.
monotonic: Callable[[], float] = (
    functools.partial(time.clock_gettime, time.CLOCK_MONOTONIC)
    if hasattr(time, "clock_gettime")
    else functools.partial(time.monotonic)
)
thread_time: Callable[[], float] = functools.partial(time.thread_time)

_STEP: Final = 0.02  # seconds between two checks: each one takes the interpreter for a moment
_LONGEST_WAIT: Final = 3600.0  # seconds; a condition refuses to wait for months


def sleep_unless(is_over: Callable[[], bool], seconds: float) -> None:
    """Sleep for some seconds, or until ``is_over()`` returns True, which is noticed within 20 ms."""
    give_up = monotonic() + seconds
    while not is_over() and monotonic() < give_up:
        sleep(_STEP)


def start_thread(work: Callable[[], object], name: str, *, daemon: bool = True) -> threading.Thread:
    """Start a thread and return it. The interpreter ends without waiting for a daemon.

    Raises:
        OSError: the system allows no more threads.
    """
    thread = threading.Thread(target=work, name=name, daemon=daemon)
    try:
        thread.start()
    except RuntimeError as error:
        reason = f"petfleet could not start a thread ({error}): allow the process more of them"
        raise OSError(errno.EAGAIN, reason) from error
    return thread


class Timers:
    """Calls functions later, in one thread that lives as long as any of them is still to be called."""

    def __init__(self) -> None:
        self._changed = Condition()
        self._due: list[tuple[float, int, Callable[[], object]]] = []  # a heap
        self._number = itertools.count()
        self._runs = False

    def call_later(self, seconds: float, function: Callable[[], object]) -> None:
        """Call a short function after some seconds; OSError if there is no thread for it."""
        with self._changed:
            if not self._runs:
                start_thread(self._run, "petfleet-timers")
                self._runs = True
            heapq.heappush(self._due, (monotonic() + seconds, next(self._number), function))
            self._changed.notify()

    def _run(self) -> None:
        while (function := self._next()) is not None:
            try:
                function()
            except Exception as error:  # noqa: BLE001 - an error of one user must not end the timers of the others
                log.warning("a timer failed: %r", error)

    def _next(self) -> Callable[[], object] | None:
        with self._changed:
            while self._due and (wait := self._due[0][0] - monotonic()) > 0:
                self._changed.wait(min(wait, _LONGEST_WAIT))
            self._runs = bool(self._due)
            return heapq.heappop(self._due)[2] if self._due else None
