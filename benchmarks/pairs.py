"""Compare single operations: calls, parses, and starts of a process."""

from __future__ import annotations

import asyncio
import statistics
import subprocess
import sys
import time
import tomllib
from collections.abc import Awaitable, Callable, Iterable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Final, NamedTuple

from benchmarks.peers import raw
from benchmarks.peers.petfleet_store import new_fleet
from benchmarks.processes import GRACE, child, in_child, receive
from benchmarks.work import Peer, pet_name
from benchmarks.worker import user_name
from petfleet import FleetStore, dumps, loads

CALLS: Final = 30  # of one kind in a row
READS: Final = 100
TURNS: Final = 3
TEXTS: Final = 60
STARTS: Final = 20
CHANGES_IN_BLOCK: Final = 10
LOADS_IN_BLOCK: Final = 20
WARM_UP_OF_BLOCK: Final = 2
BLOCKS: Final = 6  # of the same processes


class Calls(NamedTuple):
    """The median seconds of one call of each kind, without contention."""

    raw_change: float
    change: float
    large_change: float
    raw_read: float
    load: float


class Parses(NamedTuple):
    """The median seconds of a parse of 50 pets."""

    tomllib: float
    loads: float


class Starts(NamedTuple):
    """The median seconds of a process from start to end."""

    dependencies: float
    library: float
    typer: float
    help: float


def calls(directory: Path) -> Calls:
    """Time changes and loads, and the raw protocol with the same bytes in the event loop's executor."""
    seconds: list[float] = in_child(lambda: list(asyncio.run(_calls(directory))))
    return Calls(*seconds)


def parses() -> Parses:
    """Time parsing of texts that the process has never seen."""
    # Made in another process, since a process knows the texts that it has written.
    texts: list[str] = in_child(lambda: [dumps(new_fleet(f"user-{number:04}", 50)) for number in range(TEXTS)])
    seconds: list[float] = in_child(lambda: list(_parses(texts)))
    return Parses(*seconds)


def starts() -> Starts:
    """Time the import of petfleet and of its dependencies, and the help of its command line."""
    script = Path(sys.executable).with_name("petfleet")
    commands = [
        [sys.executable, "-c", "import anyio, filelock, tomli_w"],
        [sys.executable, "-c", "import petfleet"],
        [sys.executable, "-c", "import typer"],
        [str(script), "--help"] if script.exists() else [sys.executable, "-m", "petfleet", "--help"],
    ]
    took: list[list[float]] = [[] for _ in commands]
    for turn in range(STARTS + 1):
        for command, seconds in zip(commands, took, strict=True):
            start = time.perf_counter()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            if turn:  # in the first, modules are compiled
                seconds.append(time.perf_counter() - start)
    return Starts(*map(statistics.median, took))


class Against(NamedTuple):
    """The time of one peer's call divided by that of another's: the medians over blocks of calls."""

    change: float
    load: float


def against(ours: Peer, theirs: Peer, times: int) -> Against:
    """Compare the time of changes and loads of two peers, each in a process of its own.

    The blocks are so small that a slow phase of the machine slows both, and each peer begins every second pair.
    The processes are replaced so many times: of two that run the same code, one may be 6 % slower for all its life.
    """
    ratios: dict[str, list[float]] = {"change": [], "load": []}
    for _ in range(times):
        with child(_in_blocks(ours)) as one, child(_in_blocks(theirs)) as other:
            for pipe in (one, other):
                receive(pipe, GRACE)
            for number in range(BLOCKS):
                for kind, found in ratios.items():
                    took = {}
                    for pipe in (one, other) if number % 2 else (other, one):
                        pipe.send(kind)
                        took[pipe] = receive(pipe, GRACE)
                    found.append(took[one] / took[other])
            for pipe in (one, other):
                pipe.send(None)
    return Against(**{kind: statistics.median(found) for kind, found in ratios.items()})


def _in_blocks(peer: Peer) -> Callable[[Connection], None]:
    """Return a function that makes blocks of calls, of the kinds that it receives, and sends their median seconds."""
    user, pet = user_name(0), pet_name(1)

    async def serve(pipe: Connection) -> None:
        kinds: dict[str, tuple[int, Callable[[int], Awaitable[object]]]] = {
            "change": (CHANGES_IN_BLOCK, lambda number: peer.touch(user, pet)),
            "load": (LOADS_IN_BLOCK, lambda number: peer.load(user)),
        }
        await peer.prepare([user], 5)
        await peer.open()
        pipe.send(None)
        while (kind := pipe.recv()) is not None:  # blocks the loop, in which nothing goes on
            count, call = kinds[kind]
            await _each(range(WARM_UP_OF_BLOCK), call)  # the other process has used the processor's caches
            pipe.send(statistics.median(await _each(range(count), call)))
        await peer.close()

    return lambda pipe: asyncio.run(serve(pipe))


async def _calls(directory: Path) -> Calls:
    loop = asyncio.get_running_loop()
    aside = directory / "raw"
    aside.mkdir()
    async with FleetStore(directory) as store:
        await store.save(new_fleet("one", 5))
        await store.save(new_fleet("large", 1000))
        path = directory / "one" / "fleet.toml"
        data = await asyncio.to_thread(path.read_bytes)
        kinds: list[tuple[int, Callable[[int], Awaitable[object]]]] = [
            (CALLS, lambda number: loop.run_in_executor(None, raw.write, aside, data)),
            (CALLS, lambda number: store.touch("one", "pet-0001", last_active=number)),
            (CALLS, lambda number: store.touch("large", "pet-0001", last_active=number)),
            (READS, lambda number: loop.run_in_executor(None, raw.read, path)),
            (READS, lambda number: store.load("one")),
        ]
        took: list[list[float]] = [[] for _ in kinds]
        for turn in range(TURNS + 1):
            for (count, call), seconds in zip(kinds, took, strict=True):
                first = 1 + turn * CALLS  # each touch must change something
                some = await _each(range(first, first + (count if turn else 5)), call)
                if turn:  # the first is for warming up
                    seconds += some
    return Calls(*map(statistics.median, took))


async def _each(numbers: Iterable[int], call: Callable[[int], Awaitable[object]]) -> list[float]:
    took = []
    for number in numbers:
        start = time.perf_counter()
        await call(number)
        took.append(time.perf_counter() - start)
    return took


def _parses(texts: list[str]) -> Parses:
    took: tuple[list[float], list[float]] = ([], [])
    parsers: tuple[Callable[[str], object], ...] = (tomllib.loads, loads)
    warm_up = 5
    for number, text in enumerate(texts):
        for parse, seconds in zip(parsers, took, strict=True):
            start = time.perf_counter()
            parse(text)
            if number >= warm_up:
                seconds.append(time.perf_counter() - start)
    return Parses(*map(statistics.median, took))
