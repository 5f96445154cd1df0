"""diskcache: its own transactions over SQLite, in threads."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import diskcache  # type: ignore[import-untyped]

from benchmarks import work
from benchmarks.work import DocumentPeer, Fleet


class DiskCache(DocumentPeer):
    """One Cache a process, which never evicts anything; calls run in an executor, as its author advises.

    Not a FanoutCache: its ``transact`` locks all shards, and its ``set`` fails silently.
    """

    durability = "write-ahead log synced at each commit"
    packages = ("diskcache",)

    async def prepare(self, users: Sequence[str], pets: int) -> None:
        with self._cache() as cache, cache.transact(retry=True):
            cache.clear(retry=True)
            for user_id in users:
                cache.set(user_id, json.dumps(work.fleet(user_id, pets)), retry=True)

    async def open(self) -> None:
        self._opened = self._cache()
        # One thread for changes: several would wait for one another in SQLite, which sleeps and tries again.
        self._writer = ThreadPoolExecutor(1)
        self._reader = ThreadPoolExecutor(1)

    async def close(self) -> None:
        for executor in (self._writer, self._reader):
            await asyncio.get_running_loop().run_in_executor(executor, self._opened.close)  # each thread has its own
            executor.shutdown()
        self._opened.close()

    def _cache(self) -> Any:
        return diskcache.Cache(
            self.directory / "cache",
            timeout=60,
            eviction_policy="none",
            cull_limit=0,
            size_limit=1 << 40,
            sqlite_synchronous=2,  # FULL; its default, NORMAL, does not sync at a commit
            disk_min_file_size=1 << 30,  # values in files of their own are never synced, so all stay in the database
        )

    async def _change(self, user_id: str, change: Callable[[Fleet], None]) -> None:
        def run() -> None:
            with self._opened.transact(retry=True):
                fleet = json.loads(self._opened[user_id])
                change(fleet)
                self._opened.set(user_id, json.dumps(fleet), retry=True)

        await asyncio.get_running_loop().run_in_executor(self._writer, run)

    async def _read(self, user_id: str) -> Fleet:
        def run() -> Fleet:
            fleet: Fleet = json.loads(self._opened[user_id])
            return fleet

        return await asyncio.get_running_loop().run_in_executor(self._reader, run)
