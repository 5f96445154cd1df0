"""Reads that take no turn, in threads that no commit can occupy."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeVar

from petfleet._commit.change import Kind
from petfleet._commit.pool import Pool
from petfleet._commit.user_queue import PendingCall, mark_done, post
from petfleet._util import runtime

T = TypeVar("T")


class Peeks(Pool[Callable[[], float]]):
    """Threads for reads."""

    def __init__(self, threads: int, timers: runtime.Timers) -> None:
        super().__init__(lambda job: job(), threads, threads, timers)

    async def peek(self, read: Callable[[], T], seconds: float = math.inf) -> T:
        """Run ``read`` in a thread, and return its result; with a time limit it goes ahead of others.

        Raises:
            TimeoutError: it took longer.
            OSError: there is no thread.
        """
        call = PendingCall(lambda fleet: fleet, Kind.READ)
        results: list[T] = []

        def job() -> float:
            try:
                results.append(read())
            except BaseException as error:  # noqa: BLE001 - it belongs to the call
                call.error = error
            mark_done([call])
            post([call])
            return 0.0

        self.submit(job, ahead=seconds < math.inf)
        if not await call.waiter.wait(seconds):
            raise TimeoutError
        call.outcome()
        return results[0]
