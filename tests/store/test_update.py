"""update: any pure change, and what a change may do wrong."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import pytest

from petfleet import FleetStore, PetFleet, dumps
from tests.conftest import pet
from tests.support.backends import Storage, version_and_bytes

COLOUR: ContextVar[str] = ContextVar("colour", default="none")


async def test_update_applies_a_function_to_the_stored_fleet(store: FleetStore, storage: Storage) -> None:
    """What the function makes of the fleet is returned and on disk."""
    before = await store.add("user", pet("mira"))
    seen: list[PetFleet] = []

    def change(fleet: PetFleet) -> PetFleet:
        seen.append(fleet)
        return fleet.with_replaced("mira", pet("nova"))

    after = await store.update("user", change)
    assert seen == [before]
    assert after == PetFleet("user", [pet("nova")], "nova")
    assert storage.read() == dumps(after).encode()


async def test_update_starts_from_an_empty_fleet(store: FleetStore) -> None:
    """Where there is no fleet the function gets an empty one, and makes the first."""
    fleet = await store.update("user", lambda fleet: fleet.with_pet(pet(f"pet of {fleet.user_id}")))
    assert fleet == PetFleet("user", [pet("pet of user")], "pet of user") == await store.load("user")


@pytest.mark.parametrize(
    "change",
    [lambda fleet: fleet, lambda fleet: fleet.with_last_active("mira", fleet.pets[0].last_active)],
    ids=["the same fleet", "an equal fleet"],
)
async def test_an_update_to_an_equal_fleet_writes_nothing(
    store: FleetStore, storage: Storage, change: Callable[[PetFleet], PetFleet]
) -> None:
    """The file is neither replaced nor written to, and no other file appears."""
    fleet = await store.add("user", pet("mira"))
    before = version_and_bytes(storage)
    assert await store.update("user", change) == fleet
    assert version_and_bytes(storage) == before
    assert storage.is_settled()


async def test_an_update_to_an_equal_fleet_keeps_a_foreign_layout(store: FleetStore, storage: Storage) -> None:
    """A file that holds the same fleet in another layout stays as it is."""
    storage.write(b"pets = [ ]  # none\nuser_id = 'user'\n")
    before = version_and_bytes(storage)
    await store.update("user", lambda fleet: PetFleet("user"))
    assert version_and_bytes(storage) == before
    assert storage.is_settled()


async def test_an_update_that_only_python_calls_equal_is_written(store: FleetStore) -> None:
    """1 and true are different TOML values, although 1 == True."""
    await store.save(PetFleet("user", extra={"mood": 1}))
    await store.update("user", lambda fleet: PetFleet("user", extra={"mood": True}))
    assert (await store.load("user")).extra["mood"] is True


async def test_an_update_to_an_empty_fleet_where_there_was_none_leaves_nothing(
    store: FleetStore, storage: Storage
) -> None:
    """No file, no lock file and no directory of the user."""
    storage.make()
    assert await store.update("user", lambda fleet: fleet) == PetFleet("user")
    assert await store.update("user", lambda fleet: PetFleet(fleet.user_id)) == PetFleet("user")
    assert storage.is_empty()


async def test_an_update_that_only_adds_unknown_keys_makes_a_fleet(store: FleetStore, storage: Storage) -> None:
    """A fleet without pets, but with unknown keys, is stored."""
    await store.update("user", lambda fleet: PetFleet("user", extra={"mood": "calm"}))
    assert storage.read() == b'user_id = "user"\nmood = "calm"\npets = []\n'


async def test_an_update_may_empty_a_fleet(store: FleetStore, storage: Storage) -> None:
    """An empty fleet in the place of another is written: update does not delete."""
    await store.add("user", pet("mira"))
    await store.update("user", lambda fleet: PetFleet("user"))
    assert storage.read() == b'user_id = "user"\npets = []\n'


@pytest.mark.parametrize("there", [True, False], ids=["a fleet", "no fleet"])
@pytest.mark.parametrize(
    ("result", "error", "message"),
    [
        (None, TypeError, "change must return a PetFleet, not NoneType"),
        ({"user_id": "user"}, TypeError, "change must return a PetFleet, not dict"),
        (pet("mira"), TypeError, "change must return a PetFleet, not PetHandle"),
        (PetFleet("other"), ValueError, "change returned the fleet of user other, not of user"),
    ],
    ids=["None", "a dict", "a handle", "another user's"],
)
async def test_an_update_must_return_a_fleet_of_the_user(
    store: FleetStore, storage: Storage, there: bool, result: Any, error: type[Exception], message: str
) -> None:
    """Anything else is refused, and nothing has changed."""
    storage.make()
    if there:
        await store.add("user", pet("mira"))
    before = version_and_bytes(storage) if there else None
    with pytest.raises(error) as caught:
        await store.update("user", lambda fleet: result)
    assert type(caught.value) is error
    assert str(caught.value) == message
    if there:
        assert version_and_bytes(storage) == before
        assert storage.is_settled()
    else:
        assert storage.is_empty()


async def test_an_async_def_is_refused_and_closed(store: FleetStore, storage: Storage) -> None:
    """The error says what went wrong, and Python does not warn of a coroutine that was never awaited."""
    made = []

    async def body(fleet: PetFleet) -> PetFleet:
        return fleet

    def change(fleet: PetFleet) -> Any:
        made.append(body(fleet))
        return made[0]

    with pytest.raises(TypeError) as caught:
        await store.update("user", change)
    assert str(caught.value) == "change must return a PetFleet, not coroutine: did you pass an async def?"
    assert inspect.getcoroutinestate(made[0]) == inspect.CORO_CLOSED


class Later:
    """An awaitable that is no coroutine."""

    def __await__(self) -> Any:
        raise NotImplementedError


async def test_another_awaitable_gets_the_same_hint(store: FleetStore) -> None:
    """A future or task as a result comes from the same mistake."""
    later: Any = Later()
    with pytest.raises(TypeError, match=r"^change must return a PetFleet, not Later: did you pass an async def\?$"):
        await store.update("user", lambda fleet: later)


async def test_a_fleet_that_cannot_be_stored_is_refused(store: FleetStore, storage: Storage) -> None:
    """A result whose text is too large for a file fails, and the old fleet stays."""
    fleet = await store.add("user", pet("mira"))
    with pytest.raises(
        ValueError, match=r"^the fleet of user user cannot be stored: \d+ bytes of TOML, 16777216 are allowed$"
    ):
        await store.update("user", lambda fleet: fleet.with_pet(pet("nova", role="x" * 2**24)))
    assert storage.read() == dumps(fleet).encode()


class Quit(KeyboardInterrupt):
    """An interrupt, which must not end a worker thread."""


class Leave(SystemExit):
    """An exit, which must not end one either."""


class UnlikeError(Exception):
    """An error that cannot be copied."""

    def __init__(self, one: int, two: int) -> None:
        super().__init__("unlike")


@pytest.mark.parametrize(
    "error", [LookupError("why"), UnlikeError(1, 2), Quit(), Leave(3)], ids=lambda e: type(e).__name__
)
async def test_what_a_change_raises_reaches_its_caller(storage: Storage, error: BaseException) -> None:
    """It is the very same object, nothing has changed, and the one worker thread goes on."""
    store = storage.store(threads=1)
    fleet = await store.add("user", pet("mira"))
    workers: list[threading.Thread] = []

    def change(fleet: PetFleet) -> PetFleet:
        workers.append(threading.current_thread())
        raise error

    def note(fleet: PetFleet) -> PetFleet:
        workers.append(threading.current_thread())
        return fleet

    with pytest.raises(type(error)) as caught:
        await store.update("user", change)
    assert caught.value is error
    assert await store.update("user", note) == fleet
    assert workers[0] is workers[1]
    assert storage.read() == dumps(fleet).encode()


async def test_stop_iteration_arrives_as_runtime_error(store: FleetStore) -> None:
    """An await cannot raise StopIteration, so it comes as the cause of another error."""

    def change(fleet: PetFleet) -> PetFleet:
        return next(iter([]))

    with pytest.raises(RuntimeError, match=r"^change raised StopIteration$") as caught:
        await store.update("user", change)
    assert type(caught.value.__cause__) is StopIteration


async def test_a_change_that_fails_first_leaves_nothing(store: FleetStore, storage: Storage) -> None:
    """Where there was no fleet, a failing change leaves no trace of the user."""
    storage.make()

    def change(fleet: PetFleet) -> PetFleet:
        raise LookupError

    with pytest.raises(LookupError):
        await store.update("user", change)
    assert storage.is_empty()


async def test_a_change_neither_sees_nor_sets_context_variables(storage: Storage) -> None:
    """Not the caller's, nor those that an earlier change set in the same thread."""
    store = storage.store(threads=1)
    COLOUR.set("the caller's")
    seen = []

    def change(fleet: PetFleet) -> PetFleet:
        seen.append(COLOUR.get())
        COLOUR.set("the change's")
        return fleet

    await store.update("user", change)
    await store.update("user", change)
    assert seen == ["none", "none"]
    assert COLOUR.get() == "the caller's"


async def test_a_change_runs_in_a_worker_thread(store: FleetStore) -> None:
    """It cannot block the event loop."""
    threads = []

    def change(fleet: PetFleet) -> PetFleet:
        threads.append(threading.current_thread().name)
        return fleet

    await store.update("user", change)
    assert threads == ["petfleet"]


@pytest.mark.parametrize("change", [None, PetFleet("user"), "with_pet"], ids=["None", "a fleet", "a name"])
async def test_a_change_must_be_a_function(store: FleetStore, storage: Storage, change: Any) -> None:
    """Anything else is refused before anything is touched."""
    message = rf"^change must be a function from PetFleet to PetFleet, not {type(change).__name__}$"
    with pytest.raises(TypeError, match=message):
        await store.update("user", change)
    assert storage.is_untouched()
