"""Several processes on the same fleets: nothing acknowledged is lost, whoever is killed or locks beside us."""

from __future__ import annotations

import logging
import os
import random
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest

from petfleet import FleetStore, LockTimeoutError, PetFleet, fleet_path, loads
from tests.conftest import pet
from tests.gate import Gate

pytestmark = pytest.mark.anyio

# Says when it is ready, begins when it is told to, and reports each call that returned before the task's next one.
WORKER = """
import os, sys
import anyio
from petfleet import FleetStore, PetHandle

root, backend, name, tasks, calls, users = sys.argv[1:]

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
    async with FleetStore(root) as store, anyio.create_task_group() as group:
        for task in range(int(tasks)):
            group.start_soon(play, store, task)

anyio.run(main, backend=backend)
"""


@contextmanager
def child(program: str, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    """A child process that has said "ready"; it does not outlive the block."""
    command = [sys.executable, "-c", program, *map(str, arguments)]
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
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


def stored(root: Path, user_id: str) -> PetFleet:
    """What the file holds, whatever a store might remember."""
    return loads(fleet_path(user_id, root).read_bytes(), user_id=user_id)


def check(root: Path, acknowledged: list[str]) -> int:
    """Fail unless every reported change is on disk; return how often the counter was reported."""
    counted = 0
    fleets: dict[str, PetFleet] = {}
    for line in acknowledged:
        user_id, name, value = line.split()
        if user_id not in fleets:
            fleets[user_id] = stored(root, user_id)
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
def test_no_change_of_four_processes_is_lost(root: Path, backends: list[str]) -> None:
    """50 tasks in each of 4 processes add, touch and count on one user and on many; all of it is found again."""
    tasks, calls, users = 50, 4, 20
    anyio.run(FleetStore(root).add, "hot", pet("counter", 0))
    with (
        child(WORKER, root, backends[0], 0, tasks, calls, users) as one,
        child(WORKER, root, backends[1], 1, tasks, calls, users) as two,
        child(WORKER, root, backends[2], 2, tasks, calls, users) as three,
        child(WORKER, root, backends[3], 3, tasks, calls, users) as four,
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
    assert check(root, acknowledged) == 4 * tasks * calls
    hot = stored(root, "hot")
    assert hot.pet("counter").last_active == 4 * tasks * calls
    assert len(hot.pets) == 1 + 4 * tasks
    assert sum(len(stored(root, f"user-{number}").pets) for number in range(users)) == 4 * tasks


def marked_writing(root: Path) -> set[str]:
    """The users whose lock file says that a writer has begun and not ended."""
    return {lock.parent.name for lock in root.glob("*/fleet.toml.lock") if b"petfleet writing" in lock.read_bytes()}


def test_killed_workers_leave_nothing_that_stops_the_next(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    """SIGKILL in the middle of commits, 20 times: acknowledged changes stand, the next tidies up without waiting."""
    keeper = FleetStore(root, lock_timeout=0)
    anyio.run(keeper.add, "hot", pet("counter", 0))
    acknowledged: list[str] = []
    recovered = 0
    for number in range(20):
        with child(WORKER, root, "asyncio", number, 8, 1_000_000, 3) as worker:
            tell(worker)
            acknowledged += [hear(worker) for _ in range(random.randrange(1, 60))]
            worker.kill()
            rest, _ = worker.communicate(timeout=30)
        acknowledged += rest.splitlines()
        counted = check(root, acknowledged)
        assert stored(root, "hot").pet("counter").last_active >= counted
        users = [directory.name for directory in root.iterdir()]
        left_writing = marked_writing(root)
        caplog.clear()
        for user_id in users:
            anyio.run(keeper.load, user_id)
        warned = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
        assert sorted(warned) == sorted(w for w in warned if "recovering after pid" in w)
        assert {Path(message.partition(":")[0]).parent.name for message in warned} == left_writing
        assert len(warned) == len(left_writing)
        assert marked_writing(root) == set()
        for directory in root.iterdir():
            # Killed right after it made a new user's directory, a worker leaves that empty.
            assert sorted(os.listdir(directory)) in (["fleet.toml", "fleet.toml.lock"], [])
        recovered += len(left_writing)
    assert recovered > 0, "no round met a writer in the middle"


# Takes the lock as any program may, and counts in the file as the old program does: it rewrites it in place.
OUTSIDER = """
import os, re, select, sys
from filelock import FileLock

path, occupied = sys.argv[1:]
lock = FileLock(path + ".lock")
counted = 0
print("ready", flush=True)
while not select.select([sys.stdin], [], [], 0)[0]:
    with lock:
        os.close(os.open(occupied, os.O_CREAT | os.O_EXCL))
        with open(path, "r+") as file:
            text = re.sub(r"(?<=last_active = )\\d+", lambda number: str(int(number[0]) + 1), file.read())
            file.seek(0)
            file.truncate()
            file.write(text)
        os.unlink(occupied)
        counted += 1
print(counted)
"""


async def test_an_outside_program_with_a_file_lock_takes_its_turns(root: Path, tmp_path: Path) -> None:
    """A filelock.FileLock on the same path: no two are inside at once, and no count is lost."""
    store = FleetStore(root, lock_timeout=60)
    await store.add("user", pet("counter", 0))
    occupied = tmp_path / "occupied"
    counted = 0

    def count(fleet: PetFleet) -> PetFleet:
        os.close(os.open(occupied, os.O_CREAT | os.O_EXCL))
        try:
            return fleet.with_last_active("counter", fleet.pet("counter").last_active + 1)
        finally:
            os.unlink(occupied)

    async def count_often() -> None:
        nonlocal counted
        while counted < 200 or store.statistics().lock_waits == 0:
            counted += 1
            await store.update("user", count)

    with child(OUTSIDER, fleet_path("user", root), occupied) as outsider:
        async with anyio.create_task_group() as group:
            for _ in range(4):
                group.start_soon(count_often)
        tell(outsider)
        printed, errors = outsider.communicate(timeout=60)
        assert (outsider.returncode, errors) == (0, "")
    assert int(printed) > 0
    assert stored(root, "user").pet("counter").last_active == counted + int(printed)
    assert (await store.load("user")).pet("counter").last_active == counted + int(printed)


# Holds the lock until it is told to go on.
HOLDER = """
import sys
from filelock import FileLock

with FileLock(sys.argv[1]):
    print("ready", flush=True)
    sys.stdin.readline()
"""


async def test_a_call_waits_for_an_outside_program(root: Path) -> None:
    """While a FileLock elsewhere is held, one call waits, one that may not wait names the holder, peek answers."""
    store = FleetStore(root, lock_timeout=60)
    await store.add("user", pet("mira", 1))
    lock = f"{fleet_path('user', root)}.lock"
    with child(HOLDER, lock) as holder:
        with pytest.raises(LockTimeoutError) as refused:
            await FleetStore(root, lock_timeout=0).load("user")
        assert refused.value.holder is not None
        assert refused.value.holder.startswith(f"pid {holder.pid} on ")
        async with anyio.create_task_group() as group:
            group.start_soon(lambda: store.touch("user", last_active=2))
            while store.statistics().lock_waits == 0:
                await anyio.lowlevel.checkpoint()
            assert (await store.peek("user")).pet("mira").last_active == 1
            assert store.statistics().commits == 1
            tell(holder)
        assert holder.wait(30) == 0
    assert stored(root, "user").pet("mira").last_active == 2


# Tries once, and says how it went.
TRIER = """
import sys
from filelock import FileLock, Timeout

print("ready", flush=True)
for _ in sys.stdin:
    try:
        with FileLock(sys.argv[1], timeout=0):
            print("got it", flush=True)
    except Timeout:
        print("excluded", flush=True)
"""


async def test_an_outside_program_waits_for_a_commit(root: Path, store: FleetStore) -> None:
    """While a commit is under way, a FileLock elsewhere is refused; after it, it is had."""
    await store.add("user", pet("mira", 1))
    gate = Gate()

    def change(fleet: PetFleet) -> PetFleet:
        gate.hold()
        return fleet.with_last_active("mira", 2)

    def tries() -> str:
        tell(trier)
        return hear(trier)

    with child(TRIER, f"{fleet_path('user', root)}.lock") as trier:
        async with anyio.create_task_group() as group:
            group.start_soon(store.update, "user", change)
            await anyio.to_thread.run_sync(gate.reached.wait)
            assert await anyio.to_thread.run_sync(tries) == "excluded"
            gate.open()
        assert await anyio.to_thread.run_sync(tries) == "got it"
