"""Processes full of tasks that make random calls on few users, some of which are cancelled, time out, or are killed.

    python -m tests.torture.history_processes SEED DIRECTORY TRIALS OBJECTS [SABOTAGE]

Each trial gets a directory of its own, with one file of records a process, and beside them the fleets in ``fleets``;
or OBJECTS (JSON) is where in a bucket they are, and what becomes of requests on their way there is random too.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import random
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

import anyio

from petfleet import FleetStore, ObjectBackend
from tests.torture import model, sabotage
from tests.torture.model import Call, Fleet, Reply
from tests.torture.network import TROUBLES, Network, Trouble
from tests.torture.performing import perform
from tests.torture.records import Recorder

USERS: Final = ("hot", "warm")
SECONDS: Final = 60  # what a trial gets at most
PROCESSES: Final = 3  # processes at the same time
_PETS: Final = ("mira", "kira", "lira", "nira")
_TASKS: Final = 6  # an event loop
_CALLS: Final = 20  # a task
_CANCELLED: Final = 0.1  # of all calls
_TROUBLED: Final = 0.2  # of all puts of objects

_Way = Callable[[Coroutine[Any, Any, Reply], float], Coroutine[Any, Any, Reply | None]]


class Objects(NamedTuple):
    """A prefix of a bucket, and the options of each gateway to it."""

    url: str
    gateways: list[dict[str, Any]]

    def backend(self, directory: Path, life: int) -> ObjectBackend:
        """Return a backend of a process over the fleets of a trial."""
        return ObjectBackend(f"{self.url}/{directory.name}", **self.gateways[life % len(self.gateways)])


def main(seed: str, directory: str, trials: str, objects: str, broken: str = "") -> None:
    """Play some trials, one after another."""
    there = json.loads(objects)
    if broken:
        sabotage.SABOTAGES[broken]()
    for number in range(int(trials)):
        signal.alarm(SECONDS)
        place = Path(directory, str(number))
        place.mkdir()
        _play(place, there and Objects(*there), random.Random(f"{seed} {number}"))


def _play(directory: Path, objects: Objects | None, rng: random.Random) -> None:
    """Run processes until each seat has had its calls; where one was killed, another takes its seat."""
    kills = rng.choice([0, 0, 1, 2, 3])
    lives = 0
    seats: set[int] = set()
    while seats or lives < PROCESSES:
        while len(seats) < PROCESSES and lives < PROCESSES + kills:
            seats.add(_start(directory, objects, lives, rng.random(), killed=lives < kills))
            lives += 1
        pid, status = os.wait()
        seats.remove(pid)
        code = os.waitstatus_to_exitcode(status)
        if code not in (0, -signal.SIGKILL):
            raise SystemExit(f"a process of {directory} ended with {code}")


def _start(directory: Path, objects: Objects | None, life: int, seed: float, *, killed: bool) -> int:
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            signal.alarm(SECONDS)
            _Process(directory, objects, life, random.Random(seed), killed=killed).run()
            code = 0
        except BaseException:  # noqa: BLE001 - nothing may escape into the copy of the caller
            traceback.print_exc()
        finally:
            os._exit(code)
    return pid


class _Process:
    """One process: event loops that share two stores, one of which is impatient."""

    def __init__(
        self, directory: Path, objects: Objects | None, life: int, rng: random.Random, *, killed: bool
    ) -> None:
        self._networks = ExitStack()
        places: list[Path | ObjectBackend] = [directory / "fleets"] * 2
        if objects is not None:
            backends = [objects.backend(directory, life) for _ in range(2)]
            for backend in backends:
                self._networks.enter_context(Network(_troubles(random.Random(rng.random()))).between(backend))
            places = [backends[0], rng.choice(backends)]
        self._recorder = Recorder(directory / f"{life}.records")
        self._stores = [
            FleetStore(places[0]),
            FleetStore(places[1], lock_timeout=rng.choice([0, 0.002, 0.02]), threads=2),
        ]
        self._stamps = itertools.count(1_000_000 * (life + 1))
        self._backends = rng.choice([["asyncio"], ["trio"], ["asyncio", "trio"]])
        self._seeds = [[rng.random() for _ in range(_TASKS)] for _ in self._backends]
        self._kill_at = rng.randrange(10, _TASKS * _CALLS) if killed else None
        self._kill_after = rng.uniform(0, 0.003)

    def run(self) -> None:
        """Make all calls."""
        with ThreadPoolExecutor() as threads:
            for ended in [
                threads.submit(partial(anyio.run, self._loop, backend, seeds, backend=backend))
                for backend, seeds in zip(self._backends, self._seeds, strict=True)
            ]:
                ended.result()
        if self._kill_at is not None:
            signal.pause()
        for store in self._stores:
            anyio.run(store.aclose)

    async def _loop(self, backend: str, seeds: list[float]) -> None:
        ways: list[_Way] = [_in_scope, _in_wait_for, _in_task] if backend == "asyncio" else [_in_scope]
        async with anyio.create_task_group() as tasks:
            for seed in seeds:
                tasks.start_soon(self._task, ways, random.Random(seed))

    async def _task(self, ways: list[_Way], rng: random.Random) -> None:
        seen = dict.fromkeys(USERS, Fleet())
        for _ in range(_CALLS):
            (user_id,) = rng.choices(USERS, [3, 1])
            (store,) = rng.choices(self._stores, [3, 1])
            call = _drawn(rng, next(self._stamps), seen[user_id])
            number = self._recorder.invoked(user_id, call)
            if number == self._kill_at:
                threading.Timer(self._kill_after, os.kill, [os.getpid(), signal.SIGKILL]).start()
            performing = perform(store, user_id, call)
            if rng.random() < _CANCELLED:
                reply = await rng.choice(ways)(performing, rng.choice([0, 0.0005, 0.001, 0.003, 0.01]))
            else:
                reply = await performing
            if reply is not None:
                self._recorder.returned(number, reply)
            if isinstance(reply, Fleet):
                seen[user_id] = reply


def _troubles(rng: random.Random) -> Iterator[Trouble | None]:
    while True:
        yield rng.choice(TROUBLES) if rng.random() < _TROUBLED else None


def _drawn(rng: random.Random, stamp: int, seen: Fleet) -> Call:
    name = rng.choice(_PETS)
    new = Fleet(tuple(model.stamped(name, stamp) for name in rng.sample(_PETS, rng.randrange(3))))
    calls: dict[Call, float] = {
        model.Load(): 10,
        model.Peek(): 6,
        model.Add(model.stamped(name, stamp)): 20,
        model.Switch(name): 8,
        model.Remove(name): 8,
        model.Touch(rng.choice([name, None]), stamp): 14,
        model.Append(name, stamp): 20,
        model.Append(name, stamp, pause=0.03): 1,  # long enough for the impatient
        model.Misuse(rng.choice([None, "RefusedError", "TypeError"])): 3,
        model.Save(new): 3,
        model.Replace(new._replace(pets=seen.pets + new.pets), seen): 4,
        model.Overwrite(new): 1,
        model.Delete(): 2,
    }
    return rng.choices(list(calls), list(calls.values()))[0]


# Each of these awaits a call for so many seconds, and then cancels it: None, its outcome is unknown.


async def _in_scope(performing: Coroutine[Any, Any, Reply], seconds: float) -> Reply | None:
    with anyio.move_on_after(seconds):
        return await performing
    return None


async def _in_wait_for(performing: Coroutine[Any, Any, Reply], seconds: float) -> Reply | None:
    try:
        return await asyncio.wait_for(performing, seconds)
    except TimeoutError:
        return None


async def _in_task(performing: Coroutine[Any, Any, Reply], seconds: float) -> Reply | None:
    task = asyncio.create_task(performing)
    asyncio.get_running_loop().call_later(seconds, task.cancel)
    try:
        return await task
    except asyncio.CancelledError:
        return None


if __name__ == "__main__":
    main(*sys.argv[1:])
