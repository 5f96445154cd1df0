"""The error of a call that gave up: it says what the call has waited for."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import subprocess
import sys
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from petfleet import FleetStore, LockTimeoutError, PetFleet
from petfleet._commit import timeouts
from petfleet._commit.group_commit import GroupCommit
from tests.conftest import pet, until
from tests.support.children import program
from tests.support.deadlines import SHORT, time_is_up_when
from tests.support.fake_backend import FakeBackend, load
from tests.support.gate import Gate
from tests.support.points import HeldCall

pytestmark = pytest.mark.anyio

# Takes a lock, leaves it to a child, and ends.
LEAVES = """
import fcntl, os, sys
fd = os.open(sys.argv[1], os.O_RDWR)
fcntl.flock(fd, fcntl.LOCK_EX)
if os.fork() == 0:
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize("lock_timeout", [0, SHORT])
async def test_the_error_names_path_seconds_and_holder(
    root: Path, lock_timeout: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """LockTimeoutError names the lock, its holder, and the time that the call waited."""
    store = FleetStore(root, lock_timeout=lock_timeout)
    await FleetStore(root).add("user", pet("first"))
    time_is_up_when(monkeypatch, lambda: store.statistics().lock_waits)
    path = str(root / "user" / "fleet.toml.lock")
    with program("hold", path) as child:
        assert child.stdout is not None
        assert await anyio.to_thread.run_sync(child.stdout.readline) == "held\n"
        with pytest.raises(LockTimeoutError) as caught:
            await store.add("user", pet("second"))
    error = caught.value
    assert error.path == path
    assert error.holder == f"pid {child.pid} on {socket.gethostname()}"
    assert lock_timeout <= error.waited
    assert str(error) == (
        f"{path} not locked within {error.waited:.3g} s, held by {error.holder}: "
        "try again, see what the holder does, or raise lock_timeout"
    )


async def test_a_process_that_left_the_lock_behind_is_told_from_one_that_holds_it(root: Path) -> None:
    """Its child holds the lock; the kernel still names the parent, which has ended."""
    store = FleetStore(root, lock_timeout=0)
    await store.add("user", pet("first"))
    path = root / "user" / "fleet.toml.lock"
    command = [sys.executable, "-c", LEAVES, str(path)]
    parent = await anyio.to_thread.run_sync(
        lambda: subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    )
    assert parent.stdout is not None
    assert parent.stdin is not None
    try:
        assert await anyio.to_thread.run_sync(parent.stdout.readline) == "held\n"
        await anyio.to_thread.run_sync(parent.wait)
        name = f"pid {parent.pid} on {socket.gethostname()}"
        with pytest.raises(
            LockTimeoutError, match=f"held for {name}, which has ended: end the process that it left the lock to"
        ) as caught:
            await store.load("user")
        assert caught.value.holder == name
    finally:
        parent.stdin.close()  # which ends the child
        await anyio.to_thread.run_sync(parent.stdout.read)
        parent.stdout.close()


async def test_a_shared_lock_is_told(root: Path) -> None:
    """Readers may hold one; they are not listed among the writers."""
    store = FleetStore(root, lock_timeout=0)
    await store.add("user", pet("first"))
    file = await anyio.to_thread.run_sync((root / "user" / "fleet.toml.lock").open, "rb")
    with file:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        with pytest.raises(LockTimeoutError, match=f"held by pid {os.getpid()} on .* as a shared lock, for reading"):
            await store.load("user")


async def test_this_process_own_commit_is_told_with_its_time(root: Path) -> None:
    """The call has not waited for another process."""
    store = FleetStore(root, lock_timeout=3600)
    await store.add("user", pet("first"))
    with HeldCall("written") as held:
        async with anyio.create_task_group() as group:
            group.start_soon(store.add, "user", pet("second"))
            held.admit()
            await until(held.reached)
            store._group_commit._lock_timeout = 0.01
            with pytest.raises(LockTimeoutError, match=r"since this process's own commit for that user has taken .* s"):
                await store.load("user")
            held.open()


async def test_a_change_function_that_does_not_return_is_told(root: Path) -> None:
    """The call has waited for the user's own code."""
    store = FleetStore(root, lock_timeout=3600)
    gate = Gate()

    def change(fleet: PetFleet) -> PetFleet:
        gate.hold()
        return fleet

    async with anyio.create_task_group() as group:
        group.start_soon(store.update, "user", change)
        await until(gate.reached.is_set)
        store._group_commit._lock_timeout = 0.01
        with pytest.raises(LockTimeoutError, match=r"since a change function of this process has run for .* s so far"):
            await store.load("user")
        gate.open()


async def test_a_holder_that_cannot_be_told_in_time_delays_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stuck disk may never answer; then the holder is unknown."""
    backend = FakeBackend()
    backend.turns["user"] = Gate()
    monkeypatch.setattr(timeouts, "_HOLDER_SECONDS", 0.01)
    never = Gate()
    backend.holder = never.before(backend.holder)  # type: ignore[method-assign] # it holds every caller
    store = GroupCommit(backend, SHORT, 1)
    time_is_up_when(monkeypatch, lambda: store.statistics().lock_waits)
    try:
        with anyio.fail_after(60), pytest.raises(LockTimeoutError) as caught:
            await load(store, "user")
    finally:
        never.open()
        backend.give_back("user")
    assert str(caught.value).endswith("its holder unknown: try again, or raise lock_timeout")


async def test_without_a_thread_to_ask_the_holder_is_unknown(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error is that of the lock all the same."""
    backend = FakeBackend()
    backend.turns["user"] = Gate()
    store = GroupCommit(backend, 3600, 1)

    def refused(*arguments: object, **options: object) -> None:
        raise OSError(errno.EAGAIN, "no thread")

    async with anyio.create_task_group() as group:
        group.start_soon(load, store, "user")
        await until(lambda: backend.waited)
        monkeypatch.setattr(store.peeks, "submit", refused)
        store._lock_timeout = SHORT
        with pytest.raises(LockTimeoutError, match="its holder unknown"):
            await load(store, "user")
        backend.give_back("user")
