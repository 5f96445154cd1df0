"""Where users whose lock was refused wait, beside the workers: thousands of stuck locks cost the others nothing."""

from __future__ import annotations

import heapq
import itertools
import math
import threading
import time
from collections.abc import Callable, Hashable
from typing import Final, Generic, TypeVar

from petfleet import logs

T = TypeVar("T", bound=Hashable)

_FIRST_PAUSE: Final = 0.005
_GROWTH: Final = 1.5
_LONGEST_PAUSE: Final = 0.05
_MOST_LOOKS: Final = 1000  # a second, over all users: with more of them than this allows, pauses grow longer


class Parking(Generic[T]):
    """Looks after parked things now and then, in one thread that lives as long as there are any.

    Args:
        look: called in that thread. Returns None to be done with the thing, else the time (of ``time.monotonic``)
            by which it wants to be looked at again at the latest.
    """

    def __init__(self, look: Callable[[T], float | None]) -> None:
        self._look = look
        self._changed = threading.Condition()
        self._parked: dict[T, tuple[float, float]] = {}  # when to look next, and the pause before that
        self._order: list[tuple[float, int, T]] = []  # a heap; entries that _parked does not confirm are stale
        self._number = itertools.count()
        self._thread: threading.Thread | None = None

    def park(self, thing: T, latest: float, pause: float = _FIRST_PAUSE) -> None:
        """Look at ``thing`` after a pause, but not later than ``latest``.

        Raises:
            RuntimeError: the thread could not be started; nothing is parked.
        """
        with self._changed:
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="petfleet-parking", daemon=True)
                thread.start()
                self._thread = thread
            self._put(thing, min(time.monotonic() + pause, latest), pause)

    def _put(self, thing: T, when: float, pause: float) -> None:
        self._parked[thing] = (when, pause)
        heapq.heappush(self._order, (when, next(self._number), thing))
        self._changed.notify()

    def _run(self) -> None:
        while (due := self._next()) is not None:
            thing, pause = due
            try:
                latest = self._look(thing)
            except Exception as error:  # noqa: BLE001 - one thing's trouble must not end the looks at all others
                logs.warning("looking at a refused lock failed, to be repeated: %r", error)
                latest = math.inf
            if latest is not None:
                longest = max(_LONGEST_PAUSE, len(self._parked) / _MOST_LOOKS)
                self.park(thing, latest, min(pause * _GROWTH, longest))

    def _next(self) -> tuple[T, float] | None:
        """Wait for the next thing to look at and unpark it; None if there is no more, and the thread is to end."""
        with self._changed:
            while self._parked:
                when, _, thing = self._order[0]
                if self._parked.get(thing, (None,))[0] != when:
                    heapq.heappop(self._order)
                elif (wait := when - time.monotonic()) > 0:
                    self._changed.wait(wait)
                else:
                    heapq.heappop(self._order)
                    return thing, self._parked.pop(thing)[1]
            self._order.clear()
            self._thread = None
            return None
