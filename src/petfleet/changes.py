"""A batch of changes, applied one after another to what a user has. No I/O."""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from petfleet import codec
from petfleet.errors import FleetFormatError, own_copy
from petfleet.fleet import PetFleet


class Kind(enum.IntEnum):
    """What a change may do; each may do what the ones before it may."""

    READ = 0  # leaves the fleet as it is
    CHANGE = 1
    DELETE = 2  # leaves nothing of the user
    CREATE = 3  # makes a fleet where there is none
    OVERWRITE = 4  # replaces a file that cannot be parsed


class Change:
    """A function from the stored fleet (None: there is none) to the next one, and what came of it."""

    __slots__ = ("apply", "error", "kind", "result")

    def __init__(self, apply: Callable[[PetFleet | None], PetFleet | None], kind: Kind) -> None:
        self.apply = apply
        self.kind = kind
        self.result: PetFleet | None = None
        self.error: BaseException | None = None


class Batch(Protocol):
    """The changes that wait for one user's commit."""

    def may_create(self) -> bool:
        """Return whether a waiting change may create a fleet."""

    def wait(self, sign: object) -> bool:
        """Wait a little, since the lock is held by others; False to give up.

        Args:
            sign: what changes while they get on with their commits.
        """

    def pause(self, seconds: float) -> None:
        """Let that time pass with the lock held, while other users' commits go on."""

    def waited(self) -> None:
        """Note that the commit waited for the storage, as one that writes does."""

    def take(self) -> Sequence[Change]:
        """Take the waiting changes: from now on they happen whole, or fail."""

    def seconds_left(self) -> float:
        """Return how long the last of the taken changes may still take; 0 or less: no longer."""

    def put_back(self) -> None:
        """Make the taken changes wait again, before all others: nothing has happened."""


class State:
    """What a user has: a fleet, no fleet, or a file that means none (``error``)."""

    __slots__ = ("_pieces", "error", "fleet", "overwritable")

    def __init__(
        self,
        fleet: PetFleet | None = None,
        pieces: codec.Pieces | None = None,
        *,
        error: FleetFormatError | None = None,
        overwritable: bool = False,
    ) -> None:
        self.fleet = fleet
        self._pieces = pieces
        self.error = error
        self.overwritable = overwritable

    @property
    def absent(self) -> bool:
        """Whether there is nothing at all."""
        return self.fleet is None and self.error is None

    @property
    def pieces(self) -> codec.Pieces | None:
        """What ``dumps`` of the fleet is made of; None without one."""
        if self._pieces is None and self.fleet is not None:
            try:
                self._pieces = codec.pieces(self.fleet)
            except ValueError:
                # Readable in its own layout but too large in ours: no change may equal it.
                self._pieces = codec.Pieces("", [], "", False)
        return self._pieces

    def readable(self) -> PetFleet | None:
        """Return the fleet, None if there is none; raise what keeps it from being one."""
        if self.error is not None:
            raise own_copy(self.error)
        return self.fleet

    def encoded(self) -> bytes | None:
        """Return what is to be written; each piece of it was parsed back, and now the whole is compared with them."""
        if self.fleet is None or self.pieces is None:
            return None
        text = self.pieces.text()
        codec.confirm(text, self.fleet)
        return text.encode()


ABSENT: Final = State()


def understood(data: bytes | None, size: int, user_id: str, where: str) -> State:
    """Return what stored bytes mean.

    Args:
        data: None if there are more than a fleet may have.
        size: their number.
        user_id: whose fleet they are to be.
        where: the path or URL that an error names.
    """
    if data is None:
        too_large = FleetFormatError(where, f"at most {codec.MOST_BYTES} bytes, not {size}")
        return State(error=too_large, overwritable=True)
    try:
        return State(codec.loads(data, user_id=user_id))
    except FleetFormatError as error:
        located = FleetFormatError(where, error.expected, error.line, error.column)
        owner = codec.user_id_in(data)
        return State(error=located, overwritable=owner is None or owner == user_id)


def apply(changes: Sequence[Change], before: State) -> tuple[State, int]:
    """Apply the changes in order; each gets its result or error, and one that fails has no part in the next.

    Returns:
        What the user is to have, and the index of the first change whose outcome rests on something not yet written
        (the number of changes if nothing is to be written).
    """
    now = before
    first = len(changes)
    for index, change in enumerate(changes):
        change.error = None  # of an attempt that had to start over
        try:
            after = _after(change, now)
        except BaseException as error:  # noqa: BLE001 - it belongs to the one call, whatever it is
            change.error = error
            continue
        change.result = after.fleet
        if after is not now:
            now = after
            first = min(first, index)
    # Together they may have changed nothing, like an add and a remove.
    if now is before or (now.error is before.error and now.pieces == before.pieces):
        return before, len(changes)
    return now, first


def _after(change: Change, now: State) -> State:
    if now.error is not None and not (now.overwritable and change.kind is Kind.OVERWRITE):
        raise own_copy(now.error)
    fleet = change.apply(now.fleet)
    if fleet is now.fleet and now.error is None:
        return now
    if fleet is None:
        return ABSENT
    # Checked before the next change sees it: what cannot be written must fail this call alone.
    before = now.pieces
    shared = (now.fleet, before) if now.fleet is not None and before is not None and before.head else None
    pieces = codec.pieces(fleet, shared)
    return now if pieces == before else State(fleet, pieces)


def fail(changes: Sequence[Change], error: BaseException, before: State | None) -> None:
    """Give each change an error of its own; reads are answered from ``before``, if that still stands."""
    for change in changes:
        if before is not None and change.kind is Kind.READ:
            change.result = before.fleet
            change.error = None if before.error is None else own_copy(before.error)
        else:
            change.error = own_copy(error)
