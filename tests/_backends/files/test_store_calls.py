"""What the calls of a store over files do beside the fleet: its lock, its directory, and what else is in the root."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from filelock import FileLock

from petfleet import FleetStore, LockTimeoutError, PetFleet, fleet_path
from tests.conftest import pet
from tests.support.store_calls import entries


async def test_peek_needs_no_lock_and_all_other_calls_do(store: FleetStore, root: Path) -> None:
    """While another program holds the user's lock, peek answers and every other call reports who holds it."""
    fleet = await store.add("user", pet("mira"))
    impatient = FleetStore(root, lock_timeout=0)
    lock_path = fleet_path("user", root).with_name("fleet.toml.lock")
    with FileLock(lock_path):
        assert await impatient.peek("user") == fleet
        for call in (
            impatient.load("user"),
            impatient.add("user", pet("nova")),
            impatient.switch("user", "mira"),
            impatient.remove("user", "mira"),
            impatient.touch("user"),
            impatient.update("user", lambda fleet: fleet),
            impatient.save(PetFleet("user")),
            impatient.save(PetFleet("user"), replacing=fleet),
            impatient.save(PetFleet("user"), overwrite=True),
            impatient.delete("user"),
        ):
            with pytest.raises(LockTimeoutError) as caught:
                await call
            assert caught.value.path == str(lock_path)
            assert caught.value.holder == f"pid {os.getpid()} on {socket.gethostname()}"
    assert await impatient.load("user") == fleet


async def test_delete_leaves_nothing_of_the_user(store: FleetStore, root: Path) -> None:
    """The fleet, its lock file and its directory are gone, and the user can begin anew."""
    await store.add("user", pet("mira"))
    (root / "user" / f".fleet.toml.{'0' * 16}.tmp").write_bytes(b"of a writer that died")
    assert await store.delete("user") is True
    assert entries(root) == []
    assert await store.load("user") == PetFleet("user")
    assert await store.add("user", pet("nova")) == PetFleet("user", [pet("nova")], "nova")


async def test_users_are_those_who_have_a_fleet(store: FleetStore, root: Path) -> None:
    """Empty fleets count; deleted ones, other files and names that are no user ids do not."""
    await store.add("alpha", pet("mira"))
    await store.save(PetFleet("ßeta"))
    await store.add("gone", pet("mira"))
    await store.delete("gone")
    (root / "note.txt").write_text("no user")
    (root / "empty").mkdir()
    (root / "a::b").mkdir()
    (root / "a::b" / "fleet.toml").write_text("no user id")
    os.mkdir(os.fsencode(root) + b"/\xff")
    assert sorted([user_id async for user_id in store.users()]) == ["alpha", "ßeta"]
