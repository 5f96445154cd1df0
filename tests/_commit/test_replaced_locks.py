"""A lock file that was replaced while a thread waits for it."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from petfleet import FleetStore, LockTimeoutError
from petfleet._commit.group_commit import GroupCommit
from tests.conftest import pet, until
from tests.support.backends import is_free
from tests.support.children import names, program
from tests.support.deadlines import SHORT, time_is_up_when
from tests.support.fake_backend import FakeBackend, load, waits
from tests.support.gate import Gate

pytestmark = pytest.mark.anyio


@pytest.fixture
def backend() -> FakeBackend:
    return FakeBackend()


async def test_a_call_that_gives_up_notices_that_a_lock_was_replaced(
    backend: FakeBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If nobody has the turn when a call gives up, the thread waits for a replaced lock: the next job asks anew."""
    store = GroupCommit(backend, SHORT, 1)
    old = backend.turns["user"] = Gate()
    time_is_up_when(monkeypatch, old.reached.is_set)
    backend.holders = [None]
    with pytest.raises(LockTimeoutError, match="though it is free by now: try again"):
        await load(store, "user")
    del backend.turns["user"]  # the new file is free
    store._lock_timeout = 3600
    gate = backend.held["user"] = Gate()
    async with anyio.create_task_group() as group:
        group.start_soon(load, store, "user")
        await until(gate.reached.is_set)
        group.start_soon(load, store, "user")
        await until(partial(waits, store, 1))
        old.open()
        await until(lambda: backend.closed == ["user"])  # the job that waited for the old file takes no call
        assert backend.read == ["user"]
        gate.open()
    assert backend.read == ["user", "user"]


async def test_a_removed_lock_file_keeps_no_call_waiting(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its holder never releases the lock; after one call has given up, the next ones lock the new file."""
    store = FleetStore(root, lock_timeout=SHORT)
    await FleetStore(root).add("user", pet("first"))
    time_is_up_when(monkeypatch, lambda: store.statistics().lock_waits)
    path = root / "user" / "fleet.toml.lock"
    with program("hold", path) as holder:
        assert holder.stdout is not None
        assert await anyio.to_thread.run_sync(holder.stdout.readline) == "held\n"
        with pytest.raises(LockTimeoutError, match=f"held by pid {holder.pid} on "):
            await store.add("user", pet("refused"))
        path.unlink()
        with pytest.raises(LockTimeoutError, match="though it is free by now"):
            await store.add("user", pet("refused, too"))
        monkeypatch.setattr(store._group_commit, "_lock_timeout", 3600)
        assert names(await store.add("user", pet("second"))) == ["first", "second"]
        assert is_free(path)
