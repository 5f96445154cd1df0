"""How a worker retries a refused lock: as long as its holders get on, and no one else needs the thread."""

from __future__ import annotations

import asyncio
import itertools
import math
from collections.abc import Callable, Iterator

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest

from petfleet import LockTimeoutError, PetFleet, batching, workers
from petfleet.batching import Batching
from petfleet.changes import Batch, Kind
from petfleet.files import FileBackend
from petfleet.spin import LONGEST_PAUSE
from tests.conftest import Clock, wait_until
from tests.gate import Gate

REFUSALS = 3000  # at a fifth of a millisecond each, six times what a worker waits without a sign of life


class Backend(FileBackend):
    """Refuses the lock of a user some times; ``signs`` are what its holder shows meanwhile."""

    def __init__(self, refusals: int, signs: Iterator[int]) -> None:
        super().__init__("nowhere")
        self._refusals = refusals
        self._signs = signs
        self.probes = 0

    def commit(self, user_id: str, batch: Batch) -> bool:
        while self._refusals:
            self._refusals -= 1
            if not batch.wait(next(self._signs)):
                return False
        for change in batch.take():
            change.result = PetFleet(user_id)
        return True

    def is_free(self, user_id: str) -> bool:
        self.probes += 1
        self._refusals = 0
        return True

    def lock_timeout(self, user_id: str) -> Callable[[float], LockTimeoutError]:
        return lambda waited: LockTimeoutError(user_id, waited, None)


class Sleeps(Clock):
    """A clock that notes how long was slept."""

    def __init__(self) -> None:
        super().__init__()
        self.slept: list[float] = []

    def sleep(self, seconds: float) -> None:
        """Let that time pass at once."""
        self.slept.append(seconds)
        super().sleep(seconds)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Sleeps:
    """Let sleeping take no time, and yet move the clock of batching."""
    clock = Sleeps()
    monkeypatch.setattr(batching, "time", clock)
    return clock


@pytest.mark.parametrize(
    ("signs", "probes"), [(itertools.count(), 0), (itertools.repeat(1), 1)], ids=["getting on", "stuck"]
)
@pytest.mark.usefixtures("clock")
async def test_a_worker_stays_while_holders_get_on(signs: Iterator[int], probes: int) -> None:
    """Parked, only luck would find the short gaps between others' commits; a stuck holder leaves none."""
    backend = Backend(REFUSALS, signs)
    assert await Batching(backend, 100, 32).call("u", lambda fleet: fleet, Kind.READ) == PetFleet("u")
    assert backend.probes == probes


@pytest.mark.usefixtures("clock")
async def test_a_call_times_out_although_holders_get_on() -> None:
    """Its deadline counts, not their progress, and is looked at every five milliseconds."""
    backend = Backend(10**9, itertools.count())
    with pytest.raises(LockTimeoutError) as caught:
        await Batching(backend, 0.0512, 32).call("u", lambda fleet: fleet, Kind.READ)
    assert backend.probes == 0
    assert 0.0512 <= caught.value.waited <= 0.0564


async def test_a_call_that_tries_once_has_no_second_try_while_the_worker_spins(clock: Sleeps) -> None:
    """It came after the first try, so it has the second one, and then its time is over."""
    gate = Gate()
    tries: list[float] = []

    class Refusing(Backend):
        def commit(self, user_id: str, batch: Batch) -> bool:
            while True:
                tries.append(clock.now)
                gate.hold()
                if not batch.wait(len(tries)):
                    return False

    store = Batching(Refusing(0, iter(())), 0, 32)

    async def call() -> None:
        with pytest.raises(LockTimeoutError):
            await store.call("u", lambda fleet: fleet, Kind.READ)

    async with anyio.create_task_group() as group:
        group.start_soon(call)
        await anyio.to_thread.run_sync(gate.reached.wait)
        clock.now += 0.0001
        group.start_soon(call)
        await anyio.to_thread.run_sync(wait_until, lambda: len(store._queues["u"].waiting) == 2)
        gate.open()
    assert len(tries) == 2


async def test_after_a_refused_lock_its_user_lets_others_have_a_try(clock: Sleeps) -> None:
    """Before each batch of the next tenth of a second it waits as long as others may pause; other users do not."""
    entered: list[list[float]] = []

    class Noting(Backend):
        def commit(self, user_id: str, batch: Batch) -> bool:
            entered.append(clock.slept.copy())
            clock.slept.clear()
            return super().commit(user_id, batch)

    store = Batching(Noting(1, itertools.count()), 100, 32)
    for user_id, later in [("u", 0.0), ("u", 0.0), ("other", 0.0), ("u", 0.09), ("u", 0.02), ("other", 0.0)]:
        clock.now += later
        await store.call(user_id, lambda fleet: fleet, Kind.READ)
    pause = [LONGEST_PAUSE]
    assert entered == [[], [*pause, *pause], [], pause, [], []]


async def test_who_lets_others_have_a_try_lets_another_thread_run_too(clock: Sleeps) -> None:
    """It only waits for time to pass; afterwards its place is its own again."""
    gate = Gate()
    store = Batching(Backend(0, iter(())), 100, 32)
    store._contended.put("u", clock.now, 1)
    clock.sleep = gate.before(clock.sleep)  # type: ignore[method-assign] # for this one
    async with anyio.create_task_group() as group:
        group.start_soon(store.call, "u", lambda fleet: fleet, Kind.READ)
        await anyio.to_thread.run_sync(gate.reached.wait)
        threads = store._workers
        assert threads is not None
        assert threads._aside == 1
        gate.open()
    assert threads is not None
    assert threads._aside == 0
    assert store._spinning == 0


async def test_a_worker_that_spins_lets_another_thread_run_until_it_has_the_lock() -> None:
    """Then it is about a commit like any other, and some other user's may try again."""
    seen: list[tuple[int, int]] = []

    class Noting(Backend):
        def commit(self, user_id: str, batch: Batch) -> bool:
            assert batch.wait(0)
            note()
            changes = batch.take()
            note()
            for change in changes:
                change.result = PetFleet(user_id)
            return True

    store = Batching(Noting(0, iter(())), 100, 32)

    def note() -> None:
        assert store._workers is not None
        seen.append((store._spinning, store._workers._aside))

    for _ in range(2):
        assert await store.call("u", lambda fleet: fleet, Kind.READ) == PetFleet("u")
    assert seen == [(1, 1), (0, 0)] * 2


async def test_the_place_of_a_worker_whose_commit_fails_is_its_own_again() -> None:
    """Also when the lock was never had."""

    class Failing(Backend):
        def commit(self, user_id: str, batch: Batch) -> bool:
            assert batch.wait(0)
            raise OSError("no such lock")

    store = Batching(Failing(0, iter(())), 100, 32)
    with pytest.raises(OSError, match="no such lock"):
        await store.call("u", lambda fleet: fleet, Kind.READ)
    assert store._workers is not None
    assert (store._spinning, store._workers._aside) == (0, 0)


@pytest.mark.parametrize(("threads", "probes"), [(3, 1), (4, 0)])
@pytest.mark.usefixtures("clock")
async def test_one_of_few_threads_is_not_spared(threads: int, probes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """With four or more one may go on spinning although other users wait for a thread."""
    monkeypatch.setattr(workers.Workers, "any_waiting", lambda self: True)
    backend = Backend(REFUSALS, itertools.count())
    assert await Batching(backend, 100, threads).call("u", lambda fleet: fleet, Kind.READ) == PetFleet("u")
    assert backend.probes == probes


async def test_several_workers_together_look_no_more_often_than_one(clock: Sleeps) -> None:
    """Each pauses as many times longer as there are."""
    store = Batching(Backend(1, itertools.count()), 100, 32)
    store._spinning = 4
    await store.call("u", lambda fleet: fleet, Kind.READ)
    assert clock.slept == [5 * LONGEST_PAUSE]
    assert store._spinning == 4


async def test_a_store_that_tries_once_tries_at_once(clock: Sleeps) -> None:
    """Its calls do not wait for a turn of others, who may pause as often as they like."""
    store = Batching(Backend(1, itertools.count()), 0, 32)
    store._contended.put("u", clock.now, 1)
    with pytest.raises(LockTimeoutError):
        await store.call("u", lambda fleet: fleet, Kind.READ)
    assert await store.call("u", lambda fleet: fleet, Kind.READ) == PetFleet("u")
    assert clock.slept == []


@pytest.mark.usefixtures("clock")
async def test_which_calls_still_wait_is_not_looked_at_before_each_try(monkeypatch: pytest.MonkeyPatch) -> None:
    """That costs more than a try; of those at a tenth of a millisecond each fiftieth will do."""
    refused = Batching._refused
    looks: list[bool] = []

    def noted(self: Batching, queue: batching._Queue) -> bool:
        looks.append(refused(self, queue))
        return looks[-1]

    monkeypatch.setattr(Batching, "_refused", noted)
    await Batching(Backend(REFUSALS, itertools.count()), 100, 32).call("u", lambda fleet: fleet, Kind.READ)
    assert 1 < len(looks) <= 1 + REFUSALS / 40


async def test_a_commit_that_gave_way_without_waiting_is_parked() -> None:
    """As a refused lock is: something else had its directory, again and again."""

    class GivingWay(Backend):
        def commit(self, user_id: str, batch: Batch) -> bool:
            return self.probes > 0 and super().commit(user_id, batch)

    backend = GivingWay(0, iter(()))
    assert await Batching(backend, 100, 32).call("u", lambda fleet: fleet, Kind.READ) == PetFleet("u")
    assert backend.probes == 1


async def test_a_commit_that_gave_way_counts_as_a_try_whatever_the_one_before_saw(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The call that came after the first refusal has had its own try then."""
    tries: list[bool] = []

    class GivingWay(Backend):
        def commit(self, user_id: str, batch: Batch) -> bool:
            tries.append(len(tries) == 0 and batch.wait(0))
            return len(tries) > 2 and super().commit(user_id, batch)

    store = Batching(GivingWay(0, iter(())), 0, 32)
    post = batching._Call.post

    def and_wait_for_the_next_call(calls: list[batching._Call]) -> None:
        post(calls)
        if len(tries) == 0:
            wait_until(lambda: any(queue.waiting for queue in store._queues.copy().values()))

    monkeypatch.setattr(batching._Call, "post", and_wait_for_the_next_call)
    for _ in range(2):
        with pytest.raises(LockTimeoutError):
            await store.call("u", lambda fleet: fleet, Kind.READ)
    assert len(tries) == 2


async def test_whoever_is_parked_spins_no_more() -> None:
    """Its place is free for another user's refused lock."""
    seen: list[tuple[int, int]] = []

    class Stuck(Backend):
        def is_free(self, user_id: str) -> bool:
            assert store._workers is not None
            seen.append((store._spinning, store._workers._aside))
            return super().is_free(user_id)

    store = Batching(Stuck(REFUSALS, itertools.repeat(1)), 100, 32)
    assert await store.call("u", lambda fleet: fleet, Kind.READ) == PetFleet("u")
    assert seen == [(0, 0)]


async def test_the_only_worker_is_given_up_to_whoever_needs_it() -> None:
    """With fewer than four threads, retrying ends as soon as another user's job waits for one."""
    entered: list[str] = []

    class OneStuck(Backend):
        def commit(self, user_id: str, batch: Batch) -> bool:
            entered.append(user_id)
            return super().commit(user_id, batch) if user_id == "stuck" else Backend(0, iter(())).commit(user_id, batch)

        def is_free(self, user_id: str) -> bool:
            return self.probes < 0

    store = Batching(OneStuck(10**9, itertools.count()), math.inf, 1)
    async with anyio.create_task_group() as group:
        group.start_soon(store.call, "stuck", lambda fleet: fleet, Kind.READ)
        while "stuck" not in entered:
            await anyio.lowlevel.checkpoint()
        assert await store.call("healthy", lambda fleet: fleet, Kind.READ) == PetFleet("healthy")
        group.cancel_scope.cancel()


async def test_a_call_that_tries_once_gets_a_try_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even if it arrives while the worker is still about the one that was refused."""
    store = Batching(Backend(1, itertools.count()), 0, 32)
    post = batching._Call.post
    posted: list[None] = []

    def and_wait_for_the_next_call(calls: list[batching._Call]) -> None:
        posted.append(None)
        post(calls)
        if len(posted) == 1:
            wait_until(lambda: any(queue.waiting for queue in store._queues.copy().values()))

    monkeypatch.setattr(batching._Call, "post", and_wait_for_the_next_call)
    with pytest.raises(LockTimeoutError):
        await store.call("u", lambda fleet: fleet, Kind.READ)
    assert await store.call("u", lambda fleet: fleet, Kind.READ) == PetFleet("u")


def test_a_call_of_a_closed_loop_is_not_tried_for_ever() -> None:
    """Nobody waits for it, and the interpreter's exit must not."""
    store = Batching(Backend(10**9, itertools.count()), math.inf, 32)
    loop = asyncio.new_event_loop()
    task = loop.create_task(store.call("u", lambda fleet: fleet, Kind.READ))
    loop.run_until_complete(asyncio.sleep(0))
    assert store._queues
    loop.close()
    wait_until(lambda: not store._queues)
    assert not task.done()
    task._log_destroy_pending = False  # type: ignore[attr-defined] # it is meant to be


async def test_a_worker_that_spins_while_the_store_is_closed_costs_the_next_threads_no_place() -> None:
    """With one thread they would have none left, and no call would ever be carried out."""
    gate = Gate()

    class Stuck(Backend):
        def commit(self, user_id: str, batch: Batch) -> bool:
            if user_id == "stuck":
                assert batch.wait(0)
                gate.hold()
            return super().commit(user_id, batch)

    store = Batching(Stuck(0, iter(())), 100, 1)
    async with anyio.create_task_group() as group:
        group.start_soon(store.call, "stuck", lambda fleet: fleet, Kind.READ)
        await anyio.to_thread.run_sync(gate.reached.wait)
        group.start_soon(store.aclose)
        await anyio.to_thread.run_sync(wait_until, lambda: store._closing)
        assert await store.call("healthy", lambda fleet: fleet, Kind.READ) == PetFleet("healthy")
        new = store._workers
        gate.open()
    assert new is not None
    assert new._aside == 0
    assert await store.call("healthy", lambda fleet: fleet, Kind.READ) == PetFleet("healthy")
