"""Apply changes one after another to a user's stored fleet, and make the result durable in one turn. Blocking."""

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
    """What a change may do; each kind may also do what the kinds before it may."""

    READ = 0  # change nothing
    CHANGE = 1
    DELETE = 2  # remove everything of the user
    CREATE = 3  # create a fleet where there is none
    OVERWRITE = 4  # replace a file that cannot be parsed


class Change:
    """A function from the stored fleet (None: there is none) to the next one, with its result or error."""

    __slots__ = ("apply", "error", "kind", "result")

    def __init__(self, apply: Callable[[PetFleet | None], PetFleet | None], kind: Kind) -> None:
        self.apply = apply
        self.kind = kind
        self.result: PetFleet | None = None
        self.error: BaseException | None = None


def carry_out(changes: Sequence[Change], commit: Commit, enter: Callable[[str], object]) -> float:
    """Read what is stored, apply the changes, and make the result durable. Each change gets its result or error.

    Args:
        changes: from now on, each takes full effect or fails.
        commit: a commit that has the turn.
        enter: called with the next step, in the words of a timeout error (a format string for the seconds).

    Returns:
        How many seconds the write took; 0 if nothing was written.

    Raises:
        OvertakenError, OSError, FleetFormatError: nothing was written, and no change counts as carried out.
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
        fail(changes, error, None)  # all of them: what they read may never have been confirmed
        return 0.0
    except (OSError, ValueError) as error:
        if after is before:
            raise  # a deletion where nothing is stored: just that could not be made durable
        if commit.confirm(before) is not before:
            raise OvertakenError from error
        fail(changes[first:], error, before)
        return 0.0
    log.debug("%s: a write for %d calls", commit.path, len(changes))
    return runtime.monotonic() - began


def apply(changes: Sequence[Change], before: State) -> tuple[State, int]:
    """Apply the changes in order. Each gets its result or error; one that fails does not affect the next.

    Returns:
        What to store, and the index of the first change whose result is not stored yet (the number of changes if
        nothing needs to be written).
    """
    now = before
    first = len(changes)
    for index, change in enumerate(changes):
        change.error = None  # left by an attempt that had to start over
        try:
            after = _after(change, now)
        except BaseException as error:  # noqa: BLE001 - every error belongs to the one call
            change.error = error
            continue
        change.result = after.fleet
        if after is not now:
            now = after
            first = min(first, index)
    # Together the changes may cancel out, like an add and a remove.
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
    # Rendered before the next change sees it: a fleet that cannot be written must fail this call alone.
    before = now.parts
    shared = (now.fleet, before) if now.fleet is not None and before is not None and before.head else None
    parts = encode.render_parts(fleet, shared)
    return now if parts == before else State(fleet, parts)


def fail(changes: Sequence[Change], error: BaseException, before: State | None) -> None:
    """Give each change its own copy of the error; if ``before`` is still stored, reads return it instead."""
    for change in changes:
        if before is not None and change.kind is Kind.READ:
            change.result = before.fleet
            change.error = None if before.error is None else copy_error(before.error)
        else:
            change.error = copy_error(error)
