"""How a worker retries a refused lock: as long as its holders get on, and no one else needs the thread."""

from __future__ import annotations

import asyncio
import itertools
import math
from collections.abc import Callable, Iterator

import anyio
import anyio.lowlevel
import pytest

from petfleet import LockTimeoutError, PetFleet, batching
from petfleet.batching import Batching
from petfleet.changes import Batch, Kind
from tests.conftest import Clock, wait_until

REFUSALS = 3000  # at a fifth of a millisecond each, six times what a worker waits without a sign of life


class Backend:
    """Refuses the lock of a user some times; ``signs`` are what its holder shows meanwhile."""

    def __init__(self, refusals: int, signs: Iterator[int]) -> None:
        self._refusals = refusals
        self._signs = signs
        self.probes = 0

    def commit(self, user_id: str, batch: Batch) -> bool:
        if self._refusals:
            self._refusals -= 1
            return False
        for change in batch.take():
            change.result = PetFleet(user_id)
        return True

    def sign_of_life(self, user_id: str) -> int:
        return next(self._signs)

    def is_free(self, user_id: str) -> bool:
        self.probes += 1
        self._refusals = 0
        return True

    def lock_timeout(self, user_id: str) -> Callable[[float], LockTimeoutError]:
        return lambda waited: LockTimeoutError(user_id, waited, None)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let sleeping take no time, and yet move the clock of batching."""

    monkeypatch.setattr(batching, "time", Clock())


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
    """Its deadline counts, not their progress."""
    backend = Backend(10**9, itertools.count())
    with pytest.raises(LockTimeoutError):
        await Batching(backend, 0.05, 32).call("u", lambda fleet: fleet, Kind.READ)
    assert backend.probes == 0


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
