"""What the earlier synchronous program promised, and the files that it wrote, on every backend."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from petfleet import (
    FleetNotFoundError,
    FleetStore,
    PetFleet,
    PetHandle,
    PetNotInFleetError,
    per_pet_memory_key,
    shared_memory_key,
)
from tests.conftest import pet
from tests.support.backends import Storage

_LINES = (Path(__file__).parent.parent / "data" / "written_by_original.jsonl").read_bytes().splitlines()
SAMPLES: list[dict[str, Any]] = [json.loads(line) for line in _LINES]


def meant(sample: dict[str, Any]) -> PetFleet:
    """The fleet that a sample's values make."""
    fleet = sample["fleet"]
    return PetFleet(fleet["user_id"], [PetHandle(**fields) for fields in fleet["pets"]], fleet["active_pet"])


def put(storage: Storage, sample: dict[str, Any]) -> None:
    """Put the file where the old program put it, without a lock file."""
    storage.write_long_ago(sample["toml"].encode(), sample["user_id"])


def fields_of(handle: PetHandle) -> dict[str, Any]:
    """What a file says of a pet."""
    return {
        "pet_name": handle.pet_name,
        "role": handle.role,
        "manifest_path": handle.manifest_path,
        "last_active": handle.last_active,
    }


# --- what its own tests checked --------------------------------------------------------------------------------------


async def test_a_missing_fleet_loads_empty(store: FleetStore) -> None:
    """A fleet need not be created before it is loaded."""
    fleet = await store.load("user-alpha")
    assert (fleet.user_id, fleet.pets, fleet.active_pet) == ("user-alpha", (), None)


async def test_the_first_add_persists_and_becomes_active(store: FleetStore, storage: Storage) -> None:
    """Another store finds the pet, and finds it active."""
    await store.add("user-alpha", pet("mira"))
    fleet = await storage.store().load("user-alpha")
    assert (fleet.pets, fleet.active_pet) == ((pet("mira"),), "mira")


async def test_switch_persists(store: FleetStore, storage: Storage) -> None:
    """Another store finds the pet active that was switched to."""
    await store.add("user-alpha", pet("mira"))
    await store.add("user-alpha", pet("nova"))
    await store.switch("user-alpha", "nova")
    assert (await storage.store().load("user-alpha")).active_pet == "nova"


async def test_switch_to_an_absent_pet_fails(store: FleetStore) -> None:
    """The error says what the old program's said, and the active pet stays."""
    await store.add("user-alpha", pet("mira"))
    with pytest.raises(PetNotInFleetError, match=r"^pet ghost not in fleet$"):
        await store.switch("user-alpha", "ghost")
    assert (await store.load("user-alpha")).active_pet == "mira"


async def test_switch_on_an_absent_fleet_fails(store: FleetStore) -> None:
    """The error says what the old program's said."""
    with pytest.raises(FleetNotFoundError, match=r"^fleet not found for user user-alpha$"):
        await store.switch("user-alpha", "mira")


def test_the_memory_keys_are_stable_and_distinct() -> None:
    """They are the names of memory that exists already, and no two scopes share one."""
    assert shared_memory_key("user-alpha") == "shared::user-alpha"
    assert per_pet_memory_key("user-alpha", "mira") == "pet::user-alpha::mira"
    keys = [shared_memory_key(user) for user in ("a", "b")]
    keys += [per_pet_memory_key(user, name) for user in ("a", "b", "a:b") for name in ("mira", "b", "a::mira", "")]
    assert len(set(keys)) == len(keys)


# --- its files -------------------------------------------------------------------------------------------------------


def test_the_samples_are_there() -> None:
    """An empty list of samples would let the tests below pass without testing anything."""
    assert len(SAMPLES) == 27
    assert sum(not sample["fleet"]["pets"] for sample in SAMPLES) == 2


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample["name"])
async def test_its_files_load_as_their_values(store: FleetStore, storage: Storage, sample: dict[str, Any]) -> None:
    """Each file, also one without pets, loads as the old program meant it, and reading does not change it."""
    put(storage, sample)
    assert await store.peek(sample["user_id"]) == meant(sample)
    assert await store.load(sample["user_id"]) == meant(sample)
    assert storage.read(sample["user_id"]) == sample["toml"].encode()


@pytest.mark.parametrize(
    "sample", [sample for sample in SAMPLES if sample["fleet"]["pets"]], ids=lambda sample: sample["name"]
)
async def test_its_files_survive_the_touch_of_one_pet(
    store: FleetStore, storage: Storage, sample: dict[str, Any]
) -> None:
    """Everything but that pet's last_active is as before; of pets that share a name the first is meant."""
    put(storage, sample)
    before = meant(sample)
    name = before.pets[len(before.pets) // 2].pet_name
    touched = [handle.pet_name for handle in before.pets].index(name)
    expected = [fields_of(handle) for handle in before.pets]
    expected[touched]["last_active"] = 1_888_888_888
    after = await store.touch(sample["user_id"], name, last_active=1_888_888_888)
    written = tomllib.loads((storage.read(sample["user_id"]) or b"").decode())
    assert written.pop("pets") == expected
    assert written.pop("user_id") == before.user_id
    assert written.pop("active_pet", None) == before.active_pet
    assert written == {}
    assert [fields_of(handle) for handle in after.pets] == expected
    assert await storage.store().load(sample["user_id"]) == after


async def test_its_users_live_side_by_side(store: FleetStore, storage: Storage) -> None:
    """A root full of its files is a store, and each user gets the own fleet."""
    for sample in SAMPLES:
        put(storage, sample)
    ids = {sample["user_id"] for sample in SAMPLES}
    assert {user_id async for user_id in store.users()} == {one for one in ids if not set(one) & set(storage.renamed)}
    for sample in SAMPLES:
        assert await store.load(sample["user_id"]) == meant(sample)
