"""What the logger `petfleet` warns of: recoveries, files that could not be removed, and long waits."""

from __future__ import annotations

import logging
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import anyio
import pytest
from filelock import FileLock

from petfleet import FleetStore, PetFleet, fleet_path
from petfleet._backends.files import disk
from petfleet._util import runtime
from tests.conftest import Clock, pet, until
from tests.support.logs import petfleet_records

KILLED_WRITER = """
import os, signal, sys
import anyio
from petfleet import FleetStore, PetHandle
from petfleet._backends.files import disk


def rename(source, target):
    os.kill(os.getpid(), signal.SIGKILL)


disk.rename = rename
anyio.run(FleetStore(sys.argv[1]).add, "user", PetHandle("nova", "friend", "nova.toml", 1))
"""


def kill_a_writer(root: Path) -> int:
    """Have a process die between writing its temporary file and renaming it; return its number."""
    child = subprocess.Popen([sys.executable, "-c", KILLED_WRITER, str(root)])
    try:
        assert child.wait(60) == -signal.SIGKILL
    finally:
        child.kill()
        child.wait()
    return child.pid


async def test_a_recovery_after_a_killed_writer_is_a_warning(
    store: FleetStore, root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It names the process that died; its half-made change never happened, and its temporary file is gone."""
    fleet = await store.add("user", pet("mira"))
    killed = kill_a_writer(root)
    path = fleet_path("user", root)
    names = {entry.name for entry in path.parent.iterdir()}
    (left,) = names - {"fleet.toml", "fleet.toml.lock"}
    assert await store.load("user") == fleet
    ((logger, level, message),) = petfleet_records(caplog)
    assert (logger, level) == ("petfleet", logging.WARNING)
    writer = rf"pid {killed} on {re.escape(socket.gethostname()[:64])} since \d+\.\d+"
    assert re.fullmatch(rf"{re.escape(str(path))}: recovering after {writer} did not finish writing", message)
    assert left not in {entry.name for entry in path.parent.iterdir()}
    caplog.clear()
    assert await store.load("user") == fleet
    assert petfleet_records(caplog) == []


async def test_what_could_not_be_tidied_up_is_a_warning(
    store: FleetStore, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A change that is durable does not fail for what comes after it."""

    def sweep(path: str) -> None:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(disk, "sweep", sweep)
    fleet = await store.add("user", pet("mira"))
    assert fleet == PetFleet("user", [pet("mira")], "mira")
    ((logger, level, message),) = petfleet_records(caplog)
    assert (logger, level) == ("petfleet", logging.WARNING)
    assert message.startswith("[Errno 13] Permission denied: ")
    assert message.endswith("; left for the next call to tidy up")


@pytest.mark.parametrize(
    ("seconds", "warnings"), [(0.9, []), (3.5, ["waited 3.5 s for the lock of user user"])], ids=["short", "long"]
)
async def test_a_long_wait_for_a_lock_is_a_warning(
    store: FleetStore,
    root: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    seconds: float,
    warnings: list[str],
) -> None:
    """Over one second it is worth a line; every wait is counted."""
    fleet = await store.add("user", pet("mira"))
    clock = Clock()
    monkeypatch.setattr(runtime, "monotonic", clock.monotonic)
    held = FileLock(fleet_path("user", root).with_name("fleet.toml.lock"))
    held.acquire()
    try:
        async with anyio.create_task_group() as group:
            group.start_soon(store.load, "user")
            await until(lambda: store.statistics().lock_waits)
            clock.now += seconds
            held.release()
    finally:
        held.release(force=True)
    assert petfleet_records(caplog) == [("petfleet", logging.WARNING, message) for message in warnings]
    counted = store.statistics()
    assert counted.lock_waits == 1
    assert counted.lock_wait_seconds == pytest.approx(seconds)
    assert await store.load("user") == fleet
    assert store.statistics().lock_waits == 1
