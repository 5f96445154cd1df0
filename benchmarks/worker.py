"""One process of a run: it makes the scenario's calls between two common instants, and times them."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import random
import resource
import threading
import time
from array import array
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final

import anyio

from benchmarks.figures import Scenario
from benchmarks.work import Count, Peer, pet_name

HOT_USERS: Final = 32
TASKS_OF_HOT_USER: Final = 2
STUCK_USERS: Final = 1000
READERS: Final = 32
TICK: Final = 0.005  # seconds between two checks of the event loop
QUIET_PAUSE: Final = 0.02  # seconds between two calls of a task with other work beside it
WARM: Final = 1000  # users: up to so many, each process loads all of them before it begins


def user_name(number: int) -> str:
    """Return the id of the n-th user."""
    return f"user-{number:06}"


def hot_user_name(number: int) -> str:
    """Return the id of the n-th hot user."""
    return f"hot-{number:02}"


def stuck_user_name(number: int) -> str:
    """Return the id of the n-th user whose lock another process holds."""
    return f"stuck-{number:04}"


@dataclasses.dataclass
class Measured:
    """The measurements of one process.

    Attributes:
        latencies: for each task, the seconds of each successful call, in order.
        last: the time when its last successful call returned.
        touches, adds: the acknowledged ones, by user.
        errors, error: how many calls failed, and the first error.
        stall: the longest delay of the event loop; None without a loop.
        cpu: CPU seconds of this process.
        peak: how many bytes its memory grew at most.
        commits: how many commits it made; None if they are not counted.
    """

    latencies: list[array[float]]
    last: float = 0.0
    touches: Counter[str] = dataclasses.field(default_factory=Counter)
    adds: Counter[str] = dataclasses.field(default_factory=Counter)
    errors: int = 0
    error: str | None = None
    stall: float | None = None
    cpu: float = 0.0
    peak: int = 0
    commits: int | None = None


def run_in(loop: str, main: Callable[[], Awaitable[Any]]) -> Any:
    """Run a coroutine function in a new event loop of that kind, and return its result."""
    if loop == "trio":
        return anyio.run(main, backend="trio")
    return anyio.run(main, backend="asyncio", backend_options={"use_uvloop": loop == "uvloop"})


class Worker:
    """One process of a run.

    Args:
        peer: not opened yet.
        number: the index of this process in the scenario.
        calls: how many calls each task makes at most; None: no limit but time.
    """

    def __init__(self, peer: Peer, scenario: Scenario, number: int, calls: int | None) -> None:
        self._peer = peer
        self._scenario = scenario
        self._number = number
        self._calls = calls
        self._measured = Measured([])
        self._end = 0.0

    def serve(self, pipe: Connection) -> None:
        """Send None when ready, receive the beginning and the end, run, and send the measurements."""
        if self._scenario.sync_ms:
            _slow_syncs(self._scenario.sync_ms / 1e3)
        if self._peer.blocking:
            self._serve_threads(pipe)
        else:
            run_in(self._scenario.loop, lambda: self._serve_tasks(pipe))

    async def _serve_tasks(self, pipe: Connection) -> None:
        await self._peer.open()
        await self._warm_up()
        pipe.send(None)
        begin, self._end = pipe.recv()  # blocks the loop, which has no other task yet
        async with anyio.create_task_group() as beside:
            self._begin_beside(beside)
            await anyio.sleep(max(0, begin - time.monotonic()))
            usage, commits = _Usage(), self._peer.commits()
            beside.start_soon(self._tick)
            async with anyio.create_task_group() as tasks:
                for number in range(self._measuring()):
                    tasks.start_soon(self._task, number)
            self._end = 0.0
            beside.cancel_scope.cancel()
        usage.put_into(self._measured)
        if commits is not None:
            self._measured.commits = (self._peer.commits() or 0) - commits  # without those of the warm-up
        pipe.send(self._measured)
        await self._peer.close()

    def _serve_threads(self, pipe: Connection) -> None:
        asyncio.run(self._peer.open())
        asyncio.run(self._warm_up())
        pipe.send(None)
        begin, self._end = pipe.recv()
        usage = _Usage()
        time.sleep(max(0, begin - time.monotonic()))
        threads = [threading.Thread(target=asyncio.run, args=(self._task(n),)) for n in range(self._measuring())]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        usage.put_into(self._measured)
        pipe.send(self._measured)
        asyncio.run(self._peer.close())

    def _measuring(self) -> int:
        if self._scenario.beside == "nothing":
            return self._scenario.tasks
        return self._scenario.tasks if self._number == 0 else 0

    async def _warm_up(self) -> None:
        if not self._scenario.cold:
            for number in range(max(5, self._scenario.users) if self._scenario.users <= WARM else 5):
                await self._peer.load(user_name(number % self._scenario.users))

    async def _task(self, number: int) -> None:
        peer, scenario, measured = self._peer, self._scenario, self._measured
        latencies = array("d")
        measured.latencies.append(latencies)
        dice = random.Random(f"{self._number}/{number}")
        index = self._number * scenario.tasks + number
        turn = 0
        # One call at least, however late this process is.
        while ((start := time.monotonic()) < self._end or turn == 0) and turn != self._calls:
            if scenario.cold:
                which = turn * scenario.processes * scenario.tasks + index
                if which >= scenario.users:
                    break
            else:
                which = 0 if scenario.users == 1 else int(dice.random() * scenario.users)
            user_id = user_name(which)
            operation: str = scenario.operation
            if operation == "mixed":
                operation = "touch" if (turn + index) % 10 == 0 else "load"
            try:
                if operation == "touch":
                    await peer.touch(user_id, pet_name((turn + index) % scenario.pets))
                    measured.touches[user_id] += 1
                elif operation == "add":
                    await peer.add(user_id, f"new-{index}-{turn}")
                    measured.adds[user_id] += 1
                else:
                    await peer.load(user_id)
            except Exception as error:  # noqa: BLE001 - shown in the result
                measured.errors += 1
                measured.error = measured.error or f"{type(error).__name__}: {error}"
            else:
                measured.last = time.monotonic()
                latencies.append(measured.last - start)
            turn += 1
            if scenario.beside in ("pauses", "hot", "stuck"):
                await anyio.sleep(QUIET_PAUSE)

    async def _tick(self) -> None:
        self._measured.stall = 0.0
        while True:
            planned = time.monotonic() + TICK
            await anyio.sleep(TICK)
            self._measured.stall = max(self._measured.stall, time.monotonic() - planned)

    def _begin_beside(self, group: Any) -> None:
        if self._scenario.beside == "readers":
            for _ in range(READERS):
                group.start_soon(self._again, lambda: self._peer.load(user_name(0)))
        elif self._scenario.beside == "hot":
            for number in range(HOT_USERS * TASKS_OF_HOT_USER):
                hot = hot_user_name(number % HOT_USERS)
                group.start_soon(self._again, lambda hot=hot: self._peer.touch(hot, pet_name(0)))
        elif self._scenario.beside == "stuck":
            for number in range(STUCK_USERS):
                stuck = stuck_user_name(number)
                group.start_soon(self._again, lambda stuck=stuck: self._peer.touch(stuck, pet_name(0)))

    async def _again(self, call: Callable[[], Awaitable[object]]) -> None:
        while self._end:
            try:
                await call()
            except TimeoutError:
                pass  # of a lock that stays held


class _Usage:
    """CPU and memory of this process since this object was made."""

    def __init__(self) -> None:
        self._cpu = _cpu()
        self._memory = _memory("VmRSS")
        try:
            Path("/proc/self/clear_refs").write_text("5")  # lets the peak begin anew
        except OSError:
            pass

    def put_into(self, measured: Measured) -> None:
        measured.cpu = _cpu() - self._cpu
        measured.peak = max(0, _memory("VmHWM") - self._memory)


def _slow_syncs(seconds: float) -> None:
    """Make each sync of this process take so many seconds longer."""
    sync = os.fsync

    def slow(fd: Any) -> None:
        time.sleep(seconds)
        sync(fd)

    os.fsync = slow


def _cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def _memory(what: str) -> int:
    try:
        status = Path("/proc/self/status").read_text()
    except FileNotFoundError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(status.partition(f"{what}:")[2].split()[0]) * 1024


async def count_all(peer: Peer, users: Sequence[str]) -> dict[str, Count]:
    """Count what is stored for these users."""
    await peer.open()
    try:
        return {user_id: await peer.count(user_id) for user_id in users}
    finally:
        await peer.close()
