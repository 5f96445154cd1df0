"""Whose batch comes next: a user who was quiet before one who never is, but not before what has waited long."""

from __future__ import annotations

import threading
from collections.abc import Callable

import anyio
import anyio.to_thread
import pytest

from petfleet import LockTimeoutError, PetFleet, batching, workers
from petfleet.batching import Batching
from petfleet.changes import Batch, Kind
from petfleet.files import FileBackend
from tests.conftest import Clock, wait_until
from tests.gate import Gate


class Backend(FileBackend):
    """Commits nothing, and notes for whom; the user named first is held at a gate once its calls are taken."""

    def __init__(self) -> None:
        super().__init__("nowhere")
        self.begun: list[str] = []
        self.gate = Gate()

    def commit(self, user_id: str, batch: Batch) -> bool:
        self.begun.append(user_id)
        for change in batch.take():
            change.result = PetFleet(user_id)
        if user_id == "first":
            self.gate.hold()
        return True

    def is_free(self, user_id: str) -> bool:
        return True

    def lock_timeout(self, user_id: str) -> Callable[[float], LockTimeoutError]:
        return lambda waited: LockTimeoutError(user_id, waited, None)


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
async def test_who_comes_back_at_once_lets_the_quiet_ones_pass(
    away: float, waited: float, order: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within 10 ms of its last batch a user is hot, and comes after the others until it has waited for 0.1 s."""
    clock = Clock()
    clock.now = 1024.0
    for module in (batching, workers):
        monkeypatch.setattr(module, "time", clock)
    backend = Backend()
    store = Batching(backend, 100, 1)

    async def call(user_id: str) -> None:
        await store.call(user_id, lambda fleet: fleet, Kind.READ)

    async with anyio.create_task_group() as group:

        async def begin(user_id: str) -> None:
            group.start_soon(call, user_id)
            await anyio.to_thread.run_sync(wait_until, lambda: user_id in store._queues)

        await call("quiet")
        clock.now += 0.02
        await begin("first")
        await anyio.to_thread.run_sync(backend.gate.reached.wait)
        store._served.put("hot", clock.now, 3)  # as if a batch of it had been done by another thread
        clock.now += away
        await begin("hot")
        clock.now += waited
        await begin("quiet")
        await begin("other")
        backend.gate.open()
    assert backend.begun == ["quiet", "first", *order]


async def test_when_a_batch_is_done_its_user_is_hot(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether calls were already waiting for the end of the batch, or come a moment later."""
    clock = Clock()
    monkeypatch.setattr(batching, "time", clock)
    marks: list[tuple[str, bool]] = []
    submit = workers.Workers[batching._Queue].submit

    def noted(self: workers.Workers[batching._Queue], queue: batching._Queue, *, ahead: bool) -> None:
        marks.append((queue.user_id, ahead))
        submit(self, queue, ahead=ahead)

    monkeypatch.setattr(workers.Workers, "submit", noted)
    backend = Backend()
    store = Batching(backend, 100, 1)

    async def call(user_id: str) -> None:
        await store.call(user_id, lambda fleet: fleet, Kind.READ)

    async with anyio.create_task_group() as group:
        group.start_soon(call, "first")
        await anyio.to_thread.run_sync(backend.gate.reached.wait)
        group.start_soon(call, "first")
        await anyio.to_thread.run_sync(wait_until, lambda: store._queues["first"].waiting)
        backend.gate.open()
    await call("first")
    clock.now += 0.02
    await call("first")
    await call("other")
    assert marks == [("first", True), ("first", False), ("first", False), ("first", True), ("other", True)]


async def test_an_interrupted_call_never_happens_and_leaves_its_user_free(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C while its thread is started: the job without a call ends by itself."""
    backend = Backend()
    backend.gate.open()
    store = Batching(backend, 100, 1)

    def interrupted(self: threading.Thread) -> None:
        raise KeyboardInterrupt

    happened: list[str] = []

    def change(fleet: PetFleet | None) -> None:
        happened.append("never")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", interrupted)
        with pytest.raises(KeyboardInterrupt):
            store._enqueue("u", batching._Call(change, Kind.CHANGE, 100))
    assert not store._queues
    assert await store.call("u", lambda fleet: fleet, Kind.READ) == PetFleet("u")
    assert await store.call("u", lambda fleet: fleet, Kind.READ) == PetFleet("u")
    await store.aclose()
    assert not store._queues
    assert not happened
    assert store.statistics().changes == 2


async def test_only_a_commit_that_wrote_tells_how_slow_the_disk_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """A load is no measure of it, and neither is what the user's batch before or after has done."""
    judged: list[bool] = []
    run, end = Batching._run, Batching._end

    def noted(self: Batching, queue: batching._Queue) -> bool:
        judged.append(run(self, queue))
        return judged[-1]

    def and_the_next_begins(self: Batching, queue: batching._Queue) -> None:
        end(self, queue)
        queue.has_waited = True  # in another thread, before this one has gone on

    monkeypatch.setattr(Batching, "_run", noted)
    monkeypatch.setattr(Batching, "_end", and_the_next_begins)

    class Writing(Backend):
        def commit(self, user_id: str, batch: Batch) -> bool:
            if len(self.begun) in (0, 2):
                batch.waited()
            return super().commit(user_id, batch)

    backend = Writing()
    store = Batching(backend, 100, 1)

    async def call() -> None:
        await store.call("first", lambda fleet: fleet, Kind.READ)

    async with anyio.create_task_group() as group:
        group.start_soon(call)
        await anyio.to_thread.run_sync(backend.gate.reached.wait)
        group.start_soon(call)
        await anyio.to_thread.run_sync(wait_until, lambda: store._queues["first"].waiting)
        backend.gate.open()
    await call()
    await call()
    await store.aclose()
    assert judged == [True, False, True, False]
