"""What each call does to one user, said again in plain tuples: the specification that petfleet is held against."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final, NamedTuple

MAX_WORDS: Final = 8  # that a role keeps


class Pet(NamedTuple):
    """A handle; ``extra`` as JSON with sorted keys."""

    name: str
    role: str
    path: str
    last_active: int
    extra: str = "{}"


class Fleet(NamedTuple):
    """A fleet; ``extra`` as JSON with sorted keys."""

    pets: tuple[Pet, ...] = ()
    active: str | None = None
    extra: str = "{}"


class Broken(NamedTuple):
    """Something that is no fleet, where the fleet file should be."""

    overwritable: bool


State = Fleet | Broken | None
Reply = Fleet | bool | str  # str: the name of an error's class


# The calls are dataclasses: as tuples, Switch("mira") and Remove("mira") would be equal.


@dataclass(frozen=True, slots=True)
class Load:
    """``load``."""


@dataclass(frozen=True, slots=True)
class Peek:
    """``peek``. While no power is cut, what it shows stands, so it is held to what ``load`` is."""


@dataclass(frozen=True, slots=True)
class Add:
    """``add``."""

    pet: Pet


@dataclass(frozen=True, slots=True)
class Switch:
    """``switch``."""

    name: str


@dataclass(frozen=True, slots=True)
class Remove:
    """``remove``."""

    name: str


@dataclass(frozen=True, slots=True)
class Touch:
    """``touch``; without a name, of the active pet."""

    name: str | None
    seconds: int


@dataclass(frozen=True, slots=True)
class Append:
    """``update`` that adds a word to a pet's role (of a new pet, if there is none), after a pause under the lock."""

    name: str
    stamp: int
    pause: float = 0.0


@dataclass(frozen=True, slots=True)
class Misuse:
    """``update`` with a change that fails, or (None) with one that returns what it was given."""

    error: str | None


@dataclass(frozen=True, slots=True)
class Save:
    """``save`` without a word about what may stand there."""

    fleet: Fleet


@dataclass(frozen=True, slots=True)
class Replace:
    """``save`` that replaces only what was seen before."""

    fleet: Fleet
    seen: Fleet


@dataclass(frozen=True, slots=True)
class Overwrite:
    """``save`` over whatever stands there."""

    fleet: Fleet


@dataclass(frozen=True, slots=True)
class Delete:
    """``delete``."""


Call = Load | Peek | Add | Switch | Remove | Touch | Append | Misuse | Save | Replace | Overwrite | Delete


def step(state: State, call: Call) -> tuple[State, Reply]:
    """Return what a user has after a call, and what the call replies."""
    if isinstance(state, Broken):
        if isinstance(call, Overwrite) and state.overwritable:
            return call.fleet, call.fleet
        return state, "FleetFormatError"
    match call:
        case Load() | Peek() | Misuse(None):
            return state, state or Fleet()
        case Delete():
            return None, state is not None
        case _:
            after = _after(state, call)
            return (state if isinstance(after, str) else after), after


def _after(state: Fleet | None, call: Call) -> Fleet | str:
    fleet = state or Fleet()
    match call:
        case Save(new):
            return new if state is None else "FleetConflictError"
        case Replace(new, seen):
            return new if fleet == seen else "FleetConflictError"
        case Overwrite(new):
            return new
        case Misuse(str(error)):
            return error
        case Add(pet):
            return _add(fleet, pet)
        case Append(name, stamp):
            word = partial(with_word, stamp=stamp)
            return _add(fleet, stamped(name, stamp)) if _find(fleet, name) is None else _change(fleet, name, word)
        case _ if state is None:
            return "FleetNotFoundError"
        case Switch(name):
            return "PetNotInFleetError" if _find(fleet, name) is None else fleet._replace(active=name)
        case Remove(name):
            return _remove(fleet, name)
        case Touch(name, seconds):
            name = fleet.active if name is None else name
            return fleet if name is None else _change(fleet, name, lambda pet: pet._replace(last_active=seconds))
    raise AssertionError(call)


def _find(fleet: Fleet, name: str) -> int | None:
    return next((index for index, pet in enumerate(fleet.pets) if pet.name == name), None)


def _change(fleet: Fleet, name: str, change: Callable[[Pet], Pet]) -> Fleet | str:
    at = _find(fleet, name)
    if at is None:
        return "PetNotInFleetError"
    return fleet._replace(pets=(*fleet.pets[:at], change(fleet.pets[at]), *fleet.pets[at + 1 :]))


def _add(fleet: Fleet, pet: Pet) -> Fleet | str:
    if not pet.name:
        return "InvalidNameError"
    if _find(fleet, pet.name) is not None:
        return "PetAlreadyInFleetError"
    return fleet._replace(pets=(*fleet.pets, pet), active=pet.name if fleet.active is None else fleet.active)


def _remove(fleet: Fleet, name: str) -> Fleet | str:
    at = _find(fleet, name)
    if at is None:
        return "PetNotInFleetError"
    left = fleet.pets[:at] + fleet.pets[at + 1 :]
    if fleet.active != name:
        return fleet._replace(pets=left)
    return fleet._replace(pets=left, active=left[0].name if left else None)


def with_word(pet: Pet, stamp: int) -> Pet:
    """Return a pet with one word more in its role, which keeps the last few."""
    return pet._replace(role=" ".join([*pet.role.split(), str(stamp)][-MAX_WORDS:]))


def stamped(name: str, stamp: int) -> Pet:
    """Return a pet that can be told from all others."""
    return Pet(name, str(stamp), f"pets/{name}.toml", stamp)
