"""What tutorials recommend: one TOML file a user, a file lock, aiofiles, an atomic rename, fsync."""

from __future__ import annotations

import asyncio
import os
import shutil
import tomllib
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path

import aiofiles
import aiofiles.os
import tomli_w
from filelock import AsyncFileLock

from benchmarks import work
from benchmarks.work import DocumentPeer, Fleet

# aiofiles has no fsync, but offers the wrapper. Looked up late: a run may replace os.fsync by a slower one.
_fsync = aiofiles.os.wrap(lambda fd: os.fsync(fd))


class StepByStep(DocumentPeer):
    """Every change takes the user's lock, reads, changes, writes a new file, and renames it.

    A read takes no lock: whoever opens a file that is only ever renamed sees all of one version. So what it sees may
    not be durable yet, since the directory is synced after the rename.
    """

    durability = "file and directory synced"
    packages = ("filelock", "aiofiles", "tomli-w")

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.fleets = directory / "fleets"

    async def prepare(self, users: Sequence[str], pets: int) -> None:
        shutil.rmtree(self.fleets, ignore_errors=True)
        self.fleets.mkdir(parents=True)
        for user_id in users:
            self._path(user_id).write_bytes(tomli_w.dumps(work.fleet(user_id, pets)).encode())

    async def open(self) -> None:
        pass

    async def close(self) -> None:
        pass

    def lock_path(self, user_id: str) -> Path:
        return Path(f"{self._path(user_id)}.lock")

    async def _change(self, user_id: str, change: Callable[[Fleet], None]) -> None:
        path = self._path(user_id)
        # One lock object for all calls would admit every task of the process: it is re-entrant and bound to no task.
        async with AsyncFileLock(self.lock_path(user_id), timeout=60):
            fleet = await self._read(user_id)
            change(fleet)
            temporary = f"{path}.{uuid.uuid4().hex}.tmp"
            async with aiofiles.open(temporary, "wb") as file:
                await file.write(tomli_w.dumps(fleet).encode())
                await file.flush()
                await _fsync(file.fileno())
            await aiofiles.os.replace(temporary, path)
            await asyncio.to_thread(_sync_directory, self.fleets)

    async def _read(self, user_id: str) -> Fleet:
        async with aiofiles.open(self._path(user_id), "rb") as file:
            return tomllib.loads((await file.read()).decode())

    def _path(self, user_id: str) -> Path:
        return self.fleets / f"{user_id}.toml"


def _sync_directory(directory: Path) -> None:
    fd = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
