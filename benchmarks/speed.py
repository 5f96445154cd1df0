"""petfleet's speed as a ratio to the raw protocol, on the disk that this runs on.

The raw protocol is the least that survives a power cut: write a temporary file, fsync, rename, fsync the directory.
Every round measures every figure once, in turn, so that a machine that slows down slows all of them; printed are the
medians over the rounds, with the quartiles as the spread.

    nox -s bench -- [--rounds 15] [--directory DIR]
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from multiprocessing.connection import Connection
from pathlib import Path

from petfleet import FleetStore, PetFleet, PetHandle

CALLS = 60  # of one kind in a row within a round
TASKS = 32
PROCESSES = 4


def fleet(user_id: str, pets: int) -> PetFleet:
    """A fleet of ordinary pets."""
    return PetFleet(
        user_id,
        [PetHandle(f"pet-{n:04}", "friend", f"/srv/pets/{user_id}/pet-{n:04}.toml", n) for n in range(pets)],
        "pet-0000",
    )


def raw_change(directory: Path, data: bytes, number: int) -> None:
    """The raw protocol, without a lock, a check or a parser."""
    temporary = directory / f"raw-{number}.tmp"
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    os.write(fd, data)
    os.fsync(fd)
    os.close(fd)
    os.rename(temporary, directory / "raw.toml")
    fd = os.open(directory, os.O_RDONLY)
    os.fsync(fd)
    os.close(fd)


def raw_read(path: Path) -> bytes:
    """The least that reads a file."""
    fd = os.open(path, os.O_RDONLY)
    data = os.read(fd, 1 << 20)
    os.close(fd)
    return data


async def each(calls: int, call: Callable[[int], Awaitable[object]]) -> float:
    """Return the median seconds of one call, of several in a row."""
    took = []
    for number in range(calls):
        start = time.perf_counter()
        await call(number)
        took.append(time.perf_counter() - start)
    return statistics.median(took)


async def together(store: FleetStore, tasks: int, calls: int, first: int) -> float:
    """Return the changes per second of several tasks touching one user."""

    async def task(number: int) -> None:
        for call in range(calls):
            await store.touch("hot", f"pet-{number % 5:04}", last_active=first + number * calls + call)

    start = time.perf_counter()
    await asyncio.gather(*(task(number) for number in range(tasks)))
    return tasks * calls / (time.perf_counter() - start)


def worker(root: Path, pipe: Connection) -> None:
    """One process of several: waits for a number, runs, reports its beginning and end."""

    async def serve() -> None:
        store = FleetStore(root)
        await store.load("hot")
        pipe.send(None)
        while (first := await asyncio.to_thread(pipe.recv)) is not None:
            start = time.monotonic()
            await together(store, TASKS, CALLS // 2, first)
            pipe.send((start, time.monotonic()))
        await store.aclose()

    asyncio.run(serve())


def in_processes(pipes: list[Connection], first: int) -> float:
    """Return the changes per second of all processes together, from the first beginning to the last end."""
    for number, pipe in enumerate(pipes):
        pipe.send(first + number * 1_000_000)
    spans: list[tuple[float, float]] = [pipe.recv() for pipe in pipes]
    changes = PROCESSES * TASKS * (CALLS // 2)
    return changes / (max(end for _, end in spans) - min(start for start, _ in spans))


async def one_round(store: FleetStore, root: Path, pipes: list[Connection], first: int) -> dict[str, float]:
    """Measure every figure once."""
    loop = asyncio.get_running_loop()
    path = root / "one" / "fleet.toml"
    data = path.read_bytes()
    raw_directory = root / "raw"
    raw_directory.mkdir(exist_ok=True)
    raw = await each(CALLS, lambda n: loop.run_in_executor(None, raw_change, raw_directory, data, n))
    change = await each(CALLS, lambda n: store.touch("one", "pet-0001", last_active=first + n))
    large = await each(CALLS, lambda n: store.touch("large", "pet-0001", last_active=first + n))
    read = await each(5 * CALLS, lambda n: loop.run_in_executor(None, raw_read, path))
    load = await each(5 * CALLS, lambda n: store.load("one"))
    start = time.perf_counter()
    for number in range(CALLS):
        raw_change(raw_directory, data, number)
    raw_rate = CALLS / (time.perf_counter() - start)
    tasks = await together(store, TASKS, CALLS, first)
    processes = in_processes(pipes, first)
    return {
        "one change / raw in one executor call": change / raw,
        "load of 5 pets / file read in one executor call": load / read,
        f"{TASKS} tasks on one user / raw rate in one thread": tasks / raw_rate,
        f"{PROCESSES} processes x {TASKS} tasks on one user / raw rate in one thread": processes / raw_rate,
        "change to 1,000 pets / to 5 pets": large / change,
        "(raw change in one executor call, ms)": raw * 1e3,
        "(one change, ms)": change * 1e3,
        "(raw changes/s in one thread)": raw_rate,
        f"({TASKS} tasks, changes/s)": tasks,
        f"({PROCESSES} processes x {TASKS} tasks, changes/s)": processes,
    }


async def measure(root: Path, pipes: list[Connection], rounds: int) -> dict[str, list[float]]:
    """Return every figure of every round."""
    figures: dict[str, list[float]] = {}
    async with FleetStore(root) as store:
        await store.save(fleet("one", 5))
        await store.save(fleet("large", 1000))
        await one_round(store, root, pipes, 0)  # warms up
        for turn in range(1, rounds + 1):
            for name, figure in (await one_round(store, root, pipes, turn * 10_000_000)).items():
                figures.setdefault(name, []).append(figure)
            print(f"\rround {turn} of {rounds}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return figures


async def prepare(root: Path) -> None:
    """Make the fleet that all processes work on."""
    async with FleetStore(root) as store:
        await store.save(fleet("hot", 5))


def main() -> None:
    """Measure, and print one line a figure."""
    parser = argparse.ArgumentParser(description="petfleet's speed as a ratio to the raw protocol")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--directory", type=Path, default=None, help="where to write (default: temporary)")
    options = parser.parse_args()
    root = Path(tempfile.mkdtemp(prefix="petfleet-speed-", dir=options.directory))
    context = multiprocessing.get_context("spawn")
    workers = []
    pipes = []
    try:
        asyncio.run(prepare(root))
        for _ in range(PROCESSES):
            ours, theirs = context.Pipe()
            process = context.Process(target=worker, args=(root, theirs))
            process.start()
            workers.append(process)
            pipes.append(ours)
        for pipe in pipes:
            pipe.recv()
        figures = asyncio.run(measure(root, pipes, options.rounds))
    finally:
        for pipe in pipes:
            pipe.send(None)
        for process in workers:
            process.join()
        shutil.rmtree(root)
    print(f"Python {sys.version.split()[0]}, {os.cpu_count()} cores, medians of {options.rounds} rounds (quartiles)")
    for name, values in figures.items():
        low, middle, high = statistics.quantiles(values, n=4)
        print(f"{name:66} {middle:9.2f}   ({low:.2f} to {high:.2f})")


if __name__ == "__main__":
    main()
