"""Cancelling a call: before its change is taken it never happens, later it happens whole."""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import Callable, Coroutine
from contextlib import ExitStack
from functools import partial
from typing import Any

import anyio
import anyio.to_thread
import pytest

from petfleet import FleetStore, LockTimeoutError, PetFleet
from petfleet._commit import waiter
from tests.conftest import BACKENDS, pet, until
from tests.support.backends import Storage
from tests.support.children import names
from tests.support.points import BEFORE_TAKEN, BUSY, STORAGES_AND_POINTS, waits_for

pytestmark = pytest.mark.anyio

HOUR = 3600.0
Call = Callable[[], Coroutine[Any, Any, PetFleet]]


class Way:
    """One way to cancel one call."""

    async def run(self, call: Call) -> PetFleet | None:
        """Return what the call returns, or None if it was cancelled."""
        raise NotImplementedError

    def cancel(self) -> None:
        """Cancel it, from within the event loop."""
        raise NotImplementedError

    def cancel_after(self, wake: Callable[[], None]) -> None:
        """Wake the task and cancel it before it runs."""
        wake()
        self.cancel()


class ByTask(Way):
    """``task.cancel()``, or twice in a row and once more when the first one has arrived."""

    def __init__(self, *, twice: bool) -> None:
        self.twice = twice

    async def run(self, call: Call) -> PetFleet | None:
        self.task = asyncio.ensure_future(call())
        try:
            return await self.task
        except asyncio.CancelledError:
            return None

    def cancel(self) -> None:
        assert self.task.cancel()
        if self.twice:
            self.task.cancel()
            asyncio.get_running_loop().call_soon(self.task.cancel)


class ByClock(Way):
    """``asyncio.wait_for`` or ``asyncio.timeout``, whose time is up when the loop's clock is moved forward."""

    def __init__(self, *, wait_for: bool) -> None:
        self.wait_for = wait_for
        self.ahead = 0.0

    async def run(self, call: Call) -> PetFleet | None:
        loop = asyncio.get_running_loop()
        clock = loop.time
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(loop, "time", lambda: clock() + self.ahead)
            try:
                if self.wait_for:
                    return await asyncio.wait_for(call(), HOUR)
                async with asyncio.timeout(HOUR):
                    return await call()
            except LockTimeoutError:
                raise  # it is a TimeoutError, too
            except TimeoutError:
                return None

    def cancel(self) -> None:
        self.ahead = 2 * HOUR

    def cancel_after(self, wake: Callable[[], None]) -> None:
        self.cancel()
        asyncio.get_running_loop().call_soon(wake)  # in the same turn as the timer, right before it


class ByScope(Way):
    """An anyio scope, cancelled or past its deadline."""

    def __init__(self, *, deadline: bool) -> None:
        self.deadline = deadline

    async def run(self, call: Call) -> PetFleet | None:
        with anyio.move_on_after(HOUR) as self.scope:
            return await call()
        return None

    def cancel(self) -> None:
        if self.deadline:
            self.scope.deadline = -math.inf
        else:
            self.scope.cancel()


ASYNCIO, TRIO = (backend.values[0] for backend in BACKENDS)
SCOPES = {
    "CancelScope.cancel": partial(ByScope, deadline=False),
    "move_on_after": partial(ByScope, deadline=True),
}
NATIVE = {
    "task.cancel": partial(ByTask, twice=False),
    "task.cancel twice": partial(ByTask, twice=True),
    "asyncio.timeout": partial(ByClock, wait_for=False),
    "asyncio.wait_for": partial(ByClock, wait_for=True),
}
# Where a result that was posted before the cancellation must give way to it; the others may hand it over.
STRICT = ("task.cancel", "task.cancel twice", "asyncio.timeout")


@pytest.mark.parametrize(("storage", "point"), STORAGES_AND_POINTS, indirect=["storage"])
@pytest.mark.parametrize(
    ("anyio_backend", "way", "make"),
    [pytest.param(ASYNCIO, way, make, id=f"asyncio-{way}") for way, make in (NATIVE | SCOPES).items()]
    + [pytest.param(TRIO, way, make, id=f"trio-{way}") for way, make in SCOPES.items()],
    indirect=["anyio_backend"],
)
async def test_a_cancelled_call_never_happens_or_happens_whole(
    point: str,
    way: str,
    make: Callable[[], Way],
    storage: Storage,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Cancelled at any point in any way, a call returns at once and leaves the others of its batch undisturbed."""
    store = storage.store(lock_timeout=math.inf)  # some ways move the loop's clock
    await store.add("user", pet("first"))
    victim = make()
    results: dict[str, PetFleet | None] = {}

    async def add(name: str) -> None:
        call = partial(store.add, "user", pet(name))
        results[name] = await (victim.run(call) if name == "victim" else call())

    with ExitStack() as stack, ExitStack() as elsewhere:
        if point in BUSY:
            elsewhere.enter_context(storage.busy())
        held = stack.enter_context(storage.held(point))
        async with anyio.create_task_group() as tasks:
            for number, name in enumerate(("before", "victim", "after"), 1):
                tasks.start_soon(add, name)
                await until(partial(waits_for, store, number))
            held.admit()
            await until(held.reached)
            if point == "posted":
                wake = waiter._wake
                patch = stack.enter_context(monkeypatch.context())
                patch.setattr(waiter, "_wake", lambda calls: victim.cancel_after(partial(wake, calls)))
            else:
                victim.cancel()
                await until(lambda: "victim" in results)
                assert results == {"victim": None}
            elsewhere.close()
            held.open()

    committed = ["before", "after"] if point in BEFORE_TAKEN else ["before", "victim", "after"]
    assert shown(results["before"]) == ["first", "before"]
    assert shown(results["after"]) == ["first", *committed]
    if point != "posted" or way in STRICT:
        assert results["victim"] is None
    else:
        assert shown(results["victim"]) in (None, ["first", "before", "victim"])
    statistics = store.statistics()
    assert (statistics.commits, statistics.changes) == (2, 1 + len(committed))
    assert storage.is_settled()
    assert names(await store.load("user")) == ["first", *committed]
    assert names(await store.add("user", pet("later"))) == ["first", *committed, "later"]


async def test_a_withdrawn_call_leaves_no_trace_of_a_new_user(store: FleetStore, storage: Storage) -> None:
    """Where all that waits for a user without a fleet was cancelled, nothing is created, not even a root."""
    with storage.held("enqueued") as held:
        async with anyio.create_task_group() as tasks:
            for name in ("one", "two"):
                tasks.start_soon(store.add, "user", pet(name))
            await until(held.reached)
            await until(partial(waits_for, store, 2))
            tasks.cancel_scope.cancel()
    await until(lambda: not store._group_commit._queues)
    assert storage.is_untouched()
    assert store.statistics().commits == 0


async def test_a_withdrawn_change_is_not_even_called(store: FleetStore, storage: Storage) -> None:
    """The function given to ``update`` is not run once its call was cancelled before it was taken."""
    called = []

    def change(fleet: PetFleet) -> PetFleet:
        called.append(fleet)
        return fleet

    with storage.held("enqueued") as held:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(store.update, "user", change)
            await until(held.reached)
            tasks.cancel_scope.cancel()
    await store.load("user")
    assert called == []


async def test_a_closed_coroutine_withdraws_without_a_lock(store: FleetStore, storage: Storage) -> None:
    """As the garbage collector may close it in any thread and inside any lock, closing waits for none of them."""
    await store.add("user", pet("first"))
    with storage.held("enqueued") as held:
        coroutine = store.add("user", pet("victim"))
        coroutine.send(None)  # runs up to where it waits, in no task of its own
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(store.add, "user", pet("after"))
            await until(held.reached)
            await until(partial(waits_for, store, 2))
            closer = threading.Thread(target=coroutine.close, daemon=True)
            with store._group_commit.changed, store._group_commit._timers._changed:
                closer.start()
                closer.join(30)
                assert not closer.is_alive()
            held.open()
    assert names(await store.load("user")) == ["first", "after"]


def shown(fleet: PetFleet | None) -> list[str] | None:
    """Return the names of the pets, or None where there is no fleet."""
    return None if fleet is None else names(fleet)
