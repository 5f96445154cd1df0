"""Each call of the store except save and update: what it does, returns and writes."""

from __future__ import annotations

import contextlib
import dataclasses
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import anyio
import anyio.to_thread
import pytest
from anyio.abc import TaskStatus

from petfleet import (
    FleetConflictError,
    FleetNotFoundError,
    FleetStore,
    FleetStoreStatistics,
    PetAlreadyInFleetError,
    PetFleet,
    PetNotInFleetError,
    dumps,
)
from petfleet import _store as store_module
from tests.conftest import pet, until
from tests.support.backends import Storage
from tests.support.gate import Gate
from tests.support.points import HeldCall

ABSENT = {
    "switch": lambda store: store.switch("user", "mira"),
    "remove": lambda store: store.remove("user", "mira"),
    "touch": lambda store: store.touch("user", "mira"),
    "touch the active pet": lambda store: store.touch("user"),
}


async def test_load_of_a_missing_fleet_is_empty_and_creates_nothing(store: FleetStore, storage: Storage) -> None:
    """Asking for a fleet that does not exist gives an empty one and leaves everything as it was."""
    assert await store.load("user") == PetFleet("user")
    assert storage.is_untouched()


async def test_peek_at_a_missing_fleet_is_empty_and_creates_nothing(store: FleetStore, storage: Storage) -> None:
    """Peeking at a fleet that does not exist gives an empty one and leaves everything as it was."""
    assert await store.peek("user") == PetFleet("user")
    assert storage.is_untouched()


async def test_load_and_peek_return_what_another_store_wrote(store: FleetStore, storage: Storage) -> None:
    """Both read what is stored, not what this store remembers."""
    fleet = await store.add("user", pet("mira"))
    other = storage.store()
    assert await other.load("user") == await other.peek("user") == fleet
    changed = await other.touch("user", last_active=5)
    assert await store.peek("user") == await store.load("user") == changed != fleet


async def test_what_others_did_since_the_last_look_counts(store: FleetStore, storage: Storage) -> None:
    """No answer rests on what this store remembers: no load, and not that there is a pet, or is none, or no fleet."""
    other = storage.store()
    await store.add("user", pet("mira"))
    await other.remove("user", "mira")
    assert await store.load("user") == PetFleet("user")
    await other.add("user", pet("nova"))
    assert await store.switch("user", "nova") == PetFleet("user", [pet("nova")], "nova")
    await other.remove("user", "nova")
    assert await store.add("user", pet("nova")) == PetFleet("user", [pet("nova")], "nova")
    await other.delete("user")
    with pytest.raises(FleetNotFoundError):
        await store.switch("user", "nova")
    await other.add("user", pet("mira"))
    with pytest.raises(FleetConflictError):
        await store.save(PetFleet("user"))
    assert await store.delete("user") is True
    assert storage.is_empty()


async def test_load_of_a_file_without_a_lock_file_leaves_it_alone(store: FleetStore, storage: Storage) -> None:
    """A file that petfleet did not write is loaded without a byte of it changing."""
    storage.write(b"# by hand\r\npets=[ ]\r\nuser_id='user'\r\n")
    before = storage.version()
    assert await store.load("user") == PetFleet("user")
    assert storage.read() == b"# by hand\r\npets=[ ]\r\nuser_id='user'\r\n"
    assert storage.version() == before


async def test_peek_shows_a_write_that_is_not_yet_confirmed(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Peek sees what was written at once, in a thread of its own although the only worker is busy."""
    store = storage.store(threads=1)
    old = await store.add("user", pet("mira"))
    gate = Gate()
    storage.gate_after_write(monkeypatch, gate)
    async with anyio.create_task_group() as group:
        group.start_soon(store.add, "user", pet("nova"))
        await anyio.to_thread.run_sync(gate.reached.wait)
        try:
            assert await store.peek("user") == old.with_pet(pet("nova"))
        finally:
            gate.open()


# --- add, switch, remove, touch --------------------------------------------------------------------------------------


async def test_add_appends_and_only_the_first_pet_becomes_active(store: FleetStore, storage: Storage) -> None:
    """Add returns the fleet that is stored; an active pet stays active."""
    assert await store.add("user", pet("mira")) == PetFleet("user", [pet("mira")], "mira")
    both = await store.add("user", pet("nova"))
    assert both == PetFleet("user", [pet("mira"), pet("nova")], "mira")
    assert storage.read() == dumps(both).encode()


async def test_add_activates_a_pet_where_none_is_active(store: FleetStore) -> None:
    """A fleet with pets of which none is active gets the new one as its active pet."""
    await store.save(PetFleet("user", [pet("mira")]))
    assert (await store.add("user", pet("nova"))).active_pet == "nova"


async def test_add_of_a_taken_name_fails_and_changes_nothing(store: FleetStore, storage: Storage) -> None:
    """A pet's name is unique in a fleet that petfleet builds."""
    fleet = await store.add("user", pet("mira"))
    with pytest.raises(PetAlreadyInFleetError) as caught:
        await store.add("user", pet("mira", role="double"))
    assert (caught.value.user_id, caught.value.pet_name) == ("user", "mira")
    assert storage.read() == dumps(fleet).encode()


async def test_switch_persists(store: FleetStore, storage: Storage) -> None:
    """The next reader finds the chosen pet active."""
    await store.save(PetFleet("user", [pet("mira"), pet("nova")], "mira"))
    fleet = await store.switch("user", "nova")
    assert fleet == PetFleet("user", [pet("mira"), pet("nova")], "nova")
    assert storage.read() == dumps(fleet).encode()


@pytest.mark.parametrize(
    ("removed", "left", "active"),
    [("mira", ["nova", "otto"], "nova"), ("nova", ["mira", "otto"], "mira"), ("otto", ["mira", "nova"], "mira")],
)
async def test_remove_takes_a_pet_out(
    store: FleetStore, storage: Storage, removed: str, left: list[str], active: str
) -> None:
    """The order of the others is kept; the first remaining pet takes over only from the active one."""
    await store.save(PetFleet("user", [pet("mira"), pet("nova"), pet("otto")], "mira"))
    fleet = await store.remove("user", removed)
    assert fleet == PetFleet("user", [pet(name) for name in left], active)
    assert storage.read() == dumps(fleet).encode()


async def test_remove_of_the_last_pet_leaves_an_empty_fleet(store: FleetStore, storage: Storage) -> None:
    """The file stays, with the key that the old program requires and no active pet."""
    await store.add("user", pet("mira"))
    assert await store.remove("user", "mira") == PetFleet("user")
    assert storage.read() == b'user_id = "user"\npets = []\n'


async def test_touch_sets_the_given_second_of_one_pet(store: FleetStore, storage: Storage) -> None:
    """Only last_active of the named pet changes, or of the active one if none is named."""
    await store.save(PetFleet("user", [pet("mira"), pet("nova")], "nova"))
    assert (await store.touch("user", "mira", last_active=7)).pets == (pet("mira", 7), pet("nova"))
    fleet = await store.touch("user", last_active=-8)
    assert fleet == PetFleet("user", [pet("mira", 7), pet("nova", -8)], "nova")
    assert storage.read() == dumps(fleet).encode()


class Calendar:
    """A clock whose Unix time the test sets."""

    def __init__(self, now: float) -> None:
        self.now = now

    def time(self) -> float:
        """Return that time."""
        return self.now


async def test_touch_means_the_second_in_which_it_was_called(
    store: FleetStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A touch that had to wait for its turn still records when it was called, in whole seconds."""
    await store.add("user", pet("mira"))
    calendar = Calendar(1_800_000_000.9)
    monkeypatch.setattr(store_module, "time", calendar)
    with HeldCall("enqueued") as held:
        async with anyio.create_task_group() as group:
            group.start_soon(store.touch, "user")
            await until(held.reached)
            calendar.now = 1_900_000_000.0
            held.open()
    assert (await store.load("user")).pets == (pet("mira", 1_800_000_000),)


async def test_touch_without_an_active_pet_changes_nothing(store: FleetStore, storage: Storage) -> None:
    """There is no pet to touch, and that is no error."""
    fleet = await store.save(PetFleet("user", [pet("mira")]))
    before = storage.version()
    assert await store.touch("user") == fleet
    assert storage.version() == before


@pytest.mark.parametrize("call", ABSENT.values(), ids=ABSENT.keys())
async def test_changes_of_a_pet_need_a_fleet(store: FleetStore, storage: Storage, call: Any) -> None:
    """Switch, remove and touch do not create a fleet."""
    with pytest.raises(FleetNotFoundError, match=r"^fleet not found for user user$") as caught:
        await call(store)
    assert caught.value.user_id == "user"
    assert storage.is_untouched()


@pytest.mark.parametrize("call", ["switch", "remove", "touch"])
async def test_changes_of_a_pet_need_that_pet(store: FleetStore, storage: Storage, call: str) -> None:
    """Switch, remove and touch of a pet that is not there fail, and the fleet stays as it is."""
    fleet = await store.add("user", pet("mira"))
    with pytest.raises(PetNotInFleetError, match=r"^pet ghost not in fleet$") as caught:
        await getattr(store, call)("user", "ghost")
    assert (caught.value.user_id, caught.value.pet_name) == ("user", "ghost")
    assert storage.read() == dumps(fleet).encode()


# --- delete, users, statistics ---------------------------------------------------------------------------------------


async def test_delete_leaves_nothing_of_the_user(store: FleetStore, storage: Storage) -> None:
    """The fleet is gone, and the user can start a new one."""
    await store.add("user", pet("mira"))
    assert await store.delete("user") is True
    assert storage.is_empty()
    other = storage.store()
    assert await store.load("user") == await other.peek("user") == await other.load("user") == PetFleet("user")
    assert await other.delete("user") is False
    assert await store.add("user", pet("nova")) == PetFleet("user", [pet("nova")], "nova")


async def test_delete_leaves_foreign_files(store: FleetStore, storage: Storage) -> None:
    """Whatever petfleet did not make stays where it is."""
    await store.add("user", pet("mira"))
    storage.leave("user/mira.toml", b"name = 'Mira'")
    assert await store.delete("user") is True
    assert storage.left() == ["user/mira.toml"]


async def test_delete_of_no_fleet_is_false_and_creates_nothing(store: FleetStore, storage: Storage) -> None:
    """Deleting what is not there is no error."""
    assert await store.delete("user") is False
    assert storage.is_untouched()


async def test_users_are_those_who_have_a_fleet(store: FleetStore, storage: Storage) -> None:
    """Empty fleets count; deleted ones, other files and names that are no user ids do not."""
    await store.add("alpha", pet("mira"))
    await store.save(PetFleet("ßeta"))
    await store.add("gone", pet("mira"))
    await store.delete("gone")
    for name in ("note.txt", "other/note.txt", "a::b/fleet.toml", "deep/er/fleet.toml"):
        storage.leave(name)
    assert sorted([user_id async for user_id in store.users()]) == ["alpha", "ßeta"]


async def test_users_of_a_root_that_does_not_exist_are_none(store: FleetStore, storage: Storage) -> None:
    """A store that was never used has no users."""
    assert [user_id async for user_id in store.users()] == []
    assert storage.is_untouched()


async def test_users_may_be_many_and_need_not_all_be_looked_at(store: FleetStore, storage: Storage) -> None:
    """However many users there are, each comes once; the caller may stop early."""
    names = {f"user-{number:03}" for number in range(600)}
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(storage.write, [b""] * len(names), names))
    found = [user_id async for user_id in store.users()]
    assert len(found) == 600
    assert set(found) == names
    async with contextlib.aclosing(store.users()) as users:  # type: ignore[type-var]  # an AsyncIterator by its type
        async for user_id in users:
            assert user_id in names
            break


async def test_looking_for_users_may_be_cancelled(
    store: FleetStore, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cancelled scan ends as a cancelled await, while its thread is still in the middle of it."""
    await store.add("user", pet("mira"))
    gate = Gate()
    storage.gate_users(monkeypatch, gate)
    found = []

    async def scan(*, task_status: TaskStatus[anyio.CancelScope]) -> None:
        with anyio.CancelScope() as scope:
            task_status.started(scope)
            async for user_id in store.users():
                found.append(user_id)

    try:
        async with anyio.create_task_group() as group:
            scope = await group.start(scan)
            await anyio.to_thread.run_sync(gate.reached.wait)
            scope.cancel()
    finally:
        gate.open()
    assert found == []


async def test_statistics_count_commits_and_calls(store: FleetStore) -> None:
    """They begin at zero, count loads and failing calls too, and are a snapshot that cannot be changed."""
    assert store.statistics() == FleetStoreStatistics(0, 0, 0, 0, 0.0)
    await store.add("user", pet("mira"))
    await store.load("user")
    with pytest.raises(FleetConflictError):
        await store.save(PetFleet("user"))
    counted = store.statistics()
    assert counted == FleetStoreStatistics(commits=3, changes=3, largest_batch=1, lock_waits=0, lock_wait_seconds=0.0)
    with pytest.raises(dataclasses.FrozenInstanceError):
        counted.commits = 4  # type: ignore[misc]  # that it is refused is what is tested
