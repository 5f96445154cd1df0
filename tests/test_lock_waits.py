"""Calls on a user whose lock is held elsewhere: each waits for it, aside, until its own deadline."""

from __future__ import annotations

import errno
import logging
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import anyio
import anyio.to_thread
import filelock
import pytest

from petfleet import FleetStore, LockTimeoutError, batching, lock
from tests.children import names, program
from tests.conftest import pet, wait_until
from tests.gate import Gate
from tests.points import Held

pytestmark = pytest.mark.anyio


async def test_without_a_thread_for_parking_the_calls_fail(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user who cannot be parked gets an OSError for each call, and is served again later."""
    store = FleetStore(root)
    await store.add("user", pet("first"))
    with held_elsewhere(root):
        with monkeypatch.context() as patch:
            refuse_threads(patch)
            with pytest.raises(OSError, match="thread") as refused:
                await store.add("user", pet("refused"))
        assert refused.value.errno == errno.EAGAIN
    assert names(await store.add("user", pet("later"))) == ["first", "later"]


async def test_a_call_fails_by_its_own_deadline_while_others_still_wait(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That a later call may wait longer for the same lock keeps no earlier one from its LockTimeoutError."""
    store = FleetStore(root, lock_timeout=3600)
    await store.add("user", pet("first"))
    with held_elsewhere(root):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(store.add, "user", pet("patient"))
            await until(partial(waits_parked, store, 1))
            monkeypatch.setattr(store._batching, "_lock_timeout", 0.02)  # its deadline is as if it were older
            with anyio.fail_after(10), pytest.raises(LockTimeoutError):
                await store.load("user")
            tasks.cancel_scope.cancel()


@pytest.mark.parametrize("lock_timeout", [0, 0.02])
async def test_the_error_names_path_seconds_and_holder(root: Path, lock_timeout: float) -> None:
    """LockTimeoutError says who holds which lock, and for how long the call waited."""
    store = FleetStore(root, lock_timeout=lock_timeout)
    await store.add("user", pet("first"))
    path = str(root / "user" / "fleet.toml.lock")
    with program("hold", path) as child:
        assert child.stdout is not None
        assert await anyio.to_thread.run_sync(child.stdout.readline) == "held\n"
        with pytest.raises(LockTimeoutError) as caught:
            await store.add("user", pet("second"))
    error = caught.value
    assert error.path == path
    assert error.holder == f"pid {child.pid} on {socket.gethostname()}"
    assert lock_timeout <= error.waited
    assert str(error) == (
        f"{path} not locked within {error.waited:.3g} s, held by {error.holder}: "
        "try again, see what the holder does, or raise lock_timeout"
    )


async def test_calls_go_on_when_another_program_lets_go_of_the_lock(root: Path) -> None:
    """Meanwhile peek answers, who waited long enough hears who holds the lock, and who waits on is served."""
    hasty, patient = FleetStore(root, lock_timeout=0.02), FleetStore(root, lock_timeout=3600)
    before = await patient.add("user", pet("first"))
    results: list[list[str]] = []

    async def add() -> None:
        results.append(names(await patient.add("user", pet("second"))))

    with program("hold", root / "user" / "fleet.toml.lock") as child:
        assert child.stdin is not None
        assert child.stdout is not None
        assert await anyio.to_thread.run_sync(child.stdout.readline) == "held\n"
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(add)
            await until(partial(waits_parked, patient, 1))
            with pytest.raises(LockTimeoutError, match=f"held by pid {child.pid} on "):
                await hasty.add("user", pet("hasty"))
            assert await hasty.peek("user") == before
            child.stdin.close()
    assert results == [["first", "second"]]
    assert names(await hasty.load("user")) == ["first", "second"]


async def test_a_call_whose_time_ran_out_never_happens(root: Path) -> None:
    """After its LockTimeoutError a call is forgotten, and so are the user and the thread."""
    store = FleetStore(root, lock_timeout=0.02)
    await store.add("user", pet("first"))
    with held_elsewhere(root):
        with pytest.raises(LockTimeoutError):
            await store.add("user", pet("second"))
        await until(lambda: not store._batching._queues and store._batching._parking._thread is None)
    assert names(await store.load("user")) == ["first"]
    assert store.statistics().lock_waits == 1
    assert store.statistics().lock_wait_seconds >= 0.02


async def test_a_parked_user_goes_on_in_order_when_the_lock_is_free(root: Path) -> None:
    """Calls made before and while the user is parked are committed together, in the order in which they were made."""
    store = FleetStore(root)
    await store.add("user", pet("first"))
    results: list[list[str]] = []

    async def add(name: str) -> None:
        results.append(names(await store.add("user", pet(name))))

    async with anyio.create_task_group() as tasks:
        with held_elsewhere(root):
            for number, name in enumerate("abcde", 1):
                tasks.start_soon(add, name)
                await until(partial(waits_parked, store, number))
    assert sorted(results) == [["first", *"abcde"[:number]] for number in range(1, 6)]
    statistics = store.statistics()
    assert (statistics.largest_batch, statistics.lock_waits) == (5, 1)
    assert statistics.lock_wait_seconds > 0


async def test_withdrawn_calls_of_a_parked_user_are_forgotten(root: Path) -> None:
    """When all calls of a parked user are cancelled, nothing waits for the lock any more."""
    store = FleetStore(root, lock_timeout=3600)
    await store.add("user", pet("first"))
    with held_elsewhere(root):
        async with anyio.create_task_group() as tasks:
            for name in ("one", "two"):
                tasks.start_soon(store.add, "user", pet(name))
            await until(partial(waits_parked, store, 2))
            tasks.cancel_scope.cancel()
        await until(lambda: not store._batching._queues and store._batching._parking._thread is None)
    assert names(await store.load("user")) == ["first"]


@pytest.mark.parametrize("point", ["refused", "parked"])
async def test_an_error_of_the_lock_call_reaches_a_waiting_call(
    root: Path, point: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An OSError met on a later try, in a worker or beside them, is the call's, with errno and file name."""
    store = FleetStore(root, lock_timeout=3600)
    await store.add("user", pet("first"))

    def broken(fd: int, *, blocking: bool) -> bool:
        raise OSError(errno.ENOLCK, "No locks available")

    with held_elsewhere(root), Held(point) as held, pytest.raises(OSError, match="No locks") as caught:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(open_when_reached, held, lambda: monkeypatch.setattr(lock, "lock_descriptor", broken))
            held.admit()
            try:
                await store.add("user", pet("second"))
            except OSError as error:
                failed = error
        raise failed
    assert caught.value.errno == errno.ENOLCK
    assert caught.value.filename == str(root / "user" / "fleet.toml.lock")


async def test_few_workers_try_a_refused_lock_again(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a quarter of the workers is busy with refused locks, further users are parked at once."""
    store = FleetStore(root, threads=4)
    for user in ("one", "two"):
        await store.add(user, pet("first"))
    gate = Gate()
    monkeypatch.setattr("petfleet.batching.time.sleep", gate.before(lambda seconds: None))
    async with anyio.create_task_group() as tasks:
        with held_elsewhere(root, "one"), held_elsewhere(root, "two"):
            tasks.start_soon(store.load, "one")
            await until(gate.reached.is_set)
            tasks.start_soon(store.load, "two")
            await until(partial(waits_parked, store, 1, "two"))
            gate.open()


@pytest.mark.parametrize("limit", [0, 3600])
async def test_a_long_wait_is_logged(
    root: Path, limit: float, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A wait for a lock over the limit is worth a warning that names the user; a shorter one is not."""
    store = FleetStore(root)
    await store.add("user", pet("first"))
    monkeypatch.setattr(batching, "_LONG_WAIT", limit)
    with caplog.at_level(logging.WARNING, "petfleet"):
        async with anyio.create_task_group() as tasks:
            with held_elsewhere(root):
                tasks.start_soon(store.load, "user")
                await until(partial(waits_parked, store, 1))
    messages = [record.getMessage() for record in caplog.records if record.name == "petfleet"]
    seconds = store.statistics().lock_wait_seconds
    assert messages == ([] if limit else [f"waited {seconds:.1f} s for the lock of user user"])


def refuse_threads(patch: pytest.MonkeyPatch) -> None:
    """Have the system refuse the parking thread."""
    start = threading.Thread.start

    def refusing(thread: threading.Thread) -> None:
        if thread.name == "petfleet-parking":
            raise RuntimeError("can't start new thread")
        start(thread)

    patch.setattr(threading.Thread, "start", refusing)


@contextmanager
def held_elsewhere(root: Path, user: str = "user") -> Iterator[None]:
    """Hold that user's lock as a stranger would."""
    with filelock.FileLock(root / user / "fleet.toml.lock"):
        yield


async def open_when_reached(held: Held, act: Callable[[], None]) -> None:
    """Do something while a worker stands at the point, and let it go on."""
    await until(held.reached)
    act()
    held.open()


async def until(state: Callable[[], object]) -> None:
    """Wait for a state without blocking the event loop."""
    await anyio.to_thread.run_sync(wait_until, state)


def waits_parked(store: FleetStore, number: int, user: str = "user") -> bool:
    """Return whether a user is parked with so many calls."""
    queue = store._batching._queues.get(user)
    return queue in store._batching._parking._parked and queue is not None and len(queue.waiting) == number
