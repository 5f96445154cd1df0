"""petfleet, through its public face."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import ClassVar, Final

from benchmarks.processes import GRACE, child, receive
from benchmarks.work import Count, Peer, pet, pet_name
from petfleet import FleetStore, PetFleet, PetHandle, fleet_path
from petfleet.changes import Change, Kind
from petfleet.files import FileBackend

PREPARING: Final = 2  # processes


def new_fleet(user_id: str, pets: int) -> PetFleet:
    """Return the fleet that :func:`benchmarks.work.fleet` describes."""
    handles = [PetHandle(**pet(user_id, pet_name(number))) for number in range(pets)]
    return PetFleet(user_id, handles, pet_name(0) if pets else None)


class Petfleet(Peer):
    """One store a process."""

    durability = "file and directory synced"
    packages: ClassVar[tuple[str, ...]] = ("petfleet", "anyio", "filelock", "tomli-w")

    async def prepare(self, users: Sequence[str], pets: int) -> None:
        with contextlib.ExitStack() as stack:
            parts = [
                stack.enter_context(child(_Saving(self.directory, users[number::PREPARING], pets)))
                for number in range(PREPARING)
            ]
            for pipe in parts:
                receive(pipe, 10 * GRACE)

    async def open(self) -> None:
        self.store = FleetStore(self.directory)

    async def close(self) -> None:
        await self.store.aclose()

    async def touch(self, user_id: str, name: str) -> None:
        await self.store.update(user_id, _touch(name))

    async def add(self, user_id: str, name: str) -> None:
        await self.store.add(user_id, PetHandle(**pet(user_id, name)))

    async def load(self, user_id: str) -> int:
        return len((await self.store.load(user_id)).pets)

    async def count(self, user_id: str) -> Count:
        fleet = await self.store.load(user_id)
        return Count(len(fleet.pets), sum(handle.last_active for handle in fleet.pets))

    def lock_path(self, user_id: str) -> Path:
        return fleet_path(user_id, self.directory).with_name("fleet.toml.lock")


def _touch(name: str) -> Callable[[PetFleet], PetFleet]:
    return lambda fleet: fleet.with_last_active(name, fleet.pet(name).last_active + 1)


class _Saving:
    """Saves new fleets as the store does, in a process of its own: through the store, its threads would take longer."""

    def __init__(self, root: Path, users: Sequence[str], pets: int) -> None:
        self._root = root
        self._users = users
        self._pets = pets

    def __call__(self, pipe: Connection) -> None:
        os.fsync = lambda fd: None
        backend = FileBackend(str(self._root))
        for user_id in self._users:
            saved = _One(new_fleet(user_id, self._pets))
            if not backend.commit(user_id, saved) or saved.change.error is not None:
                raise OSError(f"the fleet of {user_id} could not be saved: {saved.change.error}")
        pipe.send(None)


class _One:
    """A batch that saves one fleet."""

    def __init__(self, fleet: PetFleet) -> None:
        self.change = Change(lambda stored: fleet, Kind.OVERWRITE)

    def may_create(self) -> bool:
        return True

    def wait(self, sign: object) -> bool:
        return False

    def pause(self, seconds: float) -> None:
        pass

    def waited(self) -> None:
        pass

    def seconds_left(self) -> float:
        return 0.0

    def take(self) -> Sequence[Change]:
        return [self.change]

    def put_back(self) -> None:
        pass
