"""The threads that commit: whose turn it is, how many there are at once, and what happens when one is refused."""

from __future__ import annotations

import logging
import threading
import time
import weakref
from collections.abc import Iterator
from functools import partial

import pytest

from petfleet import workers
from petfleet.workers import Workers
from tests.conftest import Clock, wait_until
from tests.gate import Gate


class HeldClock(Clock):
    """A clock of which each sleep lasts until the test has it end."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1024.0
        self.sleeps: list[float] = []
        self._ticks = threading.Semaphore(0)
        self._free = threading.Event()

    def sleep(self, seconds: float) -> None:
        """Sleep without any time passing."""
        if self._free.is_set():
            time.sleep(0.001)
        else:
            self.sleeps.append(seconds)
            self._ticks.acquire()

    def tick(self) -> None:
        """End one sleep, and wait until that thread sleeps again."""
        wait_until(lambda: self.sleeps)
        before = len(self.sleeps)
        self._ticks.release()
        wait_until(lambda: len(self.sleeps) == before + 1)

    def end(self) -> None:
        """End all sleeps."""
        self._free.set()
        self._ticks.release(100)


class Room:
    """Workers whose things are names; each of these waits at a gate, if it has one."""

    def __init__(self, most: int) -> None:
        self.workers = Workers[str](self._run, most)
        self.gates: dict[str, Gate] = {}
        self.begun: list[str] = []
        self.done: list[str] = []

    def submit(self, *names: str, ahead: bool = False) -> None:
        for name in names:
            self.workers.submit(name, ahead=ahead)

    def block(self, *names: str) -> None:
        """Submit things that go on only after :meth:`open`, and wait until so many have begun."""
        for name in names:
            self.gates[name] = Gate()
        begun = len(self.begun)
        self.submit(*names)
        wait_until(lambda: len(self.begun) == begun + len(names))

    def open(self) -> None:
        for gate in self.gates.values():
            gate.open()

    def threads(self) -> int:
        """Return how many threads are at work or will be at once."""
        return len(self.workers._busy)

    def at_once(self, number: int = 40) -> int:
        """Return how many of so many things run at the same time."""
        gate = Gate()
        names = [f"at once {index}" for index in range(number)]
        self.gates.update(dict.fromkeys(names, gate))
        before = len(self.begun)
        self.submit(*names)
        asked_for = len(self.workers._busy)  # none of them can end, so no one else comes
        wait_until(lambda: len(self.begun) == before + asked_for)
        gate.open()
        self.idle()
        return asked_for

    def idle(self) -> None:
        wait_until(lambda: not self.workers._busy)
        assert not self.workers.any_waiting()

    def _run(self, name: str) -> bool:
        self.begun.append(name)
        if name in self.gates:
            self.gates[name].hold()
        self.done.append(name)
        return name == "timed"


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[HeldClock]:
    """A clock for the workers that the test moves."""
    clock = HeldClock()
    monkeypatch.setattr(workers, "time", clock)
    monkeypatch.setattr(workers, "_PER_SECOND", 2000)
    yield clock
    clock.end()


@pytest.fixture
def one(clock: HeldClock) -> Iterator[Room]:
    """A single thread, which a first thing keeps busy."""
    room = Room(1)
    room.block("first")
    yield room
    room.open()
    clock.end()
    room.workers.shutdown()


@pytest.fixture
def many(clock: HeldClock) -> Iterator[Room]:
    """Up to 32 threads, none of them started yet."""
    room = Room(32)
    yield room
    room.open()
    clock.end()
    room.workers.shutdown()


def refuse_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on the system allows no more threads."""

    def refused(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refused)


# --- whose turn it is ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ahead", [False, True])
def test_first_come_first_served(one: Room, ahead: bool) -> None:
    """Among equals the order of submission counts, even at one and the same moment."""
    names = [f"{number}" for number in range(20)]
    one.submit(*names, ahead=ahead)
    one.open()
    one.idle()
    assert one.done == ["first", *names]


def test_ahead_comes_before_what_waits(one: Room) -> None:
    """Things marked so overtake the others, and keep their own order."""
    one.submit("a", "b")
    one.submit("c", "d", ahead=True)
    one.submit("e")
    one.submit("f", ahead=True)
    one.open()
    one.idle()
    assert one.done == ["first", "c", "d", "f", "a", "b", "e"]


def test_what_has_waited_a_tenth_of_a_second_is_not_overtaken(one: Room, clock: HeldClock) -> None:
    """However many come that are marked ahead, nothing waits behind them for ever."""
    one.submit("a")
    clock.now += 0.09
    one.submit("b")
    one.submit("before a", ahead=True)
    clock.now += 0.02
    one.submit("after a, before b", ahead=True)
    clock.now += 0.1
    one.submit("after both", ahead=True)
    one.open()
    one.idle()
    assert one.done == ["first", "before a", "a", "after a, before b", "b", "after both"]


# --- how many at once ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("most", "at_once"), [(1, 1), (3, 3), (4, 4), (32, 4)])
def test_four_at_once(most: int, at_once: int, clock: HeldClock) -> None:
    """As long as no slow disk is known, four run at once, or as many as are allowed, and all the others follow."""
    room = Room(most)
    assert room.at_once() == at_once
    assert len(room.done) == 40
    clock.end()
    room.workers.shutdown()


def taking(room: Room, clock: HeldClock, seconds: list[float]) -> None:
    """Have jobs carried out one after another that take so long."""
    run = room.workers._run
    left = iter(seconds)

    def taking_time(name: str) -> bool:
        clock.now += next(left)
        return run(name)

    room.workers._run = taking_time
    for _ in seconds:
        room.submit("timed")
        room.idle()
    room.workers._run = run


@pytest.mark.parametrize(
    ("seconds", "at_once"),
    [
        ([0.01] * 16, 20),
        ([0.01] * 15, 4),
        ([0.01] * 8 + [5.0] * 8, 20),
        ([5.0] * 8 + [0.01] + [5.0] * 7, 20),
        ([1.0] * 16, 32),
        ([0.001] * 16, 4),
        ([0.0103] * 16, 21),
    ],
    ids=["10 ms", "too few", "the fastest counts", "also in the middle", "never more", "1 ms", "rounded up"],
)
def test_more_at_once_on_a_slow_disk(many: Room, clock: HeldClock, seconds: list[float], at_once: int) -> None:
    """As many as it takes for 2,000 jobs a second, judged by the fastest of 16, never more than allowed."""
    taking(many, clock, seconds)
    assert many.at_once() == at_once


def test_four_again_when_the_disk_is_quick_again(many: Room, clock: HeldClock) -> None:
    """What was fastest before is forgotten with each judgement, and each rests on twice as many jobs."""
    taking(many, clock, [0.01] * 16)
    assert many.workers._at_once == 20
    taking(many, clock, [0.001] * 31)
    assert many.workers._at_once == 20
    taking(many, clock, [0.001])
    assert many.at_once() == 4
    taking(many, clock, [0.02] * (64 - 40))  # the 40 have taken no time, and were not judged
    assert many.workers._at_once == 4
    taking(many, clock, [0.02] * 40)
    assert many.at_once() == 32


def test_no_more_than_1024_jobs_are_judged_together(many: Room, clock: HeldClock) -> None:
    """Or a store that has done millions would never notice that its disk has changed."""
    for _ in range(16 + 32 + 64 + 128 + 256 + 512):
        many.workers._judge(0.001)
    for _ in range(2):
        assert many.workers._at_once == 4
        for _ in range(1024):
            many.workers._judge(0.01)
        assert many.workers._at_once == 20
        for _ in range(1024):
            many.workers._judge(0.001)


def test_jobs_without_the_disk_are_not_judged(many: Room, clock: HeldClock) -> None:
    """What was answered from memory, or waited for a lock, says nothing about the disk, however long it took."""
    taking(many, clock, [0.01] * 15)
    run = many.workers._run
    many.workers._run = lambda name: run(name) and False
    taking(many, clock, [0.0001, 0.01, 10.0] * 10)
    many.workers._run = run
    assert many.workers._at_once == 4
    taking(many, clock, [0.01])
    assert many.at_once() == 20


def test_a_thread_too_many_goes_when_it_is_done(many: Room, clock: HeldClock) -> None:
    """When fewer are to run at once, those that end first take nothing new, and the others go on."""
    taking(many, clock, [0.01] * 16)
    many.block(*[f"{number}" for number in range(20)])
    many.gates["late 0"] = Gate()
    many.submit(*[f"late {number}" for number in range(10)])
    many.workers._at_once = 4
    for number in range(16):
        many.gates[f"{number}"].open()
    wait_until(lambda: len(many.workers._busy) == 4)
    assert len(many.begun) == 16 + 20
    many.open()
    many.idle()
    assert len(many.done) == 16 + 30


# --- aside -----------------------------------------------------------------------------------------------------------


def test_who_only_waits_for_something_gives_its_place_to_another(many: Room) -> None:
    """Each thread that steps aside lets one more of the waiting things run, and back again, one less."""
    many.block("a", "b", "c", "d")
    many.gates.update(e=Gate(), f=Gate())
    many.submit("e", "f")
    many.workers.aside(1)
    wait_until(lambda: many.begun[4:] == ["e"])
    assert many.threads() == 5
    assert many.workers.any_waiting()
    many.workers.aside(-1)
    many.gates["a"].open()
    wait_until(lambda: len(many.workers._busy) == 4)
    assert many.begun[4:] == ["e"]  # the place of "a" went back to who had stepped aside
    many.open()
    many.idle()
    assert sorted(many.done) == ["a", "b", "c", "d", "e", "f"]
    assert many.at_once() == 4


def test_a_thing_submitted_later_takes_the_place_too(many: Room) -> None:
    """It need not have waited already."""
    many.block("a", "b", "c", "d")
    many.workers.aside(1)
    assert many.threads() == 4, "a thread was started for nothing"
    many.block("e")
    many.submit("f")
    assert many.threads() == 5
    many.workers.aside(-1)


def test_coming_back_starts_no_thread(many: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    """Although something still waits, since an earlier thread was refused."""
    many.block("a", "b", "c", "d")
    many.submit("e", "f")
    with monkeypatch.context() as patch:
        refuse_threads(patch)
        many.workers.aside(2)
    many.workers.aside(-1)
    assert many.threads() == 4
    many.workers.aside(-1)


def test_stepping_aside_cannot_exceed_the_most_threads(clock: HeldClock) -> None:
    """However many step aside."""
    room = Room(5)
    room.workers.aside(3)
    assert room.at_once() == 5
    clock.end()
    room.workers.shutdown()


def test_stepping_aside_survives_a_refused_thread(many: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits is then run by the threads that are there."""
    many.block("a", "b", "c", "d")
    many.submit("e")
    with monkeypatch.context() as patch:
        refuse_threads(patch)
        many.workers.aside(1)
    assert many.begun == ["a", "b", "c", "d"]
    many.open()
    many.idle()
    assert sorted(many.done) == ["a", "b", "c", "d", "e"]
    many.workers.aside(-1)


# --- a thread that cannot be started ---------------------------------------------------------------------------------


def test_without_any_thread_the_thing_is_refused(many: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is never run; what comes later is run alone."""
    with monkeypatch.context() as patch:
        refuse_threads(patch)
        for name in ("refused", "too"):
            with pytest.raises(RuntimeError, match="can't start new thread"):
                many.submit(name)
    assert not many.workers.any_waiting()
    assert not many.workers._executor._work_queue.qsize()
    many.submit("taken")
    many.idle()
    many.workers.shutdown()
    assert many.begun == ["taken"]


def test_a_refused_thread_costs_no_place_later(many: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    """As soon as the system allows threads again, four run at once."""
    with monkeypatch.context() as patch:
        refuse_threads(patch)
        for _ in range(3):
            with pytest.raises(RuntimeError):
                many.submit("refused")
    many.submit("taken")
    many.idle()
    wait_until(lambda: not many.workers._executor._work_queue.qsize())
    for name in ("a", "b", "c", "d"):
        many.gates[name] = Gate()
    many.submit("a", "b", "c", "d")
    assert len(many.workers._executor._threads) >= 4


def interrupt_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on, starting a thread is where Ctrl-C is met."""

    def interrupted(self: threading.Thread) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(threading.Thread, "start", interrupted)


def test_an_interrupt_passes_although_a_thread_is_at_work(many: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is no lack of threads; what waits is run all the same, in order."""
    many.block("a")
    with monkeypatch.context() as patch:
        refuse_threads(patch)
        many.submit(*"ghijklm")
        many.submit(*"GHIJKLM", ahead=True)
        interrupt_threads(patch)
        with pytest.raises(KeyboardInterrupt):
            many.submit("interrupted", ahead=True)
    many.open()
    many.workers.shutdown()
    assert [name for name in many.done if name != "interrupted"] == ["a", *"GHIJKLM", *"ghijklm"]


def test_a_refused_thing_leaves_the_order_of_others_as_it_is(many: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is taken out of the middle of what interrupted calls have left waiting without a thread."""
    with monkeypatch.context() as patch:
        interrupt_threads(patch)
        for name in "abcde":
            with pytest.raises(KeyboardInterrupt):
                many.submit(name)
        refuse_threads(patch)
        with pytest.raises(RuntimeError):
            many.submit("refused", ahead=True)
    many.workers._at_once = 1
    many.submit("z")
    many.idle()
    assert many.done == [*"abcde", "z"]


def test_beside_a_thread_at_work_nothing_is_refused(many: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread that is there comes to it, and the executor's tickets for more do not run anything twice."""
    many.block("a")
    with monkeypatch.context() as patch:
        refuse_threads(patch)
        many.submit("b", "c", "d")
    assert many.begun == ["a"]
    many.open()
    many.idle()
    many.workers.shutdown()
    assert many.done == ["a", "b", "c", "d"]


def test_a_thread_that_was_refused_and_comes_late_takes_nothing(many: Room) -> None:
    """The executor may run it after all, beside as many as are to run at once."""
    many.block("a", "b", "c", "d")
    many.submit("e")
    many.workers._work(object())
    assert many.begun == ["a", "b", "c", "d"]


def test_a_thing_that_comes_while_the_last_thread_goes_is_run(
    clock: HeldClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thread that has found nothing more to do counts as gone from that moment on."""
    room = Room(1)
    next_of = room.workers._next
    late: list[str] = []

    def and_then_another(ticket: object) -> object:
        entry = next_of(ticket)
        if entry is None and not late:
            late.append("late")
            room.submit("late")
        return entry

    monkeypatch.setattr(room.workers, "_next", and_then_another)
    room.submit("first")
    wait_until(lambda: room.done == ["first", "late"])
    room.workers.shutdown()


def test_an_error_ends_no_thread(clock: HeldClock, caplog: pytest.LogCaptureFixture) -> None:
    """Although nothing that is run should raise, what waits behind it does not wait for ever, and a warning is left."""
    gate = Gate()
    done: list[float] = []

    def divide(number: int) -> bool:
        gate.hold()
        done.append(1 / number)
        return True

    failing = Workers[int](divide, 1)
    for number in (0, 1, 2):
        failing.submit(number, ahead=False)
    with caplog.at_level(logging.WARNING, "petfleet"):
        gate.open()
        wait_until(lambda: done == [1.0, 0.5])
        failing.shutdown()
    (record,) = caplog.records
    assert "ZeroDivisionError('division by zero')" in record.getMessage()


# --- when all seem stuck ---------------------------------------------------------------------------------------------


def test_more_are_let_in_when_all_seem_stuck(many: Room, clock: HeldClock) -> None:
    """Whenever none has begun for 50 ms twice as many more as before, but never more than allowed."""
    many.block("a", "b", "c", "d")
    names = [f"{number}" for number in range(40)]
    many.gates.update({name: Gate() for name in names})
    many.submit(*names)
    counts = [4]
    for _ in range(12):
        clock.tick()
        wait_until(lambda: len(many.begun) == many.threads())
        counts.append(many.threads())
    assert counts == [4, 5, 5, 7, 7, 11, 11, 19, 19, 32, 32, 32, 32]
    assert set(clock.sleeps) == {0.05}
    many.open()
    wait_until(lambda: len(many.done) == 44)


def _has_begun(room: Room, name: str) -> bool:
    return room.begun[-1] == name


def test_no_more_are_let_in_than_wait(many: Room, clock: HeldClock) -> None:
    """Threads for nothing would only cost."""
    many.block("a", "b", "c", "d")
    for name in ("e", "f"):
        many.gates[name] = Gate()
    many.submit("e", "f")
    for _ in range(3):
        clock.tick()
        wait_until(lambda: len(many.begun) == many.threads())
    assert many.threads() == 6
    assert len(many.workers._executor._threads) == 6 + 1  # and the one that looks after them


def test_no_more_are_let_in_while_things_get_on(many: Room, clock: HeldClock) -> None:
    """One that has begun since the last look is enough."""
    many.block("a", "b", "c", "d")
    for name in ("e", "f", "g"):
        many.gates[name] = Gate()
    many.submit("e", "f", "g")
    wait_until(lambda: clock.sleeps)
    for ended, begun in (("a", "e"), ("e", "f")):
        many.gates[ended].open()
        wait_until(partial(_has_begun, many, begun))
        clock.tick()
        assert many.threads() == 4


def test_who_was_let_in_goes_when_nothing_waits_any_more(many: Room, clock: HeldClock) -> None:
    """Then four run at once again, and they are looked after again when they seem stuck."""
    for _ in range(2):
        names = ["a", "b", "c", "d"]
        many.block(*names)
        many.gates["e"] = Gate()
        many.submit("e")
        clock.tick()
        wait_until(lambda: many.begun[-1] == "e")
        assert many.threads() == 5
        many.open()
        many.idle()
        clock._ticks.release()  # whoever looks after them finds nothing and goes
        wait_until(lambda: many.workers._watch_ticket is None)
        clock.sleeps.clear()
        assert many.workers._extra == 0


@pytest.mark.parametrize("most", [1, 4])
def test_where_no_more_are_allowed_nobody_looks_after_them(most: int, clock: HeldClock) -> None:
    """It would be a thread for nothing."""
    room = Room(most)
    room.block(*[f"{number}" for number in range(most)])
    room.submit("waits")
    assert len(room.workers._executor._threads) == most
    room.open()
    room.workers.shutdown()


def test_one_is_enough_to_look_after_them(many: Room) -> None:
    """However many things wait."""
    many.block("a", "b", "c", "d")
    many.submit("e", "f", "g")
    assert len(many.workers._executor._threads) == 5


def test_letting_more_in_survives_a_refused_thread(
    many: Room, clock: HeldClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is tried again later."""
    many.block("a", "b", "c", "d")
    many.gates["e"] = Gate()
    many.submit("e")
    with monkeypatch.context() as patch:
        refuse_threads(patch)
        clock.tick()
    assert many.threads() == 4
    clock.tick()
    assert many.threads() == 5


def test_who_could_not_be_looked_after_is_run_all_the_same(
    many: Room, clock: HeldClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No thread was to be had for that, and nothing was refused."""
    many.block("a", "b", "c", "d")
    with monkeypatch.context() as patch:
        refuse_threads(patch)
        many.submit("e")
    many.submit("f")
    wait_until(lambda: clock.sleeps, seconds=10)  # now someone looks after them
    clock.end()
    many.open()
    many.idle()
    assert sorted(many.done) == ["a", "b", "c", "d", "e", "f"]


def test_who_was_refused_and_comes_late_looks_after_nobody(many: Room, clock: HeldClock) -> None:
    """The executor may run it after all, beside the one that does."""
    many.block("a", "b", "c", "d")
    many.submit("e")
    wait_until(lambda: clock.sleeps)
    late = threading.Thread(target=many.workers._watch, args=(object(),))
    late.start()
    wait_until(lambda: not late.is_alive() or len(clock.sleeps) == 2)
    assert not late.is_alive()


# --- the end ---------------------------------------------------------------------------------------------------------


def test_shutdown_waits_for_all_that_was_submitted(many: Room, clock: HeldClock) -> None:
    """Also for what no thread has come to yet."""
    names = [f"{number}" for number in range(40)]
    gate = Gate()
    many.gates.update(dict.fromkeys(names, gate))
    many.submit(*names)
    ending = threading.Thread(target=many.workers.shutdown)
    ending.start()
    wait_until(lambda: many.workers._executor._shutdown)
    assert ending.is_alive()
    assert many.done == []
    gate.open()
    wait_until(lambda: len(many.done) == 40)
    clock.end()
    ending.join(30)
    assert not ending.is_alive()
    assert sorted(many.done) == sorted(names)
    with pytest.raises(RuntimeError, match="after shutdown"):
        many.submit("late")


def test_an_idle_thread_keeps_nothing_alive() -> None:
    """What was run last can be collected although its thread waits for more."""

    class Thing:
        pass

    seen: list[str] = []

    def run(thing: Thing) -> bool:
        seen.append(type(thing).__name__)
        return True

    quiet = Workers[Thing](run, 1)
    thing = Thing()
    collected = weakref.ref(thing)
    quiet.submit(thing, ahead=False)
    del thing
    wait_until(lambda: seen and not quiet._busy)
    wait_until(lambda: collected() is None)
    assert any(thread.is_alive() for thread in quiet._executor._threads)
    quiet.shutdown()
