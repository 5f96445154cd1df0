"""What a store has done so far."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from petfleet._util import runtime

_LONG_WAIT: Final = 1.0  # seconds; a longer wait for a turn is worth a warning
_WARNING_SECONDS: Final = 10.0  # between two warnings, however many users wait


@dataclass(frozen=True, slots=True)
class FleetStoreStatistics:
    """What a store has done in this process so far.

    A snapshot: it does not change after :meth:`FleetStore.statistics` has returned it.

    Attributes:
        commits: how many batches were carried out, including batches of loads only.
        changes: how many calls were in those batches, including loads and calls that failed.
        largest_batch: the most calls in one batch.
        lock_waits: how often another process had the turn.
        lock_wait_seconds: how many seconds those waits took together, except the ones that go on.
    """

    __module__ = "petfleet"

    commits: int = 0
    changes: int = 0
    largest_batch: int = 0
    lock_waits: int = 0
    lock_wait_seconds: float = 0.0


class Counts:
    """Counts for the statistics. Call the methods under a lock."""

    def __init__(self) -> None:
        self._commits = self._changes = self._largest = self._waits = 0
        self._wait_seconds = 0.0
        self._next_warning = -math.inf

    def add_commit(self, changes: int) -> None:
        """Count a batch."""
        self._commits += 1
        self._changes += changes
        self._largest = max(self._largest, changes)

    def add_wait(self) -> None:
        """Count a turn that another process had."""
        self._waits += 1

    def end_wait(self, seconds: float) -> bool:
        """Add the seconds of such a wait, and return whether to log a warning."""
        self._wait_seconds += seconds
        now = runtime.monotonic()
        if seconds <= _LONG_WAIT or now < self._next_warning:
            return False
        self._next_warning = now + _WARNING_SECONDS
        return True

    def snapshot(self) -> FleetStoreStatistics:
        """Return the counts so far."""
        return FleetStoreStatistics(self._commits, self._changes, self._largest, self._waits, self._wait_seconds)
