"""What a pool does when the system refuses a thread, when Ctrl-C interrupts its start, and when a job fails."""

from __future__ import annotations

import errno
import logging
import threading

import pytest

from petfleet._commit.pool import Pool
from tests.conftest import refuse_threads, wait_until
from tests.support.trial_pool import DueTimers, TrialPool, WorkClock, is_idle


def test_without_any_thread_a_job_is_refused(many: TrialPool, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is never run and occupies no slot; the error says how to get more threads."""
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


def test_beside_a_busy_thread_no_job_is_refused(many: TrialPool, monkeypatch: pytest.MonkeyPatch) -> None:
    """That thread does the job later."""
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
    """From now on, Ctrl-C interrupts every start of a thread."""

    def interrupted(self: threading.Thread) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(threading.Thread, "start", interrupted)


def test_an_interrupt_is_raised_although_a_thread_is_busy(many: TrialPool, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is no lack of threads; the waiting jobs are run all the same, in order."""
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


def test_a_refused_job_does_not_change_the_order_of_others(clock: WorkClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is removed from among jobs that interrupted calls have left waiting without a thread."""
    trial = TrialPool(clock, 1, 1)
    with monkeypatch.context() as patch:
        interrupt_threads(patch)
        for name in "abcde":
            with pytest.raises(KeyboardInterrupt):
                trial.submit(name)
        refuse_threads(patch)
        with pytest.raises(OSError, match="thread"):
            trial.submit("refused", ahead=True)
    trial.submit("z")
    trial.rest()
    assert trial.done == [*"abcde", "z"]
    trial.pool.end_idle()


def test_a_thread_that_started_although_its_start_was_interrupted(
    clock: WorkClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It runs no job beyond the allowed number, and it ends with the other idle ones."""
    trial = TrialPool(clock, 1, 1)
    started: list[threading.Thread] = []
    start = threading.Thread.start

    def interrupted(self: threading.Thread) -> None:
        start(self)
        started.append(self)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", interrupted)
        with pytest.raises(KeyboardInterrupt):
            trial.submit("interrupted")
    trial.hold("a")
    trial.submit("b")
    assert trial.busy() == 1
    trial.open()
    trial.rest()
    assert trial.done == ["interrupted", "a", "b"]
    trial.pool.end_idle()
    wait_until(lambda: not any(thread.is_alive() for thread in {*started, *trial.threads}))


def test_an_error_ends_no_thread(clock: WorkClock, caplog: pytest.LogCaptureFixture) -> None:
    """No job should raise; if one does, the jobs behind it are run, and a warning is logged."""
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
        wait_until(lambda: is_idle(failing))
    assert done == [1.0, 0.5]
    assert [record.getMessage().rpartition(": ")[2] for record in caplog.records] == [
        "ZeroDivisionError('division by zero')",
        "SystemExit()",
    ]
    failing.end_idle()
