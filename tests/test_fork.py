"""Forking a process that uses a store: the child starts clean, and takes nothing from its parent."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import json
import multiprocessing
import os
import signal
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import filelock
import pytest

from petfleet import FleetStore
from petfleet._backends.files import disk, lock
from petfleet._commit.user_queue import UserQueue
from tests.conftest import pet
from tests.support.backends import ObjectStorage, is_free
from tests.support.children import CHANGES, hear, in_fork, lock_descriptors, names, program, start_fork, tell
from tests.support.gate import Gate
from tests.support.points import BUSY, POINTS, UNDER_LOCK, HeldCall
from tests.support.store_calls import ALL

HOW = ("os.fork", "multiprocessing")


@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("how", HOW)
def test_the_child_starts_clean_and_leaves_the_parents_lock_alone(how: str, point: str, root: Path) -> None:
    """Forked at any point, the child has no lock file open, uses the store, and unlocks nothing while it ends."""
    asyncio.run(FleetStore(root).add("user", pet("first")))
    lock_file = root / "user" / "fleet.toml.lock"
    with ExitStack() as stack:
        elsewhere = filelock.FileLock(lock_file)
        if point in BUSY:
            stack.enter_context(elsewhere)
        parent = stack.enter_context(program("fork", how, point, root))
        assert report(parent) == {"open": 0, "peeked": ["first", *renamed(point)], "added": ["child"]}
        assert is_free(lock_file) == (point not in UNDER_LOCK and point not in BUSY)
        tell(parent, "end")  # the child reads it; the next line is for its parent
        assert hear(parent) == "the child ended with 0"
        assert is_free(lock_file) == (point not in UNDER_LOCK and point not in BUSY)
        elsewhere.release()
        tell(parent, "end")
        assert parent.communicate() == ("", "")
        assert parent.returncode == 0
    assert names(asyncio.run(FleetStore(root).load("user"))) == ["first", *CHANGES]


@pytest.mark.parametrize("point", UNDER_LOCK)
@pytest.mark.parametrize("how", HOW)
def test_the_child_keeps_no_lock_alive(how: str, point: str, root: Path) -> None:
    """Killed in the middle of a commit, the parent loses its lock at once, although its child lives on."""
    asyncio.run(FleetStore(root).add("user", pet("first")))
    lock_file = root / "user" / "fleet.toml.lock"
    with program("fork", how, point, root) as parent:
        report(parent)
        assert not is_free(lock_file)
        parent.kill()
        assert parent.wait() == -signal.SIGKILL
        assert is_free(lock_file)
        tell(parent, "add")
        assert report(parent) == ["first", *renamed(point), "child"]
        out, err = parent.communicate()  # to the end of the child, too
    assert out == ""
    recovered = f"{root}/user/fleet.toml: recovering after pid {parent.pid} on "
    assert err.startswith(recovered) if point != "taken" else err == ""
    assert sorted(os.listdir(root / "user")) == ["fleet.toml", "fleet.toml.lock"]


def test_a_copy_made_while_the_lock_file_is_opened_is_never_locked(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fork between the opening of the lock file and its registration leaves the child a copy, of no lock's file."""
    store = FleetStore(root)
    asyncio.run(store.add("user", pet("first")))
    answer, go = os.pipe()
    pids: list[int] = []
    open_regular = disk.open_regular

    def child() -> None:
        os.close(go)
        os.read(answer, 1)
        for fd in lock_descriptors():
            # A copy of a locked descriptor would get that lock again.
            with pytest.raises(BlockingIOError):
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        assert lock_descriptors()

    def forking(*arguments: Any) -> Any:
        opened = open_regular(*arguments)
        if not pids and arguments[0].endswith(".lock"):
            pids.append(start_fork(child))
        return opened

    def locked(*arguments: Any) -> Any:
        os.write(go, b"!")
        codes.append(os.waitstatus_to_exitcode(os.waitpid(pids[0], 0)[1]))
        return read(*arguments)

    codes: list[int] = []
    read = disk.read
    with monkeypatch.context() as patch:
        patch.setattr(disk, "open_regular", forking)
        patch.setattr(disk, "read", locked)
        asyncio.run(store.switch("user", "first"))
    os.close(answer)
    os.close(go)
    assert codes == [0]


def test_a_lock_file_opened_while_a_fork_is_under_way_is_opened_anew(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The child of a fork that had begun before may have a copy as well."""
    store = FleetStore(root)
    asyncio.run(store.add("user", pet("first")))
    opened = []
    open_regular = disk.open_regular

    def counting(*arguments: Any) -> Any:
        result = open_regular(*arguments)
        opened.append(result[0])
        if len(opened) == 1:
            lock._forks.after_in_parent()
        return result

    lock._forks.before()
    monkeypatch.setattr(disk, "open_regular", counting)
    lock.UserLock(str(root / "user" / "fleet.toml.lock"), create=False).close()
    assert len(opened) == 2


def test_a_copy_of_the_descriptor_does_not_outlast_the_commit(root: Path) -> None:
    """The lock is given back even while someone, like a child about to execute a program, has a copy of it open."""
    store = FleetStore(root)
    with HeldCall("taken") as held, ThreadPoolExecutor() as threads:
        added = threads.submit(add, store, "first")
        held.reach()
        copies = [os.dup(fd) for fd in lock_descriptors()]
        held.open()
        added.result(60)
    try:
        assert len(copies) == 1
        assert is_free(root / "user" / "fleet.toml.lock")
    finally:
        for copy in copies:
            os.close(copy)


@pytest.mark.parametrize("name", ["calls", "workers", "peeks", "timers", "lock queue"])
def test_the_child_waits_for_no_lock_that_a_thread_of_the_parent_held(name: str, root: Path) -> None:
    """A fork while another thread is inside the store does not leave the child's store locked."""
    store = FleetStore(root, lock_timeout=0)
    asyncio.run(store.load("user"))
    engine = store._group_commit
    locks: dict[str, threading.Condition | threading.Lock] = {
        "calls": engine.changed,
        "workers": engine.workers._lock,
        "peeks": engine.peeks._lock,
        "timers": engine._timers._changed,
        "lock queue": engine._lock_queue._timers._changed,
    }
    gate = Gate()

    def inside() -> None:
        with locks[name]:
            gate.hold()

    thread = threading.Thread(target=inside)
    thread.start()
    gate.reached.wait()
    try:
        assert in_fork(lambda: asyncio.run(use_all(store))) == 0
    finally:
        gate.open()
        thread.join()
    assert names(asyncio.run(store.load("user"))) == ["child"]


def test_a_forked_child_can_fork(root: Path) -> None:
    """The child of a child uses the store that was made before both."""
    store = FleetStore(root)
    asyncio.run(store.add("user", pet("parent")))

    def child() -> None:
        asyncio.run(store.add("user", pet("child")))
        assert in_fork(lambda: asyncio.run(store.add("user", pet("grandchild")))) == 0

    assert in_fork(child) == 0
    assert names(asyncio.run(store.load("user"))) == ["parent", "child", "grandchild"]


def test_children_forked_while_the_store_is_busy_all_work(root: Path) -> None:
    """Forked at whatever moment of the parent's commits, each of five children adds a pet, and none is lost."""
    store = FleetStore(root, lock_timeout=3600)
    codes: list[int] = []

    def fork() -> None:
        for number in range(5):
            add_one = partial(add, store, f"child {number}")
            codes.append(in_fork(add_one))

    # In one thread: filelock refuses a fork while another thread is forking.
    thread = threading.Thread(target=fork)
    thread.start()
    for number in range(20):
        add(store, f"parent {number}")
    thread.join()
    assert codes == [0] * 5
    assert len(asyncio.run(store.load("user")).pets) == 25


def test_workers_of_a_preloading_server_share_its_store(root: Path) -> None:
    """A store used before the fork serves the parent and four workers at once, and every pet is found."""
    store = FleetStore(root, lock_timeout=3600)
    asyncio.run(store.add("user", pet("preloaded")))

    async def add_many(worker: int) -> None:
        await asyncio.gather(*(store.add("user", pet(f"{worker}/{number}")) for number in range(10)))

    def work(worker: int) -> None:
        signal.alarm(60)
        asyncio.run(add_many(worker))

    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=work, args=[worker]) for worker in range(4)]
    for process in workers:
        process.start()
    asyncio.run(add_many(4))
    for process in workers:
        process.join()
    assert [process.exitcode for process in workers] == [0] * 4
    expected = {"preloaded"} | {f"{worker}/{number}" for worker in range(5) for number in range(10)}
    found = names(asyncio.run(store.load("user")))
    assert len(found) == len(expected)
    assert set(found) == expected


async def use_all(store: FleetStore) -> None:
    """Use each of the store's parts that has threads."""
    await store.add("user", pet("child"))
    assert names(await store.peek("user")) == ["child"]
    store._group_commit._timers.call_later(0, bool)
    store._group_commit._lock_queue.poll(UserQueue("user"), bool)
    await store.aclose()


def add(store: FleetStore, name: str) -> None:
    """Add a pet in an event loop of its own."""
    asyncio.run(store.add("user", pet(name)))


def report(process: subprocess.Popen[str]) -> Any:
    """Return what the child prints next."""
    line = hear(process)
    assert line, process.communicate()[1]
    return json.loads(line)


def renamed(point: str) -> tuple[str, ...]:
    """Return what the held calls have made visible at a point."""
    return CHANGES if point in ("renamed", "committed", "posted") else ()


def test_a_child_is_told_at_once_that_it_cannot_use_objects(object_storage: ObjectStorage) -> None:
    """Each call of a store that the parent has used fails in a forked child, without waiting; the parent goes on."""
    store = object_storage.store()
    fleet = asyncio.run(store.add("user", pet("first")))

    def child() -> None:
        for call in ALL.values():
            with pytest.raises(OSError, match="start processes by spawn") as caught:
                asyncio.run(call(store, "user"))  # type: ignore[arg-type] # each is a coroutine
            assert (caught.value.errno, caught.value.filename) == (errno.ENOTSUP, object_storage.where())

    assert in_fork(child) == 0
    assert asyncio.run(store.load("user")) == fleet
