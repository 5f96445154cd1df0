"""`petfleet watch`: changes as they happen."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator

import anyio
import anyio.to_thread

from petfleet import FleetFormatError, FleetStore, InvalidNameError, PetFleet
from petfleet.files import FileBackend
from petfleet.layout import FLEET_FILE
from petfleet.names import check_user_id
from petfleet_cli.app import Settings
from petfleet_cli.output import Printer, as_json, located, moment, shown, summary


def follow(settings: Settings, user_id: str | None) -> None:
    """Print each change of a user's fleet, or of all, until interrupted."""
    import watchfiles  # noqa: F401 - here, so that it is said at once if it is missing

    if user_id is not None:
        check_user_id(user_id)
    anyio.run(_follow, settings, user_id)


async def _follow(settings: Settings, user_id: str | None) -> None:
    printer = Printer()
    known: dict[str, PetFleet | Exception] = {}
    looks = _all(settings.root) if user_id is None else _one(settings.root, user_id)
    async for changed, fleet in looks:
        before = known.get(changed)
        if fleet == before:
            continue  # written anew, as after a crash
        known[changed] = fleet
        if isinstance(fleet, Exception):
            why = located(fleet) if isinstance(fleet, FleetFormatError) else str(fleet)
            printer.line(as_json({"user_id": changed, "error": why}) if settings.json else _line(changed, why), "red")
        elif settings.json:
            printer.line(as_json(fleet))
        else:
            what = _line(changed, describe(before, fleet)) if isinstance(before, PetFleet) else summary(fleet)
            printer.line(f"{moment(time.time())}  {what}")


def _line(user_id: str, what: str) -> str:
    return f"{shown(user_id)}: {shown(what)}"


async def _one(root: str, user_id: str) -> AsyncIterator[tuple[str, PetFleet | Exception]]:
    looks = FleetStore(root).watch(user_id)
    while True:
        try:
            fleet: PetFleet | Exception = await anext(looks)
        except (FleetFormatError, OSError) as error:
            fleet = error  # the next change ends it
        yield user_id, fleet


async def _all(root: str) -> AsyncIterator[tuple[str, PetFleet | Exception]]:
    """Yield what changes, from now on. Beside it, a flood of changes may drop one: only `store.watch` never does."""
    from watchfiles import awatch

    backend = FileBackend(root)

    def look(user_id: str) -> PetFleet | Exception:
        try:
            return backend.peek(user_id) or PetFleet(user_id)
        except (FleetFormatError, OSError) as error:
            return error

    async for changes in awatch(root, watch_filter=None, debounce=200, step=20):
        for user_id in sorted({name for _, path in changes if (name := _user_of(root, path))}):
            yield user_id, await anyio.to_thread.run_sync(look, user_id)


def _user_of(root: str, path: str) -> str | None:
    """Return whose fleet a changed path may concern: a new directory may hold its fleet before it is watched."""
    parts = os.path.relpath(path, root).split(os.sep)
    if len(parts) > 2 or parts[1:] not in ([], [FLEET_FILE]):
        return None
    try:
        return check_user_id(parts[0])
    except InvalidNameError:
        return None


def describe(before: PetFleet, after: PetFleet) -> str:
    """Return what became of a fleet, in a line."""
    old = {pet.pet_name: pet for pet in before.pets}
    new = {pet.pet_name: pet for pet in after.pets}
    parts = [f"+ {name}" for name in new if name not in old]
    parts += [f"- {name}" for name in old if name not in new]
    for name, pet in new.items():
        if name in old and pet != old[name]:
            touched = pet == before.with_last_active(name, pet.last_active).pet(name)
            parts.append(f"{name} touched" if touched else f"{name} changed")
    if after.active_pet != before.active_pet:
        parts.append("none is active" if after.active_pet is None else f"{after.active_pet} is active")
    return ", ".join(parts) or "changed"
