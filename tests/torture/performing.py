"""Performs the calls of the model on a store, and says in the model's words what came back."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

from petfleet import FleetStore, PetFleet, PetHandle
from tests.torture import model
from tests.torture.model import (
    Add,
    Append,
    Call,
    Delete,
    Load,
    Misuse,
    Overwrite,
    Peek,
    Remove,
    Replace,
    Reply,
    Save,
    Switch,
    Touch,
)


class RefusedError(Exception):
    """What a caller's own change raises."""


async def perform(store: FleetStore, user_id: str, call: Call) -> Reply:
    """Make a call, and return its reply: the name of the class for an error."""
    try:
        result = await _perform(store, user_id, call)
    except Exception as error:  # noqa: BLE001 - which one it is, is what is looked at
        return type(error).__name__
    return result if isinstance(result, bool) else shown(result)


async def _perform(store: FleetStore, user_id: str, call: Call) -> PetFleet | bool:
    match call:
        case Load():
            return await store.load(user_id)
        case Peek():
            return await store.peek(user_id)
        case Add(pet):
            return await store.add(user_id, handle(pet))
        case Switch(name):
            return await store.switch(user_id, name)
        case Remove(name):
            return await store.remove(user_id, name)
        case Touch(name, seconds):
            return await store.touch(user_id, name, last_active=seconds)
        case Append():
            return await store.update(user_id, lambda fleet: _append(fleet, call))
        case Misuse(error):
            return await store.update(user_id, _MISUSES[error])
        case Save(fleet):
            return await store.save(built(user_id, fleet))
        case Replace(fleet, seen):
            return await store.save(built(user_id, fleet), replacing=built(user_id, seen))
        case Overwrite(fleet):
            return await store.save(built(user_id, fleet), overwrite=True)
        case Delete():
            return await store.delete(user_id)


def _append(fleet: PetFleet, call: Append) -> PetFleet:
    time.sleep(call.pause)  # it runs in a worker thread
    old = fleet.get(call.name)
    if old is None:
        return fleet.with_pet(handle(model.stamped(call.name, call.stamp)))
    return fleet.with_replaced(call.name, handle(model.with_word(_shown(old), call.stamp)))


def _refuse(fleet: PetFleet) -> PetFleet:
    raise RefusedError


def _stop(fleet: PetFleet) -> PetFleet:
    raise StopIteration


async def _asynchronous(fleet: PetFleet) -> PetFleet:
    return fleet


_MISUSES: dict[str | None, Callable[[PetFleet], Any]] = {
    None: lambda fleet: fleet,
    "RefusedError": _refuse,
    "RuntimeError": _stop,
    "TypeError": _asynchronous,
    "ValueError": lambda fleet: PetFleet("someone-else", fleet.pets),
}


def handle(pet: model.Pet) -> PetHandle:
    """Return petfleet's value of a pet of the model."""
    return PetHandle(pet.name, pet.role, pet.path, pet.last_active, json.loads(pet.extra))


def built(user_id: str, fleet: model.Fleet) -> PetFleet:
    """Return petfleet's value of a fleet of the model."""
    return PetFleet(user_id, map(handle, fleet.pets), fleet.active, json.loads(fleet.extra))


def shown(fleet: PetFleet) -> model.Fleet:
    """Return the model's value of a fleet of petfleet."""
    return model.Fleet(tuple(map(_shown, fleet.pets)), fleet.active_pet, _extra(fleet))


def _shown(pet: PetHandle) -> model.Pet:
    return model.Pet(pet.pet_name, pet.role, pet.manifest_path, pet.last_active, _extra(pet))


def _extra(value: PetFleet | PetHandle) -> str:
    return json.dumps(value.extra, sort_keys=True, ensure_ascii=False)
