"""Children that call petfleet until they are killed, forked from one process without threads that has imported all.

As a program it reads one group from each line, runs it, and answers with a line that says how its children died and
what they had reported.
"""

from __future__ import annotations

import itertools
import json
import logging
import math
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import anyio
import anyio.lowlevel

from petfleet import FleetStore
from petfleet._backends.files import backend as files
from petfleet._backends.files import disk, lock, reader
from tests.support.children import start_fork
from tests.torture.kill_tasks import Task, steps

BACKENDS: Final = ("asyncio", "trio")
_LOCK_SECONDS: Final = 50  # what a child's call waits for a lock, less than the child may live


@dataclass(frozen=True, slots=True)
class Plan:
    """What a child does, and when it is killed.

    Attributes:
        backend: the event loop's name.
        torn: if it kills itself in a write, the part of the data that it writes before.
        calls: the number of petfleet's system calls after which it kills itself, before the next one.
        reports: the number of reports after which it is killed.
        seconds: how long after its first report it is killed.
    """

    backend: str
    tasks: tuple[Task, ...]
    torn: float
    calls: float = math.inf
    reports: float = math.inf
    seconds: float = math.inf


@dataclass(frozen=True, slots=True)
class Death:
    """A dead child: its exit code, and its reports: task, step, ``+`` begun or ``-`` returned, nanoseconds."""

    code: int
    reports: list[tuple[int, int, str, int]]


class ForkServer:
    """Runs groups of children in another process."""

    def __init__(self, process: subprocess.Popen[str], root: Path) -> None:
        self._process = process
        self._root = root

    def run_until_dead(self, group: list[Plan]) -> list[Death]:
        """Run a group of children until all are dead and reaped, and return how they died."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([str(self._root), [asdict(plan) for plan in group]]) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, f"the server ended with {self._process.wait()}; stderr says why"
        dead = json.loads(answer)
        return [Death(code, [_parsed(line) for line in reports.splitlines()]) for code, reports in dead]


@contextmanager
def open_fork_server(root: Path) -> Iterator[ForkServer]:
    """Start a server for children that work on fleets under ``root``."""
    # Warnings are errors: newer Pythons warn of a fork beside threads, and this process must have none.
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-m", __name__],
        cwd=Path(__file__).parents[2],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield ForkServer(process, root)
        finally:
            process.kill()  # children left find no reader of their next report, and end


def _parsed(line: str) -> tuple[int, int, str, int]:
    task, step, sign, nanoseconds = line.split()
    return int(task), int(step), sign, int(nanoseconds)


# --- the program -----------------------------------------------------------------------------------------------------


class _Child:
    """A running child, its pipe, and what it has reported."""

    def __init__(self, root: str, plan: Plan, older: list[_Child]) -> None:
        self.plan = plan
        self.reports, write_end = os.pipe()
        self.reported = b""

        def run() -> None:
            # Otherwise a child would not notice that nobody reads its reports any more.
            for reports in [self.reports, *(child.reports for child in older)]:
                os.close(reports)
            _run_child(root, plan, write_end)

        self.pid = start_fork(run)
        os.close(write_end)  # at once, so that the younger get no copy: its end is to end with this child
        self._dies_at = math.inf
        self._killed = False

    def read_reports(self) -> bool:
        """Read what it has reported; return False at the end."""
        data = os.read(self.reports, 65536)
        if not self.reported:
            self._dies_at = time.monotonic() + self.plan.seconds
        self.reported += data
        return bool(data)

    def seconds_left(self) -> float:
        """Return the seconds until it must be killed; infinity once it was."""
        if self._killed:
            return math.inf
        return self._dies_at - time.monotonic() if self.reported.count(b"\n") < self.plan.reports else 0

    def kill(self) -> None:
        """Kill it, unless it has killed itself."""
        self._killed = True
        os.kill(self.pid, signal.SIGKILL)

    def reap(self) -> tuple[int, str]:
        """Reap it, and return its exit code and its reports."""
        os.close(self.reports)
        code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return code, self.reported.decode()


def _run_until_dead(root: str, group: list[Plan]) -> list[tuple[int, str]]:
    children: list[_Child] = []
    for plan in group:
        children.append(_Child(root, plan, children))
    alive = {child.reports: child for child in children}
    while alive:
        soonest = min(child.seconds_left() for child in alive.values())
        wait = None if soonest == math.inf else max(0, soonest)
        for reports in select.select(alive, [], [], wait)[0]:
            if not alive[reports].read_reports():
                del alive[reports]
        for child in alive.values():
            if child.seconds_left() <= 0:
                child.kill()
    return [child.reap() for child in children]


def _run_child(root: str, plan: Plan, reports: int) -> None:
    killing: Any = _KillingOS(plan.calls, plan.torn)
    for module in (disk, lock, files, reader):
        vars(module)["os"] = killing

    def report(task: int, step: int, sign: str) -> None:
        os.write(reports, f"{task} {step} {sign} {time.monotonic_ns()}\n".encode())

    async def work(store: FleetStore, number: int, task: Task) -> None:
        for count, step in enumerate(steps(task)):
            report(number, count, "+")
            await step.call(store)
            report(number, count, "-")

    async def main() -> None:
        store = FleetStore(root, lock_timeout=_LOCK_SECONDS)
        async with anyio.create_task_group() as group:
            for number, task in enumerate(plan.tasks):
                group.start_soon(work, store, number, task)

    anyio.run(main, backend=plan.backend)


class _KillingOS:
    """Passes a number of calls on to ``os``, and then kills its process."""

    def __init__(self, calls: float, torn: float) -> None:
        self._last = calls
        self._torn = torn
        self._count = itertools.count()  # its next() is one step even beside other threads

    def __getattr__(self, name: str) -> Any:
        value = getattr(os, name)
        if not callable(value) or isinstance(value, type):
            return value

        def killing(*arguments: Any, **options: Any) -> Any:
            if next(self._count) == self._last:
                if name == "write":
                    os.write(arguments[0], arguments[1][: int(len(arguments[1]) * self._torn)])
                os.kill(os.getpid(), signal.SIGKILL)
            return value(*arguments, **options)

        return killing


def _plan(fields: dict[str, Any]) -> Plan:
    return Plan(**{**fields, "tasks": tuple(Task(**task) for task in fields["tasks"])})


if __name__ == "__main__":
    # The children log each recovery, which nobody would read.
    logging.getLogger("petfleet").addHandler(logging.NullHandler())
    logging.getLogger("petfleet").propagate = False
    for backend in BACKENDS:
        anyio.run(anyio.lowlevel.checkpoint, backend=backend)  # it is imported now, and not by each child
    for line in sys.stdin:
        root, group = json.loads(line)
        print(json.dumps(_run_until_dead(root, [_plan(fields) for fields in group])), flush=True)
