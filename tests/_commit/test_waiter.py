"""How waiting tasks are woken: in order, and not so many at once that nothing else gets a turn."""

from __future__ import annotations

import asyncio
import math

import anyio
import anyio.lowlevel
import pytest
import trio

from petfleet._commit.waiter import Waiter, _Deadlines, _wake
from tests.support.loops import LOOP_IDS, LOOPS, Loop, run

each_loop = pytest.mark.parametrize("loop", LOOPS, ids=LOOP_IDS)


def waiters(number: int) -> list[Waiter]:
    return [Waiter() for _ in range(number)]


def is_woken(waiter: Waiter) -> bool:
    return waiter._event.is_set() if waiter._future is None else waiter._future.done()


@each_loop
def test_many_tasks_are_woken_32_in_each_turn_of_the_loop(loop: Loop) -> None:
    """In the order of their calls, and the loop gets to other things in between."""
    seen: list[int] = []

    async def main() -> None:
        waiting = waiters(100)
        _wake(waiting)
        for _ in range(20):
            woken = [is_woken(waiter) for waiter in waiting]
            assert woken == sorted(woken, reverse=True)
            seen.append(sum(woken))
            await anyio.lowlevel.checkpoint()

    run(loop, main)
    assert (seen[0], seen[-1]) == (32, 100)
    assert {32, 100} < set(seen) <= {32, 64, 96, 100}  # trio may look at a task once in two turns


@each_loop
def test_as_many_as_a_turn_takes_are_woken_at_once(loop: Loop) -> None:
    """No turn of the loop is wasted."""

    async def main() -> None:
        waiting = waiters(32)
        later: list[object] = []
        waiting[0]._in_loop = lambda *arguments: later.append(arguments)
        _wake(waiting)
        assert all(map(is_woken, waiting))
        assert not later

    run(loop, main)


@each_loop
@pytest.mark.parametrize("seconds", [3600, math.inf])
@pytest.mark.parametrize("cancelled", [{0}, {5, 31, 40, 99}, set(range(100))], ids=["first", "some", "all"])
def test_a_cancelled_task_keeps_no_other_waiting(loop: Loop, cancelled: set[int], seconds: float) -> None:
    """Whether it belongs to the first that are woken or to later ones."""
    ended: list[int] = []

    async def wait(waiter: Waiter, number: int, scope: anyio.CancelScope) -> None:
        with scope:
            assert await waiter.wait(seconds)
            ended.append(number)

    async def main() -> None:
        waiting = waiters(100)
        scopes = [anyio.CancelScope() for _ in waiting]
        async with anyio.create_task_group() as group:
            for number, waiter in enumerate(waiting):
                group.start_soon(wait, waiter, number, scopes[number])
            await anyio.wait_all_tasks_blocked()
            for number in cancelled:
                scopes[number].cancel()
            _wake(waiting)

    run(loop, main)
    assert sorted(ended) == sorted(set(range(100)) - cancelled)


@each_loop
def test_a_wait_ends_with_its_time_and_may_begin_again(loop: Loop) -> None:
    """Until it is woken; a later wait then returns at once, even if no task was waiting."""

    async def main() -> None:
        waiter = Waiter()
        assert not await waiter.wait(0)
        assert not await waiter.wait(0.001)
        async with anyio.create_task_group() as group:
            group.start_soon(woken, waiter)
            await anyio.wait_all_tasks_blocked()
            Waiter.wake([waiter])
        await woken(waiter)

    async def woken(waiter: Waiter) -> None:
        assert await waiter.wait(math.inf)

    run(loop, main)


@each_loop
def test_a_loop_that_is_closed_is_not_waited_for(loop: Loop) -> None:
    """Waking its tasks does nothing, and keeps no task of another loop waiting."""
    late: list[Waiter] = []

    async def main() -> None:
        late.extend(waiters(2))

    async def other() -> None:
        waiter = Waiter()
        Waiter.wake([late[0], waiter, late[1]])
        assert await waiter.wait(math.inf)

    run(loop, main)
    run(loop, other)
    assert not any(map(is_woken, late))


def test_trio_may_end_while_tasks_are_woken() -> None:
    """After all tasks of a batch were cancelled, nothing waits for its calls."""

    async def main() -> None:
        trio.lowlevel.current_trio_token().run_sync_soon(_wake, waiters(256))

    trio.run(main)


@pytest.mark.parametrize("loop", LOOPS[:2], ids=LOOP_IDS[:2])
def test_one_timer_ends_the_waits_of_a_loop_in_order(loop: Loop) -> None:
    """Whatever other waits end before."""

    async def main() -> None:
        ended: list[int] = []

        async def wait(number: int, seconds: float) -> None:
            assert not await Waiter().wait(seconds)
            ended.append(number)

        async with anyio.create_task_group() as group:
            for number in range(3):
                group.start_soon(wait, number, 0.02)
                await anyio.lowlevel.checkpoint()
            group.start_soon(wait, 3, 0.001)  # another store's
        assert sorted(ended) == [0, 1, 2, 3]
        assert [number for number in ended if number != 3] == [0, 1, 2]

    run(loop, main)


@pytest.mark.parametrize("loop", LOOPS[:2], ids=LOOP_IDS[:2])
def test_waits_that_are_over_are_forgotten_behind_one_that_is_not(loop: Loop) -> None:
    """A thousand calls a second for an hour's wait would be kept otherwise."""

    async def main() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(Waiter().wait, 3600)
            await anyio.lowlevel.checkpoint()
            for _ in range(1000):
                waiter = Waiter()
                Waiter.wake([waiter])
                assert await waiter.wait(3600)
            kept = _Deadlines.of(asyncio.get_running_loop(), 3600)._waiting
            assert len(kept) <= 64 + 2
            assert not kept[0][1].is_done()
            group.cancel_scope.cancel()

    run(loop, main)
