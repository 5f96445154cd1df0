"""Child processes: how the tests start them, and what they do (this module is also their program)."""

from __future__ import annotations

import asyncio
import atexit
import json
import logging
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import filelock

from petfleet import FleetStore, PetFleet, PetHandle
from tests.support.backends import storage_at
from tests.support.points import HeldCall

CHANGES: Final = ("one", "two")  # the pets that a child adds in one batch
SECONDS: Final = 60  # what a child gets at most


def names(fleet: PetFleet) -> list[str]:
    """Return the names of the pets, in order."""
    return [pet.pet_name for pet in fleet.pets]


@contextmanager
def program(*arguments: object) -> Iterator[subprocess.Popen[str]]:
    """Run this module in a child process, with warnings as errors; it is reaped whatever happens."""
    # Forking beside threads, of which newer Pythons warn, is what the fork tests are about.
    warnings = ("-W", "error", "-W", "ignore:This process:DeprecationWarning")
    with python(*warnings, "-X", "dev", "-m", __name__, *arguments) as process:
        yield process


@contextmanager
def python(*arguments: object) -> Iterator[subprocess.Popen[str]]:
    """Run Python in a child process, where it finds the tests; it is reaped whatever happens."""
    with subprocess.Popen(
        [sys.executable, *map(str, arguments)],
        cwd=Path(__file__).parents[2],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def child(*arguments: object) -> Iterator[subprocess.Popen[str]]:
    """Run Python with these arguments, and go on when it has printed "ready"; it is reaped whatever happens."""
    with python(*arguments) as process:
        first = hear(process)
        assert first == "ready", (first, process.communicate(timeout=SECONDS))
        yield process


def tell(process: subprocess.Popen[str], line: str = "go") -> None:
    """Send a line to a child process."""
    assert process.stdin is not None
    process.stdin.write(f"{line}\n")
    process.stdin.flush()


def hear(process: subprocess.Popen[str]) -> str:
    """Return the next line of a child process."""
    assert process.stdout is not None
    return process.stdout.readline().rstrip("\n")


def in_fork(function: Callable[[], object]) -> int:
    """Return the exit code of a forked child that calls ``function``: 0, if that returns."""
    return os.waitstatus_to_exitcode(os.waitpid(start_fork(function), 0)[1])


def start_fork(function: Callable[[], object]) -> int:
    """Return the pid of a forked child that calls ``function``, and then ends with 0."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            signal.alarm(SECONDS)
            function()
            code = 0
        except BaseException:  # noqa: BLE001 - nothing may escape into the copy of the caller
            sys.excepthook(*sys.exc_info())
        finally:
            sys.stdout.flush()
            os._exit(code)
    return pid


def lock_descriptors() -> list[int]:
    """Return the descriptors of this process that are open lock files."""
    found = []
    for entry in os.listdir("/proc/self/fd"):
        try:
            if os.readlink(f"/proc/self/fd/{entry}").endswith(".lock"):
                found.append(int(entry))
        except FileNotFoundError:
            pass  # that of the listing itself
    return found


# --- what the children do --------------------------------------------------------------------------------------------


def _pet(name: str) -> PetHandle:
    return PetHandle(name, "friend", f"pets/{name}.toml", 1_700_000_000)


async def _enqueue(store: FleetStore) -> list[asyncio.Task[PetFleet]]:
    tasks = [asyncio.create_task(store.add("user", _pet(name))) for name in CHANGES]
    await asyncio.sleep(0)  # each of them runs as far as it gets
    return tasks


def _end_by_closing_the_loop(store: FleetStore, held: HeldCall) -> None:
    loop = asyncio.new_event_loop()
    for task in loop.run_until_complete(_enqueue(store)):
        task._log_destroy_pending = False  # type: ignore[attr-defined] # asyncio would rightly warn of it
    held.reach()
    loop.close()


def _end_with_asyncio_run(store: FleetStore, held: HeldCall) -> None:
    async def main() -> None:
        await _enqueue(store)
        held.reach()

    asyncio.run(main())  # cancels the tasks


def _end_with_trio_run(store: FleetStore, held: HeldCall) -> None:
    import trio.testing  # not above: it costs as much as all else that a child imports

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            for name in CHANGES:
                nursery.start_soon(store.add, "user", _pet(name))
                await trio.testing.wait_all_tasks_blocked()
            held.reach()
            nursery.cancel_scope.cancel()

    trio.run(main)


def _end_beside_a_running_loop(store: FleetStore, held: HeldCall) -> None:
    enqueued = threading.Event()

    async def forever() -> None:
        tasks = await _enqueue(store)
        enqueued.set()
        await asyncio.Event().wait()
        del tasks

    threading.Thread(target=lambda: asyncio.run(forever()), daemon=True).start()
    enqueued.wait()
    held.reach()


ENDS: Final = {
    "loop closed": _end_by_closing_the_loop,
    "asyncio.run": _end_with_asyncio_run,
    "trio.run": _end_with_trio_run,
    "exit beside a running loop": _end_beside_a_running_loop,
}


def end(how: str, point: str, argument: str) -> None:
    """Hold two calls at a point, end the event loop there in one of ``ENDS``, and let go once the exit has begun."""
    storage = storage_at(argument)
    held = storage.held(point).__enter__()
    atexit.register(held.open)  # called before the store's own, which has to wait for the commit
    ENDS[how](storage.store(lock_timeout=3600), held)


def fork(how: str, point: str, root: str) -> None:
    """Fork while two calls are held at a point, and do what the lines on stdin say; the child reads them first."""
    commands = os.fdopen(os.dup(0))  # multiprocessing gives its children another stdin
    store = FleetStore(root, lock_timeout=3600)
    asyncio.run(store.load("other"))  # its threads are there before the fork
    loop = asyncio.new_event_loop()

    def child() -> None:
        signal.alarm(SECONDS)
        open_locks = len(lock_descriptors())
        held.open()
        peeked, added = asyncio.run(_use(store))
        print(json.dumps({"open": open_locks, "peeked": peeked, "added": added}), flush=True)
        if commands.readline() == "add\n":
            print(json.dumps(names(asyncio.run(store.add("user", _pet("child"))))), flush=True)

    with HeldCall(point) as held:
        tasks = loop.run_until_complete(_enqueue(store))
        held.reach()
        if how == "os.fork":
            code = in_fork(child)
        else:
            process = multiprocessing.get_context("fork").Process(target=child)
            process.start()
            process.join()
            code = process.exitcode or 0
        print(f"the child ended with {code}", flush=True)
        commands.readline()
    loop.run_until_complete(asyncio.gather(*tasks))
    loop.close()
    commands.close()


async def _use(store: FleetStore) -> tuple[list[str], list[str]]:
    return names(await store.peek("user")), names(await store.add("other", _pet("child")))


def hold(path: str) -> None:
    """Hold a lock until stdin ends."""
    with filelock.FileLock(path):
        print("held", flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    signal.alarm(SECONDS)
    # Development mode reports each slow step of an event loop, and on a busy machine any step may be slow.
    logging.getLogger("asyncio").addFilter(lambda record: not record.getMessage().startswith("Executing "))
    programs: dict[str, Callable[..., None]] = {"end": end, "fork": fork, "hold": hold}
    programs[sys.argv[1]](*sys.argv[2:])
