"""The pools that the tests of threads use."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from petfleet._util import runtime
from tests.support.trial_pool import TrialPool, WorkClock


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> WorkClock:
    """A clock that moves only when the test moves it."""
    clock = WorkClock()
    monkeypatch.setattr(runtime, "monotonic", clock.monotonic)
    monkeypatch.setattr(runtime, "thread_time", clock.thread_time)
    return clock


@pytest.fixture
def one(clock: WorkClock) -> Iterator[TrialPool]:
    """A pool of a single thread, which a first job keeps busy."""
    trial = TrialPool(clock, 1, 1)
    trial.block("first")
    yield trial
    trial.open()
    trial.pool.end_idle()


@pytest.fixture
def many(clock: WorkClock) -> Iterator[TrialPool]:
    """A pool of 4 to 32 threads, none of them started yet."""
    trial = TrialPool(clock)
    yield trial
    trial.open()
    trial.pool.end_idle()
