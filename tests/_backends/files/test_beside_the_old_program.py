"""The earlier synchronous program at work beside us, on the same files."""

from __future__ import annotations

from pathlib import Path

from petfleet import FleetStore, PetFleet, fleet_path
from tests.conftest import pet
from tests.support import old_program


async def test_its_rewrite_discards_what_was_changed_since_it_read(store: FleetStore, root: Path) -> None:
    """It takes no lock: a change of ours between its read and its write is gone, acknowledged or not."""
    await store.add("user-alpha", pet("mira"))
    path = fleet_path("user-alpha", root)
    theirs = old_program.read(path)
    assert len((await store.add("user-alpha", pet("nova"))).pets) == 2
    old_program.rewrite(path, theirs.with_pet(pet("otto")))
    assert [handle.pet_name for handle in (await store.load("user-alpha")).pets] == ["mira", "otto"]


async def test_its_rewrite_discards_unknown_keys(store: FleetStore, root: Path) -> None:
    """Those of the fleet and those of its pets: it writes the keys that it knows."""
    extra = PetFleet("user-alpha", [pet("mira", extra={"mood": "calm"})], "mira", {"theme": "dark"})
    await store.save(extra)
    path = fleet_path("user-alpha", root)
    old_program.rewrite(path, old_program.read(path))
    assert await store.load("user-alpha") == PetFleet("user-alpha", [pet("mira")], "mira")


async def test_what_it_had_written_before_our_last_look_is_kept(store: FleetStore, root: Path) -> None:
    """Our change is applied to what it wrote, in whatever order the two take turns."""
    await store.add("user-alpha", pet("mira"))
    path = fleet_path("user-alpha", root)
    for name in ("nova", "otto"):
        old_program.rewrite(path, old_program.read(path).with_pet(pet(name)))
        await store.touch("user-alpha", name, last_active=7)
    fleet = await store.load("user-alpha")
    assert [(handle.pet_name, handle.last_active) for handle in fleet.pets[1:]] == [("nova", 7), ("otto", 7)]
