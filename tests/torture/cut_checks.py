"""Checks of a file system after a power cut."""

from __future__ import annotations

import os
import random
from collections.abc import Iterable
from pathlib import Path

import anyio

from petfleet import FleetFormatError, FleetStore, PetFleet, PetHandle, fleet_path, loads
from tests.torture.cut_ledger import Ledger, LostError

_PROBE = PetHandle("probe", "guest", "pets/probe.toml", 1)


def check_as_found(root: Path, ledger: Ledger) -> None:
    """Raise LostError unless every file parses, and means what was acknowledged or what was in flight."""
    for user in ledger.users():
        ledger.check(user, stored(root, user))


def check_next_calls(root: Path, ledger: Ledger, rng: random.Random) -> None:
    """Raise LostError unless the next call for each user succeeds at once, on what was found, and tidies up."""
    found = {user: stored(root, user) or PetFleet(user) for user in ledger.users()}
    added = {user for user in found if rng.random() < 0.5}
    for user, got in anyio.run(_call, root, found, added).items():
        expected = found[user].with_pet(_PROBE) if user in added else found[user]
        if got != expected:
            raise LostError(f"the next call for {user} returned {got}\n  instead of {expected}")
    for directory in root.iterdir() if root.exists() else ():
        if left := set(os.listdir(directory)) - {"fleet.toml", "fleet.toml.lock"}:
            raise LostError(f"the next call for {directory.name} left {left}")


async def _call(root: Path, users: Iterable[str], added: set[str]) -> dict[str, PetFleet]:
    """Return what the next call for each user returns: an add to some, else a load."""
    got: dict[str, PetFleet] = {}

    async def call(user: str) -> None:
        got[user] = await (store.add(user, _PROBE) if user in added else store.load(user))

    async with FleetStore(root, lock_timeout=0) as store, anyio.create_task_group() as group:
        for user in users:
            group.start_soon(call, user)
    return got


def stored(root: Path, user: str) -> PetFleet | None:
    """Return what a user's file means, without petfleet's store; LostError if it means nothing."""
    path = fleet_path(user, root)
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    try:
        return loads(data, user_id=user)
    except FleetFormatError as error:
        raise LostError(f"{path} does not parse: {error}\n  {data[:1000]!r}") from error
