"""How a worker waits for a lock that others hold: while they commit in turn, stay; when they seem stuck, go."""

from __future__ import annotations

from typing import Final

LONGEST_PAUSE: Final = 0.001  # seconds between two looks at the lock
_SHORTEST_PAUSE: Final = 0.0001
_IMPATIENCE: Final = 0.2  # seconds that the pause shrinks by in each second of waiting
_STUCK_SECONDS: Final = 0.1  # without a sign of life of the lock's holder
_LOOK_SECONDS: Final = 0.005  # between two looks at which calls still wait


class Spin:
    """One worker's wait for one lock.

    Parked instead, only luck would find the short gaps between the commits of others: with 4 processes at one user, the
    unlucky ones waited for a second and more.
    """

    __slots__ = ("_give_up", "_look_at", "_sign", "_since")

    def __init__(self, sign: object, now: float) -> None:
        self._sign = sign
        self._since = now
        self._give_up = now + _STUCK_SECONDS
        self._look_at = now + _LOOK_SECONDS

    def pause(self, sign: object, now: float) -> float | None:
        """Return how long to wait until the next try, or None to give up.

        Args:
            sign: what changes while the lock's holders get on.
            now: the monotonic time.
        """
        if sign != self._sign:
            self._sign, self._give_up = sign, now + _STUCK_SECONDS
        if now >= self._give_up:
            return None
        # Who has waited longer looks more often: locks have no queue, and this is what keeps the order.
        return max(LONGEST_PAUSE - _IMPATIENCE * (now - self._since), _SHORTEST_PAUSE)

    def is_time_to_look(self, now: float) -> bool:
        """Return whether it is time to look again at which calls still wait: looking costs more than a try."""
        if now < self._look_at:
            return False
        self._look_at = now + _LOOK_SECONDS
        return True
