"""A call from inside a change function of the same user would wait for itself: it is refused, and the store goes on."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable
from functools import partial

import anyio
import anyio.from_thread
import anyio.to_thread
import pytest

from petfleet import FleetStore, LockTimeoutError, PetFleet
from tests.conftest import pet
from tests.support.backends import Storage
from tests.support.deadlines import SHORT, time_is_up_when
from tests.support.store_calls import ALL

pytestmark = pytest.mark.anyio

REFUSED = "comes from inside a change function for the same user, and would wait for itself"
Run = Callable[..., object]


@pytest.fixture
def store(storage: Storage) -> FleetStore:
    return storage.store(lock_timeout=3600)


def through_portal(*arguments: object) -> object:
    with anyio.from_thread.start_blocking_portal() as portal:
        return portal.call(*arguments)  # type: ignore[call-overload] # handed on


def through_thread(*arguments: object) -> object:
    """Run it in another thread that takes the context along, as those of anyio and asyncio do."""
    outcome: list[object] = []
    context = contextvars.copy_context()

    def work() -> None:
        try:
            outcome.append(context.run(partial(anyio.run, *arguments)))  # type: ignore[arg-type]
        except BaseException as error:  # noqa: BLE001 - handed over
            outcome.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    if isinstance(outcome[0], BaseException):
        raise outcome[0]
    return outcome[0]


@pytest.mark.parametrize("way", [anyio.run, partial(anyio.run, backend="trio"), through_portal, through_thread])
async def test_a_nested_call_is_refused_at_once(store: FleetStore, way: Run) -> None:
    """In every way that carries the context along; the change may handle the error."""
    await store.add("user", pet("mira"))
    errors: list[str] = []

    def change(fleet: PetFleet) -> PetFleet:
        with pytest.raises(RuntimeError, match=REFUSED) as caught:
            way(store.load, "user")
        errors.append(str(caught.value))
        return fleet.with_pet(pet("nova"))

    with anyio.fail_after(60):
        fleet = await store.update("user", change)
    assert [handle.pet_name for handle in fleet.pets] == ["mira", "nova"]
    assert len(errors) == 1
    assert errors[0].endswith("use the fleet that the function was given, or make the call after update has returned")
    assert await store.load("user") == fleet


@pytest.mark.parametrize("name", sorted(ALL.keys() - {"peek", "users"}))
async def test_every_call_that_takes_a_turn_is_refused(store: FleetStore, name: str) -> None:
    """The error goes through the change function to the caller of update, and nothing is changed."""
    before = await store.add("user", pet("mira"))

    async def nested() -> None:
        await ALL[name](store, "user")

    def change(fleet: PetFleet) -> PetFleet:
        anyio.run(nested)
        return fleet.with_pet(pet("nova"))

    with anyio.fail_after(60), pytest.raises(RuntimeError, match=REFUSED):
        await store.update("user", change)
    assert await store.load("user") == before


async def test_other_users_and_reads_without_a_turn_are_allowed(store: FleetStore) -> None:
    """They need no turn that the change function holds."""
    await store.add("user", pet("mira"))
    found: list[object] = []

    def change(fleet: PetFleet) -> PetFleet:
        found.append(anyio.run(store.load, "other"))
        found.append(anyio.run(store.peek, "user"))
        return fleet

    with anyio.fail_after(60):
        fleet = await store.update("user", change)
    assert found == [PetFleet("other"), fleet]


async def test_a_chain_of_change_functions_that_leads_back_is_refused(store: FleetStore) -> None:
    """The change of one user that waits for one of another, which waits for the first."""

    def inner(fleet: PetFleet) -> PetFleet:
        anyio.run(store.load, "one")
        return fleet

    def outer(fleet: PetFleet) -> PetFleet:
        anyio.run(store.update, "two", inner)
        return fleet

    with anyio.fail_after(60), pytest.raises(RuntimeError, match=REFUSED):
        await store.update("one", outer)
    assert await store.load("one") == PetFleet("one")


async def test_what_a_change_function_leaves_behind_may_call(store: FleetStore) -> None:
    """A task that it starts and does not wait for is not refused once it has returned."""
    contexts: list[contextvars.Context] = []

    def change(fleet: PetFleet) -> PetFleet:
        contexts.append(contextvars.copy_context())
        return fleet.with_pet(pet("mira"))

    fleet = await store.update("user", change)
    found = await anyio.to_thread.run_sync(partial(contexts[0].run, partial(anyio.run, store.load, "user")))
    assert found == fleet


async def test_a_thread_without_its_context_gives_up_in_time(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its call cannot be recognised as nested; its error says what it has waited for, and the store goes on."""
    store = storage.store(lock_timeout=SHORT)
    running = threading.Event()
    time_is_up_when(monkeypatch, running.is_set)
    errors: list[BaseException] = []

    def work() -> None:
        try:
            asyncio.run(store.load("user"))
        except LockTimeoutError as error:
            errors.append(error)

    def change(fleet: PetFleet) -> PetFleet:
        running.set()
        thread = threading.Thread(target=contextvars.Context().run, args=(work,))
        thread.start()
        thread.join()
        return fleet.with_pet(pet("mira"))

    with anyio.fail_after(60):
        fleet = await store.update("user", change)
    assert "since a change function of this process has run for" in str(errors[0])
    monkeypatch.setattr(store._group_commit, "_lock_timeout", 3600)
    assert await store.load("user") == fleet
