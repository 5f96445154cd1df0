"""What the tasks of a child do until it is killed: endless calls that a seed decides and whose outcome is known.

Each task has a user of its own, to whom it does everything there is to do. Of the user that all tasks share it changes
only its own pets, so that these are known too; besides, all count in one pet. The third user is one to whom any task
adds pets, and whom any task deletes.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Coroutine, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from petfleet import FleetStore, PetFleet, PetHandle, loads

SHARED: Final = "shared"
DELETED: Final = "deleted-by-any"
COUNTER: Final = "counter"

Call = Callable[[FleetStore], Coroutine[Any, Any, object]]


@dataclass(frozen=True, slots=True)
class Task:
    """What decides a task's calls.

    Attributes:
        name: what the names of its pets begin with; unique.
        seed: decides everything else.
        user_id: its own user.
        text: what that user's file holds when the task begins; None if there is none.
    """

    name: str
    seed: int
    user_id: str
    text: str | None


@dataclass(frozen=True, slots=True)
class Known:
    """What a task's calls have led to.

    Attributes:
        own: the fleet of its own user.
        shared: its pets in the fleet that all share, and when they were last active.
        counted: how often it has counted.
    """

    own: PetFleet | None
    shared: Mapping[str, int]
    counted: int


@dataclass(frozen=True, slots=True)
class Step:
    """One call, and what is known once it was carried out.

    Attributes:
        adds: the pet that it adds to the fleet that any task deletes.
        deletes: whether it deletes that fleet.
    """

    text: str
    call: Call
    after: Known
    adds: str | None = None
    deletes: bool = False


def at_first(task: Task) -> Known:
    """Return what is known before a task's first call."""
    return Known(None if task.text is None else loads(task.text), {}, 0)


def steps(task: Task) -> Iterator[Step]:
    """Yield a task's calls, the same ones each time."""
    rng = random.Random(task.seed)
    known = at_first(task)
    for number in itertools.count():
        pet = PetHandle(f"{task.name}.{number}", "friend", "pets/x.toml", number)
        (on,) = rng.choices((_on_own, _on_shared, _on_deleted), (3, 3, 2))
        step = on(task.user_id, known, pet, rng)
        yield step
        known = step.after


def _on_own(user_id: str, known: Known, pet: PetHandle, rng: random.Random) -> Step:
    now = known.own or PetFleet(user_id)
    new = PetFleet(user_id, [*now.pets[-2:], pet], pet.pet_name)
    can: dict[str, tuple[Call, PetFleet | None]] = {
        "load": (lambda store: store.load(user_id), known.own),
        "add": (lambda store: store.add(user_id, pet), now.with_pet(pet)),
        "update": (lambda store: store.update(user_id, lambda fleet: fleet.with_pet(pet)), now.with_pet(pet)),
        "save replacing": (lambda store: store.save(new, replacing=now), new),
        "save overwrite": (lambda store: store.save(new, overwrite=True), new),
        "delete": (lambda store: store.delete(user_id), None),
    }
    if known.own is None:
        can["save"] = (lambda store: store.save(new), new)
    if now.pets:
        some, seconds = rng.choice(now.pets).pet_name, pet.last_active
        can |= {
            "switch": (lambda store: store.switch(user_id, some), now.with_active(some)),
            "touch": (
                lambda store: store.touch(user_id, some, last_active=seconds),
                now.with_last_active(some, seconds),
            ),
            "remove": (lambda store: store.remove(user_id, some), now.without_pet(some)),
        }
    verb = rng.choice(list(can))
    call, after = can[verb]
    return Step(f"{verb} {user_id}", call, replace(known, own=after))


def _on_shared(user_id: str, known: Known, pet: PetHandle, rng: random.Random) -> Step:
    name, seconds = pet.pet_name, pet.last_active
    can: dict[str, tuple[Call, Known]] = {
        "count": (lambda store: store.update(SHARED, _count), replace(known, counted=known.counted + 1)),
        "add": (lambda store: store.add(SHARED, pet), replace(known, shared={**known.shared, name: seconds})),
    }
    if known.shared:
        some = rng.choice(list(known.shared))
        others = {other: when for other, when in known.shared.items() if other != some}
        can |= {
            "switch": (lambda store: store.switch(SHARED, some), known),
            "touch": (
                lambda store: store.touch(SHARED, some, last_active=seconds),
                replace(known, shared={**others, some: seconds}),
            ),
            "remove": (lambda store: store.remove(SHARED, some), replace(known, shared=others)),
        }
    verb = rng.choice(list(can))
    call, after = can[verb]
    return Step(f"{verb} {SHARED}", call, after)


def _on_deleted(user_id: str, known: Known, pet: PetHandle, rng: random.Random) -> Step:
    if rng.random() < 0.2:
        return Step(f"delete {DELETED}", lambda store: store.delete(DELETED), known, deletes=True)
    return Step(f"add {DELETED}", lambda store: store.add(DELETED, pet), known, adds=pet.pet_name)


def _count(fleet: PetFleet) -> PetFleet:
    counter = fleet.get(COUNTER)
    if counter is None:
        return fleet.with_pet(PetHandle(COUNTER, "counter", "pets/x.toml", 1))
    return fleet.with_last_active(COUNTER, counter.last_active + 1)
