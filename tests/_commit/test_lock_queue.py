"""Users whose turn others have: a few threads wait for them, one polls for the rest, and no other user notices."""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest
from anyio.abc import TaskGroup

from petfleet import FleetStore, PetFleet
from petfleet._commit import lock_queue
from petfleet._commit.group_commit import GroupCommit
from petfleet._commit.user_queue import UserQueue
from petfleet._util import runtime
from tests.conftest import pet, until
from tests.support.children import names, program
from tests.support.fake_backend import FakeBackend, FakeCommit, load, waits
from tests.support.gate import Gate

pytestmark = pytest.mark.anyio


@pytest.fixture
def backend() -> FakeBackend:
    return FakeBackend()


# --- in the kernel


async def test_a_lock_is_passed_on_in_the_order_of_asking(root: Path) -> None:
    """Three stores ask one after another for a held lock, and get it in that order."""
    stores = [FleetStore(root, lock_timeout=3600) for _ in range(3)]
    await stores[0].add("user", pet("first"))
    path = root / "user" / "fleet.toml.lock"
    with program("hold", path) as holder:
        assert holder.stdout is not None
        assert holder.stdin is not None
        assert await anyio.to_thread.run_sync(holder.stdout.readline) == "held\n"
        async with anyio.create_task_group() as group:
            for number, store in enumerate(stores):
                group.start_soon(store.add, "user", pet(f"{number}"))
                await until(partial(kernel_waiters, path, number + 1))
            holder.stdin.close()
    assert names(await stores[0].load("user")) == ["first", "0", "1", "2"]


def kernel_waiters(path: Path, number: int) -> bool:
    """Return whether so many wait for that lock by the kernel's list."""
    inode = path.stat().st_ino
    return sum(f":{inode} " in line and "->" in line for line in Path("/proc/locks").read_text().splitlines()) == number


async def test_while_it_waits_another_thread_runs(backend: FakeBackend) -> None:
    """With one thread, a user who waits for a turn does not delay other users."""
    store = GroupCommit(backend, 3600, 1)
    backend.turns["stuck"] = Gate()
    async with anyio.create_task_group() as group:
        group.start_soon(load, store, "stuck")
        await until(lambda: backend.waited)
        for _ in range(3):
            await load(store, "healthy")
        assert backend.tried == ["stuck", "healthy", "healthy", "healthy"]
        backend.give_back("stuck")
    assert backend.read[-1] == "stuck"


async def test_calls_that_come_while_it_waits_are_in_its_batch(backend: FakeBackend) -> None:
    """The calls are taken when the turn has come."""
    store = GroupCommit(backend, 3600, 1)
    backend.turns["user"] = Gate()
    async with anyio.create_task_group() as group:
        for number in range(1, 4):
            group.start_soon(load, store, "user")
            await until(partial(waits, store, number))
            await until(lambda: backend.waited)
        backend.give_back("user")
    assert store.statistics().largest_batch == 3
    assert store.statistics().lock_waits == 1
    assert store.statistics().lock_wait_seconds > 0


async def test_a_turn_that_comes_when_no_call_waits_is_given_back_at_once(backend: FakeBackend) -> None:
    """Nothing is read; the thread and the user are free again."""
    store = GroupCommit(backend, 3600, 1)
    backend.turns["user"] = Gate()
    async with anyio.create_task_group() as group:
        group.start_soon(load, store, "user")
        await until(lambda: backend.waited)
        group.cancel_scope.cancel()
    assert store._queues["user"]
    backend.give_back("user")
    await until(lambda: not store._queues)
    assert backend.closed == ["user"]
    assert backend.read == []
    assert store.statistics().commits == 0


async def test_calls_that_gave_up_do_not_pile_up_behind_a_stuck_lock(backend: FakeBackend) -> None:
    """Thousands may give up while one thread waits; their calls are dropped."""
    store = GroupCommit(backend, 3600, 1)
    backend.turns["user"] = Gate()
    for _ in range(10):
        async with anyio.create_task_group() as group:
            for _ in range(50):
                group.start_soon(load, store, "user")
            await until(lambda: backend.waited)
            group.cancel_scope.cancel()
    assert len(store._queues["user"].waiting) <= 64 + 50
    backend.give_back("user")
    await until(lambda: not store._queues)


async def test_an_error_of_the_wait_reaches_the_calls(backend: FakeBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next call tries again."""
    store = GroupCommit(backend, 3600, 1)
    backend.turns["user"] = Gate()

    def broken(commit: FakeCommit) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    with monkeypatch.context() as patch:
        patch.setattr(FakeCommit, "wait_turn", broken)
        with pytest.raises(OSError, match="No locks available"):
            await load(store, "user")
    backend.give_back("user")
    assert await load(store, "user") == PetFleet("user")


async def test_no_waiting_thread_holds_up_the_close_of_a_store(backend: FakeBackend) -> None:
    """The call waits on, and is served when its turn comes."""
    store = GroupCommit(backend, 3600, 1)
    backend.turns["user"] = Gate()
    async with anyio.create_task_group() as group:
        group.start_soon(load, store, "user")
        await until(lambda: backend.waited)
        await load(store, "other")
        with anyio.fail_after(60):
            await store.aclose()
        backend.give_back("user")
    assert backend.read == ["other", "user"]
    await until(lambda: not store.workers._busy)
    assert store.workers.idle == 0


async def test_threads_that_wait_are_daemons(backend: FakeBackend) -> None:
    """Otherwise the interpreter could not end before the lock is released."""
    store = GroupCommit(backend, 3600, 1)
    backend.turns["user"] = Gate()
    async with anyio.create_task_group() as group:
        group.start_soon(load, store, "user")
        await until(lambda: backend.waited)
        ours = [thread for thread in threading.enumerate() if thread.name.startswith("petfleet")]
        assert ours
        assert all(thread.daemon for thread in ours)
        backend.give_back("user")


# --- beside it

Call = Callable[[GroupCommit, str], Coroutine[Any, Any, object]]


async def stuck(
    number: int, group: TaskGroup, store: GroupCommit, backend: FakeBackend, call: Call = load
) -> tuple[list[str], set[str]]:
    """Have so many users wait whose turns others have; return all of them, and those that are polled."""
    users = [f"user-{index}" for index in range(number)]
    backend.turns = {user_id: Gate() for user_id in users}
    for user_id in users:
        group.start_soon(call, store, user_id)
    await until(lambda: len(backend.waited) == 16 and store._lock_queue._polled == number - 16)
    return users, set(users) - set(backend.waited)


async def test_at_most_sixteen_threads_wait(backend: FakeBackend) -> None:
    """A timer thread polls for all other users in turn; each is served when its turn is free."""
    store = GroupCommit(backend, 3600, 4)
    async with anyio.create_task_group() as group:
        users, polled = await stuck(40, group, store, backend)
        assert store._lock_queue._waiting == 16
        tried = len(backend.tried)
        await until(lambda: polled <= set(backend.tried[tried:]))  # each of them is polled
        await load(store, "healthy")
        for user_id in polled:
            backend.give_back(user_id)
        await until(lambda: polled <= set(backend.read))
        for user_id in set(users) - polled:
            backend.give_back(user_id)
    assert sorted(backend.read) == sorted([*users, "healthy"])
    assert store.statistics().lock_waits == 40
    assert len(backend.closed) == len(backend.tried)


async def test_a_thread_that_is_free_again_waits_for_one_of_the_others(backend: FakeBackend) -> None:
    """Polling is only for users beyond the sixteen."""
    store = GroupCommit(backend, 3600, 4)
    async with anyio.create_task_group() as group:
        users, _ = await stuck(17, group, store, backend)
        backend.give_back(backend.waited[0])
        await until(lambda: len(backend.waited) == 17)
        for user_id in list(backend.turns):
            backend.give_back(user_id)
    assert sorted(backend.read) == sorted(users)


async def test_a_user_whose_calls_gave_up_is_not_polled_any_more(backend: FakeBackend) -> None:
    """The user is forgotten, and the turn is not taken."""
    store = GroupCommit(backend, 3600, 4)
    async with anyio.create_task_group() as group:
        _, (polled,) = await stuck(17, group, store, backend)
        group.cancel_scope.cancel()
    await until(lambda: polled not in store._queues)
    for user_id in list(backend.turns):
        backend.give_back(user_id)
    await until(lambda: not store._queues)
    assert backend.read == []


async def test_polling_for_very_many_users_is_spread(backend: FakeBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is polled after 20 ms; more than twenty are polled at most 1,000 times a second together."""
    pauses: list[float] = []

    class Timers(runtime.Timers):
        def call_later(self, seconds: float, function: Callable[[], object]) -> None:
            pauses.append(seconds)

    monkeypatch.setattr(runtime, "Timers", Timers)
    queue = lock_queue.LockQueue(backend, threading.Lock())
    for number in range(2000):
        queue.poll(UserQueue(f"user-{number}"), lambda: None)
    assert pauses[:20] == [0.02] * 20
    assert pauses[1999] == 1.999


async def test_an_error_of_polling_is_left_to_the_job(backend: FakeBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    """The job meets the same error, and its calls raise it."""
    store = GroupCommit(backend, 3600, 4)
    errors: list[str] = []

    async def heard(store: GroupCommit, user_id: str) -> None:
        try:
            await load(store, user_id)
        except OSError as error:
            errors.append(f"{user_id}: {error}")

    async with anyio.create_task_group() as group:
        _, (polled,) = await stuck(17, group, store, backend, heard)
        begin = backend.begin

        def broken(user_id: str, *, create: bool) -> FakeCommit:
            if user_id == polled:
                raise OSError("broken")
            return begin(user_id, create=create)

        monkeypatch.setattr(backend, "begin", broken)
        await until(lambda: errors)
        for user_id in list(backend.turns):
            backend.give_back(user_id)
    assert errors == [f"{polled}: broken"]


async def test_without_a_thread_for_polling_the_calls_fail(
    backend: FakeBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each raises OSError; the user is served again later."""
    store = GroupCommit(backend, 3600, 4)
    monkeypatch.setattr(lock_queue, "_MAX_THREADS", 0)
    backend.turns["user"] = Gate()
    start = threading.Thread.start

    def refusing(thread: threading.Thread) -> None:
        if thread.name == "petfleet-timers":
            raise RuntimeError("can't start new thread")
        start(thread)

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refusing)
        with pytest.raises(OSError, match="allow the process more of them") as refused:
            await load(store, "user")
    assert refused.value.errno == errno.EAGAIN
    assert not store._queues
    backend.give_back("user")
    assert await load(store, "user") == PetFleet("user")
