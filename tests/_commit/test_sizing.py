"""How many jobs of a pool run at once, and how many more are let in when all of them seem stuck."""

from __future__ import annotations

import pytest

from tests.conftest import refuse_threads, wait_until
from tests.support.trial_pool import TrialPool, WorkClock

# --- how many at once


@pytest.mark.parametrize(("most", "at_once"), [(1, 1), (3, 3), (4, 4), (32, 4)])
def test_four_at_once(most: int, at_once: int, clock: WorkClock) -> None:
    """As long as nothing is known about the storage, the least number run at once, or as many as are allowed."""
    trial = TrialPool(clock, 4, most)
    assert trial.at_once() == at_once
    assert len(trial.done) == 40
    trial.pool.end_idle()


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
def test_as_many_at_once_as_the_wait_leaves_time_for(many: TrialPool, waits: list[float], at_once: int) -> None:
    """One, plus twice as many as can compute during the shortest wait of 32 jobs, within the bounds."""
    many.work(*waits)
    assert many.at_once() == at_once


def test_the_mean_of_what_is_computed_counts(many: TrialPool) -> None:
    """A job that computes for long raises the mean."""
    many.work(*[0.005] * 31, computing=0.0005)
    many.work(0.005, computing=0.0165)  # a mean of 0.001
    assert many.at_once() == 11


def test_a_computation_too_short_for_the_clock_is_no_error(many: TrialPool, caplog: pytest.LogCaptureFixture) -> None:
    """Where the system counts a thread's time in coarse steps, even many jobs together may seem to take none."""
    many.work(*[0.005] * 32, computing=0.0)
    assert caplog.messages == []
    many.work(*[0.005] * 64)
    assert many.pool._sizing.at_once == 11


def test_each_judgement_rests_on_twice_as_many_jobs(many: TrialPool) -> None:
    """But on no more than 1,024, or a store that has done millions would never notice that its storage has changed."""
    at_once = 4
    for number, jobs in enumerate([32, 64, 128, 256, 512, 1024, 1024]):
        wait, expected = [(0.005, 11), (0.001, 4), (0.01, 21)][number % 3]
        for _ in range(jobs - 1):
            many.pool._sizing.judge(wait + 0.001, 0.001)
        assert many.pool._sizing.at_once == at_once
        many.pool._sizing.judge(wait + 0.001, 0.001)
        assert many.pool._sizing.at_once == expected  # the shortest wait of earlier jobs is forgotten
        at_once = expected


def test_jobs_that_did_not_wait_are_not_judged(many: TrialPool) -> None:
    """A job that reads from memory, or only waits for a turn, tells nothing about the storage."""
    many.work(*[0.005] * 31)
    many.work(*[0.0] * 70, computing=1.0)
    assert many.pool._sizing.at_once == 4
    many.work(0.005)
    assert many.at_once() == 11


def test_a_thread_too_many_goes_idle_when_it_is_done(many: TrialPool) -> None:
    """If fewer may run at once, the threads that finish first become idle, and the others go on."""
    many.work(*[0.005] * 32)
    many.block(*[f"{number}" for number in range(11)])
    many.hold("late")
    many.submit(*[f"later {number}" for number in range(10)])
    many.pool._sizing.at_once = 4
    for number in range(7):
        many.gates[f"{number}"].open()
    wait_until(lambda: len(many.pool._busy) == 4)
    assert len(many.begun) == 32 + 11
    many.open()
    many.rest()
    assert len(many.done) == 32 + 11 + 11


# --- when all seem stuck


def test_more_are_let_in_when_all_seem_stuck(many: TrialPool) -> None:
    """Whenever no job has begun for 50 ms, twice as many may run, but never more than allowed."""
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


def test_no_more_are_let_in_than_wait(many: TrialPool) -> None:
    """Threads for nothing would only cost."""
    many.block("a", "b", "c", "d")
    many.hold("e", "f")
    many.timers.pass_time()
    assert many.busy() == 6
    assert not many.timers.due


def test_no_more_are_let_in_while_things_get_on(many: TrialPool) -> None:
    """One job that has begun since the last check is enough."""
    many.block("a", "b", "c", "d")
    many.hold("e", "f", "g")
    for ended, begun in (("a", "e"), ("b", "f")):
        many.gates[ended].open()
        wait_until(lambda begun=begun: many.begun[-1] == begun)  # type: ignore[misc]
        many.timers.pass_time()
        assert many.busy() == 4


@pytest.mark.parametrize("most", [1, 4])
def test_without_room_for_more_threads_no_check_is_made(most: int, clock: WorkClock) -> None:
    """It would need a timer thread for nothing."""
    trial = TrialPool(clock, 4, most)
    trial.block(*[f"{number}" for number in range(most)])
    trial.submit("waits")
    assert not trial.timers.due
    trial.open()
    trial.rest()
    trial.pool.end_idle()


def test_a_refused_thread_is_started_later(many: TrialPool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next check tries again."""
    many.block("a", "b", "c", "d")
    many.hold("e")
    with monkeypatch.context() as patch:
        refuse_threads(patch)
        many.timers.pass_time()
    assert many.busy() == 4
    many.timers.pass_time()
    assert many.busy() == 5


def test_without_timers_waiting_jobs_are_run_all_the_same(many: TrialPool) -> None:
    """No thread could be started for the timers; no job is refused."""
    many.block("a", "b", "c", "d")
    many.timers.refuses = True
    many.submit("e")
    many.timers.refuses = False
    many.submit("f")
    assert len(many.timers.due) == 1  # now a check is due
    many.open()
    many.rest()
    assert sorted(many.done) == ["a", "b", "c", "d", "e", "f"]
