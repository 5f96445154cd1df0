"""What the calls of a store over files do beside the fleet: its lock, and what else is in the root."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from filelock import FileLock

from petfleet import FleetStore, LockTimeoutError, PetFleet, fleet_path
from tests.conftest import pet
from tests.support.store_calls import LOCKED, OVERWRITE


async def test_peek_needs_no_lock_and_all_other_calls_do(store: FleetStore, root: Path) -> None:
    """While another program holds the user's lock, peek answers and every other call reports the lock's holder."""
    fleet = await store.add("user", pet("mira"))
    impatient = FleetStore(root, lock_timeout=0)
    lock_path = fleet_path("user", root).with_name("fleet.toml.lock")
    with FileLock(lock_path):
        assert await impatient.peek("user") == fleet
        for call in (*LOCKED.values(), OVERWRITE):
            with pytest.raises(LockTimeoutError) as caught:
                await call(impatient, "user")
            assert caught.value.path == str(lock_path)
            assert caught.value.holder == f"pid {os.getpid()} on {socket.gethostname()}"
    assert await impatient.load("user") == fleet


async def test_names_of_directories_that_are_no_user_ids(store: FleetStore, root: Path) -> None:
    """Neither an empty directory nor a name that is not UTF-8 stands for a user."""
    await store.save(PetFleet("user"))
    (root / "empty").mkdir()
    os.mkdir(os.fsencode(root) + b"/\xff")
    assert [user_id async for user_id in store.users()] == ["user"]
