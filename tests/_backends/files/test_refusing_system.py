"""No permission, a full disk, no more threads: the system's error passes, and nothing is lost."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest
from filelock import FileLock

from petfleet import FleetStore, LockTimeoutError, PetFleet, dumps, fleet_path
from petfleet._backends.files import disk, lock
from petfleet._commit import lock_queue
from tests.conftest import pet, refuse_threads, wait_until
from tests.support.children import names
from tests.support.gate import Gate
from tests.support.store_calls import entries

PERMISSIONS = """
import os, sys
import anyio
from petfleet import FleetStore, PetFleet, PetHandle

backend, good, bad = sys.argv[1:]
mira = PetHandle("mira", "friend", "mira.toml", 1)


async def main(root):
    store = FleetStore(root)

    async def attempt(name, call):
        try:
            result = await call
        except Exception as error:
            print(name, type(error).__name__, os.path.relpath(error.filename, root))
        else:
            print(name, result.active_pet)

    await attempt("peek", store.peek("reader"))
    await attempt("load", store.load("reader"))
    await attempt("touch", store.touch("reader", last_active=2))
    await attempt("peek unreadable", store.peek("unreadable"))
    await attempt("load unreadable", store.load("unreadable"))
    await attempt("overwrite unreadable", store.save(PetFleet("unreadable", [mira], "mira"), overwrite=True))
    await attempt("load closed", store.load("closed"))
    await attempt("add", store.add("new", mira))


# Once with all permissions, so that whatever is imported late is there.
anyio.run(main, good, backend=backend)
root_user = os.geteuid() == 0
if root_user:
    os.setgroups([])
    os.setegid(65534)
    os.seteuid(65534)
anyio.run(main, bad, backend=backend)
if root_user:
    os.seteuid(0)
"""


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_no_permission_is_an_error_and_never_an_empty_fleet(public_directory: Path, backend: str) -> None:
    """What may not be read or written is reported by the system's error with the file's name, and is not lost."""
    good, bad = public_directory / "good", public_directory / "bad"
    texts = {}
    for user_id in ("reader", "unreadable", "closed"):
        path = fleet_path(user_id, good)
        path.parent.mkdir(parents=True)
        path.write_text(dumps(PetFleet(user_id, [pet("mira")], "mira")))
        texts[user_id] = path.read_bytes()
    shutil.copytree(good, bad)
    (bad / "reader" / "fleet.toml").chmod(0o444)
    (bad / "unreadable" / "fleet.toml").chmod(0o000)
    (bad / "unreadable" / "fleet.toml.lock").touch()
    (bad / "unreadable" / "fleet.toml.lock").chmod(0o666)
    for path, mode in ((bad / "closed", 0o000), (bad / "unreadable", 0o555), (bad / "reader", 0o555), (bad, 0o555)):
        path.chmod(mode)
    child = subprocess.run(
        [sys.executable, "-c", PERMISSIONS, backend, str(good), str(bad)], stdout=subprocess.PIPE, timeout=60
    )
    assert child.returncode == 0
    lines = child.stdout.decode().splitlines()
    assert [line.rpartition(" ")[2] for line in lines[:8]] == ["mira"] * 8
    assert lines[8:] == [
        "peek mira",
        "load PermissionError reader/fleet.toml.lock",
        "touch PermissionError reader/fleet.toml.lock",
        "peek unreadable PermissionError unreadable/fleet.toml",
        "load unreadable PermissionError unreadable/fleet.toml",
        "overwrite unreadable PermissionError unreadable/fleet.toml",
        "load closed PermissionError closed/fleet.toml.lock",
        "add PermissionError new",
    ]
    for directory in (bad, *bad.iterdir()):
        directory.chmod(stat.S_IRWXU)
    (bad / "unreadable" / "fleet.toml").chmod(0o600)
    assert {user_id: fleet_path(user_id, bad).read_bytes() for user_id in texts} == texts
    assert entries(bad) == sorted(texts)


def full_disk(data: bytes, written: Callable[[bytes], None]) -> None:
    """Write as much as there is room for, then fail as a full disk does."""
    written(data[: len(data) // 2])
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("there", [True, False], ids=["a fleet", "no fleet"])
async def test_a_full_disk_leaves_the_old_file(
    store: FleetStore,
    root: Path,
    there: bool,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The call fails with the system's error, no temporary file is left, and there is nothing to recover."""
    before = await store.add("user", pet("mira")) if there else PetFleet("user")
    write_all = disk.write_all

    def write(fd: int, data: bytes) -> None:
        if not data.startswith(b"petfleet "):  # the marker overwrites itself and needs no room
            full_disk(data, lambda half: write_all(fd, half))
        write_all(fd, data)

    with monkeypatch.context() as patch:
        patch.setattr(disk, "write_all", write)
        with pytest.raises(OSError, match="No space left on device") as caught:
            await store.add("user", pet("nova"))
        assert caught.value.errno == errno.ENOSPC
        assert Path(caught.value.filename).parent == root / "user"
        assert await store.load("user") == before
    assert entries(root / "user") == (["fleet.toml", "fleet.toml.lock"] if there else None)
    assert await store.add("user", pet("nova")) == before.with_pet(pet("nova"))
    assert caplog.messages == []


async def test_a_disk_too_full_for_the_marker_leaves_the_old_file(
    store: FleetStore, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where not even the lock file can be written, nothing else is begun."""
    before = await store.add("user", pet("mira"))
    write_all = disk.write_all
    with monkeypatch.context() as patch:
        patch.setattr(disk, "write_all", lambda fd, data: full_disk(data, lambda half: write_all(fd, half)))
        with pytest.raises(OSError, match="No space left on device") as caught:
            await store.add("user", pet("nova"))
        assert caught.value.filename == str(root / "user" / "fleet.toml.lock")
    assert fleet_path("user", root).read_bytes() == dumps(before).encode()
    assert entries(root / "user") == ["fleet.toml", "fleet.toml.lock"]
    assert await store.load("user") == before


NO_THREAD = (
    f"[Errno {errno.EAGAIN}] petfleet could not start a thread (can't start new thread): allow the process more of them"
)


async def test_a_call_that_finds_no_thread_fails_and_never_happens(
    store: FleetStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is left waiting, and the next call that gets a thread works."""
    calls: list[Callable[[], Awaitable[object]]] = [
        lambda: store.add("user", pet("mira")),
        lambda: store.peek("user"),
    ]
    with monkeypatch.context() as patch:
        refuse_threads(patch)
        for call in calls:
            with pytest.raises(OSError, match="petfleet") as caught:
                await call()
            assert (caught.value.errno, str(caught.value)) == (errno.EAGAIN, NO_THREAD)
    assert not store._group_commit._queues
    assert await store.peek("user") == PetFleet("user")
    assert await store.add("user", pet("nova")) == PetFleet("user", [pet("nova")], "nova")
    assert await store.load("user") == PetFleet("user", [pet("nova")], "nova")


async def test_calls_behind_a_commit_need_no_other_thread(store: FleetStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread that is there carries them out, although the store is being closed."""
    gate = Gate()
    with monkeypatch.context() as patch:
        patch.setattr(disk, "rename", gate.before(disk.rename))
        async with anyio.create_task_group() as group:
            group.start_soon(store.add, "user", pet("mira"))
            await anyio.to_thread.run_sync(gate.reached.wait)
            group.start_soon(store.aclose)
            await anyio.wait_all_tasks_blocked()
            refuse_threads(patch)
            for name in ("nova", "otto"):
                group.start_soon(store.add, "user", pet(name))
                await anyio.wait_all_tasks_blocked()
            gate.open()
    assert names(await store.load("user")) == ["mira", "nova", "otto"]


@pytest.fixture
def refused(root: Path, store: FleetStore, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[FileLock, Gate]]:
    """Another program has the user's lock, and the first worker is held before it asks for the lock."""
    gate = Gate()
    anyio.run(store.add, "user", pet("mira"))
    monkeypatch.setattr(lock.UserLock, "try_acquire", gate.before(lock.UserLock.try_acquire))
    with FileLock(fleet_path("user", root).with_name("fleet.toml.lock")) as held:
        yield held, gate


async def attempts(store: FleetStore, errors: list[Exception], name: str) -> None:
    """Add a pet, and note the error."""
    try:
        await store.add("user", pet(name))
    except Exception as error:  # noqa: BLE001 - which one is what is tested
        errors.append(error)


async def test_a_refused_lock_needs_no_thread(
    store: FleetStore, refused: tuple[FileLock, Gate], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thread that was refused waits for the lock."""
    held, gate = refused
    with monkeypatch.context() as patch:
        async with anyio.create_task_group() as group:
            group.start_soon(store.add, "user", pet("nova"))
            await anyio.to_thread.run_sync(gate.reached.wait)
            refuse_threads(patch)
            gate.open()
            while store.statistics().lock_waits == 0:  # not in another thread: none can be started
                await anyio.lowlevel.checkpoint()
            held.release()
    assert names(await store.load("user")) == ["mira", "nova"]


async def test_a_refused_lock_that_no_thread_can_wait_for_fails(
    store: FleetStore, refused: tuple[FileLock, Gate], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Calls that would have to be tried again, and cannot be, get the same error as any other without a thread."""
    held, gate = refused
    errors: list[Exception] = []
    with monkeypatch.context() as patch:
        patch.setattr(lock_queue, "_MAX_THREADS", 0)  # as if so many waited already
        async with anyio.create_task_group() as group:
            group.start_soon(attempts, store, errors, "nova")
            await anyio.to_thread.run_sync(gate.reached.wait)
            group.start_soon(attempts, store, errors, "otto")
            await anyio.wait_all_tasks_blocked()
            refuse_threads(patch)
            gate.open()
    check_no_thread(errors, 2)
    held.release()
    assert names(await store.load("user")) == ["mira"]


async def test_calls_that_are_to_be_tried_again_and_find_no_thread_fail(
    store: FleetStore, refused: tuple[FileLock, Gate], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is left waiting, and the next call that gets a thread works."""
    held, gate = refused
    errors: list[Exception] = []
    due: list[Callable[[], object]] = []
    with monkeypatch.context() as patch:
        async with anyio.create_task_group() as group:
            patch.setattr(
                store._group_commit._lock_queue._timers, "call_later", lambda _, function: due.append(function)
            )
            with monkeypatch.context() as full:
                full.setattr(lock_queue, "_MAX_THREADS", 0)
                for name in ("nova", "otto"):
                    group.start_soon(attempts, store, errors, name)
                    await anyio.wait_all_tasks_blocked()
                gate.open()
                await anyio.to_thread.run_sync(wait_until, lambda: due and not store._group_commit.workers._busy)
            await anyio.to_thread.run_sync(store._group_commit.workers.end_idle)
            refuse_threads(patch)
            due.pop()()
    check_no_thread(errors, 2)
    assert not store._group_commit._queues
    held.release()
    assert names(await store.add("user", pet("pia"))) == ["mira", "pia"]


async def test_without_a_thread_a_call_whose_time_is_over_still_says_what_it_waited_for(
    root: Path, refused: tuple[FileLock, Gate], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the holder of the lock is unknown."""
    held, gate = refused
    impatient = FleetStore(root, lock_timeout=0)
    with monkeypatch.context() as patch:
        errors: list[Exception] = []
        async with anyio.create_task_group() as group:
            group.start_soon(attempts, impatient, errors, "nova")
            await anyio.to_thread.run_sync(gate.reached.wait)
            refuse_threads(patch)
            gate.open()
    (error,) = errors
    assert isinstance(error, LockTimeoutError)
    assert (error.path, error.holder) == (held.lock_file, None)


def check_no_thread(errors: list[Exception], number: int) -> None:
    """Check that there are so many errors that say that no thread could be started, each of them its own."""
    assert [str(error) for error in errors] == [NO_THREAD] * number
    assert all(isinstance(error, OSError) and error.errno == errno.EAGAIN for error in errors)
    assert len({id(error) for error in errors}) == number
