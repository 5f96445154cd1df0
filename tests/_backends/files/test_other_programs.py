"""Other programs on the same files: writers that are killed, and programs that take the lock with filelock."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from petfleet import FleetStore, LockTimeoutError, PetFleet, fleet_path
from tests.conftest import pet, until
from tests.support.backends import FileStorage
from tests.support.children import child, hear, program, tell
from tests.support.counting import check_acknowledged, counting_process, stored
from tests.support.gate import Gate


def marked_writing(root: Path) -> set[str]:
    """Return the users whose lock file says that a writer has begun and not ended."""
    return {lock.parent.name for lock in root.glob("*/fleet.toml.lock") if b"petfleet writing" in lock.read_bytes()}


def test_killed_processes_leave_nothing_that_stops_the_next(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Killed in the middle of a commit, early or late: acknowledged changes stand, the next process does not wait."""
    files = FileStorage(root)
    keeper = FleetStore(root, lock_timeout=0)
    anyio.run(keeper.add, "hot", pet("counter", 0))
    acknowledged: list[str] = []
    for number in (1, 2, 3, 4, 5, 10, 20, 40):
        with counting_process(files, number, tasks=8, calls=1_000_000, users=3, dies_at=number) as worker:
            tell(worker)
            printed, _ = worker.communicate()
        acknowledged += printed.splitlines()
        counted = check_acknowledged(files, acknowledged)
        assert stored(files, "hot").pet("counter").last_active >= counted
        users = [directory.name for directory in root.iterdir()]
        left_writing = marked_writing(root)
        assert left_writing, "the process was not killed in the middle of a commit"
        caplog.clear()
        for user_id in users:
            anyio.run(keeper.load, user_id)
        warned = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
        assert all("recovering after pid" in message for message in warned), warned
        assert {Path(message.partition(":")[0]).parent.name for message in warned} == left_writing
        assert len(warned) == len(left_writing)
        assert marked_writing(root) == set()
        for directory in root.iterdir():
            # Killed right after it made a new user's directory, a process leaves that empty.
            assert sorted(os.listdir(directory)) in (["fleet.toml", "fleet.toml.lock"], [])


# Takes the lock as any program may, and counts in the file as the old program does: it rewrites it in place. The first
# time, it keeps the lock until it is told to go on.
COUNTER = """
import os, re, select, sys
from filelock import FileLock

path, occupied = sys.argv[1:]
lock = FileLock(path + ".lock")
counted = 0
while counted == 0 or not select.select([sys.stdin], [], [], 0)[0]:
    with lock:
        os.close(os.open(occupied, os.O_CREAT | os.O_EXCL))
        if counted == 0:
            print("ready", flush=True)
            sys.stdin.readline()
        with open(path, "r+") as file:
            text = re.sub(r"(?<=last_active = )\\d+", lambda number: str(int(number[0]) + 1), file.read())
            file.seek(0)
            file.truncate()
            file.write(text)
        os.unlink(occupied)
        counted += 1
print(counted)
"""


async def test_a_program_with_a_file_lock_takes_turns_with_a_store(root: Path, tmp_path: Path) -> None:
    """A filelock.FileLock on the same path: no two are inside at once, and no count is lost."""
    store = FleetStore(root, lock_timeout=3600)
    await store.add("user", pet("counter", 0))
    occupied = tmp_path / "occupied"

    def count(fleet: PetFleet) -> PetFleet:
        os.close(os.open(occupied, os.O_CREAT | os.O_EXCL))
        try:
            return fleet.with_last_active("counter", fleet.pet("counter").last_active + 1)
        finally:
            os.unlink(occupied)

    async def count_often() -> None:
        for _ in range(50):
            await store.update("user", count)

    with child("-c", COUNTER, fleet_path("user", root), occupied) as counter:
        async with anyio.create_task_group() as group:
            for _ in range(4):
                group.start_soon(count_often)
            await until(lambda: store.statistics().lock_waits)
            tell(counter)
        tell(counter, "end")
        printed, errors = await anyio.to_thread.run_sync(counter.communicate)
        assert (counter.returncode, errors) == (0, "")
    assert stored(FileStorage(root), "user").pet("counter").last_active == 200 + int(printed)
    assert (await store.load("user")).pet("counter").last_active == 200 + int(printed)


async def test_a_call_waits_for_a_program_that_holds_the_lock(root: Path) -> None:
    """While a FileLock elsewhere is held, one call waits, one that may not wait names the holder, peek answers."""
    store = FleetStore(root, lock_timeout=3600)
    await store.add("user", pet("mira", 1))
    with program("hold", f"{fleet_path('user', root)}.lock") as holder:
        assert hear(holder) == "held"
        with pytest.raises(LockTimeoutError) as refused:
            await FleetStore(root, lock_timeout=0).load("user")
        assert refused.value.holder is not None
        assert refused.value.holder.startswith(f"pid {holder.pid} on ")
        async with anyio.create_task_group() as group:
            group.start_soon(lambda: store.touch("user", last_active=2))
            await until(lambda: store.statistics().lock_waits)
            assert (await store.peek("user")).pet("mira").last_active == 1
            assert store.statistics().commits == 1
            assert holder.stdin is not None
            holder.stdin.close()
        assert holder.wait() == 0
    assert stored(FileStorage(root), "user").pet("mira").last_active == 2


# Tries once for each line that it reads, and says how it went.
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


async def test_a_program_waits_for_a_commit(root: Path, store: FleetStore) -> None:
    """While a commit is under way, a FileLock elsewhere is refused; after it, the lock is free."""
    await store.add("user", pet("mira", 1))
    gate = Gate()

    def change(fleet: PetFleet) -> PetFleet:
        gate.hold()
        return fleet.with_last_active("mira", 2)

    def tries() -> str:
        tell(trier)
        return hear(trier)

    with child("-c", TRIER, f"{fleet_path('user', root)}.lock") as trier:
        async with anyio.create_task_group() as group:
            group.start_soon(store.update, "user", change)
            await anyio.to_thread.run_sync(gate.reached.wait)
            assert await anyio.to_thread.run_sync(tries) == "excluded"
            gate.open()
        assert await anyio.to_thread.run_sync(tries) == "got it"
