"""Processes of many tasks that change fleets in a bucket, and the outcome of each change.

python -m tests.torture.object_processes ORDER
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import anyio

from petfleet import FleetStore, ObjectBackend, PetAlreadyInFleetError, PetFleet, UnconfirmedCommitError
from tests.conftest import pet, wait_until

SECONDS: Final = 240  # what a process gets at most


@dataclass(frozen=True, slots=True)
class Order:
    """What one process must do.

    Attributes:
        number: the number of the process.
        url, options: where the fleets are.
        users: whose fleets they are.
        tasks: how many tasks work at the same time.
        calls: how many changes each of them is to see done; one that was not is tried again under another name.
        backend: the event loop.
        lock_timeout: of the store.
    """

    number: int
    url: str
    options: dict[str, Any]
    users: list[str]
    tasks: int = 32
    calls: int = 2
    backend: str = "asyncio"
    lock_timeout: float = 60.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of one change, a pet or a stamp of that name: "done", or the name of the error's class."""

    number: int
    user_id: str
    name: str
    result: str


# --- what a process does ---------------------------------------------------------------------------------------------


async def _work(order: Order) -> None:
    store = FleetStore(ObjectBackend(order.url, **order.options), lock_timeout=order.lock_timeout)
    async with store, anyio.create_task_group() as tasks:
        for number in range(order.tasks):
            tasks.start_soon(_task, store, order, number)


async def _task(store: FleetStore, order: Order, task: int) -> None:
    rng = random.Random(f"{order.number} {task}")
    done = tried = 0
    while done < order.calls:
        tried += 1
        user_id, name = rng.choice(order.users), f"{order.number}-{task}-{tried}"
        result = await _change(store, user_id, name, rng.random() < 0.5)
        done += result == "done"
        # One system call a line, so that no acknowledged change is untold when the process is killed.
        os.write(1, json.dumps(asdict(Outcome(order.number, user_id, name, result))).encode() + b"\n")


async def _change(store: FleetStore, user_id: str, name: str, adds: bool) -> str:
    try:
        if adds:
            fleet = await store.add(user_id, pet(name))
        else:
            fleet = await store.update(user_id, partial(_stamped, name=name))
    except (OSError, PetAlreadyInFleetError) as error:
        return type(error).__name__
    return "done" if Counter(names(fleet))[name] == 1 else "not in the fleet that was returned"


def _stamped(fleet: PetFleet, name: str) -> PetFleet:
    """Count up, and leave a name, so that it can be told who counted twice."""
    extra = {"count": fleet.extra.get("count", 0) + 1, "stamps": [*fleet.extra.get("stamps", ()), name]}
    return PetFleet(fleet.user_id, fleet.pets, fleet.active_pet, {**fleet.extra, **extra})


def names(fleet: PetFleet) -> list[str]:
    """Return the names of all changes that are in a fleet."""
    return [one.pet_name for one in fleet.pets] + list(fleet.extra.get("stamps", ()))


# --- starting and stopping the processes -----------------------------------------------------------------------------


class Processes:
    """Processes that work; a context manager, after which none of them is left.

    Attributes:
        outcomes: those that they have reported so far.
    """

    def __init__(self, orders: Iterable[Order]) -> None:
        self.outcomes: list[Outcome] = []
        self._orders = list(orders)
        self._processes: list[subprocess.Popen[bytes]] = []
        self._readers: list[threading.Thread] = []

    def __enter__(self) -> Self:
        for order in self._orders:
            process = subprocess.Popen(
                [sys.executable, "-m", __name__, json.dumps(asdict(order))],
                cwd=Path(__file__).parents[2],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                start_new_session=True,
            )
            self._processes.append(process)
            self._readers.append(threading.Thread(target=self._read, args=(process,)))
            self._readers[-1].start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self._processes:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        for reader in self._readers:
            reader.join()

    def _read(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        with process.stdout:
            for line in process.stdout:
                self.outcomes.append(Outcome(**json.loads(line)))

    def done(self, numbers: Sequence[int] | None = None) -> int:
        """Return how many changes were acknowledged, to these processes or to all."""
        return sum(one.result == "done" for one in list(self.outcomes) if numbers is None or one.number in numbers)

    def await_done(self, count: int, numbers: Sequence[int] | None = None) -> None:
        """Wait until so many changes were acknowledged, or all that will be."""
        most = sum(order.tasks * order.calls for order in self._orders if numbers is None or order.number in numbers)
        wait_until(lambda: self._check_alive() and self.done(numbers) >= min(count, most), SECONDS)

    def finish(self) -> list[Outcome]:
        """Wait until all have done their work, and return the outcomes."""
        for process in self._processes:
            code = process.wait(SECONDS)
            assert code == 0, f"a process ended with {code}"
        for reader in self._readers:
            reader.join()
        return self.outcomes

    def _check_alive(self) -> bool:
        codes = {process.poll() for process in self._processes}
        assert codes <= {None, 0}, f"processes ended with {codes}"
        return True


# --- what must hold --------------------------------------------------------------------------------------------------


def judge(outcomes: Sequence[Outcome], fleets: Mapping[str, PetFleet]) -> Counter[str]:
    """Return how often calls ended in which way.

    Raises:
        AssertionError: what was acknowledged is not there, or what failed is, or something is there twice.
    """
    found = {user_id: Counter(names(fleet)) for user_id, fleet in fleets.items()}
    results = Counter(one.result for one in outcomes)
    for user_id, fleet in fleets.items():
        twice = [name for name, times in found[user_id].items() if times > 1]
        assert not twice, f"done twice for {user_id}: {twice}"
        assert fleet.extra.get("count", 0) == len(fleet.extra.get("stamps", ())), f"counted otherwise for {user_id}"
        told = {one.name for one in outcomes if one.user_id == user_id}
        assert found[user_id].keys() <= told, f"unknown of {user_id}: {found[user_id].keys() - told}"
    for one in outcomes:
        there = one.name in found[one.user_id]
        if one.result == "done":
            assert there, f"lost: {one}"
        elif one.result in ("OSError", "LockTimeoutError"):
            assert not there, f"failed, and yet happened: {one}"
        else:
            assert one.result == UnconfirmedCommitError.__name__, f"not an outcome: {one}"
    return results


def stored(url: str, options: Mapping[str, Any], users: Iterable[str]) -> dict[str, PetFleet]:
    """Return the fleets that a new backend finds."""

    async def load_all() -> dict[str, PetFleet]:
        async with FleetStore(ObjectBackend(url, **options)) as store:
            return {user_id: await store.load(user_id) for user_id in users}

    return anyio.run(load_all)


Options = Callable[[int], dict[str, Any]]


def orders(
    url: str, options: Options, users: list[str], *, calls: int = 2, processes: int = 4, tasks: int = 32
) -> list[Order]:
    """Return the orders of processes, on both event loops, each with the options that are for it."""
    return [
        Order(number, url, options(number), users, tasks, calls, "trio" if number >= processes / 2 else "asyncio")
        for number in range(processes)
    ]


if __name__ == "__main__":
    signal.alarm(SECONDS)
    given = Order(**json.loads(sys.argv[1]))
    anyio.run(_work, given, backend=given.backend)
