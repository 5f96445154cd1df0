"""The store as an object: closed, used again, shared, and used beside others."""

from __future__ import annotations

import threading
from functools import partial

import anyio
import anyio.to_thread
import pytest
from anyio.abc import TaskStatus

from petfleet import FleetStore, loads
from tests.conftest import pet, until, wait_until
from tests.support.backends import Storage
from tests.support.gate import Gate
from tests.support.points import waits_for


def new_threads(before: set[threading.Thread]) -> list[threading.Thread]:
    """Return the threads of stores that were not there before."""
    return [thread for thread in set(threading.enumerate()) - before if thread.name.startswith("petfleet")]


async def test_aclose_waits_for_what_was_taken(
    store: FleetStore, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Closing comes back only after the commit under way has ended, and leaves no thread of the store."""
    threads = set(threading.enumerate())
    gate = Gate()
    storage.gate_before_write(monkeypatch, gate)
    closed = anyio.Event()

    async def close(*, task_status: TaskStatus[None]) -> None:
        task_status.started()
        await store.aclose()
        closed.set()

    async with anyio.create_task_group() as group:
        group.start_soon(store.add, "user", pet("mira"))
        await anyio.to_thread.run_sync(gate.reached.wait)
        await group.start(close)
        await anyio.wait_all_tasks_blocked()
        try:
            assert not closed.is_set()
            assert storage.read() is None
        finally:
            gate.open()
        await closed.wait()
        assert storage.read() is not None
    wait_until(lambda: not new_threads(threads))


async def test_a_closed_store_stays_usable(storage: Storage) -> None:
    """aclose may be called before any other call and twice; the next call simply works."""
    async with storage.store() as store:
        await store.aclose()
        await store.aclose()
        await store.add("user", pet("mira"))
        await store.peek("user")
    await store.aclose()
    assert await store.add("user", pet("nova")) == await store.peek("user")
    await store.aclose()


async def test_the_end_of_an_async_with_block_closes_the_store(storage: Storage) -> None:
    """The block gives the store itself, and its threads end with it, also when the block raises."""
    threads = set(threading.enumerate())
    store = storage.store()
    with pytest.raises(KeyError):
        async with store as entered:
            assert entered is store
            await store.add("user", pet("mira"))
            await store.peek("user")
            raise KeyError
    assert not new_threads(threads)


async def test_two_stores_on_one_root_lose_nothing(store: FleetStore, storage: Storage) -> None:
    """Changes through two stores at once all arrive."""
    others = [storage.store(threads=1) for _ in range(storage.crowd - 1)]
    async with anyio.create_task_group() as group:
        for number in range(20):
            group.start_soon(store.add, "user", pet(f"one-{number}"))
            group.start_soon(others[number % len(others)].add, "user", pet(f"two-{number}"))
    names = {handle.pet_name for handle in (await store.load("user")).pets}
    assert names == {f"{who}-{number}" for who in ("one", "two") for number in range(20)}


async def test_a_second_aclose_waits_for_the_commits_of_the_first(
    store: FleetStore, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And for the calls behind them: no call is left when it returns, and soon no thread."""
    threads = set(threading.enumerate())
    gate = Gate()
    storage.gate_before_write(monkeypatch, gate)
    found: list[list[str]] = []

    async def close() -> None:
        await store.aclose()
        found.append([handle.pet_name for handle in loads(storage.read() or b"").pets])

    async with anyio.create_task_group() as group:
        group.start_soon(store.add, "user", pet("mira"))
        await anyio.to_thread.run_sync(gate.reached.wait)
        group.start_soon(store.add, "user", pet("nova"))
        await until(partial(waits_for, store, 1))
        group.start_soon(close)
        group.start_soon(close)
        await anyio.wait_all_tasks_blocked()
        gate.open()
    assert found == [["mira", "nova"]] * 2
    wait_until(lambda: not new_threads(threads))
