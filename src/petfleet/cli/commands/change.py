"""`petfleet add`, `switch`, `remove`, `touch` and `delete`: one call of the store each."""

from __future__ import annotations

import sys
import time
from collections.abc import Awaitable, Callable

import anyio
import typer

from petfleet import FleetNotFoundError, FleetStore, PetFleet, PetHandle
from petfleet._model.names import check_user_id
from petfleet.cli.output import Printer, as_json, printable, summary
from petfleet.cli.roots import opened
from petfleet.cli.settings import Misuse, Settings


def add(settings: Settings, user_id: str, pet_name: str, role: str, manifest: str, at: int | None) -> None:
    """Add a pet, and print the fleet."""
    handle = PetHandle(pet_name, role, manifest, int(time.time()) if at is None else at)
    _change(settings, lambda store: store.add(user_id, handle))


def switch(settings: Settings, user_id: str, pet_name: str) -> None:
    """Make a pet the active one, and print the fleet."""
    _change(settings, lambda store: store.switch(user_id, pet_name))


def remove(settings: Settings, user_id: str, pet_name: str) -> None:
    """Take a pet out, and print the fleet."""
    _change(settings, lambda store: store.remove(user_id, pet_name))


def touch(settings: Settings, user_id: str, pet_name: str | None, at: int | None) -> None:
    """Set when a pet was last active, and print the fleet."""
    _change(settings, lambda store: store.touch(user_id, pet_name, last_active=at))


def delete(settings: Settings, user_id: str, *, yes: bool) -> None:
    """Delete a fleet; exit code 1 if there is none, or the answer is no."""
    backend = opened(settings)
    fleet = backend.peek(check_user_id(user_id))
    if fleet is None:
        raise FleetNotFoundError(user_id)
    confirm(f"Delete {summary(fleet)}? There is no way back", yes=yes)
    if not anyio.run(FleetStore(backend).delete, user_id):
        raise FleetNotFoundError(user_id)
    Printer().line(
        as_json({"user_id": user_id, "deleted": True}) if settings.json else f"{printable(user_id)}: deleted"
    )


def confirm(question: str, *, yes: bool) -> None:
    """Ask on the terminal; typer.Abort if the answer is no, Misuse where there is no one to ask."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise Misuse("there is no terminal to ask on: pass --yes to go on without asking")
    typer.confirm(question, abort=True, err=True)


def _change(settings: Settings, call: Callable[[FleetStore], Awaitable[PetFleet]]) -> None:
    store = FleetStore(opened(settings))

    async def change() -> PetFleet:
        return await call(store)

    fleet = anyio.run(change)
    Printer().line(as_json(fleet) if settings.json else summary(fleet))
