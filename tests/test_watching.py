"""How watches of files begin and end: one thread for all, forks, failures, the program's end."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import anyio
import pytest

from petfleet import FleetStore, PetFleet
from petfleet._backends.files.backend import FileBackend
from petfleet._backends.files.inotify import Notices
from petfleet._watch import Watch, Watching
from tests.conftest import pet, until, watching_threads
from tests.support.children import in_fork
from tests.support.gate import Gate
from tests.support.watching import inotify_instances, next_names, wait_for_names


async def test_a_hundred_watches_share_a_thread_and_an_inotify_instance(
    store: FleetStore, without_polling: None
) -> None:
    """However many watches and users there are, each watch yields its own user's changes."""
    before = len(inotify_instances())
    watches = [store.watch(f"user{number % 20}") for number in range(100)]
    async with anyio.create_task_group() as tasks:
        for watch in watches:
            tasks.start_soon(next_names, watch)
    for number in range(20):
        await store.add(f"user{number}", pet(f"pet{number}"))
    for number, watch in enumerate(watches):
        assert await next_names(watch) == [f"pet{number % 20}"]
    assert len(watching_threads()) == 1
    await until(lambda: len(inotify_instances()) == before + 1)
    for watch in watches:
        await watch.aclose()
    await until(lambda: not watching_threads() and len(inotify_instances()) == before)


def test_a_forked_child_watches_by_itself(store: FleetStore, without_polling: None) -> None:
    """The child's watches, an inherited one too, have a thread of their own; the parent's go on."""

    async def child(inherited: Watch) -> None:
        async with aclosing(store.watch("u")) as watch, aclosing(inherited):
            assert await next_names(watch) == ["mira"]
            await store.add("u", pet("child"))
            assert await next_names(watch) == await next_names(inherited) == ["mira", "child"]
            gc.collect()

    async def main() -> None:
        async with aclosing(store.watch("u")) as watch:
            await store.add("u", pet("mira"))
            await wait_for_names(watch, "mira")
            ended = in_fork(lambda: in_new_thread(lambda: asyncio.run(child(watch))))
            assert ended == 0
            assert await next_names(watch) == ["mira", "child"]
            await store.add("u", pet("parent"))
            assert await next_names(watch) == ["mira", "child", "parent"]

    asyncio.run(main())


def in_new_thread(function: Callable[[], object]) -> None:
    """Run something in a thread, beside the event loop that a forked child believes to be in."""
    done: list[object] = []
    thread = threading.Thread(target=lambda: done.append(function()))
    thread.start()
    thread.join()
    assert done


@pytest.fixture
def file(path: Path) -> Path:
    """A file that was just written, so that every look reads it."""
    path.parent.mkdir(parents=True)
    path.write_bytes(b"")
    return path


async def test_the_first_fleet_is_not_older_than_the_first_call(root: Path, file: Path, without_polling: None) -> None:
    """The call does not return what an earlier poll has read."""
    gate = Gate()
    fleet = PetFleet("u", [pet("old")])

    class Old(FileBackend):
        def peek(self, user_id: str) -> PetFleet | None:
            found = fleet
            gate.hold()
            return found

    watching = Watching(Old(str(root)))
    first, second = watching.watch("u"), watching.watch("u")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(next_names, first)
        await anyio.to_thread.run_sync(gate.reached.wait)
        fleet = PetFleet("u", [pet("new")])

        async def late() -> None:
            assert await next_names(second) == ["new"]

        tasks.start_soon(late)
        await until(lambda: len(watching._users["u"].waiters) == 2)
        gate.open()
    for watch in (first, second):
        await watch.aclose()


async def test_an_unforeseen_failure_is_told_and_the_watch_goes_on(
    store: FleetStore, monkeypatch: pytest.MonkeyPatch, without_polling: None
) -> None:
    """No thread ends silently while tasks wait for it, whatever the error, and however often."""
    failures: list[BaseException] = [SystemExit(7), ZeroDivisionError("any"), ZeroDivisionError("any")]
    directories = Notices._directories

    def fail(self: Notices) -> Any:
        if failures:
            raise failures.pop()
        return directories(self)

    monkeypatch.setattr(Notices, "_directories", fail)
    async with aclosing(store.watch("u")) as watch:
        for error in (ZeroDivisionError("any"), ZeroDivisionError("any"), RuntimeError("SystemExit: 7")):
            with pytest.raises(type(error), match=str(error)):
                await next_names(watch)
        assert await next_names(watch) == []


async def test_a_thread_that_was_let_go_fails_no_one(root: Path, file: Path, without_polling: None) -> None:
    """An error of the old thread does not reach the watches of a new one."""
    gate = Gate()
    dying = [True]

    class Dying(FileBackend):
        def peek(self, user_id: str) -> None:
            if dying:
                dying.pop()
                gate.hold()
                raise SystemExit

    watching = Watching(Dying(str(root)))
    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(anext, watching.watch("u"))
            await anyio.to_thread.run_sync(gate.reached.wait)
            scope.cancel()
    gc.collect()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(watching.aclose)
        await until(lambda: watching._running is None)
        async with aclosing(watching.watch("u")) as watch:
            assert await next_names(watch) == []
            gate.open()
            await until(lambda: len(watching_threads()) == 1)
            assert watching._users["u"].outcome is not None


async def test_the_main_thread_has_ended(
    store: FleetStore, monkeypatch: pytest.MonkeyPatch, without_polling: None
) -> None:
    """A task in a thread that outlives the main thread gets an error."""
    async with aclosing(store.watch("u")) as watch:
        assert await next_names(watch) == []
        with monkeypatch.context() as patch:
            patch.setattr(threading, "main_thread", threading.Thread)  # one that never ran
            with pytest.raises(OSError, match="the interpreter is ending") as raised:
                await next_names(watch)
            assert raised.value.filename == str(store._backend)


CHILD = """
import asyncio, sys, threading
from petfleet import FleetStore
from petfleet._backends.files.backend import FileBackend
FileBackend.poll_seconds = 3600
watch = FleetStore(sys.argv[1]).watch("u")
async def main():
    await anext(watch)
    if sys.argv[2] == "waiting":
        threading.Timer(0, sys.exit).start()
        asyncio.get_running_loop().call_soon(sys.exit)
        await anext(watch)
if sys.argv[2] == "daemon":
    joined = threading.Event()
    async def more():
        await anext(watch); joined.set(); await anext(watch)
    threading.Thread(target=lambda: asyncio.run(more()), daemon=True).start()
    joined.wait()
else:
    asyncio.run(main())
"""


@pytest.mark.parametrize("how", ["held", "waiting", "daemon"])
def test_the_interpreter_ends(how: str, root: Path) -> None:
    """A watch that is held, or waited for, does not keep the interpreter from ending quietly."""
    command = [sys.executable, "-W", "error", "-c", CHILD, str(root), how]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert "Fatal" not in done.stderr
    if how != "daemon":  # where the loop itself is unwound at the end
        assert done.stderr == ""
    assert done.returncode == 0


def test_importing_petfleet_imports_none_of_the_extras() -> None:
    """Importing petfleet imports no package of an extra."""
    code = "import sys\nfrom petfleet import *\nprint({'watchfiles', 'typer', 'rich', 'aiofiles'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout == "set()\n"


def test_watchfiles_is_missing(store: FleetStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says what to install."""
    monkeypatch.setitem(sys.modules, "watchfiles", None)
    with pytest.raises(ModuleNotFoundError) as raised:
        store.watch("u")
    assert str(raised.value) == "store.watch needs watchfiles: pip install 'petfleet[watch]'"
    assert raised.value.name == "watchfiles"
