"""The seam between the store and where its fleets live: one protocol of blocking methods."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from typing import NamedTuple, Protocol, runtime_checkable

from petfleet._backends.state import State
from petfleet._model.fleet import PetFleet


class OvertakenError(Exception):
    """Something else was at the user first. Nothing has happened: the same changes are to be tried again."""


class Commit(Protocol):
    """One try at one user's fleet, in one thread: a turn, a read, then :meth:`write` or :meth:`confirm`.

    Each method may block, and may raise OvertakenError, OSError and FleetFormatError: then nothing has happened.
    """

    path: str
    """What stands for the user's fleet in the log."""

    def try_turn(self) -> bool:
        """Take the turn if it is free; False if others have it."""

    def wait_turn(self) -> None:
        """Take the turn as soon as those who asked for it before have had theirs, however long that takes."""

    def read(self) -> State:
        """Return what is stored, durably; or what was when it was last looked at, until :meth:`confirm` is asked."""

    def confirm(self, before: State) -> State:
        """Return what is stored, durably, of which calls are told that write nothing: ``before`` if that is it.

        Also called after a write that has failed, for the calls that it does not concern.
        """

    def write(self, before: State, after: State) -> None:
        """Put ``after`` durably in the place of what was read. If it is absent, leave nothing of the user.

        Raises:
            UnconfirmedCommitError: it may or may not have happened.
            OSError, ValueError: it has not. Any other error leaves that open.
        """

    def close(self) -> None:
        """Give the turn back, whatever has happened. Called once, always."""


class Holder(NamedTuple):
    """Who has a user's turn; each part is None where it cannot be told.

    Attributes:
        name: reads like ``pid 4242 on web-3``.
        reason: the end of an error's message, where another one than the usual is needed: what a call waited for, and
            the way out.
    """

    name: str | None
    reason: str | None = None


class StopSignal(Protocol):
    """What ends a wait early."""

    def is_set(self) -> bool: ...


class Notices(Protocol):
    """Tells of whom something was changed. It may miss some, or all: to be sure, look now and then. For one thread."""

    def subscribe(self, users: Iterable[str]) -> bool:
        """Have changes told of these users from now on; True if what was changed before it returned may be untold."""

    def invalidate(self) -> bool:
        """Arm anew the next time, since something was not told; False if that makes no difference."""

    def wait(self, seconds: float) -> set[str] | None:
        """Wait until something is told, at most so long.

        Returns:
            The users of whom something was changed; None if it may be anyone, or the time is over, or it was called.
        """

    def close(self) -> None:
        """End it."""


class Snapshot(NamedTuple):
    """A fleet as it is now (None: there is none), and what tells it from what it was; None where only reading does."""

    fingerprint: object | None
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
    def snapshots_at_once(self) -> int:
        """How many threads are worth having for ``look``."""

    @property
    def poll_seconds(self) -> float:
        """How long after one look at a watched user, of whom no change is told, the next one is due."""

    def begin(self, user_id: str, *, create: bool) -> Commit:
        """Return a new try. Nothing is locked yet.

        Args:
            user_id: whose fleet.
            create: whether the changes may make a fleet where there is none. Without it, nothing is made in passing; if
                such a change has joined the others since, :meth:`Commit.write` raises OvertakenError.

        Raises:
            OvertakenError, OSError, FleetFormatError: as those of its methods.
        """

    def turn_path(self, user_id: str) -> str:
        """Return what the errors of calls name that wait for that user's turn. Quick: called in the event loop."""

    def holder(self, user_id: str) -> Holder | None:
        """Return who has the user's turn now; None if it is free."""

    def peek(self, user_id: str) -> PetFleet | None:
        """Return the fleet as it is now, without waiting for others; None if there is none."""

    def users(self) -> Generator[str, None, None]:
        """Yield the ids that have a fleet, in no order."""

    def snapshot(self, user_id: str, seen: object) -> Snapshot | None:
        """Return the fleet as it is now; None if its fingerprint is still ``seen``."""

    def check_notices(self) -> None:
        """Raise ModuleNotFoundError if what tells of changes is not installed. Quick: called in the event loop."""

    def notices(self, call: StopSignal) -> Notices:
        """Return what tells of changes; ``call`` ends its waits."""
