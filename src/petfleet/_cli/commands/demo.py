"""`petfleet demo`: kills one of four busy processes, and checks that no acknowledged change is lost.

Worker processes of many tasks each add and touch pets of one hot user and of many others, in a temporary directory.
Halfway through, one worker is killed with SIGKILL and replaced. Each task reports a call that has returned through a
pipe, before it makes the next call. In the end each reported change must be in the files.

The code before `Log` runs in a worker, the code from `Log` on in the main process.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import os
import random
import sys
import tempfile
import time
import tomllib
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

from petfleet import FleetStore, PetHandle, fleet_path
from petfleet._cli import interrupt

HOT = "hot-user"
PETS_PER_TASK = 24  # at most; the first belongs to the hot user, the others to random users
MAX_LINES = 24  # that are shown of the hot user's file


class Options(NamedTuple):
    """The size of the demonstration, and the format of its report."""

    seconds: float
    users: int
    tasks: int
    workers: int
    json: bool = False


def send(line: str) -> None:
    """Send a line to the main process. A line this short arrives completely or not at all, even if the worker dies."""
    os.write(sys.stdout.fileno(), f"{line}\n".encode())


async def make_changes(store: FleetStore, name: str, users: int, stop: asyncio.Event) -> None:
    """Add pets that no other task touches, and touch them with increasing values."""
    pets: list[tuple[str, str]] = []
    for value in itertools.count(1):  # pragma: no branch (it returns)
        if stop.is_set():
            return
        begun = time.perf_counter()
        if not pets or (value % 10 == 0 and len(pets) < PETS_PER_TASK):
            user_id = f"user-{random.randrange(users):03}" if pets else HOT
            pet_name = f"{name}-{len(pets):02}"
            await store.add(user_id, PetHandle(pet_name, "friend", f"pets/{pet_name}.toml", value))
            pets.append((user_id, pet_name))
        else:
            user_id, pet_name = pets[0] if value % 2 else random.choice(pets)
            await store.touch(user_id, pet_name, last_active=value)
        send(f"{user_id} {pet_name} {value} {time.perf_counter() - begun}")


async def work(root: str, worker: int, tasks: int, users: int) -> None:
    """Make changes in many tasks until the main process closes its end of stdin, or dies."""
    # petfleet's warnings use the same pipe: one for each file that a killed writer left half done.
    logging.basicConfig(stream=sys.stdout, format="! %(message)s")
    stop = asyncio.Event()
    async with FleetStore(root) as store, asyncio.TaskGroup() as group:
        for task in range(tasks):
            group.create_task(make_changes(store, f"pet-{worker}-{task:02}", users, stop))
        await asyncio.to_thread(sys.stdin.buffer.read)
        stop.set()


@dataclass
class Log:
    """What the workers have reported: for each (user, pet), the values whose calls have returned."""

    acknowledged: dict[tuple[str, str], list[int]] = field(default_factory=dict)
    latencies: list[float] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    rate: float = 0.0  # changes per second while all workers ran
    failed_workers: int = 0
    quiet: bool = False  # show no progress

    def record(self, line: str) -> None:
        """Record one line of a worker."""
        if line.startswith("! "):
            self.warnings.append(line[2:].strip())
            return
        user_id, pet_name, value, latency = line.split()
        self.acknowledged.setdefault((user_id, pet_name), []).append(int(value))
        self.latencies.append(float(latency))


@dataclass
class Worker:
    """One worker process, and the task that reads what it reports."""

    process: Process
    reader: asyncio.Task[None]

    async def finish(self) -> int:
        """Ask it to end after its current calls, read the rest of its reports, and return its exit status."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        await self.reader
        return await self.process.wait()


@asynccontextmanager
async def started(number: int, root: str, options: Options, log: Log) -> AsyncIterator[Worker]:
    """Start a worker, and yield it after its first report. It is killed at the end of the block if it still runs."""
    command = [
        sys.executable,
        "-m",
        "petfleet._cli.commands.demo",
        root,
        str(number),
        str(options.tasks),
        str(options.users),
    ]
    # In its own process group: a terminal's Ctrl-C then reaches only the main process, which ends its workers.
    process = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE, process_group=0)
    busy = asyncio.Event()

    async def read() -> None:
        assert process.stdout is not None
        try:
            async for line in process.stdout:
                log.record(line.decode())
                busy.set()
        finally:
            busy.set()  # if it ended without a report, its exit status tells why

    try:
        worker = Worker(process, asyncio.create_task(read()))
        await busy.wait()
        yield worker
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def show_progress(log: Log, seconds: float, note: str = "") -> None:
    """Show the progress for some seconds: in one line on a terminal, else in one line a second."""
    terminal = sys.stdout.isatty()
    end = time.monotonic() + seconds
    for tick in itertools.count():  # pragma: no branch (it breaks)
        left = end - time.monotonic()
        if not log.quiet and (terminal or tick % 10 == 0 or left <= 0):
            line = f"{len(log.latencies):9,} changes acknowledged{note}"
            print(f"\r{line}" if terminal else line, end="" if terminal else "\n", flush=True)
        if left <= 0:
            break
        await asyncio.sleep(min(0.1, left))


async def run(root: str, options: Options) -> Log:
    """Run the workers, kill one halfway through, and return what all have reported."""
    log = Log(quiet=options.json)
    async with AsyncExitStack() as stack:
        victim, *others = [
            await stack.enter_async_context(started(number, root, options, log)) for number in range(options.workers)
        ]
        begun, before = time.perf_counter(), len(log.latencies)
        await show_progress(log, options.seconds / 2)
        victim.process.kill()
        others.append(await stack.enter_async_context(started(options.workers, root, options, log)))
        await show_progress(log, options.seconds / 2, f", worker {victim.process.pid} killed and replaced")
        log.rate = (len(log.latencies) - before) / (time.perf_counter() - begun)
        if not log.quiet:
            print()
        await victim.reader
        failed = [await victim.process.wait() >= 0, *[await worker.finish() != 0 for worker in others]]
        log.failed_workers = sum(failed)
    return log


def pets_on_disk(root: str, user_id: str) -> dict[str, int]:
    """Return each pet's last_active. It parses the file without petfleet, which is what is being tested."""
    try:
        document = tomllib.loads(fleet_path(user_id, root).read_text(encoding="utf-8"))
        return {pet["pet_name"]: pet["last_active"] for pet in document["pets"]}
    except (OSError, ValueError, KeyError) as error:
        print(f"{user_id}: {error!r}", file=sys.stderr)
        return {}


def find_lost(root: str, acknowledged: dict[tuple[str, str], list[int]]) -> list[str]:
    """Return every acknowledged change that is not on disk: its pet is missing, or has a smaller value."""
    users = {user_id: pets_on_disk(root, user_id) for user_id, _ in acknowledged}
    return [
        f"{user_id} {pet_name}: {value} was acknowledged, found {users[user_id].get(pet_name)}"
        for (user_id, pet_name), values in acknowledged.items()
        for value in values
        if value > users[user_id].get(pet_name, -1)
    ]


def report(root: str, log: Log) -> int:
    """Print the result, and return the exit status: 1 if a change is missing or a worker failed."""
    lost = find_lost(root, log.acknowledged)
    count = len(log.latencies)
    latencies = sorted(log.latencies) or [0.0]
    p50, p99, longest = (1000 * latencies[int(share * (len(latencies) - 1))] for share in (0.5, 0.99, 1))
    others = [warning for warning in log.warnings if "recovering" not in warning]
    recovered = len(log.warnings) - len(others)
    if log.quiet:
        found = {"acknowledged": count, "found": count - len(lost), "lost": lost, "changes_per_second": round(log.rate)}
        latency = {"p50_ms": round(p50, 1), "p99_ms": round(p99, 1), "max_ms": round(longest, 1)}
        rest = {"recovered": recovered, "warnings": others, "failed_workers": log.failed_workers}
        print(json.dumps({**found, **latency, **rest}))
    else:
        print(f"changes acknowledged   {count:10,}")
        print(f"found on disk          {count - len(lost):10,}")
        print(f"lost                   {len(lost):10,}")
        print(f"changes/s              {log.rate:10,.0f}")
        print(f"latency p50, p99, max  {p50:10.1f} ms, {p99:.1f} ms, {longest:.1f} ms")
        print(f"recovered              {recovered:10,} files that the killed worker left half done")
        for line in (*(f"warning: {warning}" for warning in others), *(f"LOST: {change}" for change in lost[:20])):
            print(line)
        if log.failed_workers:
            print(f"FAILED: {log.failed_workers} workers; their errors are above")
    return 1 if lost or log.failed_workers else 0


def show_file(root: str, user_id: str) -> None:
    """Print a user's fleet file, shortened in the middle."""
    path = fleet_path(user_id, root)
    lines = path.read_text(encoding="utf-8").splitlines()
    if len(lines) > MAX_LINES:
        lines[MAX_LINES // 2 : -MAX_LINES // 2] = [f"    ... {len(lines) - MAX_LINES} lines ..."]
    print(f"\n{path}:\n", *lines, sep="\n")


def demo(options: Options) -> int:
    """Run the demonstration in a temporary directory, and return the exit status: 1 if anything is missing."""
    with tempfile.TemporaryDirectory(prefix="petfleet-demo-") as root:
        log = interrupt.run(run, root, options)
        status = report(root, log)
        if not options.json:
            show_file(root, HOT)
    return status


if __name__ == "__main__":
    _, root_, number_, tasks_, users_ = sys.argv
    asyncio.run(work(root_, int(number_), int(tasks_), int(users_)))
