"""Several processes on the same fleets: nothing acknowledged is lost."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import anyio
import pytest

from petfleet import PetFleet, loads
from tests.conftest import pet
from tests.support.backends import Home

# Says when it is ready, begins when it is told to, and reports each call that returned before the task's next one.
WORKER = """
import os, sys
import anyio
from petfleet import PetHandle
from tests.support.backends import home_at

argument, backend, name, tasks, calls, users = sys.argv[1:]

def say(line):
    os.write(1, f"{line}\\n".encode())

def count(fleet):
    return fleet.with_last_active("counter", fleet.pet("counter").last_active + 1)

async def play(store, task):
    own = f"pet-{name}-{task}"
    for value in range(1, int(calls) + 1):
        for user in ("hot", f"user-{task % int(users)}"):
            if value == 1:
                await store.add(user, PetHandle(own, "friend", "pets/x.toml", value))
            else:
                await store.touch(user, own, last_active=value)
            say(f"{user} {own} {value}")
        await store.update("hot", count)
        say("hot counter 1")

async def main():
    say("ready")
    sys.stdin.readline()
    async with home_at(argument).store() as store, anyio.create_task_group() as group:
        for task in range(int(tasks)):
            group.start_soon(play, store, task)

anyio.run(main, backend=backend)
"""


@contextmanager
def child(program: str, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    """A child process that has said "ready"; it does not outlive the block."""
    command = [sys.executable, "-c", program, *map(str, arguments)]
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, cwd=Path(__file__).parents[2])
    try:
        assert process.stdout is not None
        first = process.stdout.readline()
        assert first == "ready\n", process.communicate(timeout=30)
        yield process
    finally:
        process.kill()
        process.communicate()


def tell(process: subprocess.Popen[str]) -> None:
    """Let a child that waits for a line go on."""
    assert process.stdin is not None
    process.stdin.write("go\n")
    process.stdin.flush()


def hear(process: subprocess.Popen[str]) -> str:
    """Return the next line of a child."""
    assert process.stdout is not None
    return process.stdout.readline().rstrip("\n")


def stored(home: Home, user_id: str) -> PetFleet:
    """What is there, whatever a store might remember."""
    return loads(home.read(user_id) or b"", user_id=user_id)


def check(home: Home, acknowledged: list[str]) -> int:
    """Fail unless every reported change is there; return how often the counter was reported."""
    counted = 0
    fleets: dict[str, PetFleet] = {}
    for line in acknowledged:
        user_id, name, value = line.split()
        if user_id not in fleets:
            fleets[user_id] = stored(home, user_id)
        if name == "counter":
            counted += 1
        else:
            assert fleets[user_id].pet(name).last_active >= int(value), line
    return counted


@pytest.mark.parametrize(
    "backends",
    [
        pytest.param(["asyncio"] * 4, id="four on asyncio"),
        pytest.param(["asyncio"] * 3 + ["trio"], id="one of them on trio"),
    ],
)
def test_no_change_of_four_processes_is_lost(home: Home, backends: list[str]) -> None:
    """Many tasks in each of 4 processes add, touch and count on one user and on many; all of it is found again."""
    tasks, calls, users = home.load
    anyio.run(home.store().add, "hot", pet("counter", 0))
    with (
        child(WORKER, home.argument(), backends[0], 0, tasks, calls, users) as one,
        child(WORKER, home.argument(), backends[1], 1, tasks, calls, users) as two,
        child(WORKER, home.argument(), backends[2], 2, tasks, calls, users) as three,
        child(WORKER, home.argument(), backends[3], 3, tasks, calls, users) as four,
    ):
        workers = [one, two, three, four]
        for worker in workers:
            tell(worker)
        outcomes = [worker.communicate(timeout=60) for worker in workers]
        # On a busy machine a wait may be long enough for a warning.
        said = [re.sub(r"^waited .*\n", "", errors, flags=re.MULTILINE) for _, errors in outcomes]
        assert [(worker.returncode, rest) for worker, rest in zip(workers, said, strict=True)] == [(0, "")] * 4
    acknowledged = [line for printed, _ in outcomes for line in printed.splitlines()]
    assert len(acknowledged) == 4 * tasks * calls * 3
    assert check(home, acknowledged) == 4 * tasks * calls
    hot = stored(home, "hot")
    assert hot.pet("counter").last_active == 4 * tasks * calls
    assert len(hot.pets) == 1 + 4 * tasks
    assert sum(len(stored(home, f"user-{number}").pets) for number in range(users)) == 4 * tasks
