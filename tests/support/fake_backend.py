"""A backend that keeps nothing: the engine is tried against what its commits do."""

from __future__ import annotations

from collections.abc import Callable, Generator

from petfleet import PetFleet
from petfleet._backends.protocol import Holder, Notices, Snapshot, StopSignal
from petfleet._backends.state import State
from petfleet._commit.change import Kind
from petfleet._commit.group_commit import GroupCommit
from tests.support.gate import Gate


class FakeCommit:
    """Has its turn at once, unless the user has a gate in front of it; finds an empty fleet."""

    def __init__(self, backend: FakeBackend, user_id: str) -> None:
        self.path = f"nowhere/{user_id}"
        self.user_id = user_id
        self.backend = backend

    def try_turn(self) -> bool:
        """Return whether the turn is free."""
        self.backend.tried.append(self.user_id)
        return self.user_id not in self.backend.turns

    def wait_turn(self) -> None:
        """Wait at the gate of the turn's owner, unless the turn was given back since it was refused."""
        gate = self.backend.turns.get(self.user_id)
        self.backend.waited.append(self.user_id)
        if gate is not None:
            gate.hold()

    def read(self) -> State:
        """Return an empty fleet; for a held user, once the test says so."""
        self.backend.read.append(self.user_id)
        if self.user_id in self.backend.held:
            self.backend.held[self.user_id].hold()
        return State(PetFleet(self.user_id))

    def confirm(self, before: State) -> State:
        """Return what was read."""
        return before

    def write(self, before: State, after: State) -> None:
        """Note it."""
        self.backend.written.append(self.user_id)

    def close(self) -> None:
        """Note it."""
        self.backend.closed.append(self.user_id)


class FakeBackend:
    """Records what it is asked for.

    Attributes:
        turns: a gate for each user whose turn others have: it opens when they give it back.
        held: a gate for each user whose reads wait for it.
        tried, waited, read, written, closed: the users of the commits that were asked so, in order.
        commit: what makes a commit.
    """

    peeks_at_once = snapshots_at_once = 1
    poll_seconds = 1.0

    def __init__(self, commit: Callable[[FakeBackend, str], FakeCommit] = FakeCommit) -> None:
        self.turns: dict[str, Gate] = {}
        self.held: dict[str, Gate] = {}
        self.tried: list[str] = []
        self.waited: list[str] = []
        self.read: list[str] = []
        self.written: list[str] = []
        self.closed: list[str] = []
        self.holders: list[Holder | None] = []
        self.commit = commit

    def begin(self, user_id: str, *, create: bool) -> FakeCommit:
        """Return a commit."""
        return self.commit(self, user_id)

    def turn_path(self, user_id: str) -> str:
        """Return a path."""
        return f"nowhere/{user_id}.lock"

    def holder(self, user_id: str) -> Holder | None:
        """Return the next of those that the test has said, and then one that is not known."""
        return self.holders.pop(0) if self.holders else Holder(None)

    def peek(self, user_id: str) -> PetFleet | None:
        """Return nothing."""
        return None

    def users(self) -> Generator[str, None, None]:
        """Yield nothing."""
        yield from ()

    def snapshot(self, user_id: str, seen: object) -> Snapshot | None:
        """Return nothing."""
        return None

    def check_notices(self) -> None:
        """Do nothing."""

    def notices(self, stop: StopSignal) -> Notices:
        """Tell nothing."""
        raise NotImplementedError

    def give_back(self, user_id: str) -> None:
        """Give the turn to the users that wait for it."""
        self.turns.pop(user_id).open()


async def load(store: GroupCommit, user_id: str) -> PetFleet | None:
    """Load as a store does."""
    return await store.call(user_id, lambda fleet: fleet, Kind.READ)


def waits(store: GroupCommit, number: int) -> bool:
    """Return whether exactly so many calls of the user named ``user`` wait to be taken."""
    queue = store._queues.get("user")
    return queue is not None and len(queue.waiting) == number
