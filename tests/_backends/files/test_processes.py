"""Several processes on the same files: nothing acknowledged is lost, whoever is killed or locks beside us."""

from __future__ import annotations

import logging
import os
import random
from pathlib import Path

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest

from petfleet import FleetStore, LockTimeoutError, PetFleet, fleet_path
from tests.conftest import pet
from tests.store.test_processes import WORKER, check, child, hear, stored, tell
from tests.support.backends import FileHome
from tests.support.gate import Gate

pytestmark = pytest.mark.anyio


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
        with child(WORKER, FileHome(root).argument(), "asyncio", number, 8, 1_000_000, 3) as worker:
            tell(worker)
            acknowledged += [hear(worker) for _ in range(random.randrange(1, 60))]
            worker.kill()
            rest, _ = worker.communicate(timeout=30)
        acknowledged += rest.splitlines()
        counted = check(FileHome(root), acknowledged)
        assert stored(FileHome(root), "hot").pet("counter").last_active >= counted
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
    assert stored(FileHome(root), "user").pet("counter").last_active == counted + int(printed)
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
    assert stored(FileHome(root), "user").pet("mira").last_active == 2


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
