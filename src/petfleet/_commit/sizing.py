"""How many commits are worth having at once, by what they wait for."""

from __future__ import annotations

import math
from typing import Final

_OVERLAP: Final = 2
_FIRST_WINDOW: Final = 32  # commits; of fewer, each may have waited for the processor
_LAST_WINDOW: Final = 1024
_SHORTEST_COMPUTATION: Final = 1e-6  # seconds; some clocks of threads tick in hundredths


class Sizing:
    """Learns from commits how many threads the storage keeps busy.

    While one thread waits for its syncs, as many others can compute as fit into that time: 1 + wait / compute. About
    half of computing is system calls, beside which others run, so twice as many fit. Threads beyond that only take the
    interpreter from one another. The wait is the shortest of the last commits: most of the others have waited for the
    processor, too, and on a quick disk that would let in more and more.

    Attributes:
        at_once: between ``least`` and ``most``.
    """

    def __init__(self, least: int, most: int) -> None:
        self._least, self.most = min(least, most), most
        self.at_once = self._least
        self._shortest, self._computed, self._judged, self._window = math.inf, 0.0, 0, _FIRST_WINDOW

    def judge(self, took: float, computed: float) -> None:
        """Take a commit into account: the seconds that its write took, and that its thread computed."""
        self._shortest = min(self._shortest, max(took - computed, 0.0))
        self._computed += max(computed, _SHORTEST_COMPUTATION)
        self._judged += 1
        if self._judged >= self._window:
            worth = 1 + _OVERLAP * self._shortest * self._judged / self._computed
            self.at_once = min(max(self._least, round(worth)), self.most)
            self._shortest, self._computed, self._judged = math.inf, 0.0, 0
            self._window = min(2 * self._window, _LAST_WINDOW)

    def double(self) -> None:
        """Let twice as many in, since all seem stuck, until the next judgement."""
        self.at_once = min(2 * self.at_once, self.most)
