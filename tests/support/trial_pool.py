"""A pool of threads whose jobs, clock and timers a test controls."""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable
from typing import TypeVar

import pytest

from petfleet._commit.pool import Pool
from petfleet._util import runtime
from tests.conftest import Clock, wait_until
from tests.support.gate import Gate

T = TypeVar("T")


class WorkClock(Clock):
    """A clock that also counts the seconds for which threads have computed."""

    def __init__(self) -> None:
        super().__init__()
        self.computed = 0.0

    def thread_time(self) -> float:
        return self.computed


class DueTimers(runtime.Timers):
    """Timers whose functions are called when the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.due: list[tuple[float, Callable[[], object]]] = []
        self.refuses = False

    def call_later(self, seconds: float, function: Callable[[], object]) -> None:
        if self.refuses:
            raise OSError(errno.EAGAIN, "no thread for timers")
        self.due.append((seconds, function))

    def pass_time(self) -> None:
        """Call all functions that wait."""
        due, self.due = self.due, []
        for _, function in due:
            function()


def is_idle(pool: Pool[T]) -> bool:
    """Return whether nothing is left to do. A thread that goes on to its next job counts as busy."""
    with pool._lock:
        return not pool._busy and not pool._ready


class TrialPool:
    """A pool whose jobs are names. A job waits at its gate, if it has one; "aside" releases its slot while it waits."""

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
        """Submit jobs that end only after :meth:`open`."""
        self.gates.update({name: Gate() for name in names})
        self.submit(*names)

    def block(self, *names: str) -> None:
        """Submit such jobs, and wait until all of them have begun."""
        begun = len(self.begun)
        self.hold(*names)
        wait_until(lambda: len(self.begun) == begun + len(names))

    def open(self) -> None:
        for gate in self.gates.values():
            gate.open()

    def busy(self) -> int:
        """Return how many threads are busy, once all of them have begun a job."""
        wait_until(lambda: len(self.begun) - len(self.done) - self.aside == len(self.pool._busy))
        return len(self.pool._busy)

    def at_once(self) -> int:
        """Return how many of forty jobs run at the same time."""
        names = [f"at once {index}" for index in range(40)]
        self.hold(*names)
        found = self.busy()
        self.open()
        self.rest()
        return found

    def rest(self) -> None:
        """Wait until nothing is left to do."""
        wait_until(lambda: is_idle(self.pool))

    def work(self, *waits: float, computing: float = 0.001) -> None:
        """Do jobs one after another, each of which waits so long for the storage, and computes."""
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
