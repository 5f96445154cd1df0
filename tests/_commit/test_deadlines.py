"""The deadlines of one event loop: one timer for all waiters, set again for the next one."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from petfleet._commit.waiter import _Deadlines


class StubLoop:
    """An event loop whose time is set by the test, and that keeps its timers."""

    def __init__(self) -> None:
        self.now = 100.0
        self.timers: list[tuple[float, Callable[[], None]]] = []

    def time(self) -> float:
        """Return its time."""
        return self.now

    def call_later(self, seconds: float, function: Callable[[], None]) -> None:
        """Keep a timer."""
        self.timers.append((self.now + seconds, function))

    def run_next(self) -> float:
        """Let the time of the next timer come, call it, and return that time."""
        self.now, function = self.timers.pop(0)
        function()
        return self.now


class StubWaiter:
    """Notes whether its wait was ended."""

    def __init__(self) -> None:
        self.done = False

    def is_done(self) -> bool:
        """Return whether it was."""
        return self.done

    def resolve(self) -> None:
        """End it."""
        self.done = True


@pytest.fixture
def loop() -> StubLoop:
    """An event loop."""
    return StubLoop()


def add_at(deadlines: _Deadlines, loop: StubLoop, now: float) -> StubWaiter:
    """Add a waiter at that time."""
    loop.now = now
    waiter = StubWaiter()
    deadlines.add(waiter)  # type: ignore[arg-type] # what it needs of one
    return waiter


def test_the_timer_is_set_again_for_the_next_waiter(loop: StubLoop) -> None:
    """One timer at a time, each for the first that still waits; a waiter that is done needs none."""
    deadlines = _Deadlines(loop, 10)  # type: ignore[arg-type] # what it needs of one
    first, second, third, last = (add_at(deadlines, loop, now) for now in (100, 101, 102, 103))
    third.done = True
    assert [due for due, _ in loop.timers] == [110]
    assert loop.run_next() == 110
    assert (first.done, second.done) == (True, False)
    assert loop.run_next() == 111
    assert (second.done, last.done) == (True, False)
    assert loop.run_next() == 113
    assert last.done
    assert loop.timers == []


def test_after_all_waits_have_ended_the_next_waiter_sets_a_timer(loop: StubLoop) -> None:
    """The timer does not run while nothing waits."""
    deadlines = _Deadlines(loop, 10)  # type: ignore[arg-type] # as above
    add_at(deadlines, loop, 100)
    loop.run_next()
    waiter = add_at(deadlines, loop, 200)
    assert loop.run_next() == 210
    assert waiter.done
