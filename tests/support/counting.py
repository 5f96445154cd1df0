"""Processes that add, touch and count pets until they end or are killed, and a check that nothing acknowledged is lost.

This module is also their program.
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import AbstractContextManager
from functools import partial
from subprocess import Popen

import anyio

from petfleet import FleetStore, PetFleet, PetHandle, loads
from petfleet._backends.files import disk
from tests.support.backends import Storage, storage_at
from tests.support.children import child


def counting_process(
    storage: Storage, name: object, *, tasks: int, calls: int, users: int, backend: str = "asyncio", dies_at: int = 0
) -> AbstractContextManager[Popen[str]]:
    """Start a process that prints "ready" and begins when it reads a line; it prints each call that has returned.

    Args:
        storage: where the fleets are.
        name: part of the names of its pets.
        tasks, calls: how many tasks it has, and how often each of them changes and counts.
        users: how many users it has beside the user "hot".
        backend: the event loop, asyncio or trio.
        dies_at: on files, kill the process when it is about to rename a file for this time; 0: never.
    """
    return child("-m", __name__, storage.argument(), backend, name, tasks, calls, users, dies_at)


def stored(storage: Storage, user_id: str) -> PetFleet:
    """Return the stored fleet, whatever a store might remember."""
    return loads(storage.read(user_id) or b"", user_id=user_id)


def check_acknowledged(storage: Storage, acknowledged: list[str]) -> int:
    """Fail unless every printed change is stored; return how often the counter was printed."""
    counted = 0
    fleets: dict[str, PetFleet] = {}
    for line in acknowledged:
        user_id, name, value = line.split()
        if user_id not in fleets:
            fleets[user_id] = stored(storage, user_id)
        if name == "counter":
            counted += 1
        else:
            assert fleets[user_id].pet(name).last_active >= int(value), line
    return counted


def _say(line: str) -> None:
    os.write(1, f"{line}\n".encode())


def _count(fleet: PetFleet) -> PetFleet:
    return fleet.with_last_active("counter", fleet.pet("counter").last_active + 1)


async def _change_and_count(store: FleetStore, own: str, users: tuple[str, str], calls: int) -> None:
    for value in range(1, calls + 1):
        for user in users:
            if value == 1:
                await store.add(user, PetHandle(own, "friend", "pets/x.toml", value))
            else:
                await store.touch(user, own, last_active=value)
            _say(f"{user} {own} {value}")
        await store.update("hot", _count)
        _say("hot counter 1")


def _die_at_rename(number: int) -> None:
    rename = disk.rename
    left = iter(range(number, 0, -1))

    def dying(source: str, target: str) -> None:
        if next(left, 1) == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        rename(source, target)

    disk.rename = dying


async def _main(argument: str, name: str, tasks: int, calls: int, users: int) -> None:
    _say("ready")
    sys.stdin.readline()
    # Without a deadline: how long a call may take on a busy machine is not the question.
    async with storage_at(argument).store(lock_timeout=3600) as store, anyio.create_task_group() as group:
        for task in range(tasks):
            group.start_soon(_change_and_count, store, f"pet-{name}-{task}", ("hot", f"user-{task % users}"), calls)


if __name__ == "__main__":
    if int(sys.argv[7]):
        _die_at_rename(int(sys.argv[7]))
    argument, loop, pets = sys.argv[1:4]
    anyio.run(partial(_main, argument, pets, *map(int, sys.argv[4:7])), backend=loop)
