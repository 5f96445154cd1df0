"""Overtaken tries: when the engine makes the next one, and what happens to the calls meanwhile."""

from __future__ import annotations

import errno
from collections.abc import Callable

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest

from petfleet import LockTimeoutError, PetFleet
from petfleet._backends.protocol import OvertakenError
from petfleet._backends.state import State
from petfleet._commit.change import Kind
from petfleet._commit.group_commit import GroupCommit
from petfleet._util import runtime
from tests.conftest import pet, until
from tests.support.fake_backend import FakeBackend, FakeCommit

pytestmark = pytest.mark.anyio

RESTS = [0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.5, 0.5]


class Crowd(FakeBackend):
    """A backend whose writers are overtaken some more times."""

    def __init__(self, overtaken: int) -> None:
        super().__init__(Overtaken)
        self.overtaken = overtaken


class Overtaken(FakeCommit):
    """Is overtaken in its write."""

    def write(self, before: State, after: State) -> None:
        super().write(before, after)
        assert isinstance(self.backend, Crowd)
        if self.backend.overtaken:
            self.backend.overtaken -= 1
            raise OvertakenError


class NotedTimers(runtime.Timers):
    """Timers that note what they are asked for, and do not wait.

    Attributes:
        asked: the seconds, of all of them.
        kept: if it is a list, it gets the functions, and none is called.
    """

    asked: list[float]
    kept: list[Callable[[], object]] | None

    def call_later(self, seconds: float, function: Callable[[], object]) -> None:
        """Note it."""
        self.asked.append(seconds)
        if self.kept is None:
            super().call_later(0, function)
        else:
            self.kept.append(function)


@pytest.fixture
def rests(monkeypatch: pytest.MonkeyPatch) -> type[NotedTimers]:
    """Have the engine rest for as long as it may, and note that instead."""
    NotedTimers.asked, NotedTimers.kept = [], None
    monkeypatch.setattr(runtime, "Timers", NotedTimers)
    monkeypatch.setattr("random.uniform", lambda low, high: high)
    return NotedTimers


def adding(name: str) -> Callable[[PetFleet | None], PetFleet | None]:
    return lambda fleet: fleet and fleet.with_pet(pet(name))


async def add(store: GroupCommit, name: str, user_id: str = "user") -> list[str]:
    """Add a pet, and return those that the fleet has then."""
    fleet = await store.call(user_id, adding(name), Kind.CREATE)
    assert fleet is not None
    return [handle.pet_name for handle in fleet.pets]


async def test_the_rests_are_random_and_grow(rests: type[NotedTimers], monkeypatch: pytest.MonkeyPatch) -> None:
    """The first retry comes at once; the next ones come at random times, so that two writers do not collide again."""
    drawn: list[tuple[float, float]] = []

    def uniform(low: float, high: float) -> float:
        drawn.append((low, high))
        return high

    monkeypatch.setattr("random.uniform", uniform)
    backend = Crowd(1 + len(RESTS))
    store = GroupCommit(backend, 3600, 1)
    assert await add(store, "mira") == ["mira"]
    assert rests.asked == RESTS
    assert drawn == [(0, rest) for rest in RESTS]
    assert len(backend.written) == 2 + len(RESTS)
    assert backend.closed == backend.written
    assert store.statistics().lock_waits == 1
    assert store.statistics().commits == 1


async def test_a_call_that_was_overtaken_once_tries_again_at_once(rests: type[NotedTimers]) -> None:
    """Once is no sign of a crowd, even for a call without time to wait."""
    backend = Crowd(1)
    store = GroupCommit(backend, 0, 1)
    assert await add(store, "mira") == ["mira"]
    assert backend.written == ["user", "user"]
    assert rests.asked == []
    assert store.statistics().lock_waits == 0


async def test_it_goes_on_however_often_others_are_first(
    rests: type[NotedTimers], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The number of tries ends no call, its time does."""
    backend = Crowd(1100)
    store = GroupCommit(backend, 3600, 1)
    assert await add(store, "mira") == ["mira"]
    assert max(rests.asked) == RESTS[-1]


async def test_after_a_commit_the_rests_begin_anew(rests: type[NotedTimers]) -> None:
    """A crowd that was there once is no sign that it still is."""
    backend = Crowd(3)
    store = GroupCommit(backend, 3600, 1)
    rests.kept = []
    async with anyio.create_task_group() as group:
        group.start_soon(add, store, "first")
        for _ in range(2):
            await until(lambda: rests.kept)
            rests.kept.pop()()
        await until(lambda: backend.overtaken == 0)
    assert rests.asked == RESTS[:2]
    backend.overtaken = 2
    rests.kept = None
    assert await add(store, "second") == ["second"]
    assert rests.asked == [*RESTS[:2], RESTS[0]]


async def test_what_comes_while_it_rests_joins_the_batch_behind_the_others(rests: type[NotedTimers]) -> None:
    """The calls that were overtaken keep their order and their place."""
    backend = Crowd(2)
    store = GroupCommit(backend, 3600, 1)
    rests.kept = []
    order: list[str] = []

    async def noted(name: str) -> None:
        def change(fleet: PetFleet | None) -> PetFleet | None:
            order.append(name)
            return adding(name)(fleet)

        await store.call("user", change, Kind.CREATE)

    async with anyio.create_task_group() as group:
        group.start_soon(noted, "first")
        await until(lambda: rests.kept)
        order.clear()
        for number, name in enumerate(("second", "third"), 2):
            group.start_soon(noted, name)
            while len(store._queues["user"].waiting) < number:
                await anyio.lowlevel.checkpoint()
        rests.kept.pop()()
    assert order == ["first", "second", "third"]
    assert store.statistics().largest_batch == 3
    assert store.statistics().commits == 1


async def test_no_try_is_made_for_calls_that_were_cancelled_meanwhile(rests: type[NotedTimers]) -> None:
    """They never happen, and the user is forgotten."""
    backend = Crowd(1000)
    store = GroupCommit(backend, 3600, 1)
    rests.kept = []
    async with anyio.create_task_group() as group:
        group.start_soon(add, store, "mira")
        await until(lambda: rests.kept)
        group.cancel_scope.cancel()
    rests.kept.pop()()
    await until(lambda: not store._queues)
    assert backend.tried == ["user", "user"]
    assert rests.asked == RESTS[:1]


async def test_a_call_that_tries_once_does_not_rest(rests: type[NotedTimers]) -> None:
    """It has its second try at once, and then an error; its change never happens."""
    backend = Crowd(2)
    store = GroupCommit(backend, 0, 1)
    with pytest.raises(LockTimeoutError) as raised:
        await add(store, "mira")
    assert raised.value.path == backend.turn_path("user")
    assert rests.asked == []
    assert await add(store, "nova") == ["nova"]
    assert backend.written == ["user"] * 3


async def test_while_one_user_rests_the_others_go_on(rests: type[NotedTimers]) -> None:
    """No thread waits: one is enough for them."""
    backend = Crowd(2)
    store = GroupCommit(backend, 3600, 1)
    rests.kept = []
    async with anyio.create_task_group() as group:
        group.start_soon(add, store, "mira")
        await until(lambda: rests.kept)
        assert await add(store, "nova", "other") == ["nova"]
        assert backend.written == ["user", "user", "other"]
        rests.kept.pop()()
    assert backend.written[-1] == "user"


async def test_without_a_thread_for_the_rest_the_calls_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    """They do not wait forever; the next calls are served."""

    def refused(timers: runtime.Timers, seconds: float, function: Callable[[], object]) -> None:
        raise OSError(errno.EAGAIN, "no more threads")

    backend = Crowd(2)
    store = GroupCommit(backend, 3600, 1)
    with monkeypatch.context() as patch:
        patch.setattr(runtime.Timers, "call_later", refused)
        with pytest.raises(OSError, match="no more threads"):
            await add(store, "mira")
    assert await add(store, "nova") == ["nova"]
