"""No permission, a full disk, no more threads: the system's error passes, and nothing is lost."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import anyio
import anyio.to_thread
import pytest
from filelock import FileLock

from petfleet import (
    FleetStore,
    PetFleet,
    disk,
    dumps,
    fleet_path,
    lock,
)
from tests.calls import entries
from tests.conftest import pet, wait_until
from tests.gate import Gate

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


@pytest.fixture
def public_directory() -> Iterator[Path]:
    """A directory that every account may enter; pytest's own are closed to others."""
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o755)
        try:
            yield Path(name)
        finally:
            for path in [Path(name), *Path(name).rglob("*")]:
                if path.is_dir():
                    path.chmod(0o700)
            for path in Path(name).rglob("closed"):
                path.chmod(0o700)


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


def no_more_threads(self: threading.Thread) -> None:
    """What starting a thread does where the system allows no more of them."""
    raise RuntimeError("can't start new thread")


async def test_a_call_that_finds_no_thread_fails_and_never_happens(
    store: FleetStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is left waiting, and the next call that gets a thread works."""
    calls: list[Callable[[], Awaitable[object]]] = [
        lambda: store.add("user", pet("mira")),
        lambda: store.peek("user"),
    ]
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", no_more_threads)
        for call in calls:
            with pytest.raises(OSError, match="petfleet") as caught:
                await call()
            assert (caught.value.errno, str(caught.value)) == (errno.EAGAIN, NO_THREAD)
    assert not store._batching._queues
    assert await store.peek("user") == PetFleet("user")
    assert await store.add("user", pet("nova")) == PetFleet("user", [pet("nova")], "nova")
    assert await store.load("user") == PetFleet("user", [pet("nova")], "nova")


async def test_calls_behind_a_commit_that_find_no_thread_fail(
    store: FleetStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The commit under way is not disturbed; what waits behind it gets the error and never happens."""
    gate = Gate()
    monkeypatch.setattr(disk, "rename", gate.before(disk.rename))
    errors: list[OSError] = []

    async def add(name: str, *, task_status: anyio.abc.TaskStatus[None]) -> None:
        task_status.started()
        try:
            await store.add("user", pet(name))
        except OSError as error:
            errors.append(error)

    with monkeypatch.context() as patch:
        async with anyio.create_task_group() as group:
            await group.start(add, "mira")
            await anyio.to_thread.run_sync(gate.reached.wait)
            await group.start(add, "nova")
            await group.start(add, "otto")
            # Otherwise the thread that is there would carry them out.
            group.start_soon(store.aclose)
            await anyio.to_thread.run_sync(wait_until, lambda: store._batching._workers is None)
            patch.setattr(threading.Thread, "start", no_more_threads)
            gate.open()
    assert [(error.errno, str(error)) for error in errors] == [(errno.EAGAIN, NO_THREAD)] * 2
    assert errors[0] is not errors[1]
    assert await store.add("user", pet("pia")) == PetFleet("user", [pet("mira"), pet("pia")], "mira")


async def test_a_refused_lock_without_a_thread_to_watch_it_fails(
    store: FleetStore, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A call that would have to wait for a lock, and cannot, gets the same error as any other without a thread."""
    fleet = await store.add("user", pet("mira"))
    gate = Gate()
    monkeypatch.setattr(lock.UserLock, "try_acquire", gate.before(lock.UserLock.try_acquire))
    errors: list[Exception] = []

    async def add(*, task_status: anyio.abc.TaskStatus[None]) -> None:
        task_status.started()
        try:
            await store.add("user", pet("nova"))
        except Exception as error:  # noqa: BLE001 - which one is what is tested
            errors.append(error)

    with FileLock(fleet_path("user", root).with_name("fleet.toml.lock")), monkeypatch.context() as patch:
        async with anyio.create_task_group() as group:
            await group.start(add)
            await anyio.to_thread.run_sync(gate.reached.wait)
            patch.setattr(threading.Thread, "start", no_more_threads)
            gate.open()
    (error,) = errors
    assert isinstance(error, OSError), repr(error)
    assert (error.errno, str(error)) == (errno.EAGAIN, NO_THREAD)
    assert await store.load("user") == fleet
