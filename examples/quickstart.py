"""A bot's fleet in a few calls: `python examples/quickstart.py [ROOT]`.

Without ROOT it works in a temporary directory and leaves nothing behind; with one, run it as often as you like.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import time

import aiofiles
import aiofiles.os

from petfleet import FleetStore, PetAlreadyInFleetError, PetHandle, fleet_path

MANIFEST = 'name = "Mira"\ngreeting = "Good to see you!"\n'


async def main(root: str) -> None:
    """Give one user a pet, and show what is on disk."""
    store = FleetStore(f"{root}/fleets")

    # Your program owns the manifest: a handle names it, petfleet never opens it. Write and sync it first, so that no
    # handle names a missing manifest.
    manifest = f"{root}/pets/mira.toml"
    await aiofiles.os.makedirs(f"{root}/pets", exist_ok=True)
    async with aiofiles.open(manifest, "w", encoding="utf-8") as file:
        await file.write(MANIFEST)
        await file.flush()
        await asyncio.to_thread(os.fsync, file.fileno())

    mira = PetHandle("mira", role="friend", manifest_path=manifest, last_active=int(time.time()))
    try:
        await store.add("user-alpha", mira)  # the first pet becomes active
    except PetAlreadyInFleetError:
        print("mira is still there from the last run")
    await store.switch("user-alpha", "mira")
    await store.touch("user-alpha")  # the active pet was active just now
    fleet = await store.load("user-alpha")
    print(f"{fleet.user_id}: {len(fleet.pets)} pet, {fleet.active_pet} is active\n")

    async with aiofiles.open(fleet_path("user-alpha", f"{root}/fleets"), encoding="utf-8") as file:
        print(await file.read(), end="")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="petfleet-quickstart-") as temporary:
        asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else temporary))
