"""The threads that work: whose turn it is, how many there are at once, how they end, and when one is refused."""

from __future__ import annotations

import errno
import gc
import logging
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from petfleet._commit.pool import Pool
from petfleet._util import runtime
from tests.conftest import Clock, refuse_threads, wait_until
from tests.support.gate import Gate


class WorkClock(Clock):
    """A clock that also counts the seconds for which threads have computed."""

    def __init__(self) -> None:
        super().__init__()
        self.computed = 0.0

    def thread_time(self) -> float:
        return self.computed


class DueTimers(runtime.Timers):
    """Timers of which each function is called when the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.due: list[tuple[float, Callable[[], object]]] = []
        self.refuses = False

    def call_later(self, seconds: float, function: Callable[[], object]) -> None:
        if self.refuses:
            raise OSError(errno.EAGAIN, "no thread for timers")
        self.due.append((seconds, function))

    def pass_time(self) -> None:
        """Call what is due by now."""
        due, self.due = self.due, []
        for _, function in due:
            function()


class Room:
    """A pool whose things are names; each of these waits at its gate, if it has one, and "aside" stands aside there."""

    def __init__(self, clock: WorkClock, least: int = 4, most: int = 32) -> None:
        self.timers = DueTimers()
        self.pool = Pool[str](self._run, least, most, self.timers)
        self.gates: dict[str, Gate] = {}
        self.begun: list[str] = []
        self.done: list[str] = []
        self.threads: set[threading.Thread] = set()
        self.aside = 0
        self._clock = clock
        self._waits = 0.0
        self._computes = 0.0

    def submit(self, *names: str, ahead: bool = False) -> None:
        for name in names:
            self.pool.submit(name, ahead=ahead)

    def hold(self, *names: str) -> None:
        """Submit things that go on only after :meth:`open`."""
        self.gates.update({name: Gate() for name in names})
        self.submit(*names)

    def block(self, *names: str) -> None:
        """Submit such things, and wait until so many have begun."""
        begun = len(self.begun)
        self.hold(*names)
        wait_until(lambda: len(self.begun) == begun + len(names))

    def open(self) -> None:
        for gate in self.gates.values():
            gate.open()

    def busy(self) -> int:
        """Return how many threads are at work, once all that were asked for are."""
        wait_until(lambda: len(self.begun) - len(self.done) - self.aside == len(self.pool._busy))
        return len(self.pool._busy)

    def at_once(self) -> int:
        """Return how many of forty things run at the same time."""
        names = [f"at once {index}" for index in range(40)]
        self.hold(*names)
        found = self.busy()
        self.open()
        self.rest()
        return found

    def rest(self) -> None:
        """Wait until nothing is left to do."""
        wait_until(lambda: not self.pool._busy)
        assert not self.pool._ready

    def work(self, *waits: float, computing: float = 0.001) -> None:
        """Have jobs done one after another that wait so long for the storage, and compute."""
        for self._waits in waits:
            self._computes = computing
            self.submit("job")
            self.rest()
        self._waits = self._computes = 0.0

    def _hold_aside(self) -> None:
        self.aside += 1
        self.gates["aside"].hold()
        self.aside -= 1

    def _run(self, name: str) -> float:
        self.threads.add(threading.current_thread())
        self.begun.append(name)
        if name == "aside":
            self.pool.release_slot(self._hold_aside)
        elif name == "fails aside":
            with pytest.raises(ZeroDivisionError):
                self.pool.release_slot(lambda: 1 / 0)
        elif name in self.gates:
            self.gates[name].hold()
        self._clock.computed += self._computes
        waited = self._waits and self._waits + self._computes if name == "job" else 0.0
        self.done.append(name)
        return waited


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> WorkClock:
    """A clock that goes only when the test moves it."""
    clock = WorkClock()
    monkeypatch.setattr(runtime, "monotonic", clock.monotonic)
    monkeypatch.setattr(runtime, "thread_time", clock.thread_time)
    return clock


@pytest.fixture
def one(clock: WorkClock) -> Iterator[Room]:
    """A single thread, which a first thing keeps busy."""
    room = Room(clock, 1, 1)
    room.block("first")
    yield room
    room.open()
    room.pool.end_idle()


@pytest.fixture
def many(clock: WorkClock) -> Iterator[Room]:
    """Four to 32 threads, none of them started yet."""
    room = Room(clock)
    yield room
    room.open()
    room.pool.end_idle()


# --- whose turn it is ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ahead", [False, True])
def test_first_come_first_served(one: Room, ahead: bool) -> None:
    """Among equals the order of submission counts, even at one and the same moment."""
    names = [f"{number}" for number in range(20)]
    one.submit(*names, ahead=ahead)
    one.open()
    one.rest()
    assert one.done == ["first", *names]


def test_ahead_comes_before_what_waits(one: Room) -> None:
    """Things marked so overtake the others, and keep their own order."""
    one.submit("a", "b")
    one.submit("c", "d", ahead=True)
    one.submit("e")
    one.submit("f", ahead=True)
    one.open()
    one.rest()
    assert one.done == ["first", "c", "d", "f", "a", "b", "e"]


def test_what_has_waited_a_tenth_of_a_second_is_not_overtaken(one: Room, clock: WorkClock) -> None:
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
    one.rest()
    assert one.done == ["first", "before a", "a", "after a, before b", "b", "after both"]


# --- how many at once ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("most", "at_once"), [(1, 1), (3, 3), (4, 4), (32, 4)])
def test_four_at_once(most: int, at_once: int, clock: WorkClock) -> None:
    """As long as nothing is known of the storage, the least run at once, or as many as are allowed."""
    room = Room(clock, 4, most)
    assert room.at_once() == at_once
    assert len(room.done) == 40
    room.pool.end_idle()


@pytest.mark.parametrize(
    ("waits", "at_once"),
    [
        ([0.005] * 32, 11),
        ([0.005] * 31, 4),
        ([5.0] * 16 + [0.005] + [5.0] * 15, 11),
        ([1.0] * 32, 32),
        ([0.001] * 32, 4),
        ([0.0052] * 32, 11),
        ([0.0053] * 32, 12),
    ],
    ids=["five times", "too few jobs", "the shortest counts", "never more", "never fewer", "down", "up"],
)
def test_as_many_at_once_as_the_wait_leaves_time_for(many: Room, waits: list[float], at_once: int) -> None:
    """One, and twice as many more as can compute in the shortest wait of 32 jobs, within the bounds."""
    many.work(*waits)
    assert many.at_once() == at_once


def test_the_mean_of_what_is_computed_counts(many: Room) -> None:
    """A job that computes for long weighs as much as it takes."""
    many.work(*[0.005] * 31, computing=0.0005)
    many.work(0.005, computing=0.0165)  # a mean of 0.001
    assert many.at_once() == 11


def test_a_computation_too_short_for_the_clock_is_no_error(many: Room, caplog: pytest.LogCaptureFixture) -> None:
    """Where the system counts a thread's time in coarse steps, even many jobs together may seem to take none."""
    many.work(*[0.005] * 32, computing=0.0)
    assert caplog.messages == []
    many.work(*[0.005] * 64)
    assert many.pool._sizing.at_once == 11


def test_each_judgement_rests_on_twice_as_many_jobs(many: Room) -> None:
    """But on no more than 1,024, or a store that has done millions would never notice that its storage has changed."""
    at_once = 4
    for number, jobs in enumerate([32, 64, 128, 256, 512, 1024, 1024]):
        wait, expected = [(0.005, 11), (0.001, 4), (0.01, 21)][number % 3]
        for _ in range(jobs - 1):
            many.pool._sizing.judge(wait + 0.001, 0.001)
        assert many.pool._sizing.at_once == at_once
        many.pool._sizing.judge(wait + 0.001, 0.001)
        assert many.pool._sizing.at_once == expected  # what was shortest before is forgotten
        at_once = expected


def test_jobs_that_did_not_wait_are_not_judged(many: Room) -> None:
    """What was answered from memory, or waited for a turn only, says nothing about the storage."""
    many.work(*[0.005] * 31)
    many.work(*[0.0] * 70, computing=1.0)
    assert many.pool._sizing.at_once == 4
    many.work(0.005)
    assert many.at_once() == 11


def test_a_thread_too_many_goes_idle_when_it_is_done(many: Room) -> None:
    """When fewer are to run at once, those that end first take nothing new, and the others go on."""
    many.work(*[0.005] * 32)
    many.block(*[f"{number}" for number in range(11)])
    many.hold("late")
    many.submit(*[f"later {number}" for number in range(10)])
    many.pool._sizing.at_once = 4
    for number in range(7):
        many.gates[f"{number}"].open()
    wait_until(lambda: len(many.pool._busy) == 4)
    assert many.begun[-1] == "10"
    many.open()
    many.rest()
    assert len(many.done) == 32 + 11 + 11


# --- aside -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("early", [True, False], ids=["has waited", "comes later"])
def test_who_stands_aside_lets_another_run_and_takes_its_place_back(early: bool, clock: WorkClock) -> None:
    """What has waited already, or comes meanwhile, is run by another thread, and nothing more after that."""
    room = Room(clock, 1, 1)
    room.hold("aside", *["a"] * early)
    room.gates["aside"].reached.wait()
    room.hold(*["a"] * (not early))
    room.submit("b")
    assert room.busy() == 1
    room.gates["aside"].open()
    wait_until(lambda: "aside" in room.done)
    room.submit("c")
    assert room.busy() == 1
    room.open()
    room.rest()
    assert room.done == ["aside", "a", "b", "c"]
    room.pool.end_idle()


def test_a_wait_aside_that_fails_gives_the_place_back_too(clock: WorkClock) -> None:
    """Its error passes."""
    room = Room(clock, 1, 1)
    room.submit("fails aside")
    room.rest()
    room.hold("a", "b")
    assert room.busy() == 1
    room.open()
    room.rest()
    room.pool.end_idle()


def test_standing_aside_survives_a_refused_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits is then run by the thread that comes back."""
    entered, back = Gate(), Gate()
    done: list[str] = []

    def run(name: str) -> float:
        if name == "first":
            entered.hold()
            pool.release_slot(back.hold)
        done.append(name)
        return 0.0

    pool = Pool[str](run, 1, 1, DueTimers())
    pool.submit("first", ahead=False)
    entered.reached.wait()
    pool.submit("a", ahead=False)
    with monkeypatch.context() as patch:
        refuse_threads(patch)
        entered.open()
        back.reached.wait()
        assert done == []
        back.open()
        wait_until(lambda: done == ["first", "a"])
    pool.end_idle()


# --- a thread that cannot be started ---------------------------------------------------------------------------------


def test_without_any_thread_the_thing_is_refused(many: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is never run, costs no place later, and the error says what to do."""
    with monkeypatch.context() as patch:
        refuse_threads(patch)
        for _ in range(5):
            with pytest.raises(OSError, match="could not start a thread") as refused:
                many.submit("refused")
            assert refused.value.errno == errno.EAGAIN
    many.block("a", "b", "c", "d")
    many.open()
    many.rest()
    assert sorted(many.begun) == ["a", "b", "c", "d"]


def test_beside_a_thread_at_work_nothing_is_refused(many: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread that is there comes to it."""
    many.block("a")
    with monkeypatch.context() as patch:
        refuse_threads(patch)
        many.submit("b", "c", "d")
    assert many.begun == ["a"]
    many.open()
    many.rest()
    assert many.done == ["a", "b", "c", "d"]
    assert len(many.threads) == 1


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
        many.submit(*"ghi")
        many.submit(*"GHI", ahead=True)
        interrupt_threads(patch)
        with pytest.raises(KeyboardInterrupt):
            many.submit("interrupted", ahead=True)
    many.open()
    many.rest()
    assert [name for name in many.done if name != "interrupted"] == ["a", *"GHI", *"ghi"]


def test_a_refused_thing_leaves_the_order_of_others_as_it_is(clock: WorkClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is taken out of the middle of what interrupted calls have left waiting without a thread."""
    room = Room(clock, 1, 1)
    with monkeypatch.context() as patch:
        interrupt_threads(patch)
        for name in "abcde":
            with pytest.raises(KeyboardInterrupt):
                room.submit(name)
        refuse_threads(patch)
        with pytest.raises(OSError, match="thread"):
            room.submit("refused", ahead=True)
    room.submit("z")
    room.rest()
    assert room.done == [*"abcde", "z"]
    room.pool.end_idle()


def test_a_thread_that_started_although_its_start_was_interrupted(
    clock: WorkClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It runs nothing beside those that may run at once, and it ends with the other idle ones."""
    room = Room(clock, 1, 1)
    started: list[threading.Thread] = []
    start = threading.Thread.start

    def interrupted(self: threading.Thread) -> None:
        start(self)
        started.append(self)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", interrupted)
        with pytest.raises(KeyboardInterrupt):
            room.submit("interrupted")
    room.hold("a")
    room.submit("b")
    assert room.busy() == 1
    room.open()
    room.rest()
    assert room.done == ["interrupted", "a", "b"]
    room.pool.end_idle()
    wait_until(lambda: not any(thread.is_alive() for thread in {*started, *room.threads}), seconds=5)


def test_an_error_ends_no_thread(clock: WorkClock, caplog: pytest.LogCaptureFixture) -> None:
    """Although nothing that is run should raise, what waits behind it does not wait for ever, and a warning is left."""
    done: list[float] = []

    def divide(number: int) -> float:
        if number < 0:
            raise SystemExit
        done.append(1 / number)
        return 0.0

    failing = Pool[int](divide, 1, 1, DueTimers())
    with caplog.at_level(logging.WARNING, "petfleet"):
        for number in (0, 1, -1, 2):
            failing.submit(number, ahead=False)
        wait_until(lambda: not failing._busy)
    assert done == [1.0, 0.5]
    assert [record.getMessage().rpartition(": ")[2] for record in caplog.records] == [
        "ZeroDivisionError('division by zero')",
        "SystemExit()",
    ]
    failing.end_idle()


# --- when all seem stuck ---------------------------------------------------------------------------------------------


def test_more_are_let_in_when_all_seem_stuck(many: Room) -> None:
    """Whenever none has begun for 50 ms twice as many as before, but never more than allowed."""
    many.block("a", "b", "c", "d")
    many.hold(*[f"{number}" for number in range(40)])
    counts = [many.busy()]
    while many.timers.due:
        ((seconds, _),) = many.timers.due  # one check at a time
        assert seconds == 0.05
        many.timers.pass_time()
        counts.append(many.busy())
    assert counts == [4, 8, 8, 16, 16, 32]
    many.open()
    many.rest()
    assert len(many.done) == 44


def test_no_more_are_let_in_than_wait(many: Room) -> None:
    """Threads for nothing would only cost."""
    many.block("a", "b", "c", "d")
    many.hold("e", "f")
    many.timers.pass_time()
    assert many.busy() == 6
    assert not many.timers.due


def test_no_more_are_let_in_while_things_get_on(many: Room) -> None:
    """One that has begun since the last look is enough."""
    many.block("a", "b", "c", "d")
    many.hold("e", "f", "g")
    for ended, begun in (("a", "e"), ("b", "f")):
        many.gates[ended].open()
        wait_until(lambda begun=begun: many.begun[-1] == begun)  # type: ignore[misc]
        many.timers.pass_time()
        assert many.busy() == 4


@pytest.mark.parametrize("most", [1, 4])
def test_where_no_more_are_allowed_nobody_looks_after_them(most: int, clock: WorkClock) -> None:
    """It would be a thread for nothing."""
    room = Room(clock, 4, most)
    room.block(*[f"{number}" for number in range(most)])
    room.submit("waits")
    assert not room.timers.due
    room.open()
    room.rest()
    room.pool.end_idle()


def test_letting_more_in_survives_a_refused_thread(many: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is tried again later."""
    many.block("a", "b", "c", "d")
    many.hold("e")
    with monkeypatch.context() as patch:
        refuse_threads(patch)
        many.timers.pass_time()
    assert many.busy() == 4
    many.timers.pass_time()
    assert many.busy() == 5


def test_who_could_not_be_looked_after_is_run_all_the_same(many: Room) -> None:
    """No thread was to be had for the timers, and nothing was refused."""
    many.block("a", "b", "c", "d")
    many.timers.refuses = True
    many.submit("e")
    many.timers.refuses = False
    many.submit("f")
    assert len(many.timers.due) == 1  # now someone looks after them
    many.open()
    many.rest()
    assert sorted(many.done) == ["a", "b", "c", "d", "e", "f"]


# --- the end ---------------------------------------------------------------------------------------------------------


def test_idle_threads_are_ended(many: Room) -> None:
    """They are gone when that returns; what is submitted later gets new ones."""
    many.block("a", "b")
    many.open()
    many.rest()
    many.pool.end_idle()
    ended = many.threads.copy()
    assert not any(thread.is_alive() for thread in ended)
    many.submit("c")
    many.rest()
    assert many.done[2:] == ["c"]
    assert not any(thread.is_alive() for thread in ended)


def test_what_is_run_is_waited_for_and_then_its_thread_ends(many: Room) -> None:
    """It does what waits first; all threads are daemons, and none is left."""
    many.block("a", "b", "c", "d")
    many.submit("e")
    assert all(thread.daemon and thread.name == "petfleet" for thread in many.threads)
    with ended_aside(many):
        assert all(thread.is_alive() for thread in many.threads)
        many.open()
    wait_until(lambda: not any(thread.is_alive() for thread in many.threads))
    assert sorted(many.done) == ["a", "b", "c", "d", "e"]


def test_what_stands_aside_is_not_waited_for(clock: WorkClock) -> None:
    """When it comes back and is done, its thread ends."""
    room = Room(clock, 1, 1)
    room.hold("aside")
    room.gates["aside"].reached.wait()
    room.pool.end_idle()
    (thread,) = room.threads
    assert thread.is_alive()
    room.open()
    wait_until(lambda: not thread.is_alive())


def test_after_the_end_threads_stay_again_once_more_is_submitted(many: Room) -> None:
    """Those too that were at work meanwhile; and as long as any of them is idle no other one is started."""
    many.block("a")
    with ended_aside(many):
        many.submit("b")
        many.open()
    many.rest()
    many.block("c", "d")
    assert len(many.threads) == 2


@contextmanager
def ended_aside(room: Room) -> Iterator[None]:
    """Have the pool's threads ended by a thread of its own, which is done when the block is."""
    ending = threading.Thread(target=room.pool.end_idle)
    ending.start()
    wait_until(lambda: room.pool._closed)
    yield
    ending.join(60)
    assert not ending.is_alive()


class Thing:
    """Something that can be gone."""


def test_an_idle_thread_keeps_nothing_alive() -> None:
    """Neither what was run last nor the pool; and when that is gone, the thread ends."""
    threads: list[threading.Thread] = []

    def run(thing: Thing) -> float:
        threads.append(threading.current_thread())
        return 0.0

    pools, things = [Pool[Thing](run, 1, 1, DueTimers())], [Thing()]
    pool, thing = weakref.ref(pools[0]), weakref.ref(things[0])
    pools[0].submit(things.pop(), ahead=False)
    wait_until(lambda: not pools[0]._busy and thing() is None)
    assert threads[0].is_alive()
    pools.clear()
    gc.collect()
    wait_until(lambda: pool() is None and not threads[0].is_alive())
