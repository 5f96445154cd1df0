"""The engine's timers, threads that the system may refuse, and clocks that no user's test freezes."""

from __future__ import annotations

import errno
import logging
import math
import sys
import threading
import time
from collections.abc import Callable

import pytest

from petfleet._util import runtime
from petfleet._util.runtime import Timers, start_thread
from tests.conftest import Clock, refuse_threads, wait_until
from tests.support.gate import Gate

DAYS = 86400.0


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> list[threading.Thread]:
    """The threads that are started from now on."""
    started: list[threading.Thread] = []

    def noted(work: Callable[[], object], name: str, *, daemon: bool = True) -> threading.Thread:
        thread = start_thread(work, name, daemon=daemon)
        started.append(thread)
        return thread

    monkeypatch.setattr(runtime, "start_thread", noted)
    return started


def have_ended(threads: list[threading.Thread]) -> bool:
    return not any(thread.is_alive() for thread in threads)


def test_timers_are_called_when_they_are_due(threads: list[threading.Thread], monkeypatch: pytest.MonkeyPatch) -> None:
    """In the order of their times, whichever was asked for first, and none twice."""
    clock = Clock()
    monkeypatch.setattr(runtime, "monotonic", clock.monotonic)
    timers, gate, called = Timers(), Gate(), list[str]()
    timers.call_later(0, gate.hold)
    gate.reached.wait()
    timers.call_later(0.02, lambda: called.append("second"))
    timers.call_later(0.01, lambda: called.append("first"))
    timers.call_later(0.03, lambda: called.append("third"))
    clock.now += 0.03
    gate.open()
    wait_until(lambda: have_ended(threads))
    assert called == ["first", "second", "third"]


def test_timers_of_one_moment_are_called_in_the_order_of_asking(
    threads: list[threading.Thread], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Functions that cannot be compared with one another are no trouble."""
    monkeypatch.setattr(runtime, "monotonic", Clock().monotonic)
    timers, gate, called = Timers(), Gate(), list[int]()
    timers.call_later(0, gate.hold)
    gate.reached.wait()
    for number in range(20):
        timers.call_later(0, lambda number=number: called.append(number))  # type: ignore[misc]
    gate.open()
    wait_until(lambda: have_ended(threads))
    assert called == list(range(20))


def test_no_timer_is_called_before_its_time(threads: list[threading.Thread], monkeypatch: pytest.MonkeyPatch) -> None:
    """It is the clock that counts, however often the thread is awake."""
    clock = Clock()
    monkeypatch.setattr(runtime, "monotonic", clock.monotonic)
    timers, called = Timers(), list[str]()
    timers.call_later(5, lambda: called.append("later"))
    for expected in ([], ["later"]):
        gate = Gate()
        gate.open()
        timers.call_later(0, gate.hold)  # wakes the thread
        gate.reached.wait()
        wait_until(lambda expected=expected: called == expected)  # type: ignore[misc]
        clock.now += 5
    wait_until(lambda: have_ended(threads))


def test_one_thread_calls_them_and_ends_when_nothing_is_due(threads: list[threading.Thread]) -> None:
    """The thread is a daemon and is woken for an earlier timer; after its end, a later timer starts another one."""
    timers, gates = Timers(), [Gate(), Gate()]
    for number, gate in enumerate(gates):
        timers.call_later(0, gate.hold)
        gate.reached.wait()
        timers.call_later(0, bool)
        assert [(thread.name, thread.daemon) for thread in threads] == [("petfleet-timers", True)] * (number + 1)
        gate.open()
        wait_until(lambda: have_ended(threads))


@pytest.mark.parametrize("seconds", [1000 * DAYS, math.inf])
def test_a_timer_far_away_holds_up_no_nearer_one(seconds: float, threads: list[threading.Thread]) -> None:
    """Although the thread waits for it already; no wait is too long for the system."""
    timers, called = Timers(), threading.Event()
    timers.call_later(seconds, bool)
    timers.call_later(0, called.set)
    assert called.wait(60)
    assert len(threads) == 1
    with timers._changed:
        timers._due.clear()
        timers._changed.notify()  # the thread has nothing more to wait for
    wait_until(lambda: have_ended(threads))


def test_a_timer_that_fails_ends_no_other(threads: list[threading.Thread], caplog: pytest.LogCaptureFixture) -> None:
    """One user's trouble is a warning, and the next is called all the same."""
    timers, gate, called = Timers(), Gate(), list[str]()
    with caplog.at_level(logging.WARNING, "petfleet"):
        timers.call_later(0, gate.hold)
        gate.reached.wait()
        timers.call_later(0, lambda: 1 / 0)
        timers.call_later(0, lambda: called.append("next"))
        gate.open()
        wait_until(lambda: have_ended(threads))
    assert called == ["next"]
    assert caplog.messages == ["a timer failed: ZeroDivisionError('division by zero')"]


def test_a_function_may_ask_for_the_next_call(threads: list[threading.Thread]) -> None:
    """In the thread that is there, also where no other could be started."""
    timers, called = Timers(), list[int]()

    def again() -> None:
        called.append(len(called))
        if len(called) < 3:
            timers.call_later(0, again)

    timers.call_later(0, again)
    wait_until(lambda: have_ended(threads))
    assert called == [0, 1, 2]
    assert len(threads) == 1


def test_without_a_thread_no_timer_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """The caller gets the error; a later timer works."""
    timers, called = Timers(), list[str]()
    with monkeypatch.context() as patch:
        refuse_threads(patch)
        with pytest.raises(OSError, match="could not start a thread"):
            timers.call_later(0, lambda: called.append("refused"))
    timers.call_later(0, lambda: called.append("later"))
    wait_until(lambda: called)
    assert called == ["later"]


def test_a_refused_thread_is_an_error_that_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """It has the number of a system that has no more of something for now, and its cause."""
    refuse_threads(monkeypatch)
    with pytest.raises(OSError, match="petfleet could not start a thread") as refused:
        start_thread(bool, "any")
    assert refused.value.errno == errno.EAGAIN
    assert refused.value.strerror == (
        "petfleet could not start a thread (can't start new thread): allow the process more of them"
    )
    assert isinstance(refused.value.__cause__, RuntimeError)


@pytest.mark.parametrize("daemon", [True, False])
def test_a_thread_is_named_and_holds_up_an_end_only_if_asked_to(daemon: bool) -> None:
    """Debuggers show the name."""
    seen: list[threading.Thread] = []
    thread = start_thread(lambda: seen.append(threading.current_thread()), "petfleet-any", daemon=daemon)
    thread.join()
    assert seen == [thread]
    assert (thread.name, thread.daemon) == ("petfleet-any", daemon)


FROZEN = ("time", "monotonic", "perf_counter", "thread_time", "clock_gettime")


def freeze(patch: pytest.MonkeyPatch) -> None:
    """Have time stand still, as the tests of our users do: by other functions in the place of these, in all modules."""
    for name in FROZEN:
        real = getattr(time, name)
        now = real(time.CLOCK_MONOTONIC) if name == "clock_gettime" else real()
        for module in [time, *(each for key, each in sys.modules.items() if key.startswith("petfleet"))]:
            for attribute, value in list(vars(module).items()):
                if value is real:
                    patch.setattr(module, attribute, lambda *_, now=now: now)


def test_frozen_time_stops_no_clock_of_the_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loops that wait for some time to pass come to their end, and what threads compute is still counted."""
    with monkeypatch.context() as patch:
        freeze(patch)
        assert time.monotonic() == time.monotonic()  # it does stand still
        for clock in (runtime.monotonic, runtime.thread_time):
            before = clock()
            while clock() == before:
                pass
        due = threading.Event()
        Timers().call_later(0.001, due.set)
        assert due.wait(60)
