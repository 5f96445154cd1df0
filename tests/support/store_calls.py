"""The calls of a store, by what they do to a user's file, and a look at what is on disk."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from pathlib import Path

from petfleet import FleetStore, PetFleet, fleet_path
from tests.conftest import pet

Call = Callable[[FleetStore, str], Awaitable[object]]

OVERWRITE: Call = lambda store, user_id: store.save(PetFleet(user_id, [pet("new")]), overwrite=True)  # noqa: E731
LOCKED: dict[str, Call] = {
    "load": lambda store, user_id: store.load(user_id),
    "save": lambda store, user_id: store.save(PetFleet(user_id)),
    "save replacing": lambda store, user_id: store.save(PetFleet(user_id), replacing=PetFleet(user_id)),
    "add": lambda store, user_id: store.add(user_id, pet("mira")),
    "switch": lambda store, user_id: store.switch(user_id, "mira"),
    "remove": lambda store, user_id: store.remove(user_id, "mira"),
    "touch": lambda store, user_id: store.touch(user_id),
    "update": lambda store, user_id: store.update(user_id, lambda fleet: fleet),
    "delete": lambda store, user_id: store.delete(user_id),
}
CAREFUL: dict[str, Call] = {"peek": lambda store, user_id: store.peek(user_id), **LOCKED}
ALL: dict[str, Call] = {"save overwrite": OVERWRITE, **CAREFUL}


def put(root: Path, data: bytes) -> Path:
    """Put something where the user's fleet is, as another program would have done long ago."""
    path = fleet_path("user", root)
    path.parent.mkdir(parents=True)
    path.write_bytes(data)
    os.utime(path, (1_700_000_000, 1_700_000_000))  # what was written just now might not be finished
    return path


def entries(directory: Path) -> list[str] | None:
    """The names in a directory; None if it does not exist."""
    return sorted(path.name for path in directory.iterdir()) if directory.exists() else None


def text_of(root: Path, user_id: str = "user") -> str:
    """What the user's file holds."""
    return fleet_path(user_id, root).read_text(encoding="utf-8")
