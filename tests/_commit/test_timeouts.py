"""When a call gives up, and what happens afterwards."""

from __future__ import annotations

import errno
import fcntl
import re
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path
from unittest import mock

import anyio
import anyio.to_thread
import pytest

from petfleet import FleetStore, LockTimeoutError
from petfleet._backends.protocol import Holder, OvertakenError
from petfleet._commit.group_commit import GroupCommit
from petfleet._util import runtime
from tests.conftest import pet, until, wait_until
from tests.support.children import names, program
from tests.support.deadlines import SHORT, time_is_up_when
from tests.support.fake_backend import FakeBackend, FakeCommit, load
from tests.support.file_storage import FileStorage
from tests.support.gate import Gate
from tests.support.points import HeldCall, waits_for

pytestmark = pytest.mark.anyio

# --- when a call gives up


async def test_a_call_gives_up_although_every_thread_is_stuck() -> None:
    """Its deadline is a timer of its event loop: no thread has to look, and its error says what it waited for."""
    backend = FakeBackend()
    gate = backend.held["stuck"] = Gate()
    store = GroupCommit(backend, 3600, 1)
    async with anyio.create_task_group() as group:
        group.start_soon(load, store, "stuck")
        await anyio.to_thread.run_sync(gate.reached.wait)
        store._lock_timeout = 0.02
        with anyio.fail_after(60), pytest.raises(LockTimeoutError) as caught:
            await load(store, "other")
        gate.open()
    assert caught.value.path == "nowhere/other.lock"
    assert caught.value.holder is None
    assert caught.value.waited >= 0.02
    assert str(caught.value).endswith("since all threads of the store are busy: try again, or raise threads")
    await until(lambda: not store._queues)
    assert backend.read == ["stuck"]  # and it never happens


async def test_a_taken_call_waits_for_its_outcome(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long that takes after its time is over, since the call cannot be undone."""
    store = FleetStore(root, lock_timeout=SHORT)
    await FleetStore(root).add("user", pet("first"))
    with HeldCall("taken") as held:
        time_is_up_when(monkeypatch, held.reached)
        async with anyio.create_task_group() as group:
            group.start_soon(store.add, "user", pet("second"))
            held.admit()
            await until(held.reached)
            await until(lambda: all(call.expired for call in store._group_commit._queues["user"].taken))
            held.open()
    assert names(await store.peek("user")) == ["first", "second"]


async def test_a_taken_call_that_is_overtaken_after_its_time_fails(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is tried again only while it has time; then its error says that others were first."""
    backend = FakeBackend()
    gate = Gate()

    class Overtaken(FakeCommit):
        def read(self) -> None:  # type: ignore[override] # never returns
            gate.hold()
            raise OvertakenError

    backend.commit = Overtaken
    backend.holders = [Holder(None, "since others were first")]
    store = GroupCommit(backend, SHORT, 1)
    time_is_up_when(monkeypatch, gate.reached.is_set)
    async with anyio.create_task_group() as group:

        async def hears() -> None:
            with pytest.raises(LockTimeoutError, match="since others were first"):
                await load(store, "user")

        group.start_soon(hears)
        await until(gate.reached.is_set)
        await until(lambda: all(call.expired for call in store._queues["user"].taken))
        gate.open()
    await until(lambda: not store._queues)


async def test_a_call_fails_by_its_own_deadline_while_others_still_wait(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A call gets its LockTimeoutError although another one may wait longer for the same lock."""
    store = FleetStore(root, lock_timeout=3600)
    await store.add("user", pet("first"))
    with FileStorage(root).busy():
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(store.add, "user", pet("patient"))
            await until(partial(waits_for, store, 1))
            monkeypatch.setattr(store._group_commit, "_lock_timeout", 0.02)
            with anyio.fail_after(60), pytest.raises(LockTimeoutError):
                await store.load("user")
            tasks.cancel_scope.cancel()


@pytest.mark.parametrize("lock_timeout", [1e10, float("inf")])
async def test_a_call_may_wait_for_ever(root: Path, lock_timeout: float) -> None:
    """Event loops' timers accept any time."""
    store = FleetStore(root, lock_timeout=lock_timeout)
    assert names(await store.add("user", pet("first"))) == ["first"]


async def test_a_call_that_gave_up_is_not_taken_while_its_error_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """The turn comes while the error is still looking for the holder: that is too late."""
    backend = FakeBackend()
    backend.turns["user"] = Gate()
    asked = Gate()
    monkeypatch.setattr(backend, "holder", asked.before(backend.holder))
    store = GroupCommit(backend, SHORT, 1)
    time_is_up_when(monkeypatch, lambda: store.statistics().lock_waits)
    async with anyio.create_task_group() as group:

        async def hears() -> None:
            with pytest.raises(LockTimeoutError):
                await load(store, "user")

        group.start_soon(hears)
        await until(asked.reached.is_set)
        backend.give_back("user")
        await until(lambda: not store._queues)
        asked.open()
    assert backend.read == []


# --- afterwards


async def test_calls_go_on_when_another_program_lets_go_of_the_lock(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Meanwhile peek answers; a short call fails with the holder's name; a patient one is served."""
    hasty, patient = FleetStore(root, lock_timeout=SHORT), FleetStore(root, lock_timeout=3600)
    before = await patient.add("user", pet("first"))
    time_is_up_when(monkeypatch, lambda: hasty.statistics().lock_waits)
    results: list[list[str]] = []

    async def add() -> None:
        results.append(names(await patient.add("user", pet("second"))))

    with program("hold", root / "user" / "fleet.toml.lock") as child:
        assert child.stdin is not None
        assert child.stdout is not None
        assert await anyio.to_thread.run_sync(child.stdout.readline) == "held\n"
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(add)
            await until(partial(waits_for, patient, 1))
            with pytest.raises(LockTimeoutError, match=f"held by pid {child.pid} on "):
                await hasty.add("user", pet("hasty"))
            assert await hasty.peek("user") == before
            child.stdin.close()
    assert results == [["first", "second"]]
    assert names(await patient.load("user")) == ["first", "second"]


async def test_an_error_of_the_lock_call_reaches_a_waiting_call(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The call raises it, with errno and file name."""
    store = FleetStore(root, lock_timeout=3600)
    await store.add("user", pet("first"))

    def broken(fd: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    with FileStorage(root).busy():
        monkeypatch.setattr("petfleet._backends.files.lock.fcntl", mock.Mock(flock=broken, LOCK_EX=fcntl.LOCK_EX))
        with pytest.raises(OSError, match="No locks") as caught:
            await store.add("user", pet("second"))
    assert caught.value.errno == errno.ENOLCK
    assert caught.value.filename == str(root / "user" / "fleet.toml.lock")


async def test_a_frozen_clock_makes_no_wait_endless(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that cannot be parsed is read again for a tenth of a second, though time.monotonic stands still."""
    store = FleetStore(root)
    path = root / "user" / "fleet.toml"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"")
    monkeypatch.setattr("time.monotonic", lambda: 5.0)
    with pytest.raises(ValueError, match=re.escape(str(path))):
        await store.peek("user")
    assert runtime.monotonic() != 5.0


def test_threads_that_wait_in_the_kernel_hold_up_no_end(root: Path) -> None:
    """A process whose thread waits for a held lock ends at once, and prints nothing."""
    script = (
        "import asyncio, sys, threading\n"
        "from petfleet import FleetStore, LockTimeoutError\n"
        "store = FleetStore(sys.argv[1], lock_timeout=0.01)\n"
        "try:\n"
        "    asyncio.run(store.load('user'))\n"
        "except LockTimeoutError:\n"
        "    print([t.name for t in threading.enumerate() if t.name == 'petfleet'] != [])\n"
    )
    path = root / "user" / "fleet.toml.lock"
    path.parent.mkdir(parents=True)
    path.touch()
    with FileStorage(root).busy():
        ended = subprocess.run(
            [sys.executable, "-c", script, str(root)], capture_output=True, text=True, timeout=60, check=False
        )
    assert (ended.stdout, ended.stderr, ended.returncode) == ("True\n", "", 0)


def test_the_thread_that_got_its_turn_while_the_interpreter_ends_begins_nothing() -> None:
    """It takes no calls; the calls taken before are waited for."""
    backend = FakeBackend()
    store = GroupCommit(backend, 3600, 2)
    turn = backend.turns["late"] = Gate()
    gate = backend.held["taken"] = Gate()

    threads = [threading.Thread(target=anyio.run, args=(load, store, user_id)) for user_id in ("late", "taken")]
    for thread in threads:
        thread.daemon = True
        thread.start()
    wait_until(lambda: turn.reached.is_set() and gate.reached.is_set())
    finish = threading.Thread(target=store.finish)
    finish.start()
    wait_until(lambda: store._ends)
    turn.open()
    wait_until(lambda: "late" in backend.closed)
    assert finish.is_alive()
    gate.open()
    finish.join(60)
    assert not finish.is_alive()
    assert backend.read == ["taken"]
