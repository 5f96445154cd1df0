"""Commits of one change in blocking code, for the tests of files, disk and lock."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from petfleet import PetFleet
from petfleet.backend import Backend
from petfleet.changes import Change, Kind
from petfleet.lock import UserLock
from tests.conftest import pet

LOCK = "u/fleet.toml.lock"
FLEET = "u/fleet.toml"
WRITING = ("write", LOCK)
CLEAN = ("write", LOCK)


class OneBatch:
    """The changes of one commit, all there from the beginning."""

    def __init__(self, *changes: Change) -> None:
        self.changes = changes

    def may_create(self) -> bool:
        return any(change.kind >= Kind.CREATE for change in self.changes)

    def wait(self, sign: object) -> bool:
        return False

    def pause(self, seconds: float) -> None:
        time.sleep(seconds)

    def waited(self) -> None:
        pass

    def take(self) -> Sequence[Change]:
        return self.changes

    def seconds_left(self) -> float:
        return 0.0

    def put_back(self) -> None:
        pass


def commit(
    backend: Backend, change: Callable[[PetFleet | None], PetFleet | None], kind: Kind = Kind.CREATE
) -> PetFleet | None:
    """Commit one change for user u and return its result, or raise its error."""
    only = Change(change, kind)
    assert backend.commit("u", OneBatch(only))
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
    return set(os.listdir(path.parent))


def marker(path: Path) -> str:
    return path.with_name("fleet.toml.lock").read_bytes()[1:].decode().split()[1]


def leave_dead_writer(path: Path) -> None:
    """Leave the user as a writer does that died after its temporary file was made."""
    lock = UserLock(str(path) + ".lock", create=False)
    lock.mark_writing()
    lock.close()
    path.with_name(".fleet.toml.00112233445566aa.tmp").write_text("half a wri")
