"""One store, several event loops: in threads of their own, one after another, and one that closes too early."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import anyio
import anyio.to_thread
import pytest
import trio
from anyio.abc import TaskStatus

from petfleet import FleetStore, PetFleet, PetNotInFleetError
from tests.conftest import pet
from tests.support.backends import Storage
from tests.support.gate import Gate
from tests.support.loops import ASYNCIO, LOOP_IDS, LOOPS, TRIO, UVLOOP, Loop, run
from tests.support.points import HeldCall

PAIRS = [(ASYNCIO, ASYNCIO), (ASYNCIO, TRIO), (TRIO, TRIO), (UVLOOP, TRIO), (UVLOOP, ASYNCIO)]
PAIR_IDS = ["asyncio+asyncio", "asyncio+trio", "trio+trio", "uvloop+trio", "uvloop+asyncio"]


async def add_many(store: FleetStore, prefix: str, waiting: Callable[[], object]) -> list[PetFleet]:
    """Add ten pets from ten tasks, and report when all of them wait."""
    fleets = []

    async def add(number: int, *, task_status: TaskStatus[None]) -> None:
        task_status.started()
        fleets.append(await store.add("user", pet(f"{prefix}-{number}")))

    async with anyio.create_task_group() as group:
        for number in range(10):
            await group.start(add, number)
        waiting()
    return fleets


@pytest.mark.parametrize(("one", "other"), PAIRS, ids=PAIR_IDS)
def test_two_loops_share_a_store_and_a_commit(store: FleetStore, one: Loop, other: Loop) -> None:
    """Calls of two event loops in two threads are carried by one commit, and each loop's tasks are woken."""
    both = threading.Semaphore(0)
    with ThreadPoolExecutor(2) as threads, HeldCall("enqueued") as held:
        first = threads.submit(run, one, add_many, store, "one", both.release)
        second = threads.submit(run, other, add_many, store, "other", both.release)
        assert both.acquire(timeout=60)
        assert both.acquire(timeout=60)
        held.open()
        fleets = first.result(60) + second.result(60)
    assert store.statistics().largest_batch == 20
    assert sorted(len(fleet.pets) for fleet in fleets) == list(range(1, 21))
    names = {handle.pet_name for handle in run(one, store.load, "user").pets}
    assert names == {f"{prefix}-{number}" for prefix in ("one", "other") for number in range(10)}


async def every_call(store: FleetStore) -> None:
    """Make each call once, a failing one and a peek included."""
    user_id = "each"
    fleet = await store.add(user_id, pet("mira"))
    assert fleet == await store.load(user_id) == await store.peek(user_id)
    with pytest.raises(PetNotInFleetError):
        await store.switch(user_id, "ghost")
    assert (await store.touch(user_id, last_active=3)).pets == (pet("mira", 3),)
    assert await store.update(user_id, lambda fleet: fleet.without_pet("mira")) == PetFleet(user_id)
    assert user_id in [name async for name in store.users()]
    assert await store.delete(user_id) is True
    await store.aclose()


@pytest.mark.parametrize("loop", LOOPS, ids=LOOP_IDS)
def test_every_call_works_on_every_loop(store: FleetStore, loop: Loop) -> None:
    """This includes uvloop, and the test checks that it is the loop that runs."""
    modules = []

    async def main() -> None:
        if loop[0] == "asyncio":
            modules.append(type(asyncio.get_running_loop()).__module__.partition(".")[0])
        await every_call(store)

    run(loop, main)
    assert modules == {"asyncio": ["asyncio"], "uvloop": ["uvloop"], "trio": []}[LOOP_IDS[LOOPS.index(loop)]]


def test_loops_one_after_another_share_a_store(storage: Storage) -> None:
    """A store belongs to no event loop: neither the one in which it was made nor the first one that used it."""

    async def make() -> FleetStore:
        return storage.store()

    made = run(TRIO, make)
    for loop in LOOPS * 2:
        run(loop, every_call, made)


@pytest.mark.parametrize("loop", LOOPS, ids=LOOP_IDS)
@pytest.mark.parametrize("closing", LOOPS, ids=[f"{name} closes" for name in LOOP_IDS])
def test_a_loop_that_closes_does_not_disturb_another(
    store: FleetStore, storage: Storage, closing: Loop, loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its call was taken together with the other loop's: both are carried out, and the other loop's task is woken."""
    before, taken = HeldCall("enqueued"), Gate()
    storage.gate_before_write(monkeypatch, taken)
    other_waits = threading.Event()

    async def close_too_early() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(store.add, "user", pet("left behind"))
            await anyio.to_thread.run_sync(other_waits.wait)
            before.open()
            await anyio.to_thread.run_sync(taken.reached.wait)
            group.cancel_scope.cancel()

    async def stay() -> PetFleet:
        async def add(*, task_status: TaskStatus[None]) -> None:
            task_status.started()
            fleets.append(await store.add("user", pet("mira")))

        fleets: list[PetFleet] = []
        async with anyio.create_task_group() as group:
            await group.start(add)
            other_waits.set()
        return fleets[0]

    with ThreadPoolExecutor(2) as threads, before:
        try:
            closed = threads.submit(run, closing, close_too_early)
            before.reach()  # so the closing loop's call is the first of the batch
            stays = threads.submit(run, loop, stay)
            closed.result(60)
            assert not stays.done()
        finally:
            before.open()
            taken.open()
        assert stays.result(60).pets == (pet("left behind"), pet("mira"))
    assert store.statistics().largest_batch == 2
    assert run(loop, store.load, "user").pets == (pet("left behind"), pet("mira"))


@pytest.mark.parametrize("loop", LOOPS, ids=LOOP_IDS)
def test_a_loop_that_closes_before_its_call_is_taken_leaves_nothing(store: FleetStore, loop: Loop) -> None:
    """Its call never happens, and those of the next loop do."""
    with HeldCall("enqueued") as held:

        async def close_too_early() -> None:
            async with anyio.create_task_group() as group:
                group.start_soon(store.add, "user", pet("left behind"))
                await anyio.to_thread.run_sync(held.reach)
                group.cancel_scope.cancel()

        run(loop, close_too_early)
    assert run(loop, store.add, "user", pet("mira")) == PetFleet("user", [pet("mira")], "mira")


def test_trio_as_a_guest_of_asyncio_is_not_taken_for_asyncio(store: FleetStore) -> None:
    """Its tasks run in callbacks of asyncio's loop, and trio wakes them."""

    async def host() -> PetFleet:
        done: asyncio.Future[PetFleet] = asyncio.get_running_loop().create_future()
        trio.lowlevel.start_guest_run(
            store.add,
            "user",
            pet("mira"),
            run_sync_soon_threadsafe=asyncio.get_running_loop().call_soon_threadsafe,
            done_callback=lambda outcome: done.set_result(outcome.unwrap()),
        )
        return await done

    assert asyncio.run(host()) == PetFleet("user", [pet("mira")], "mira")
