"""`petfleet add`, `switch`, `remove` and `touch`: one call of the store each."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

from petfleet import FleetStore, PetFleet, PetHandle
from petfleet._cli import interrupt
from petfleet._cli.output import Printer, as_json, summary
from petfleet._cli.roots import open_backend
from petfleet._cli.settings import Settings


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


def _change(settings: Settings, call: Callable[[FleetStore], Awaitable[PetFleet]]) -> None:
    fleet = interrupt.run(call, FleetStore(open_backend(settings)))
    Printer().line(as_json(fleet) if settings.json else summary(fleet))
