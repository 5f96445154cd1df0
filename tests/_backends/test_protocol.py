"""A backend can be written with the public names alone: the example of ``petfleet.backends`` is one."""

from __future__ import annotations

import itertools
import textwrap
from contextlib import aclosing
from typing import Any

import anyio
import pytest

from petfleet import FleetFormatError, FleetStore, LockTimeoutError, PetFleet, PetHandle, backends, dumps
from petfleet._toml import limits
from petfleet.backends import ABSENT, Backend, OvertakenError, State, parse_state

MIRA = PetHandle("mira", "friend", "pets/mira.toml", 7)
REX = PetHandle("rex", "guard", "pets/rex.toml", 7)


def example() -> dict[str, Any]:
    """Return what the example in the module's docstring defines."""
    assert backends.__doc__ is not None
    code = textwrap.dedent(backends.__doc__.partition("A whole backend::\n")[2])
    defined: dict[str, Any] = {}
    exec(compile(code, "petfleet.backends.__doc__", "exec"), defined)
    return defined


@pytest.fixture
def backend() -> Any:
    return example()["MemoryBackend"]()


def test_the_example_is_a_backend(backend: Any) -> None:
    """It has every method and attribute of the protocol, and nothing private of petfleet."""
    assert isinstance(backend, Backend)
    assert backends.__doc__ is not None
    assert "petfleet._" not in backends.__doc__


async def test_a_store_runs_on_the_example(backend: Any) -> None:
    """Its calls do there what they do on files."""
    store = FleetStore(backend)
    assert await store.load("ada") == PetFleet("ada")
    assert backend.stored == {}
    fleet = await store.add("ada", MIRA)
    assert backend.stored == {"ada": dumps(fleet).encode()}
    assert await store.load("ada") == await store.peek("ada") == fleet
    assert [user_id async for user_id in store.users()] == ["ada"]
    assert await store.delete("ada") is True
    assert await store.delete("ada") is False
    assert backend.stored == {}


async def test_the_example_loses_no_change(backend: Any) -> None:
    """Stores that share it take turns."""
    stores = [FleetStore(backend), FleetStore(backend)]
    async with anyio.create_task_group() as tasks:
        for number, store in itertools.product(range(20), stores):
            name = f"{number}-{stores.index(store)}"
            tasks.start_soon(store.add, "ada", PetHandle(name, "friend", "pets", 7))
    assert len((await stores[0].load("ada")).pets) == 40


async def test_the_example_keeps_what_is_no_fleet(backend: Any) -> None:
    """Neither a change nor a deletion touches it; ``overwrite`` replaces it."""
    store = FleetStore(backend)
    backend.stored["ada"] = b"no fleet"
    for call in (store.load("ada"), store.add("ada", MIRA), store.delete("ada"), store.peek("ada")):
        with pytest.raises(FleetFormatError, match=r"^memory:ada, line 1"):
            await call
    assert backend.stored == {"ada": b"no fleet"}
    fleet = PetFleet("ada", [MIRA])
    assert await store.save(fleet, overwrite=True) == fleet
    assert backend.stored == {"ada": dumps(fleet).encode()}


async def test_the_example_can_be_watched(backend: Any) -> None:
    """Polling finds each change, and first what there is: here nothing."""
    backend.poll_seconds = 0.01
    store = FleetStore(backend)
    async with aclosing(store.watch("ada")) as fleets:
        assert await anext(fleets) == PetFleet("ada")
        fleet = await store.add("ada", MIRA)
        assert await anext(fleets) == fleet
    await store.aclose()


async def test_a_turn_of_the_example_that_others_have(backend: Any) -> None:
    """A call waits for it, and gives up after ``lock_timeout``."""
    other = backend.begin("ada", create=False)
    assert other.try_turn()
    with pytest.raises(LockTimeoutError, match=r"^memory:ada not locked within .* s, its holder unknown: "):
        await FleetStore(backend, lock_timeout=0).load("ada")
    other.close()
    assert await FleetStore(backend, lock_timeout=0).load("ada") == PetFleet("ada")


async def test_the_store_calls_a_commit_in_the_documented_order(backend: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A try that is overtaken is closed, and another one is begun."""
    calls: list[str] = []
    commit = type(backend.begin("ada", create=False))

    def noted(name: str) -> Any:
        method = getattr(commit, name)

        def note(*arguments: Any) -> Any:
            calls.append(name)
            if calls.count("write") == 1 and name == "write":
                raise OvertakenError
            return method(*arguments)

        return note

    for name in ("try_turn", "wait_turn", "read", "confirm", "write", "close"):
        monkeypatch.setattr(commit, name, noted(name))
    store = FleetStore(backend)
    await store.add("ada", MIRA)
    assert calls == ["try_turn", "read", "write", "close", "try_turn", "read", "write", "close"]
    calls.clear()
    await store.load("ada")
    assert calls == ["try_turn", "read", "confirm", "close"]


def test_a_state_comes_from_bytes_and_goes_to_bytes() -> None:
    """A backend needs no other way."""
    fleet = PetFleet("ada", [MIRA, REX])
    data = dumps(fleet).encode()
    state = parse_state(data, "ada", "memory:ada")
    assert state.readable() == state.fleet == fleet
    assert state.encoded() == State(fleet).encoded() == data
    assert not state.absent
    assert state.error is None


def test_nothing_is_absent() -> None:
    """And has no bytes."""
    assert ABSENT.absent
    assert ABSENT.encoded() is None
    assert ABSENT.readable() is None


@pytest.mark.parametrize(
    ("data", "overwritable"),
    [
        (b"user_id = ", True),
        (b"\xff", True),
        (dumps(PetFleet("bob")).encode(), False),
        (b'user_id = "bob"\n[[pets]]\n', False),
        (b"#" * (limits.MAX_BYTES + 1), True),
    ],
    ids=["cut off", "no text", "another user's", "another user's, cut off", "too large"],
)
def test_bytes_that_are_no_fleet(data: bytes, overwritable: bool) -> None:
    """They are a state with an error that names the place; another user's fleet must not be overwritten."""
    state = parse_state(data, "ada", "memory:ada")
    assert state.error is not None
    assert state.error.path == "memory:ada"
    assert state.overwritable is overwritable
    assert not state.absent
    assert state.encoded() is None
    with pytest.raises(FleetFormatError, match=r"^memory:ada"):
        state.readable()
