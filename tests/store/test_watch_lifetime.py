"""How watches begin and end: one thread for all, cancellation, dropped iterators, loops."""

from __future__ import annotations

import asyncio
import gc
import threading
from contextlib import aclosing

import anyio
import anyio.to_thread
import pytest
import trio

from petfleet import FleetStore, PetFleet
from petfleet._backends.files.backend import FileBackend
from petfleet._watch import Watch
from tests.conftest import pet, refuse_threads, until, wait_until, watching_threads
from tests.support.children import names
from tests.support.watching import FOR_EVER, inotify_instances, next_names


@pytest.fixture
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """Polls come soon, and so does the end of a thread that has nothing to watch."""
    monkeypatch.setattr(FileBackend, "poll_seconds", 0.05)


async def test_breaking_out_leaves_nothing(store: FleetStore, brief: None) -> None:
    """An iterator that is dropped ends the thread and its descriptors, without any loop; a next one starts anew."""
    before = len(inotify_instances())
    for _ in range(2):
        async for fleet in store.watch("u"):
            assert fleet == PetFleet("u")
            break
        gc.collect()
        await until(lambda: not watching_threads() and len(inotify_instances()) == before)
    assert not store._watching._users


async def test_closing_the_store_ends_an_idle_thread_at_once(
    store: FleetStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thread that has nothing to watch ends before its next poll."""
    monkeypatch.setattr(store._backend, "poll_seconds", FOR_EVER)
    watch = store.watch("u")
    await anext(watch)
    del watch
    gc.collect()
    await store.aclose()
    assert not watching_threads()
    await store.aclose()


async def test_closing_the_store_lets_watches_go_on(store: FleetStore, without_polling: None) -> None:
    """A closed store stays usable, by watches too."""
    async with aclosing(store.watch("u")) as watch, store:
        assert await next_names(watch) == []
        await store.aclose()
        await store.add("u", pet("mira"))
        assert await next_names(watch) == ["mira"]


async def test_closing_a_watch_ends_who_waits_in_it(store: FleetStore, without_polling: None) -> None:
    """Another task may close a watch; the other watches of the same user go on."""
    watch, other = store.watch("u"), store.watch("u")
    assert await next_names(watch) == await next_names(other) == []
    seen: list[PetFleet] = []

    async def consume() -> None:
        async for fleet in watch:
            seen.append(fleet)  # pragma: no cover (it is closed before there is one)

    with anyio.fail_after(30):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(consume)
            await until(lambda: store._watching._users["u"].waiters)
            await watch.aclose()
    await store.add("u", pet("mira"))
    assert await next_names(other) == ["mira"]
    assert seen == []
    await other.aclose()
    await other.aclose()
    with pytest.raises(StopAsyncIteration):
        await anext(other)


async def test_closing_a_watch_that_never_began(store: FleetStore) -> None:
    """It started nothing, so there is nothing to end."""
    watch = store.watch("u")
    await watch.aclose()
    assert [fleet async for fleet in watch] == []
    assert not watching_threads()


async def test_a_cancelled_anext_loses_nothing(store: FleetStore, without_polling: None) -> None:
    """The next call returns the fleet that the cancelled one would have returned, even if that was already woken."""
    async with aclosing(store.watch("u")) as watch:
        await anext(watch)
        watched = store._watching._users["u"]
        for number in range(3):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(anext, watch)
                await until(lambda: watched.waiters)
                if number:  # woken in the same turn of the loop in which it is cancelled
                    changed_elsewhere(store, number)
                tasks.cancel_scope.cancel()
            assert not watched.waiters
            if number:
                assert await next_names(watch) == [f"pet{n + 1}" for n in range(number)]


def changed_elsewhere(store: FleetStore, number: int) -> None:
    """Have another loop make a change, and wait until the thread has found it, with this loop held up."""
    before = store._watching._users["u"].outcome
    thread = threading.Thread(target=lambda: asyncio.run(store.add("u", pet(f"pet{number}"))))
    thread.start()
    thread.join()
    wait_until(lambda: store._watching._users["u"].outcome is not before)


def test_a_task_that_nothing_else_holds_goes_on(store: FleetStore, brief: None) -> None:
    """The garbage collector does not end a waiting task."""
    seen: list[list[str]] = []

    async def consume() -> None:
        async for fleet in store.watch("u"):
            seen.append(names(fleet))

    async def main() -> None:
        asyncio.get_running_loop().call_soon(lambda: asyncio.create_task(consume()) and None)  # held by nothing
        await until(lambda: seen)
        gc.collect()
        await store.add("u", pet("mira"))
        await until(lambda: (gc.collect(), seen[-1] == ["mira"])[1])

    asyncio.run(asyncio.wait_for(main(), 30))


def test_a_loop_that_is_closed_under_a_watch_leaves_nothing(store: FleetStore, brief: None) -> None:
    """Its task will never go on; the thread ends all the same."""
    loop = asyncio.new_event_loop()

    async def consume(watch: Watch, waits: asyncio.Event) -> None:
        await anext(watch)
        waits.set()
        await anext(watch)

    async def main() -> asyncio.Task[None]:
        waits = asyncio.Event()
        task = asyncio.create_task(consume(store.watch("u"), waits))
        await waits.wait()
        return task

    task = loop.run_until_complete(main())
    task._log_destroy_pending = False  # type: ignore[attr-defined] # asyncio would rightly warn of it
    loop.close()
    del task
    wait_until(lambda: (gc.collect(), not watching_threads())[1])


def test_two_loops_watch_through_one_store(store: FleetStore, without_polling: None) -> None:
    """A change is shown in each of them, by the one thread."""
    ready = threading.Barrier(3)
    seen: list[list[str]] = []

    async def consume() -> None:
        async with aclosing(store.watch("u")) as watch:
            assert await next_names(watch) == []
            await anyio.to_thread.run_sync(ready.wait)
            seen.append(await next_names(watch))

    threads = [
        threading.Thread(target=lambda: asyncio.run(consume())),
        threading.Thread(target=lambda: trio.run(consume)),
    ]
    for thread in threads:
        thread.start()
    ready.wait(30)
    assert len(watching_threads()) == 1
    asyncio.run(store.add("u", pet("mira")))
    for thread in threads:
        thread.join()
    assert seen == [["mira"], ["mira"]]


async def test_no_thread_can_be_started(
    store: FleetStore, monkeypatch: pytest.MonkeyPatch, without_polling: None
) -> None:
    """The call fails with an OSError, and the same watch works once there are threads again."""
    watch = store.watch("u")
    with monkeypatch.context() as patch:
        refuse_threads(patch)
        with pytest.raises(OSError, match="could not start a thread"):
            await anext(watch)
    assert not store._watching._users
    assert await next_names(watch) == []
    await watch.aclose()
