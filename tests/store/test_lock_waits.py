"""Calls while another writer has the user's lock: each waits for its turn, until its own deadline."""

from __future__ import annotations

from functools import partial

import anyio
import anyio.to_thread
import pytest

from petfleet import FleetStore, LockTimeoutError
from petfleet._commit.pool import Pool
from petfleet._util import runtime
from tests.conftest import pet, until
from tests.support.backends import Storage
from tests.support.children import names
from tests.support.deadlines import SHORT, time_is_up_when
from tests.support.points import waits_for

pytestmark = pytest.mark.anyio


async def test_lock_timeout_of_zero_tries_once(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    """A refused call fails at once: nothing waits for the turn, or tries again later."""
    store = storage.store(lock_timeout=0)
    await store.add("user", pet("first"))

    def never(*_: object) -> None:
        raise AssertionError("a call that tries once waits for nothing")

    monkeypatch.setattr(Pool, "release_slot", never)
    monkeypatch.setattr(runtime.Timers, "call_later", never)
    with storage.busy(), pytest.raises(LockTimeoutError):
        await store.add("user", pet("second"))
    assert names(await store.load("user")) == ["first"]


async def test_each_of_many_calls_that_try_once_gets_an_error_of_its_own(storage: Storage) -> None:
    """Calls that share a refusal do not share the exception object."""
    store = storage.store(lock_timeout=0)
    await store.add("user", pet("first"))
    errors: list[LockTimeoutError] = []

    async def add(number: int) -> None:
        with pytest.raises(LockTimeoutError) as caught:
            await store.add("user", pet(str(number)))
        errors.append(caught.value)

    with storage.busy():
        async with anyio.create_task_group() as tasks:
            for number in range(20):
                tasks.start_soon(add, number)
    assert len({id(error) for error in errors}) == 20
    assert names(await store.add("user", pet("last"))) == ["first", "last"]


async def test_a_call_that_tries_once_has_a_try_of_its_own(storage: Storage) -> None:
    """Made while the try of another is being refused, it does not fail by that one."""
    store = storage.store(lock_timeout=0)
    await store.add("user", pet("first"))
    results: list[list[str]] = []

    async def refused() -> None:
        with pytest.raises(LockTimeoutError):
            await store.add("user", pet("refused"))

    async def tried() -> None:
        results.append(names(await store.add("user", pet("tried"))))

    with storage.held("refused") as held:
        async with anyio.create_task_group() as tasks:
            with storage.busy():
                tasks.start_soon(refused)
                held.admit()
                await until(held.reached)
                tasks.start_soon(tried)
                await until(partial(waits_for, store, 2))
            held.open()
    assert results == [["first", "tried"]]


async def test_what_others_did_before_is_no_refusal(storage: Storage) -> None:
    """A call that tries once fails if another writer has the turn now, not if one had it since the last commit."""
    store, other = storage.store(lock_timeout=0), storage.store()
    await store.add("user", pet("first"))
    await other.add("user", pet("second"))
    assert names(await store.add("user", pet("third"))) == ["first", "second", "third"]
    assert store.statistics().lock_waits == 0


async def test_a_call_whose_time_ran_out_never_happens(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    """After its LockTimeoutError a call is forgotten, and so are the user and the thread."""
    store = storage.store(lock_timeout=SHORT)
    time_is_up_when(monkeypatch, lambda: store.statistics().lock_waits)
    await storage.store().add("user", pet("first"))
    with storage.busy(), pytest.raises(LockTimeoutError) as error:
        await store.add("user", pet("second"))
    assert error.value.path == storage.contended()
    await until(lambda: not store._group_commit._queues)
    assert names(await storage.store().load("user")) == ["first"]
    assert store.statistics().lock_waits == 1
    assert store.statistics().lock_wait_seconds > 0


async def test_a_call_fails_by_its_own_deadline_while_others_still_wait(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That another call may wait longer for the same user keeps no call from its LockTimeoutError."""
    store = storage.store(lock_timeout=3600)
    await store.add("user", pet("first"))
    with storage.busy():
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(store.add, "user", pet("patient"))
            await until(lambda: store.statistics().lock_waits == 1)
            monkeypatch.setattr(store._group_commit, "_lock_timeout", SHORT)  # its deadline is as if it were older
            with anyio.fail_after(60), pytest.raises(LockTimeoutError):
                await store.add("user", pet("hasty"))
            tasks.cancel_scope.cancel()
    assert names(await storage.store().load("user")) == ["first"]


async def test_calls_go_on_when_others_let_them(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    """A call past its deadline fails, the others are served in order, and peek answers meanwhile."""
    hasty, patient = storage.store(lock_timeout=SHORT), storage.store()
    before = await patient.add("user", pet("first"))
    time_is_up_when(monkeypatch, lambda: hasty.statistics().lock_waits)
    results: list[list[str]] = []

    async def add(name: str) -> None:
        results.append(names(await patient.add("user", pet(name))))

    async with anyio.create_task_group() as tasks:
        with storage.busy():
            for number, name in enumerate("abc", 1):
                tasks.start_soon(add, name)
                await until(partial(is_refused, patient, number))
            with pytest.raises(LockTimeoutError):
                await hasty.add("user", pet("hasty"))
            assert await hasty.peek("user") == before
    assert sorted(results) == [["first", *"abc"[:number]] for number in range(1, 4)]
    assert names(await storage.store().load("user")) == ["first", *"abc"]
    assert patient.statistics().lock_waits == 1


def is_refused(store: FleetStore, number: int) -> bool:
    """Return whether so many calls wait since they were refused."""
    return store.statistics().lock_waits == 1 and waits_for(store, number)
