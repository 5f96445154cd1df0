"""petfleet, through its public names.

They are not imported at the top: each process chooses the revision when it opens the peer.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Final

from benchmarks.processes import GRACE, child, receive
from benchmarks.revisions import import_anew
from benchmarks.work import Count, Peer, pet, pet_name

if TYPE_CHECKING:
    from petfleet import FleetStore, PetFleet

PREPARING: Final = 2  # processes


def new_fleet(user_id: str, pets: int) -> PetFleet:
    """Return the fleet that :func:`benchmarks.work.fleet` describes."""
    from petfleet import PetFleet, PetHandle

    handles = [PetHandle(**pet(user_id, pet_name(number))) for number in range(pets)]
    return PetFleet(user_id, handles, pet_name(0) if pets else None)


class Petfleet(Peer):
    """One store a process.

    Args:
        source: the directory that contains the package; None: the installed package.
    """

    durability = "file and directory synced"
    packages: ClassVar[tuple[str, ...]] = ("petfleet", "anyio", "filelock", "tomli-w")

    store: FleetStore

    def __init__(self, directory: Path, source: Path | None = None) -> None:
        super().__init__(directory)
        self._source = source

    async def prepare(self, users: Sequence[str], pets: int) -> None:
        with contextlib.ExitStack() as stack:
            parts = [
                stack.enter_context(child(self._saving(users[number::PREPARING], pets))) for number in range(PREPARING)
            ]
            for pipe in parts:
                receive(pipe, 10 * GRACE)

    def _saving(self, users: Sequence[str], pets: int) -> Callable[[Connection], None]:
        async def save() -> None:
            await self.open()
            for user_id in users:
                await self.store.save(new_fleet(user_id, pets), overwrite=True)
            await self.close()

        def run(pipe: Connection) -> None:
            os.fsync = lambda fd: None
            asyncio.run(save())
            pipe.send(None)

        return run

    async def open(self) -> None:
        import_anew(self._source)
        from petfleet import FleetStore

        # The same as for step by step: a call that gives up would not show how long it had to wait.
        self.store = FleetStore(self.directory, lock_timeout=60)

    async def close(self) -> None:
        await self.store.aclose()

    async def touch(self, user_id: str, name: str) -> None:
        await self.store.update(user_id, _touch(name))

    async def add(self, user_id: str, name: str) -> None:
        from petfleet import PetHandle

        await self.store.add(user_id, PetHandle(**pet(user_id, name)))

    async def load(self, user_id: str) -> int:
        return len((await self.store.load(user_id)).pets)

    async def count(self, user_id: str) -> Count:
        fleet = await self.store.load(user_id)
        return Count(len(fleet.pets), sum(handle.last_active for handle in fleet.pets))

    def commits(self) -> int:
        return self.store.statistics().commits

    def lock_path(self, user_id: str) -> Path:
        from petfleet import fleet_path

        return fleet_path(user_id, self.directory).with_name("fleet.toml.lock")


def _touch(name: str) -> Callable[[PetFleet], PetFleet]:
    return lambda fleet: fleet.with_last_active(name, fleet.pet(name).last_active + 1)
