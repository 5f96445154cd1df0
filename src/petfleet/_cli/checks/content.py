"""Checks the content of a fleet file: whether it is a fleet, and whether its names are consistent."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Final

from petfleet._backends.files.paths import UserPaths
from petfleet._backends.files.reader import Reader
from petfleet._backends.state import State
from petfleet._cli.checks.finding import Finding, not_a_file, reason, unreadable
from petfleet._model.errors import FleetFormatError
from petfleet._model.fleet import PetFleet
from petfleet._toml import decode

_MAX_NAMES: Final = 5  # in one message


def check_file(paths: UserPaths, reader: Reader) -> Iterator[Finding]:
    """Yield what is wrong with a user's fleet file; nothing if there is none."""
    try:
        stored, state = reader.read(paths)
    except FleetFormatError as error:
        yield not_a_file(paths.fleet, error, paths.user_id)
    except NotADirectoryError:
        pass  # something else has replaced the directory: there is no fleet file any more
    except OSError as error:
        yield unreadable(paths.fleet, error, paths.user_id)
    else:
        yield from check_state(paths.fleet, paths.user_id, state, None if stored is None else stored.data)


def check_state(where: str, user_id: str, state: State, data: bytes | None) -> Iterator[Finding]:
    """Yield what is wrong with the state that was read.

    Args:
        where: the path or URL of the file.
        user_id: the user that the path belongs to.
        state: what petfleet understands of it.
        data: its bytes, if they were read.
    """
    if state.error is not None:
        foreign = not state.overwritable
        yield _format(where, user_id, state.error, foreign, foreign and _is_fleet(data or b""))
    elif state.fleet is not None:
        yield from check_fleet(where, user_id, state.fleet)


def _format(where: str, user_id: str, error: FleetFormatError, foreign: bool, parses: bool) -> Finding:
    if foreign:
        way_out = "move it to the user whose it is, or away; petfleet check --repair leaves it alone"
    else:
        way_out = "mend it by hand, or petfleet check --repair sets it aside"
    kind = "foreign-user-id" if parses else "unparsable"
    return Finding(kind, where, f"{reason(error)}: {way_out}", user_id, error.line, error.column)


def _is_fleet(data: bytes) -> bool:
    try:
        decode.loads(data)
    except FleetFormatError:
        return False
    return True


def check_fleet(where: str, user_id: str, fleet: PetFleet) -> Iterator[Finding]:
    """Yield what is inconsistent in a fleet."""
    if fleet.active_pet is not None and fleet.active_handle is None:
        message = f"active_pet {fleet.active_pet!r} is not in the fleet: switch to a pet that is"
        yield Finding("active-pet-missing", where, message, user_id)
    twice = [name for name, times in Counter(pet.pet_name for pet in fleet.pets).items() if times > 1]
    if twice:
        shown = ", ".join(map(repr, twice[:_MAX_NAMES]))
        more = f" and of {len(twice) - _MAX_NAMES} names more" if len(twice) > _MAX_NAMES else ""
        message = (
            f"more than one pet of the name {shown}{more}: every call means the first; rename or remove the others"
        )
        yield Finding("duplicate-name", where, message, user_id)
