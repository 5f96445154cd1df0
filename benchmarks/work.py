"""The work of every peer, and the interface of peers."""

from __future__ import annotations

import abc
import importlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Final, NamedTuple

# Each is imported only when it is measured: its dependencies may be missing.
PEERS: Final = {
    "petfleet": "benchmarks.peers.petfleet_store:Petfleet",
    "raw": "benchmarks.peers.raw:Raw",
    "raw, awaited": "benchmarks.peers.raw:AwaitedRaw",
    "step by step": "benchmarks.peers.step_by_step:StepByStep",
    "aiosqlite": "benchmarks.peers.sqlite:Sqlite",
    "aiosqlite, batched": "benchmarks.peers.sqlite:BatchedSqlite",
    "diskcache": "benchmarks.peers.disk_cache:DiskCache",
    "PostgreSQL": "benchmarks.peers.postgres:Postgres",
    "petfleet, objects": "benchmarks.peers.objects:Objects",
    "compare-and-swap loop": "benchmarks.peers.objects:SwapLoop",
    "bare get and put": "benchmarks.peers.objects:BareRequests",
}

Fleet = dict[str, Any]  # of a peer without a fleet type of its own, stored as JSON or TOML


def pet_name(number: int) -> str:
    """Return the name of a fleet's n-th pet."""
    return f"pet-{number:04}"


def pet(user_id: str, name: str) -> dict[str, Any]:
    """Return a new pet."""
    return {"pet_name": name, "role": "friend", "manifest_path": f"/srv/pets/{user_id}/{name}.toml", "last_active": 0}


def fleet(user_id: str, pets: int) -> Fleet:
    """Return a fleet of so many pets, all of them untouched."""
    return {
        "user_id": user_id,
        "active_pet": pet_name(0),
        "pets": [pet(user_id, pet_name(number)) for number in range(pets)],
    }


def touch(fleet: Fleet, name: str) -> None:
    """Count one touch of a pet: a count instead of a time, so that the data show a lost touch."""
    for handle in fleet["pets"]:
        if handle["pet_name"] == name:
            handle["last_active"] += 1
            return
    raise LookupError(f"pet {name} not in fleet")


def add(fleet: Fleet, name: str) -> None:
    """Append a pet; LookupError if there is one of that name."""
    if any(handle["pet_name"] == name for handle in fleet["pets"]):
        raise LookupError(f"pet {name} already in fleet")
    fleet["pets"].append(pet(fleet["user_id"], name))


class Count(NamedTuple):
    """How many pets and touches a user's data hold."""

    pets: int
    touches: int

    @staticmethod
    def of(fleet: Fleet) -> Count:
        """Count a fleet's pets, and all touches of them."""
        return Count(len(fleet["pets"]), sum(handle["last_active"] for handle in fleet["pets"]))


class Peer(abc.ABC):
    """One way to store fleets in a directory, used by several processes.

    ``prepare`` runs in one process before all others begin; ``open`` in each process; then the three calls, from many
    tasks at once; ``close``. A call returns when its change is durable. Each call reads the stored fleet, computes in
    Python and writes, so that all peers do the same work.
    """

    durability: ClassVar[str]
    """What has reached the disk when a call returns, in a few words."""
    blocking: ClassVar[bool] = False
    """Whether its calls block: then each "task" is a thread with an event loop of its own."""
    keeps: ClassVar[bool] = True
    """Whether its data hold the changes, so that they can be counted afterwards."""
    packages: ClassVar[tuple[str, ...]] = ()
    """The distributions whose versions matter."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def start_server(self) -> Sequence[int]:
        """Start the peer's server, and return the ids of its processes; called once, in the parent."""
        return ()

    def stop_server(self) -> None:  # noqa: B027 - most have none
        """Stop the server; called once, in the parent."""

    def server_version(self) -> str | None:
        """Return the version of the server that this object has started; None if there is none."""
        return None

    def commits(self) -> int | None:
        """Return how many commits this process has made since it opened; None if it does not count them."""
        return None

    def lock_path(self, user_id: str) -> Path:
        """Return the file whose lock protects the user's data; NotImplementedError if there is none."""
        raise NotImplementedError(f"{type(self).__name__} has no lock file for each user")

    @abc.abstractmethod
    async def prepare(self, users: Sequence[str], pets: int) -> None:
        """Store a fleet of so many pets for each user, in place of any other; need not be durable."""

    @abc.abstractmethod
    async def open(self) -> None:
        """Get ready in this process and event loop."""

    @abc.abstractmethod
    async def close(self) -> None:
        """Release all resources of this process."""

    @abc.abstractmethod
    async def touch(self, user_id: str, name: str) -> None:
        """Count one touch of a pet, durably: :func:`touch`."""

    @abc.abstractmethod
    async def add(self, user_id: str, name: str) -> None:
        """Append a pet, durably: :func:`add`."""

    @abc.abstractmethod
    async def load(self, user_id: str) -> int:
        """Read and parse the user's fleet, and return how many pets it has."""

    @abc.abstractmethod
    async def count(self, user_id: str) -> Count:
        """Count what is stored for the user, read anew."""


class DocumentPeer(Peer):
    """A peer that stores each fleet as one document; a change reads and writes all of it."""

    @abc.abstractmethod
    async def _change(self, user_id: str, change: Callable[[Fleet], None]) -> None:
        """Apply a change to the user's fleet, durably."""

    @abc.abstractmethod
    async def _read(self, user_id: str) -> Fleet:
        """Return the user's fleet, read and parsed anew."""

    async def touch(self, user_id: str, name: str) -> None:
        await self._change(user_id, lambda fleet: touch(fleet, name))

    async def add(self, user_id: str, name: str) -> None:
        await self._change(user_id, lambda fleet: add(fleet, name))

    async def load(self, user_id: str) -> int:
        return len((await self._read(user_id))["pets"])

    async def count(self, user_id: str) -> Count:
        return Count.of(await self._read(user_id))


def peer_class(name: str) -> type[Peer]:
    """Return the class of a peer."""
    module, _, attribute = PEERS[name].partition(":")
    found: type[Peer] = getattr(importlib.import_module(module), attribute)
    return found
