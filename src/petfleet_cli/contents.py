"""What is wrong with what a fleet file holds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Final

from petfleet import codec
from petfleet.errors import FleetFormatError
from petfleet.fleet import PetFleet
from petfleet.layout import Place
from petfleet.reading import Reader
from petfleet_cli.findings import Finding, not_a_file, reason, unreadable

_MOST_NAMES: Final = 5  # that one message shows


def fleet(place: Place, reader: Reader) -> Iterator[Finding]:
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
        if state.error is not None:
            foreign = not state.overwritable
            yield _format(place, state.error, foreign, foreign and stored is not None and _is_fleet(stored.data or b""))
        elif state.fleet is not None:
            yield from meaning(place, state.fleet)


def _format(place: Place, error: FleetFormatError, foreign: bool, parses: bool) -> Finding:
    if foreign:
        way_out = "move it to the user whose it is, or away; petfleet check --repair leaves it alone"
    else:
        way_out = "mend it by hand, or petfleet check --repair sets it aside"
    kind = "foreign-user-id" if parses else "unparsable"
    return Finding(kind, place.fleet, f"{reason(error)}: {way_out}", place.user_id, error.line, error.column)


def _is_fleet(data: bytes) -> bool:
    try:
        codec.loads(data)
    except FleetFormatError:
        return False
    return True


def meaning(place: Place, stored: PetFleet) -> Iterator[Finding]:
    """Yield what does not fit together in a fleet."""
    if stored.active_pet is not None and stored.active_handle is None:
        message = f"active_pet {stored.active_pet!r} is not in the fleet: switch to a pet that is"
        yield Finding("active-pet-missing", place.fleet, message, place.user_id)
    twice = [name for name, times in Counter(pet.pet_name for pet in stored.pets).items() if times > 1]
    if twice:
        shown = ", ".join(map(repr, twice[:_MOST_NAMES]))
        more = f" and of {len(twice) - _MOST_NAMES} names more" if len(twice) > _MOST_NAMES else ""
        message = (
            f"more than one pet of the name {shown}{more}: every call means the first; rename or remove the others"
        )
        yield Finding("duplicate-name", place.fleet, message, place.user_id)
