"""Waits for a user's lock: of other programs beside petfleet, and of petfleet behind another holder."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Final, NamedTuple

from filelock import FileLock

from benchmarks.figures import Scenario
from benchmarks.processes import GRACE, child, receive
from benchmarks.runs import Stage
from benchmarks.work import Peer, pet_name
from benchmarks.worker import QUIET_PAUSE, user_name

USER: Final = user_name(0)


class Waits(NamedTuple):
    """How long a program waited for a lock, in seconds."""

    median: float
    longest: float


@contextlib.contextmanager
def flock(path: Path) -> Iterator[None]:
    """Wait for a lock in the kernel, and hold it."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


OUTSIDERS: Final[Mapping[str, Callable[[Path], contextlib.AbstractContextManager[object]]]] = {
    "filelock.FileLock": FileLock,
    "fcntl.flock": flock,
}
"""How other programs take the lock: one polls every 50 ms, one waits in the kernel's queue."""


def outsider(stage: Stage, scenario: Scenario, seconds: float, how: str) -> Waits:
    """Return the waits of a program that takes the lock again and again while the scenario runs.

    Raises:
        RuntimeError: a change of the scenario was lost, or failed.
    """
    path = stage.peer.lock_path(USER)

    def take(pipe: Connection) -> None:
        pipe.send(None)
        begin, end = pipe.recv()
        time.sleep(max(0, begin - time.monotonic()))
        waits: list[float] = []
        # At least once, however late this process is.
        while (start := time.monotonic()) < end or not waits:
            with OUTSIDERS[how](path):
                waits.append(time.monotonic() - start)
            time.sleep(QUIET_PAUSE)
        pipe.send(waits)

    result, (waits,) = stage.run_beside(scenario, seconds, [take])
    if result.lost or result.errors:
        raise RuntimeError(f"beside {how}: {result.lost} changes lost, {result.errors} calls failed ({result.error})")
    return Waits(statistics.median(waits), max(waits))


def cpu_of_waiting(peer: Peer, seconds: float) -> float:
    """Return the CPU seconds of a process whose call waits so long for a lock that another process holds."""

    async def wait(pipe: Connection) -> None:
        await peer.open()
        await peer.touch(USER, pet_name(0))
        pipe.send(None)
        pipe.recv()  # the lock is held now
        begin = time.process_time()
        call = asyncio.create_task(peer.touch(USER, pet_name(0)))
        await asyncio.sleep(seconds)
        pipe.send(time.process_time() - begin)
        await call
        await peer.close()

    with child(lambda pipe: asyncio.run(wait(pipe))) as pipe:
        receive(pipe, GRACE)
        with flock(peer.lock_path(USER)):
            pipe.send(None)
            used: float = receive(pipe, seconds + GRACE)
        return used
