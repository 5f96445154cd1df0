"""What a backend is: the protocols between the store and the place where its fleets live. Every method may block."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from typing import NamedTuple, Protocol, runtime_checkable

from petfleet._backends.state import State
from petfleet._model.fleet import PetFleet


class OvertakenError(Exception):
    """Another writer was first. Nothing has happened, and the store tries the same changes again."""


class Commit(Protocol):
    """One try at one user's fleet, in one thread: a turn, a read, then :meth:`write` or :meth:`confirm`.

    Each method may raise OvertakenError, OSError or FleetFormatError: then nothing has happened, except that after
    UnconfirmedCommitError (an OSError that only :meth:`write` raises) nobody can tell.
    """

    path: str
    """How log records name the user's fleet."""

    def try_turn(self) -> bool:
        """Take the turn if it is free, without waiting; False if another commit has it."""

    def wait_turn(self) -> None:
        """Wait for the turn, however long that takes. Called after :meth:`try_turn` returned False."""

    def read(self) -> State:
        """Return the stored state, which is durable.

        It may come from a cache: then :meth:`confirm` and :meth:`write` must check it.
        """

    def confirm(self, before: State) -> State:
        """Return the stored state, which is durable: the object ``before`` itself if it is still stored.

        Called for calls that write nothing, and after a write that failed.
        """

    def write(self, before: State, after: State) -> None:
        """Replace ``before`` by ``after``. When this returns, the change survives a power cut.

        Args:
            before: what :meth:`read` or :meth:`confirm` returned.
            after: what to store. If it is absent, leave nothing of the user. If it is ``before`` itself, a deletion
                changed nothing: make sure that ``before`` is still stored.

        Raises:
            UnconfirmedCommitError: the change may have happened.
            OSError, ValueError: nothing was written. Any other error leaves open whether it was.
        """

    def close(self) -> None:
        """Give the turn back, if this commit has it. Called exactly once, whatever has happened."""


class Holder(NamedTuple):
    """Who has a user's turn.

    Attributes:
        name: such as ``pid 4242 on web-3``; None if it is unknown.
        reason: what the call waited for, and the way out. It replaces the usual end of the message of a
            LockTimeoutError; None keeps that.
    """

    name: str | None
    reason: str | None = None


class StopSignal(Protocol):
    """Ends a wait early."""

    def is_set(self) -> bool:
        """Return whether to stop waiting."""


class Notices(Protocol):
    """Tells whose fleets have changed, for one thread. It may miss changes: the store polls besides."""

    def subscribe(self, users: Iterable[str]) -> bool:
        """Tell of changes of these users from now on; True if changes made before this returned may be missed."""

    def invalidate(self) -> bool:
        """Make the next call of subscribe start over, since a change was missed; False if that would not help."""

    def wait(self, seconds: float) -> set[str] | None:
        """Wait until a fleet has changed, the time is over, or the signal to stop is set.

        Args:
            seconds: how long to wait at most. May be 0 or less.

        Returns:
            The users whose fleets may have changed; None for all of them.
        """

    def close(self) -> None:
        """Release what the notices hold."""


class Snapshot(NamedTuple):
    """A fleet as it is now.

    Attributes:
        fingerprint: is equal as long as the stored fleet is the same. None makes the store read again at each poll.
        fleet: None if there is none.
    """

    fingerprint: object | None
    fleet: PetFleet | None


@runtime_checkable
class Backend(Protocol):
    """Where fleets live: plain blocking code, called from any thread, for one user from several threads at once.

    The store calls ``turn_path`` and ``check_notices`` in the event loop, so these must not block. ``str()`` of a
    backend names the place in errors and log records.
    """

    @property
    def peeks_at_once(self) -> int:
        """How many threads may usefully call ``peek`` and ``users`` at once."""

    @property
    def snapshots_at_once(self) -> int:
        """How many threads may usefully call ``snapshot`` at once."""

    @property
    def poll_seconds(self) -> float:
        """How many seconds pass between two snapshots of a watched user if no notice arrives."""

    def begin(self, user_id: str, *, create: bool) -> Commit:
        """Return a new try, which has no turn yet.

        Args:
            user_id: whose fleet.
            create: whether a waiting change may create the fleet. If not, create nothing for it (such as a directory).
                A change that creates the fleet may still join before the read: if that needs what was not created,
                :meth:`Commit.write` raises OvertakenError.

        Raises:
            OvertakenError, OSError, FleetFormatError: as the methods of the try.
        """

    def turn_path(self, user_id: str) -> str:
        """Return the path that a LockTimeoutError names. Called in the event loop."""

    def holder(self, user_id: str) -> Holder | None:
        """Return who has the user's turn now; None if it is free."""

    def peek(self, user_id: str) -> PetFleet | None:
        """Return the fleet as it is now, without a turn; None if there is none.

        Raises:
            FleetFormatError: what is stored is no fleet, or another user's.
            OSError: it cannot be read.
        """

    def users(self) -> Generator[str, None, None]:
        """Yield the ids that have a fleet, in any order."""

    def snapshot(self, user_id: str, seen: object) -> Snapshot | None:
        """Return the fleet as it is now; None if its fingerprint equals ``seen``.

        Args:
            user_id: whose fleet.
            seen: the fingerprint of the last snapshot; None at first, so never let None count as equal.

        Raises:
            FleetFormatError, OSError: as :meth:`peek`.
        """

    def check_notices(self) -> None:
        """Raise ModuleNotFoundError if notices need a module that is not installed. Called in the event loop."""

    def notices(self, stop: StopSignal) -> Notices:
        """Return the notices for one thread; ``stop`` ends their waits."""
