"""How many commits to run at once, judged by how long they wait for the storage."""

from __future__ import annotations

import math
from typing import Final

_OVERLAP: Final = 2
_FIRST_WINDOW: Final = 32  # commits; among fewer, each one may have waited for the processor
_LAST_WINDOW: Final = 1024
_SHORTEST_COMPUTATION: Final = 1e-6  # seconds; some systems count a thread's time in hundredths


class Sizing:
    """Learns from commits how many threads the storage keeps busy.

    While one thread waits for its syncs, as many others can compute as fit into that time: 1 + wait / compute. About
    half of the computing is system calls, during which other threads run, so twice as many fit. More threads than that
    only take the interpreter from one another. The wait is the shortest of the last commits: the longer ones also
    waited for the processor, and on a fast disk they would raise the number ever further.

    Attributes:
        at_once: how many commits to run at once, from ``least`` to ``most``.
        most: the upper limit.
    """

    def __init__(self, least: int, most: int) -> None:
        self._least, self.most = min(least, most), most
        self.at_once = self._least
        self._shortest, self._computed, self._judged, self._window = math.inf, 0.0, 0, _FIRST_WINDOW

    def judge(self, took: float, computed: float) -> None:
        """Learn from a commit.

        Args:
            took: how many seconds its write took.
            computed: how many seconds its thread computed for the whole job.
        """
        self._shortest = min(self._shortest, max(took - computed, 0.0))
        self._computed += max(computed, _SHORTEST_COMPUTATION)
        self._judged += 1
        if self._judged >= self._window:
            worth = 1 + _OVERLAP * self._shortest * self._judged / self._computed
            self.at_once = min(max(self._least, round(worth)), self.most)
            self._shortest, self._computed, self._judged = math.inf, 0.0, 0
            self._window = min(2 * self._window, _LAST_WINDOW)

    def double(self) -> None:
        """Allow twice as many until the next judgement, since all of them seem stuck."""
        self.at_once = min(2 * self.at_once, self.most)
