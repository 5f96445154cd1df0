"""Parking: things looked at now and then, in one thread that lives as long as there are any."""

from __future__ import annotations

import math
import threading
from collections.abc import Sized
from functools import partial
from types import SimpleNamespace

import pytest

from petfleet import parking
from petfleet.parking import Parking
from tests.conftest import wait_until


class Clock:
    """A condition whose waits take no time, and the time as if they did."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.waits: list[float] = []

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        pass

    def notify(self) -> None:
        """Nobody waits."""

    def wait(self, seconds: float) -> None:
        """Note it and let the time pass."""
        self.waits.append(seconds)
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of the parking made in the test, whose thread's work the test does itself."""
    clock = Clock()
    monkeypatch.setattr(parking, "time", SimpleNamespace(monotonic=lambda: clock.now))
    thread = SimpleNamespace(start=lambda: None)
    monkeypatch.setattr(parking, "threading", SimpleNamespace(Condition=lambda: clock, Thread=lambda **_: thread))
    return clock


def test_pauses_grow_to_a_limit(clock: Clock) -> None:
    """A thing is looked at again and again, half as long again after each look, until it is done."""
    answers = iter([math.inf] * 8 + [None])
    looked: Parking[str] = Parking(lambda thing: next(answers))
    looked.park("thing", math.inf)
    looked._run()
    assert clock.waits == pytest.approx([0.005 * 1.5**n for n in range(6)] + [0.05] * 3)


def test_pauses_grow_longer_among_many(clock: Clock) -> None:
    """All together are not looked at more than a thousand times a second, however many they are."""
    looks = []

    def look(thing: int) -> float | None:
        looks.append(clock.now)
        return math.inf if clock.now < 1010 else None

    many: Parking[int] = Parking(look)
    for thing in range(200):
        many.park(thing, math.inf)
    many._run()
    settled = [moment for moment in looks if 1005 < moment < 1009]
    assert len(settled) == pytest.approx(4 * 1000, rel=0.1)


def test_a_thing_is_looked_at_by_the_time_that_it_asks_for(clock: Clock) -> None:
    """Neither the first look nor a later one comes after the latest time given, whatever the pause."""
    looks = []

    def look(thing: str) -> float | None:
        looks.append(clock.now)
        return 1000.002 if len(looks) == 1 else None

    parked: Parking[str] = Parking(look)
    parked.park("thing", 1000.001)
    parked._run()
    assert looks == pytest.approx([1000.001, 1000.002])


def test_things_are_looked_at_in_the_order_of_their_times(clock: Clock) -> None:
    """What is parked later but for a shorter time comes first."""
    looks: list[str] = []
    parked: Parking[str] = Parking(looks.append)
    parked.park("late", math.inf, 3.0)
    parked.park("soon", math.inf, 1.0)
    parked.park("between", math.inf, 2.0)
    parked._run()
    assert looks == ["soon", "between", "late"]
    assert clock.waits == pytest.approx([1, 1, 1])


def test_a_thing_parked_again_is_looked_at_by_the_new_time_only(clock: Clock) -> None:
    """The old time of a thing that was parked meanwhile for longer is forgotten."""
    looks: list[str] = []
    parked: Parking[str] = Parking(looks.append)
    parked.park("thing", math.inf, 1.0)
    parked.park("thing", math.inf, 3.0)
    parked._run()
    assert looks == ["thing"]
    assert clock.waits == pytest.approx([3])


def test_the_thread_ends_when_nothing_is_parked_and_starts_again() -> None:
    """Nothing runs while nothing is parked; the next thing parked gets a new thread."""
    looks: list[threading.Thread] = []

    def look(thing: str) -> None:
        looks.append(threading.current_thread())

    parked: Parking[str] = Parking(look)
    for number in (1, 2):
        parked.park("thing", math.inf)
        wait_until(partial(has_length, looks, number))
        looks[-1].join(30)
        assert not looks[-1].is_alive()
        assert looks[-1].daemon  # or it would hold up the interpreter's exit
    assert looks[0] is not looks[1]


def test_without_a_thread_nothing_is_parked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no thread can be started, parking fails as a whole; it works again once there is one."""
    looked = threading.Event()

    def look(thing: str) -> None:
        looked.set()

    parked: Parking[str] = Parking(look)

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError, match="can't start new thread"):
            parked.park("thing", math.inf)
    assert parked._parked == {}
    parked.park("thing", math.inf)
    assert looked.wait(30)


def has_length(collected: Sized, number: int) -> bool:
    """Return whether so much was collected."""
    return len(collected) == number


def test_trouble_with_one_thing_does_not_end_the_looks_at_others(caplog: pytest.LogCaptureFixture) -> None:
    """Both are looked at until they are done with."""
    looks: list[str] = []

    def look(thing: str) -> None:
        looks.append(thing)
        if looks == ["one"]:
            raise MemoryError

    parked: Parking[str] = Parking(look)
    parked.park("one", math.inf)
    parked.park("other", math.inf)
    wait_until(lambda: sorted(looks) == ["one", "one", "other"])
    assert "looking at a refused lock failed" in caplog.text
