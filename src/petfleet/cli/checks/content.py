"""What is wrong with what a fleet file holds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Final

from petfleet._backends.files.paths import UserPaths
from petfleet._backends.files.reader import Reader
from petfleet._backends.state import State
from petfleet._model.errors import FleetFormatError
from petfleet._model.fleet import PetFleet
from petfleet._toml import decode
from petfleet.cli.checks.finding import Finding, not_a_file, reason, unreadable

_MAX_NAMES: Final = 5  # that one message shows


def fleet(place: UserPaths, reader: Reader) -> Iterator[Finding]:
    """Yield what is wrong with a user's fleet file; nothing where there is none."""
    try:
        stored, state = reader.read(place)
    except FleetFormatError as error:
        yield not_a_file(place.fleet, error, place.user_id)
    except NotADirectoryError:
        pass  # as if it had gone: something else has taken the directory's place
    except OSError as error:
        yield unreadable(place.fleet, error, place.user_id)
    else:
        yield from found(place.fleet, place.user_id, state, None if stored is None else stored.data)


def found(where: str, user_id: str, state: State, data: bytes | None) -> Iterator[Finding]:
    """Yield what is wrong with what stands at a path or URL."""
    if state.error is not None:
        foreign = not state.overwritable
        yield _format(where, user_id, state.error, foreign, foreign and _is_fleet(data or b""))
    elif state.fleet is not None:
        yield from meaning(where, user_id, state.fleet)


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


def meaning(where: str, user_id: str, stored: PetFleet) -> Iterator[Finding]:
    """Yield what does not fit together in a fleet."""
    if stored.active_pet is not None and stored.active_handle is None:
        message = f"active_pet {stored.active_pet!r} is not in the fleet: switch to a pet that is"
        yield Finding("active-pet-missing", where, message, user_id)
    twice = [name for name, times in Counter(pet.pet_name for pet in stored.pets).items() if times > 1]
    if twice:
        shown = ", ".join(map(repr, twice[:_MAX_NAMES]))
        more = f" and of {len(twice) - _MAX_NAMES} names more" if len(twice) > _MAX_NAMES else ""
        message = (
            f"more than one pet of the name {shown}{more}: every call means the first; rename or remove the others"
        )
        yield Finding("duplicate-name", where, message, user_id)
