"""Which user's batch comes next: a quiet user's before a hot one's, but not before one that has waited long."""

from __future__ import annotations

import threading

import anyio
import anyio.to_thread
import pytest

from petfleet import PetFleet
from petfleet._commit.change import Kind
from petfleet._commit.group_commit import GroupCommit
from petfleet._commit.pool import Pool
from petfleet._commit.sizing import Sizing
from petfleet._commit.user_queue import PendingCall, UserQueue
from petfleet._util import runtime
from tests.conftest import Clock, wait_until
from tests.support.fake_backend import FakeBackend, load
from tests.support.gate import Gate


@pytest.mark.parametrize(
    ("away", "waited", "order"),
    [
        (0.0, 0.0, ["quiet", "other", "hot"]),
        (0.009, 0.0, ["quiet", "other", "hot"]),
        (0.011, 0.0, ["hot", "quiet", "other"]),
        (0.0, 0.09, ["quiet", "other", "hot"]),
        (0.0, 0.11, ["hot", "quiet", "other"]),
    ],
    ids=["at once", "after 9 ms", "after 11 ms", "waits for 90 ms", "waits for 110 ms"],
)
async def test_quiet_users_go_ahead_of_a_hot_one(
    away: float, waited: float, order: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within 10 ms of its last batch a user is hot, and comes after the others until it has waited for 0.1 s."""
    clock = Clock()
    clock.now = 1024.0
    monkeypatch.setattr(runtime, "monotonic", clock.monotonic)
    backend = FakeBackend()
    backend.held["first"] = Gate()
    store = GroupCommit(backend, 3600, 1)

    async with anyio.create_task_group() as group:

        async def begin(user_id: str) -> None:
            group.start_soon(load, store, user_id)
            await anyio.to_thread.run_sync(wait_until, lambda: user_id in store._queues)

        await load(store, "quiet")
        clock.now += 0.02
        await begin("first")
        await anyio.to_thread.run_sync(backend.held["first"].reached.wait)
        store._served.put("hot", clock.now, 3)  # as if a batch of it had been done by another thread
        clock.now += away
        await begin("hot")
        clock.now += waited
        await begin("quiet")
        await begin("other")
        backend.held["first"].open()
    assert backend.read == ["quiet", "first", *order]


async def test_when_a_batch_is_done_its_user_is_hot(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether calls were already waiting for the end of the batch, or come a moment later."""
    clock = Clock()
    monkeypatch.setattr(runtime, "monotonic", clock.monotonic)
    marks: list[tuple[str, bool]] = []
    submit = Pool[UserQueue].submit

    def noted(self: Pool[UserQueue], queue: UserQueue, *, ahead: bool) -> None:
        marks.append((queue.user_id, ahead))
        submit(self, queue, ahead=ahead)

    monkeypatch.setattr(Pool, "submit", noted)
    backend = FakeBackend()
    gate = backend.held["first"] = Gate()
    store = GroupCommit(backend, 3600, 1)

    async with anyio.create_task_group() as group:
        group.start_soon(load, store, "first")
        await anyio.to_thread.run_sync(gate.reached.wait)
        group.start_soon(load, store, "first")
        await anyio.to_thread.run_sync(wait_until, lambda: store._queues["first"].waiting)
        gate.open()
    await load(store, "first")
    clock.now += 0.02
    await load(store, "first")
    await load(store, "other")
    assert marks == [("first", True), ("first", False), ("first", False), ("first", True), ("other", True)]


async def test_an_interrupted_call_never_happens_and_leaves_its_user_free(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C while its thread is started: the job without a call ends by itself."""
    store = GroupCommit(FakeBackend(), 3600, 1)

    def interrupted(self: threading.Thread) -> None:
        raise KeyboardInterrupt

    happened: list[str] = []

    def change(fleet: PetFleet | None) -> None:
        happened.append("never")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", interrupted)
        with pytest.raises(KeyboardInterrupt):
            store._enqueue("u", PendingCall(change, Kind.CHANGE))
    assert not store._queues
    assert await load(store, "u") == PetFleet("u")
    assert await load(store, "u") == PetFleet("u")
    await store.aclose()
    assert not store._queues
    assert not happened
    assert store.statistics().changes == 2


async def test_only_a_commit_that_wrote_tells_how_slow_the_disk_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the time of its write, beside all that its thread computed; a load is no measure of it."""
    clock, computed = Clock(), Clock()
    monkeypatch.setattr(runtime, "monotonic", clock.monotonic)
    monkeypatch.setattr(runtime, "thread_time", computed.monotonic)
    judged: list[tuple[float, float]] = []
    monkeypatch.setattr(Sizing, "judge", lambda self, took, computed: judged.append((took, computed)))
    store = GroupCommit(FakeBackend(), 3600, 1)

    def change(fleet: PetFleet | None) -> PetFleet:
        clock.now += 4.0  # a change function may take its time
        computed.now += 1.0
        return PetFleet("u", extra={"changed": True})

    def write(*arguments: object) -> None:
        clock.now += 3.0
        computed.now += 0.5

    monkeypatch.setattr("tests.support.fake_backend.FakeCommit.write", write)
    await load(store, "u")
    await store.call("u", change, Kind.CREATE)
    await load(store, "u")
    await store.aclose()
    assert judged == [(3.0, 1.5)]


async def test_a_close_right_after_a_call_ends_the_thread_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Although the thread has just woken the task, and is not idle yet."""
    gate, threads = Gate(), list[threading.Thread]()
    run = gate.after(GroupCommit._run)

    def noted(store: GroupCommit, queue: UserQueue) -> float:
        threads.append(threading.current_thread())
        took: float = run(store, queue)
        return took

    monkeypatch.setattr(GroupCommit, "_run", noted)
    store = GroupCommit(FakeBackend(), 3600, 1)
    await load(store, "u")
    async with anyio.create_task_group() as group:
        group.start_soon(store.aclose)
        await anyio.wait_all_tasks_blocked()
        gate.open()
    (thread,) = threads
    assert not thread.is_alive()
