"""The raw protocol: the least work that survives a power cut. Without lock, check and parser: a limit, no store."""

from __future__ import annotations

import asyncio
import itertools
import os
import threading
from collections.abc import Sequence
from pathlib import Path

import tomli_w

from benchmarks.work import Count, Peer, fleet

_NUMBERS = itertools.count()


def write(directory: Path | str, data: bytes) -> None:
    """Write a temporary file, fsync, rename, fsync the directory."""
    temporary = f"{directory}/.raw-{os.getpid()}-{threading.get_ident()}-{next(_NUMBERS)}.tmp"
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    os.write(fd, data)
    os.fsync(fd)
    os.close(fd)
    os.rename(temporary, f"{directory}/fleet.toml")
    fd = os.open(directory, os.O_RDONLY)
    os.fsync(fd)
    os.close(fd)


def read(path: Path | str) -> bytes:
    """Read a file with the fewest system calls."""
    fd = os.open(path, os.O_RDONLY)
    data = os.read(fd, 1 << 20)
    os.close(fd)
    return data


class Raw(Peer):
    """Writes the same bytes again and again."""

    durability = "file and directory synced"
    blocking = True
    keeps = False

    async def prepare(self, users: Sequence[str], pets: int) -> None:
        for user_id in users:
            path = self.directory / user_id
            path.mkdir(parents=True, exist_ok=True)
            (path / "fleet.toml").write_bytes(tomli_w.dumps(fleet(user_id, pets)).encode())

    async def open(self) -> None:
        self._data: dict[str, bytes] = {}

    async def close(self) -> None:
        pass

    async def touch(self, user_id: str, name: str) -> None:
        data = self._data.get(user_id)
        if data is None:
            data = self._data[user_id] = (self.directory / user_id / "fleet.toml").read_bytes()
        write(self.directory / user_id, data)

    async def add(self, user_id: str, name: str) -> None:
        raise NotImplementedError("the raw protocol changes nothing")

    async def load(self, user_id: str) -> int:
        return len(read(self.directory / user_id / "fleet.toml"))

    async def count(self, user_id: str) -> Count:
        raise NotImplementedError("the raw protocol changes nothing, so there is nothing to lose")


class AwaitedRaw(Raw):
    """The same in the event loop's executor threads, to measure the stalls that awaiting it causes."""

    blocking = False

    async def touch(self, user_id: str, name: str) -> None:
        path = self.directory / user_id
        data = self._data.get(user_id)
        if data is None:
            data = self._data[user_id] = await asyncio.to_thread((path / "fleet.toml").read_bytes)
        await asyncio.get_running_loop().run_in_executor(None, write, path, data)

    async def load(self, user_id: str) -> int:
        path = self.directory / user_id / "fleet.toml"
        return len(await asyncio.get_running_loop().run_in_executor(None, read, path))
