"""The program of the processes that work on a file system whose power is cut. Its argument is an :class:`Orders`."""

from __future__ import annotations

import itertools
import json
import os
import signal
import stat
import sys
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Final

import anyio

from petfleet import FleetStore, PetFleet, dumps
from petfleet._backends.files import disk, lock
from petfleet._backends.files.backend import FileCommit
from petfleet._backends.state import State
from tests.torture.cut_script import script

POINTS: Final = {
    "marked": (lock.UserLock, "mark_writing"),
    "written": (disk, "write_new"),
    "renamed": (disk, "rename"),
    "removed": (os, "unlink"),
    "swept": (disk, "sweep"),
    "synced": (disk.Directory, "sync"),
}
LOCK_TIMEOUT: Final = 120  # the holder may be stopped for as long as an image is copied


@dataclass(frozen=True, slots=True)
class Orders:
    """What one process does.

    Attributes:
        root: of the store.
        backend: asyncio or trio.
        loads: users to load first, all at once.
        seed, tasks: of the scripts to play then, for ever.
        shared: the users that all tasks have in common.
        own: how many users each task has for itself.
        pauses: whether a task waits a little between two calls.
        halt: after which of :data:`POINTS`, reached how many times, the process stops itself.
        without: which of :data:`PROTECTIONS` is left out.
    """

    root: str
    backend: str
    loads: tuple[str, ...] = ()
    seed: int = 0
    tasks: tuple[str, ...] = ()
    shared: tuple[str, ...] = ()
    own: int = 0
    pauses: bool = False
    halt: tuple[str, int] | None = None
    without: str | None = None

    def command(self) -> list[str]:
        """Return the command that carries them out."""
        return [sys.executable, "-m", __name__, json.dumps(asdict(self))]


def own_users(task: str, number: int) -> list[str]:
    """Return the users that one task has for itself."""
    return [f"{task}-{index}" for index in range(number)]


def _report(task: str | None, user: str, fleet: PetFleet | bool) -> None:
    text = dumps(fleet) if isinstance(fleet, PetFleet) else None
    print(json.dumps([task, user, text]), flush=True)


async def _load(store: FleetStore, user: str) -> None:
    _report(None, user, await store.load(user))


async def _play(store: FleetStore, orders: Orders, task: str) -> None:
    for step in script(orders.seed, task, orders.shared, own_users(task, orders.own)):
        _report(task, step.user, await step.call(store))
        if orders.pauses:
            await anyio.sleep(0.005)


async def _main(orders: Orders) -> None:
    async with FleetStore(orders.root, lock_timeout=LOCK_TIMEOUT) as store:
        async with anyio.create_task_group() as group:
            for user in orders.loads:
                group.start_soon(_load, store, user)
        async with anyio.create_task_group() as group:
            for task in orders.tasks:
                group.start_soon(_play, store, orders, task)


def _halt_after(point: str, times: int) -> None:
    """Have the process stop itself after a point was reached so many times."""
    place, name = POINTS[point]
    function = getattr(place, name)
    reached = itertools.count(1)

    def halting(*arguments: Any) -> Any:
        result = function(*arguments)
        if next(reached) == times:
            # Sent to this thread: after a signal to the process the thread would get a little further before it stops.
            signal.pthread_kill(threading.get_ident(), signal.SIGSTOP)
        return result

    setattr(place, name, halting)


def _sync_no(on_skipped: Callable[[int], bool]) -> None:
    sync = disk._sync

    def syncing(fd: int) -> None:
        if not on_skipped(os.fstat(fd).st_mode):
            sync(fd)

    disk._sync = syncing


def _recover_nothing() -> None:
    def read(commit: FileCommit, lock: object) -> tuple[disk.Stored | None, State]:
        return commit._backend._reader.read(commit._paths)

    FileCommit._read_durable = read  # type: ignore[assignment, method-assign]


PROTECTIONS: Final[dict[str, Callable[[], None]]] = {
    "file fsync": lambda: _sync_no(stat.S_ISREG),
    "directory fsync": lambda: _sync_no(stat.S_ISDIR),
    "recovery": _recover_nothing,
}


if __name__ == "__main__":
    given = Orders(**json.loads(sys.argv[1]))
    if given.halt is not None:
        _halt_after(*given.halt)
    if given.without is not None:
        PROTECTIONS[given.without]()
    anyio.run(_main, given, backend=given.backend)
