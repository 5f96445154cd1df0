"""Users who wait for locks held elsewhere, and users with much traffic, cost the others nothing.

Asserted by the order of events, never by time: a bounded time only turns a hang into a failure.
"""

from __future__ import annotations

import errno
import logging
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from petfleet import FleetStore, PetFleet, loads
from petfleet._commit import statistics
from petfleet._commit.group_commit import GroupCommit
from petfleet._commit.user_queue import UserQueue
from petfleet._util import runtime
from tests.conftest import Clock, pet, wait_until
from tests.support.gate import Gate

pytestmark = pytest.mark.anyio

# Holds the lock of each user, as many descriptors as that takes, until it is killed.
HOLDER = """
import os, sys
from filelock import lock_descriptor

try:
    import resource
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
except (ImportError, ValueError, OSError):
    pass
root, count = sys.argv[1:]
for number in range(int(count)):
    directory = f"{root}/stuck-{number}"
    os.makedirs(directory)
    fd = os.open(f"{directory}/fleet.toml.lock", os.O_RDWR | os.O_CREAT, 0o600)
    assert lock_descriptor(fd, blocking=False)
print("held", flush=True)
sys.stdin.read()
"""


@contextmanager
def locks_held(root: Path, count: int) -> Iterator[subprocess.Popen[str]]:
    """A child process that holds the locks of so many users."""
    command = [sys.executable, "-c", HOLDER, str(root), str(count)]
    holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        yield holder
    finally:
        holder.kill()
        holder.communicate()


@pytest.fixture
def commits(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The users whose turns the worker threads have asked for, in order."""
    begun: list[str] = []
    run = GroupCommit._run

    def noted(self: GroupCommit, queue: UserQueue) -> float:
        begun.append(queue.user_id)
        return run(self, queue)

    monkeypatch.setattr(GroupCommit, "_run", noted)
    return begun


def all_wait(store: FleetStore, count: int) -> bool:
    """Whether all those users wait beside the worker threads; one of them may just be looked at."""
    queue = store._group_commit._lock_queue
    waiting = queue._waiting + queue._polled
    return store.statistics().lock_waits == count and waiting >= count - 1 and not store._group_commit.workers._ready


@pytest.mark.parametrize(("stuck", "threads"), [(1000, 32), (64, 2), (64, 1)])
async def test_users_with_stuck_locks_cost_the_others_nothing(
    root: Path, commits: list[str], stuck: int, threads: int
) -> None:
    """A healthy user is served while all the others wait, and no worker thread has anything to do with these."""
    store = FleetStore(root, lock_timeout=100, threads=threads)
    done: list[str] = []

    async def add(user_id: str) -> None:
        await store.add(user_id, pet("mira"))
        done.append(user_id)

    with locks_held(root, stuck) as holder:
        with anyio.fail_after(90):
            async with anyio.create_task_group() as group:
                for number in range(stuck):
                    group.start_soon(add, f"stuck-{number}")
                await anyio.to_thread.run_sync(wait_until, lambda: all_wait(store, stuck))
                commits.clear()
                await add("healthy")
                for value in range(20):
                    await store.touch("healthy", last_active=value)
                assert commits == ["healthy"] * 21
                assert done == ["healthy"]
                holder.kill()  # which releases its locks
    assert sorted(done) == sorted(["healthy", *(f"stuck-{number}" for number in range(stuck))])
    for number in range(stuck):
        assert loads((root / f"stuck-{number}" / "fleet.toml").read_bytes()).active_pet == "mira"
    assert store.statistics().lock_waits == stuck


async def test_stuck_users_are_served_although_they_wait_while_others_never_stop(root: Path) -> None:
    """A user who waits is served as soon as its lock is free, beside a hot user's endless traffic."""
    store = FleetStore(root, lock_timeout=100, threads=1)
    await store.add("hot", pet("mira"))
    ended = False

    async def traffic() -> None:
        value = 0
        while not ended:
            value += 1
            await store.touch("hot", last_active=value)

    with locks_held(root, 1) as holder, anyio.fail_after(60):
        async with anyio.create_task_group() as group:
            for _ in range(8):
                group.start_soon(traffic)
            async with anyio.create_task_group() as waiting:
                waiting.start_soon(store.add, "stuck-0", pet("mira"))
                await anyio.to_thread.run_sync(wait_until, lambda: all_wait(store, 1))
                holder.kill()  # which releases its locks
            ended = True
    assert loads((root / "stuck-0" / "fleet.toml").read_bytes()).active_pet == "mira"


async def test_a_warning_of_a_long_wait_cannot_hold_up_calls(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A logging handler that raises, or is slow, meets neither the calls that waited nor those of other users."""
    monkeypatch.setattr(statistics, "_LONG_WAIT", 0.0)
    store = FleetStore(root, lock_timeout=100)
    mutex_was_free: list[bool] = []

    class Raising(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            mutex = store._group_commit.changed
            mutex_was_free.append(mutex.acquire(timeout=30))  # a slow handler would block the event loops here
            if mutex_was_free[-1]:
                mutex.release()
            raise BrokenPipeError(errno.EPIPE, "what the handler writes to is gone")

    monkeypatch.setattr(logging.getLogger("petfleet"), "handlers", [Raising(logging.WARNING)])
    with locks_held(root, 1) as holder, anyio.fail_after(60):
        async with anyio.create_task_group() as group:
            group.start_soon(store.add, "stuck-0", pet("mira"))
            await anyio.to_thread.run_sync(wait_until, lambda: all_wait(store, 1))
            holder.kill()
    assert (await store.touch("stuck-0", last_active=5)).pet("mira").last_active == 5
    await anyio.to_thread.run_sync(wait_until, lambda: mutex_was_free)
    assert mutex_was_free == [True]


async def test_a_users_next_batch_goes_to_the_back(root: Path, commits: list[str]) -> None:
    """With one thread, a quiet user's call comes before the hot user's next batch, even if that has waited longer."""
    store = FleetStore(root, threads=1)
    await store.add("hot", pet("mira"))
    await store.add("quiet", pet("mira"))
    commits.clear()
    gate = Gate()

    def change(fleet: PetFleet) -> PetFleet:
        gate.hold()
        return fleet

    async with anyio.create_task_group() as group:
        group.start_soon(store.update, "hot", change)
        await anyio.to_thread.run_sync(gate.reached.wait)
        queues = store._group_commit._queues
        group.start_soon(store.touch, "hot")
        await anyio.to_thread.run_sync(wait_until, lambda: queues["hot"].waiting)
        group.start_soon(store.touch, "quiet")
        await anyio.to_thread.run_sync(wait_until, lambda: "quiet" in queues)
        gate.open()
    assert commits == ["hot", "quiet", "hot"]


async def test_hot_users_do_not_starve_another_one(
    root: Path, commits: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside 8 hot users on one thread, each call of another user waits for at most two batches of each."""
    monkeypatch.setattr(runtime, "monotonic", Clock().monotonic)  # so that all count as hot
    store = FleetStore(root, threads=1)
    hot = [f"hot-{number}" for number in range(8)]
    for user_id in [*hot, "quiet"]:
        await store.add(user_id, pet("mira"))
    commits.clear()
    ended = False
    between: list[int] = []

    async def traffic(user_id: str) -> None:
        value = 0
        while not ended:
            value += 1
            await store.touch(user_id, last_active=value)

    with anyio.fail_after(60):
        async with anyio.create_task_group() as group:
            for user_id in hot * 4:
                group.start_soon(traffic, user_id)
            await anyio.to_thread.run_sync(wait_until, lambda: len(store._group_commit._queues) == len(hot))
            for value in range(20):
                enqueued = len(commits)
                await store.touch("quiet", last_active=value)
                between.append(commits.index("quiet", enqueued) - enqueued)
            ended = True
    assert max(between) <= 2 * len(hot)
    assert set(commits) == {*hot, "quiet"}
