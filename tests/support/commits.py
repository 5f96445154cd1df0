"""Commits of one change in blocking code, for the tests of files, disk and lock."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from petfleet import PetFleet, loads
from petfleet._backends.files.lock import UserLock
from petfleet._backends.protocol import Backend, OvertakenError
from petfleet._commit.change import Change, Kind, carry_out
from petfleet._util import log
from tests.conftest import pet

LOCK = "u/fleet.toml.lock"
FLEET = "u/fleet.toml"
WRITING = ("write", LOCK)
CLEAN = ("write", LOCK)


def attempt(backend: Backend, *changes: Change, user_id: str = "u") -> bool:
    """Commit changes of one user in one batch, as the engine does; False if others have the turn, or are always first.

    Raises:
        OSError, FleetFormatError: the whole batch has failed; nothing was changed.
    """
    for _ in range(20):
        try:
            turn = backend.begin(user_id, create=any(change.kind >= Kind.CREATE for change in changes))
            try:
                if not turn.try_turn():
                    return False
                carry_out(changes, turn, lambda phase: None)
                return True
            finally:
                log.best_effort(turn.close)
        except OvertakenError:
            pass
    return False


def commit(
    backend: Backend, change: Callable[[PetFleet | None], PetFleet | None], kind: Kind = Kind.CREATE
) -> PetFleet | None:
    """Commit one change for user u and return its result, or raise its error."""
    only = Change(change, kind)
    assert attempt(backend, only)
    if only.error is not None:
        raise only.error
    return only.result


def add(name: str) -> Callable[[PetFleet | None], PetFleet]:
    return lambda stored: (stored or PetFleet("u")).with_pet(pet(name))


def load(stored: PetFleet | None) -> PetFleet | None:
    return stored


def delete(stored: PetFleet | None) -> PetFleet | None:
    return None


def names(path: Path) -> set[str]:
    """Return the names of all that is in the directory of a fleet file."""
    return set(os.listdir(path.parent))


def marker(path: Path) -> str:
    """Return what the lock file beside a fleet file says: clean or writing."""
    return path.with_name("fleet.toml.lock").read_bytes()[1:].decode().split()[1]


def stored(path: Path) -> list[str]:
    """Return the names of the pets in a fleet file."""
    return [handle.pet_name for handle in loads(path.read_bytes()).pets]


def once_before(
    monkeypatch: pytest.MonkeyPatch, owner: object, name: str, interfere: Callable[[], object]
) -> list[None]:
    """Have something happen before the first call of a function; the list grows with each call."""
    function = getattr(owner, name)
    calls: list[None] = []

    def interfered(*arguments: Any, **options: Any) -> Any:
        calls.append(None)
        if len(calls) == 1:
            interfere()
        return function(*arguments, **options)

    monkeypatch.setattr(owner, name, interfered)
    return calls


def leave_dead_writer(path: Path) -> None:
    """Leave the user as a writer does that died after its temporary file was made."""
    lock = UserLock(str(path) + ".lock", create=False)
    lock.mark_writing()
    lock.close()
    path.with_name(".fleet.toml.00112233445566aa.tmp").write_text("half a wri")
