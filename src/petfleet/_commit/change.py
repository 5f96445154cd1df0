"""Changes, applied one after another to what is stored of a user, and made durable in one turn. Blocking."""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from typing import Final

from petfleet._backends.protocol import Commit, OvertakenError
from petfleet._backends.state import ABSENT, State
from petfleet._model.errors import UnconfirmedCommitError, copy_error
from petfleet._model.fleet import PetFleet
from petfleet._toml import encode
from petfleet._util import log, runtime

CHANGING: Final = "since a change function of this process has run for {:.3g} s so far: keep it short"
COMMITTING: Final = (
    "since this process's own commit for that user has taken {:.3g} s so far: see what is slow about the disk or the "
    "network, or raise lock_timeout"
)


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


def carry_out(changes: Sequence[Change], commit: Commit, enter: Callable[[str], object]) -> float:
    """Read what is stored, apply the changes, and make the outcome durable; each gets its result or error.

    Args:
        changes: from now on they happen whole, or fail.
        commit: has the turn.
        enter: told what it is about from now on, as the error of a call that waits for it says so: with the seconds.

    Returns:
        How many seconds the write took; 0 if nothing was written.

    Raises:
        OvertakenError, OSError, FleetFormatError: nothing has happened, and no change has a result.
    """
    enter(COMMITTING)
    now = commit.read()
    while True:
        before = now
        enter(CHANGING)
        after, first = apply(changes, before)
        enter(COMMITTING)
        if after is not before or any(change.kind is Kind.DELETE for change in changes):
            break
        now = commit.confirm(before)
        if now is before:
            log.debug("%s: no write for %d calls", commit.path, len(changes))
            return 0.0
    began = runtime.monotonic()
    try:
        commit.write(before, after)
    except UnconfirmedCommitError as error:
        fail(changes, error, None)  # all: the ones before the first write may rest on what was never confirmed
        return 0.0
    except (OSError, ValueError) as error:
        if after is before:
            raise  # a deletion of nothing: that is what could not be made sure of
        if commit.confirm(before) is not before:
            raise OvertakenError from error
        fail(changes[first:], error, before)
        return 0.0
    log.debug("%s: a write for %d calls", commit.path, len(changes))
    return runtime.monotonic() - began


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
    if now is before or (now.error is before.error and now.parts == before.parts):
        return before, len(changes)
    return now, first


def _after(change: Change, now: State) -> State:
    if now.error is not None and not (now.overwritable and change.kind is Kind.OVERWRITE):
        raise copy_error(now.error)
    fleet = change.apply(now.fleet)
    if fleet is now.fleet and now.error is None:
        return now
    if fleet is None:
        return ABSENT
    # Checked before the next change sees it: what cannot be written must fail this call alone.
    before = now.parts
    shared = (now.fleet, before) if now.fleet is not None and before is not None and before.head else None
    parts = encode.render_parts(fleet, shared)
    return now if parts == before else State(fleet, parts)


def fail(changes: Sequence[Change], error: BaseException, before: State | None) -> None:
    """Give each change an error of its own; reads are answered from ``before``, if that still stands."""
    for change in changes:
        if before is not None and change.kind is Kind.READ:
            change.result = before.fleet
            change.error = None if before.error is None else copy_error(before.error)
        else:
            change.error = copy_error(error)
