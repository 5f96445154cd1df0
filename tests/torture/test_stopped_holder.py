"""A process that is stopped while it holds a user's lock keeps others from that user only, and loses nothing."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest

from petfleet import FleetError, FleetStore
from tests.conftest import pet
from tests.support.children import names
from tests.support.mutate import mutate
from tests.support.store_calls import LOCKED, Call
from tests.torture import means
from tests.torture.stopped_holder import POINTS, holder

pytestmark = pytest.mark.anyio


async def refusals(store: FleetStore) -> dict[str, str]:
    """Return what all calls that take the lock, made at once, fail with."""
    said: dict[str, str] = {}

    async def say(name: str, call: Call) -> None:
        try:
            await call(store, "user")
        except FleetError as error:
            said[name] = str(error)

    async with anyio.create_task_group() as group:
        for name, call in LOCKED.items():
            group.start_soon(say, name, call)
    return said


async def stop_a_holder(point: str, root: Path, backend: str) -> None:
    """Raise AssertionError unless others are refused while a holder is stopped, and all goes on with it."""
    patient = FleetStore(root, lock_timeout=60)
    await patient.add("user", pet("mira"))
    with holder(root, backend, point) as stopped:
        _, status = await anyio.to_thread.run_sync(os.waitpid, stopped.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status)
        for lock_timeout in (0, 0.2):
            hasty = FleetStore(root, lock_timeout=lock_timeout)
            said = await refusals(hasty)
            assert said.keys() == LOCKED.keys()
            assert all(f"pid {stopped.pid} on " in message for message in said.values()), said
            assert names(await hasty.add(f"other-{lock_timeout}", pet("mira"))) == ["mira"]
        seen = ["mira", "holder"] if point == "before it syncs the directory" else ["mira"]
        assert names(await hasty.peek("user")) == seen
        async with anyio.create_task_group() as group:
            group.start_soon(patient.add, "user", pet("patient"))
            while patient.statistics().lock_waits == 0:
                await anyio.lowlevel.checkpoint()
            os.kill(stopped.pid, signal.SIGCONT)
        assert await anyio.to_thread.run_sync(stopped.wait, 30) == 0
    assert names(await FleetStore(root, lock_timeout=0).load("user")) == ["mira", "holder", "patient"]


@pytest.mark.parametrize("point", POINTS)
async def test_a_stopped_holder_keeps_others_from_its_user_and_loses_nothing(
    point: str, root: Path, anyio_backend_name: str
) -> None:
    """Their errors name its pid, peek answers, other users are served, and all goes on when the holder does."""
    means.need("linux")
    await stop_a_holder(point, root, anyio_backend_name)


async def test_a_holder_without_a_lock_does_not_pass(
    root: Path, tmp_path: Path, anyio_backend_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others are not refused."""
    means.need("linux")
    mutate(
        tmp_path / "src", monkeypatch, ("_backends/files/lock.py", "lock_descriptor(self._fd, blocking=False)", "True")
    )
    with pytest.raises(AssertionError, match="dict_keys"):
        await stop_a_holder("before it reads", root, anyio_backend_name)
