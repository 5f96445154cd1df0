"""The seam between the store and where its fleets live: one protocol of blocking methods."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from typing import NamedTuple, Protocol, runtime_checkable

from petfleet.changes import Batch
from petfleet.errors import LockTimeoutError
from petfleet.fleet import PetFleet


class Call(Protocol):
    """What ends a wait early."""

    def is_set(self) -> bool: ...


class Notices(Protocol):
    """Tells of whom something was changed. It may miss some, or all: to be sure, look now and then. For one thread."""

    def arm(self, users: Iterable[str]) -> bool:
        """Have changes told of these users from now on; True if what was changed before it returned may be untold."""

    def distrust(self) -> bool:
        """Arm anew the next time, since something was not told; False if that makes no difference."""

    def wait(self, seconds: float) -> set[str] | None:
        """Wait until something is told, at most so long.

        Returns:
            The users of whom something was changed; None if it may be anyone, or the time is over, or it was called.
        """

    def close(self) -> None:
        """End it."""


class Look(NamedTuple):
    """A fleet as it is now (None: there is none), and what tells it from what it was; None where only reading does."""

    sign: object | None
    fleet: PetFleet | None


@runtime_checkable
class Backend(Protocol):
    """Where fleets live: plain blocking code, called from any thread, for one user from several at once.

    Nothing that takes time is called in an event loop. ``str()`` of a backend names the place, as errors and logs
    show it.
    """

    @property
    def peeks_at_once(self) -> int:
        """How many threads are worth having for ``peek`` and ``users``."""

    @property
    def looks_at_once(self) -> int:
        """How many threads are worth having for ``look``."""

    @property
    def look_seconds(self) -> float:
        """How long after one look at a watched user, of whom no change is told, the next one is due."""

    def commit(self, user_id: str, batch: Batch) -> bool:
        """Apply what waits in ``batch`` to the stored fleet, and make the outcome durable.

        Returns:
            True when the changes have their results or errors; False if others are at this user, and none was taken.

        Raises:
            OSError, FleetFormatError: the whole batch fails; nothing was changed.
        """

    def is_free(self, user_id: str) -> bool:
        """Return whether a commit that was refused may succeed now."""

    def lock_timeout(self, user_id: str) -> Callable[[float], LockTimeoutError]:
        """Return what makes the errors of calls that waited in vain for this user, from the seconds waited."""

    def peek(self, user_id: str) -> PetFleet | None:
        """Return the fleet as it is now, without waiting for others; None if there is none."""

    def users(self) -> Generator[str, None, None]:
        """Yield the ids that have a fleet, in no order."""

    def look(self, user_id: str, seen: object) -> Look | None:
        """Return the fleet as it is now; None if it is what it was when ``seen`` was its sign."""

    def check_notices(self) -> None:
        """Raise ModuleNotFoundError if what tells of changes is not installed. Quick: called in the event loop."""

    def notices(self, call: Call) -> Notices:
        """Return what tells of changes; ``call`` ends its waits."""
