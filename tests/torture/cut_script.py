"""What the writers of the power cuts do: each task its own endless sequence of calls, known from its seed."""

from __future__ import annotations

import itertools
import random
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import NamedTuple

from petfleet import FleetStore, PetFleet, PetHandle


class Step(NamedTuple):
    """One call of a task: the user, the call, and what the task has of that user afterwards."""

    user: str
    call: Callable[[FleetStore], Awaitable[PetFleet | bool]]
    after: PetFleet | None


def script(seed: int, task: str, shared: Sequence[str], own: Sequence[str]) -> Iterator[Step]:
    """Yield a task's calls, one after another.

    In the fleets that tasks share, each has a pet of its own name, last active at the number of the task's last change
    there, and now and then a second one; ``after`` holds only these. The other fleets are the task's own.
    """
    rng = random.Random(f"{seed} {task}")
    fleets: dict[str, PetFleet | None] = dict.fromkeys((*shared, *own))
    for number in itertools.count(1):
        if rng.random() < 0.4:
            user = rng.choice(shared)
            step = _shared_step(rng, number, task, user, fleets[user])
        else:
            user = rng.choice(own)
            step = _own_step(rng, number, user, fleets[user])
        fleets[user] = step.after
        yield step


def second(task: str) -> str:
    """Return the name of a task's second pet in the fleets that tasks share."""
    return f"{task}+"


def _pet(name: str, number: int) -> PetHandle:
    return PetHandle(name, "friend", f"pets/{name}.toml", number)


def _shared_step(rng: random.Random, number: int, task: str, user: str, fleet: PetFleet | None) -> Step:
    pet = _pet(task, number)
    if fleet is None:
        return Step(user, lambda store: store.add(user, pet), PetFleet(user, [pet], task))

    def change(fleet: PetFleet) -> PetFleet:
        fleet = fleet.with_last_active(task, number)
        if fleet.get(second(task)) is None:
            return fleet.with_pet(_pet(second(task), number))
        return fleet.without_pet(second(task))

    match rng.choice(("touch", "update", "load")):
        case "touch":
            touched = fleet.with_last_active(task, number)
            return Step(user, lambda store: store.touch(user, task, last_active=number), touched)
        case "update":
            return Step(user, lambda store: store.update(user, change), change(fleet))
        case _:
            return Step(user, lambda store: store.load(user), fleet)


def _own_step(rng: random.Random, number: int, user: str, fleet: PetFleet | None) -> Step:
    pet = _pet(f"pet-{number}", number)
    if fleet is None:
        match rng.choice(("add", "save", "load")):
            case "add":
                return Step(user, lambda store: store.add(user, pet), PetFleet(user, [pet], pet.pet_name))
            case "save":
                saved = PetFleet(user, [pet, _pet("second", number)], rng.choice((None, "second")))
                return Step(user, lambda store: store.save(saved), saved)
            case _:
                return Step(user, lambda store: store.load(user), None)
    if not fleet.pets:
        return Step(user, lambda store: store.add(user, pet), fleet.with_pet(pet))
    name = rng.choice(fleet.pets).pet_name
    match rng.choice(("add", "touch", "switch", "remove", "remove", "save", "delete")):
        case "add":
            return Step(user, lambda store: store.add(user, pet), fleet.with_pet(pet))
        case "touch":
            touched = fleet.with_last_active(name, number)
            return Step(user, lambda store: store.touch(user, name, last_active=number), touched)
        case "switch":
            return Step(user, lambda store: store.switch(user, name), fleet.with_active(name))
        case "remove":
            return Step(user, lambda store: store.remove(user, name), fleet.without_pet(name))
        case "save":
            saved = PetFleet(user, [pet])
            return Step(user, lambda store: store.save(saved, replacing=fleet), saved)
        case _:
            return Step(user, lambda store: store.delete(user), None)
