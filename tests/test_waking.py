"""How waiting tasks are woken: in order, and not so many at once that nothing else gets a turn."""

from __future__ import annotations

import anyio
import anyio.lowlevel
import pytest
import trio

from petfleet.waking import Waiter, _wake
from tests.behaviour.test_loops import LOOP_IDS, LOOPS, Loop, run

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
    """No turn is spent on nobody."""

    async def main() -> None:
        waiting = waiters(32)
        later: list[object] = []
        waiting[0]._in_loop = lambda *arguments: later.append(arguments)
        _wake(waiting)
        assert all(map(is_woken, waiting))
        assert not later

    run(loop, main)


@each_loop
@pytest.mark.parametrize("cancelled", [{0}, {5, 31, 40, 99}, set(range(100))], ids=["first", "some", "all"])
def test_a_cancelled_task_keeps_no_other_waiting(loop: Loop, cancelled: set[int]) -> None:
    """Whether it belongs to the first that are woken or to later ones."""
    ended: list[int] = []

    async def wait(waiter: Waiter, number: int, scope: anyio.CancelScope) -> None:
        with scope:
            await waiter.wait()
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


def test_trio_may_end_while_tasks_are_woken() -> None:
    """Nobody waits any more for the calls of a batch whose tasks were all cancelled."""

    async def main() -> None:
        trio.lowlevel.current_trio_token().run_sync_soon(_wake, waiters(256))

    trio.run(main)
