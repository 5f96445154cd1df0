"""In which order the threads of a pool do their jobs, and what releasing a slot, an error, or the end does."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from petfleet._commit.pool import Pool
from tests.conftest import refuse_threads, wait_until
from tests.support.gate import Gate
from tests.support.trial_pool import DueTimers, TrialPool, WorkClock, is_idle

# --- order


@pytest.mark.parametrize("ahead", [False, True])
def test_first_come_first_served(one: TrialPool, ahead: bool) -> None:
    """Among equals the order of submission counts, even at one and the same moment."""
    names = [f"{number}" for number in range(20)]
    one.submit(*names, ahead=ahead)
    one.open()
    one.rest()
    assert one.done == ["first", *names]


def test_ahead_comes_before_what_waits(one: TrialPool) -> None:
    """Jobs marked so overtake the others, and keep their own order."""
    one.submit("a", "b")
    one.submit("c", "d", ahead=True)
    one.submit("e")
    one.submit("f", ahead=True)
    one.open()
    one.rest()
    assert one.done == ["first", "c", "d", "f", "a", "b", "e"]


def test_a_job_that_has_waited_a_tenth_of_a_second_is_not_overtaken(one: TrialPool, clock: WorkClock) -> None:
    """However many jobs are marked ahead, no other job waits forever."""
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


# --- released slots


@pytest.mark.parametrize("early", [True, False], ids=["has waited", "comes later"])
def test_a_released_slot_is_used_by_another_thread_until_it_is_taken_back(early: bool, clock: WorkClock) -> None:
    """Another thread runs a job that waits already or comes meanwhile, and none after that."""
    trial = TrialPool(clock, 1, 1)
    trial.hold("aside", *["a"] * early)
    trial.gates["aside"].reached.wait()
    trial.hold(*["a"] * (not early))
    trial.submit("b")
    assert trial.busy() == 1
    trial.gates["aside"].open()
    wait_until(lambda: "aside" in trial.done)
    trial.submit("c")
    assert trial.busy() == 1
    trial.open()
    trial.rest()
    assert trial.done == ["aside", "a", "b", "c"]
    trial.pool.end_idle()


def test_a_failed_wait_takes_the_slot_back_too(clock: WorkClock) -> None:
    """The job gets its error."""
    trial = TrialPool(clock, 1, 1)
    trial.submit("fails aside")
    trial.rest()
    trial.hold("a", "b")
    assert trial.busy() == 1
    trial.open()
    trial.rest()
    trial.pool.end_idle()


def test_a_slot_can_be_released_without_another_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread that comes back then runs the waiting job."""
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


# --- the end


def test_idle_threads_are_ended(many: TrialPool) -> None:
    """They have ended when end_idle returns; later jobs get new ones."""
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


def test_the_end_waits_for_running_jobs(many: TrialPool) -> None:
    """Their threads do the waiting jobs first; all threads are daemons, and none is left."""
    many.block("a", "b", "c", "d")
    many.submit("e")
    assert all(thread.daemon and thread.name == "petfleet" for thread in many.threads)
    with ended_aside(many):
        assert all(thread.is_alive() for thread in many.threads)
        many.open()
    wait_until(lambda: not any(thread.is_alive() for thread in many.threads))
    assert sorted(many.done) == ["a", "b", "c", "d", "e"]


def test_the_end_does_not_wait_for_a_job_without_its_slot(clock: WorkClock) -> None:
    """When that job is done, its thread ends."""
    trial = TrialPool(clock, 1, 1)
    trial.hold("aside")
    trial.gates["aside"].reached.wait()
    trial.pool.end_idle()
    (thread,) = trial.threads
    assert thread.is_alive()
    trial.open()
    wait_until(lambda: not thread.is_alive())


def test_after_the_end_threads_stay_again_once_more_is_submitted(many: TrialPool) -> None:
    """Also those that were busy meanwhile; as long as one is idle, no other is started."""
    many.block("a")
    with ended_aside(many):
        many.submit("b")
        many.open()
    many.rest()
    many.block("c", "d")
    assert len(many.threads) == 2


@contextmanager
def ended_aside(trial: TrialPool) -> Iterator[None]:
    """End the pool's threads from another thread, which has finished after the block."""
    ending = threading.Thread(target=trial.pool.end_idle)
    ending.start()
    wait_until(lambda: trial.pool._closed)
    yield
    ending.join(60)
    assert not ending.is_alive()


class Job:
    """An object that can be collected."""


def test_an_idle_thread_keeps_no_job_alive() -> None:
    """Neither the last job nor the pool; when the pool is gone, the thread ends."""
    threads: list[threading.Thread] = []

    def run(job: Job) -> float:
        threads.append(threading.current_thread())
        return 0.0

    pools, jobs = [Pool[Job](run, 1, 1, DueTimers())], [Job()]
    pool, job = weakref.ref(pools[0]), weakref.ref(jobs[0])
    pools[0].submit(jobs.pop(), ahead=False)
    wait_until(lambda: is_idle(pools[0]) and job() is None)
    assert threads[0].is_alive()
    pools.clear()
    gc.collect()
    wait_until(lambda: pool() is None and not threads[0].is_alive())
