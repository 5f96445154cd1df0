"""How watches begin and end: one thread for all, cancellation, dropped iterators, loops, forks, the program's end."""

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
import trio

from petfleet import FleetStore, PetFleet
from petfleet.files import FileBackend
from petfleet.notices import Notices
from petfleet.watching import Watch, Watching
from tests.children import in_fork, names
from tests.conftest import pet, wait_until, watching_threads
from tests.gate import Gate
from tests.test_workers import refuse_threads
from tests.watched import inotify_instances, only_told, shown, shows


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is found by looking now and then."""
    only_told(monkeypatch)


@pytest.fixture
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks, and so the end of a thread that no one needs any more, come soon."""
    monkeypatch.setattr(FileBackend, "look_seconds", 0.05)


async def in_thread(function: Callable[[], object]) -> None:
    """Wait for a state beside the event loop."""
    await anyio.to_thread.run_sync(wait_until, function)


async def test_a_hundred_watches_share_a_thread_and_an_inotify_instance(store: FleetStore, told: None) -> None:
    """However many watch however many users, each sees the changes of its own."""
    before = len(inotify_instances())
    watches = [store.watch(f"user{number % 20}") for number in range(100)]
    async with anyio.create_task_group() as tasks:
        for watch in watches:
            tasks.start_soon(shown, watch)
    for number in range(20):
        await store.add(f"user{number}", pet(f"pet{number}"))
    for number, watch in enumerate(watches):
        assert await shown(watch) == [f"pet{number % 20}"]
    assert len(watching_threads()) == 1
    await in_thread(lambda: len(inotify_instances()) == before + 1)
    for watch in watches:
        await watch.aclose()
    await in_thread(lambda: not watching_threads() and len(inotify_instances()) == before)


async def test_breaking_out_leaves_nothing(store: FleetStore, brief: None) -> None:
    """An iterator that is dropped ends the thread and its descriptors, without any loop; a next one starts anew."""
    before = len(inotify_instances())
    for _ in range(2):
        async for fleet in store.watch("u"):
            assert fleet == PetFleet("u")
            break
        gc.collect()
        await in_thread(lambda: not watching_threads() and len(inotify_instances()) == before)
    assert not store._watching._users


async def test_closing_the_store_ends_an_idle_thread_at_once(store: FleetStore, told: None) -> None:
    """What no one watches any more is not looked after until the next look."""
    watch = store.watch("u")
    await anext(watch)
    del watch
    gc.collect()
    await store.aclose()
    assert not watching_threads()
    await store.aclose()


async def test_closing_the_store_lets_watches_go_on(store: FleetStore, told: None) -> None:
    """A store that is closed stays usable, for who watches too."""
    async with aclosing(store.watch("u")) as watch, store:
        assert await shown(watch) == []
        await store.aclose()
        await store.add("u", pet("mira"))
        assert await shown(watch) == ["mira"]


async def test_closing_a_watch_ends_who_waits_in_it(store: FleetStore, told: None) -> None:
    """Another task may close it; others on the same user go on."""
    watch, other = store.watch("u"), store.watch("u")
    assert await shown(watch) == await shown(other) == []
    seen: list[PetFleet] = []

    async def consume() -> None:
        async for fleet in watch:
            seen.append(fleet)  # pragma: no cover (it is closed before there is one)

    with anyio.fail_after(30):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(consume)
            await in_thread(lambda: store._watching._users["u"].waiters)
            await watch.aclose()
    await store.add("u", pet("mira"))
    assert await shown(other) == ["mira"]
    assert seen == []
    await other.aclose()
    await other.aclose()
    with pytest.raises(StopAsyncIteration):
        await anext(other)


async def test_closing_a_watch_that_never_began(store: FleetStore) -> None:
    """It started nothing, so there is nothing to end."""
    watch = store.watch("u")
    await watch.aclose()
    assert [fleet async for fleet in watch] == []
    assert not watching_threads()


async def test_a_cancelled_anext_loses_nothing(store: FleetStore, told: None) -> None:
    """The next one returns what the cancelled one would have, even if that had been woken already."""
    async with aclosing(store.watch("u")) as watch:
        await anext(watch)
        watched = store._watching._users["u"]
        for number in range(3):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(anext, watch)
                await in_thread(lambda: watched.waiters)
                if number:  # woken in the same turn of the loop in which it is cancelled
                    changed_elsewhere(store, number)
                tasks.cancel_scope.cancel()
            assert not watched.waiters
            if number:
                assert await shown(watch) == [f"pet{n + 1}" for n in range(number)]


def changed_elsewhere(store: FleetStore, number: int) -> None:
    """Have another loop make a change, and wait until the thread has found it, with this loop held up."""
    before = store._watching._users["u"].outcome
    thread = threading.Thread(target=lambda: asyncio.run(store.add("u", pet(f"pet{number}"))))
    thread.start()
    thread.join()
    wait_until(lambda: store._watching._users["u"].outcome is not before)


def test_a_task_that_nothing_else_holds_goes_on(store: FleetStore, brief: None) -> None:
    """The garbage collector does not end who waits."""
    seen: list[list[str]] = []

    async def consume() -> None:
        async for fleet in store.watch("u"):
            seen.append(names(fleet))

    async def main() -> None:
        asyncio.get_running_loop().call_soon(lambda: asyncio.create_task(consume()) and None)  # held by nothing
        await in_thread(lambda: seen)
        gc.collect()
        await store.add("u", pet("mira"))
        await in_thread(lambda: (gc.collect(), seen[-1] == ["mira"])[1])

    asyncio.run(asyncio.wait_for(main(), 30))


def test_a_loop_that_is_closed_under_a_watch_leaves_nothing(store: FleetStore, brief: None) -> None:
    """Its task will never go on; the thread ends all the same."""
    loop = asyncio.new_event_loop()

    async def consume(watch: Watch, waits: asyncio.Event) -> None:
        await anext(watch)
        waits.set()
        await anext(watch)

    async def main() -> asyncio.Task[None]:
        waits = asyncio.Event()
        task = asyncio.create_task(consume(store.watch("u"), waits))
        await waits.wait()
        return task

    task = loop.run_until_complete(main())
    task._log_destroy_pending = False  # type: ignore[attr-defined] # or asyncio tells of it, and rightly
    loop.close()
    del task
    wait_until(lambda: (gc.collect(), not watching_threads())[1])


def test_two_loops_watch_through_one_store(store: FleetStore, told: None) -> None:
    """A change is shown in each of them, by the one thread."""
    ready = threading.Barrier(3)
    seen: list[list[str]] = []

    async def consume() -> None:
        async with aclosing(store.watch("u")) as watch:
            assert await shown(watch) == []
            await anyio.to_thread.run_sync(ready.wait)
            seen.append(await shown(watch))

    threads = [
        threading.Thread(target=lambda: asyncio.run(consume())),
        threading.Thread(target=lambda: trio.run(consume)),
    ]
    for thread in threads:
        thread.start()
    ready.wait(30)
    assert len(watching_threads()) == 1
    asyncio.run(store.add("u", pet("mira")))
    for thread in threads:
        thread.join()
    assert seen == [["mira"], ["mira"]]


def test_a_forked_child_watches_by_itself(store: FleetStore, told: None) -> None:
    """The child's watches, an inherited one too, have a thread of their own; the parent's go on."""

    async def child(inherited: Watch) -> None:
        async with aclosing(store.watch("u")) as watch, aclosing(inherited):
            assert await shown(watch) == ["mira"]
            await store.add("u", pet("child"))
            assert await shown(watch) == await shown(inherited) == ["mira", "child"]
            gc.collect()

    async def main() -> None:
        async with aclosing(store.watch("u")) as watch:
            await store.add("u", pet("mira"))
            await shows(watch, "mira")
            ended = in_fork(lambda: in_new_thread(lambda: asyncio.run(child(watch))))
            assert ended == 0
            assert await shown(watch) == ["mira", "child"]
            await store.add("u", pet("parent"))
            assert await shown(watch) == ["mira", "child", "parent"]

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


async def test_the_first_fleet_is_not_older_than_the_first_call(root: Path, file: Path, told: None) -> None:
    """What a look under way has read before the call is not what the call returns."""
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
        tasks.start_soon(shown, first)
        await anyio.to_thread.run_sync(gate.reached.wait)
        fleet = PetFleet("u", [pet("new")])

        async def late() -> None:
            assert await shown(second) == ["new"]

        tasks.start_soon(late)
        await in_thread(lambda: len(watching._users["u"].waiters) == 2)
        gate.open()
    for watch in (first, second):
        await watch.aclose()


async def test_an_unforeseen_failure_is_told_and_the_watch_goes_on(
    store: FleetStore, monkeypatch: pytest.MonkeyPatch, told: None
) -> None:
    """No thread ends while tasks wait for it, whatever it ends by, and however often."""
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
                await shown(watch)
        assert await shown(watch) == []


async def test_a_thread_that_was_let_go_fails_no_one(root: Path, file: Path, told: None) -> None:
    """What the old thread meets is not told to those whom a new one looks after."""
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
        await in_thread(lambda: watching._shift is None)
        async with aclosing(watching.watch("u")) as watch:
            assert await shown(watch) == []
            gate.open()
            await in_thread(lambda: len(watching_threads()) == 1)
            assert watching._users["u"].outcome is not None


async def test_no_thread_can_be_started(store: FleetStore, monkeypatch: pytest.MonkeyPatch, told: None) -> None:
    """The call fails with an OSError, and the same watch works once there are threads again."""
    watch = store.watch("u")
    with monkeypatch.context() as patch:
        refuse_threads(patch)
        with pytest.raises(OSError, match="could not start a thread"):
            await anext(watch)
    assert not store._watching._users
    assert await shown(watch) == []
    await watch.aclose()


async def test_the_main_thread_has_ended(store: FleetStore, monkeypatch: pytest.MonkeyPatch, told: None) -> None:
    """A task in a thread that outlives it hears that it waits in vain."""
    async with aclosing(store.watch("u")) as watch:
        assert await shown(watch) == []
        with monkeypatch.context() as patch:
            patch.setattr(threading, "main_thread", threading.Thread)  # one that never ran
            with pytest.raises(OSError, match="the interpreter is ending") as raised:
                await shown(watch)
            assert raised.value.filename == str(store._backend)


CHILD = """
import asyncio, sys, threading
from petfleet import FleetStore
from petfleet.files import FileBackend
FileBackend.look_seconds = 3600
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
    """A watch that is held, or waited for, keeps no interpreter from its quiet end."""
    command = [sys.executable, "-W", "error", "-c", CHILD, str(root), how]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert "Fatal" not in done.stderr
    if how != "daemon":  # where the loop itself is unwound at the end
        assert done.stderr == ""
    assert done.returncode == 0


def test_importing_petfleet_imports_none_of_the_extras() -> None:
    """What only an extra brings, no one else pays for."""
    code = "import sys, petfleet; print({'watchfiles', 'typer', 'rich', 'aiofiles'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
    assert done.stdout == "set()\n"


def test_watchfiles_is_missing(store: FleetStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """The call itself says what to install."""
    monkeypatch.setitem(sys.modules, "watchfiles", None)
    with pytest.raises(ModuleNotFoundError) as raised:
        store.watch("u")
    assert str(raised.value) == "store.watch needs watchfiles: pip install 'petfleet[watch]'"
    assert raised.value.name == "watchfiles"
