"""The notices of backends that cannot tell of changes."""

from __future__ import annotations

from collections.abc import Iterable

from petfleet._backends.protocol import StopSignal
from petfleet._util import runtime


class NoNotices:
    """Tells of no changes: the store only polls, every :attr:`Backend.poll_seconds`.

    Args:
        stop: ends a wait early.
    """

    def __init__(self, stop: StopSignal) -> None:
        self._stop = stop

    def subscribe(self, users: Iterable[str]) -> bool:
        """Return False: no notices are missed, since there are none."""
        return False

    def invalidate(self) -> bool:
        """Return False: starting over would not help."""
        return False

    def wait(self, seconds: float) -> set[str]:
        """Sleep for that time, or until the signal to stop is set, and name nobody."""
        runtime.sleep_unless(self._stop.is_set, seconds)
        return set()

    def close(self) -> None:
        """Do nothing."""
