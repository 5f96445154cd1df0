"""Reads without a turn, in threads of their own, so that no commit can occupy them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeVar

from petfleet._commit.pool import Pool
from petfleet._commit.waiter import Waiter
from petfleet._util import runtime

T = TypeVar("T")


class Peeks(Pool[Callable[[], float]]):
    """Threads for reads, as many as the backend asks for."""

    def __init__(self, threads: int, timers: runtime.Timers) -> None:
        super().__init__(lambda job: job(), threads, threads, timers)

    async def peek(self, read: Callable[[], T], seconds: float = math.inf) -> T:
        """Run ``read`` in a thread, and return its result. A read with a time limit goes ahead of the others.

        Raises:
            TimeoutError: it took longer than ``seconds``.
            OSError: there is no thread.
        """
        waiter = Waiter()
        results: list[T] = []
        errors: list[BaseException] = []

        def job() -> float:
            try:
                results.append(read())
            except BaseException as error:  # noqa: BLE001 - it belongs to the call
                errors.append(error)
            Waiter.wake([waiter])
            return 0.0

        self.submit(job, ahead=seconds < math.inf)
        if not await waiter.wait(seconds):
            raise TimeoutError
        if errors:
            raise errors.pop()  # a list that kept it would keep its traceback and this frame alive
        return results[0]
