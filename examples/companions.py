"""What a bot does with pets, apart from any messenger: telegram_bot.py and discord_cog.py are two faces of it.

A pet is three things, each where it belongs:

    <data>/fleets/<user_id>/fleet.toml      which pets the user has, and which is active: petfleet's
    <data>/pets/<user_id>/<name>-<id>.toml  a pet's manifest: the bot's own, written with aiofiles, named in the handle
    <data>/memory.sqlite                    what was said, under petfleet's two memory keys

No call here needs a lock of the bot's own, and each may be repeated: a messenger delivers an update again if the bot
died before it answered.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import secrets
import time
import tomllib
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import aiofiles
import aiofiles.os
import aiosqlite
import tomli_w

from petfleet import (
    FleetNotFoundError,
    FleetStore,
    PetAlreadyInFleetError,
    PetFleet,
    PetHandle,
    PetNotInFleetError,
    per_pet_memory_key,
    shared_memory_key,
)

TOUCH_EVERY: Final = 60  # seconds
_NAME: Final = re.compile(r"\w[\w-]{0,31}")
_TABLE: Final = "CREATE TABLE IF NOT EXISTS memory (number INTEGER PRIMARY KEY, key TEXT NOT NULL, text TEXT NOT NULL)"
_INDEX: Final = "CREATE INDEX IF NOT EXISTS memory_by_key ON memory (key)"


class RefusedError(Exception):
    """Something the user asked for is not possible; the text says why, in words for the user."""


class Companions:
    """All users' pets, with what they are like and what they remember. An async context manager.

    Args:
        data: the directory of everything; it is made if it is not there. One account, one machine.
        lock_timeout: seconds; shorter than a messenger waits for an answer (Discord: 3).
    """

    def __init__(self, data: str | os.PathLike[str], *, lock_timeout: float = 2.0) -> None:
        self._data = Path(data)
        self.store = FleetStore(self._data / "fleets", lock_timeout=lock_timeout)

    async def __aenter__(self) -> Self:
        await aiofiles.os.makedirs(self._data, exist_ok=True)
        self._memory = await aiosqlite.connect(self._data / "memory.sqlite")
        await self._memory.execute("PRAGMA synchronous = FULL")  # what was answered is still known after a power cut
        await self._memory.execute(_TABLE)
        await self._memory.execute(_INDEX)
        await self._memory.commit()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._memory.close()
        await self.store.aclose()

    async def adopt(self, user_id: str, name: str, role: str) -> PetFleet:
        """Give the user a pet and return the fleet. RefusedError: no name for a pet, or there is such a pet already."""
        if not _NAME.fullmatch(name) or len(name.encode()) > 40:  # a file name, and part of a button's data
            raise RefusedError("A name is one word of letters, digits, - and _, and no longer than a button.")
        # First the manifest, then the handle: no handle names a manifest that was never written. Its name is used only
        # once, so that the release of an older pet of that name cannot take the new one's manifest away.
        manifest = self._data / "pets" / user_id / f"{name}-{secrets.token_hex(4)}.toml"
        await _write_durably(manifest, tomli_w.dumps({"name": name, "role": role}))
        handle = PetHandle(name, role, manifest, last_active=int(time.time()))
        try:
            return await self.store.add(user_id, handle)
        except PetAlreadyInFleetError:
            await aiofiles.os.remove(manifest)
            raise RefusedError(f"You have a pet called {name} already.") from None

    async def pets(self, user_id: str) -> PetFleet:
        """Return the user's fleet; an empty one for a new user."""
        return await self.store.load(user_id)

    async def switch(self, user_id: str, name: str) -> PetFleet:
        """Make a pet the active one and return the fleet. RefusedError: there is none of that name."""
        try:
            return await self.store.switch(user_id, name)
        except (FleetNotFoundError, PetNotInFleetError):
            raise RefusedError(f"You have no pet called {name} any more.") from None

    async def release(self, user_id: str, name: str) -> PetFleet:
        """Let a pet go, with what it remembers, and return the fleet. RefusedError: there is none of that name."""
        let_go: list[PetHandle] = []

        def without(fleet: PetFleet) -> PetFleet:
            let_go[:] = [fleet.pet(name)]  # a change may run more than once: the last run is the one that counts
            return fleet.without_pet(name)

        try:
            fleet = await self.store.update(user_id, without)
        except PetNotInFleetError:
            raise RefusedError(f"You have no pet called {name}.") from None
        # Only after the handle: a crash in between leaves a file that nothing names, never a pet without a manifest.
        await self._forget(per_pet_memory_key(user_id, name))
        with contextlib.suppress(FileNotFoundError):
            await aiofiles.os.remove(let_go[0].manifest_path)
        return fleet

    async def answer(self, user_id: str, text: str) -> str:
        """Return what the active pet says to a message. It remembers the message before this returns.

        RefusedError: the user has no pet.
        """
        handle = (await self.store.update(user_id, _seen_at(int(time.time())))).active_handle
        if handle is None:
            raise RefusedError("You have no pet yet. Adopt one first.")
        async with aiofiles.open(handle.manifest_path, encoding="utf-8") as file:
            role = tomllib.loads(await file.read())["role"]
        own, shared = per_pet_memory_key(user_id, handle.pet_name), shared_memory_key(user_id)
        fact = re.match(r"remember:?\s+(.+)", text, re.IGNORECASE | re.DOTALL)
        if fact:
            await self._remember(shared, fact[1])
            return f"{handle.pet_name}, your {role}: I'll remember, and so will all your pets: {fact[1]}"
        await self._remember(own, text)
        said, facts = await self.recall(own), await self.recall(shared)
        known = f" I know: {'; '.join(facts)}." if facts else ""
        before = f" Before that you said: {said[-2]}" if len(said) > 1 else ""
        return f"{handle.pet_name}, your {role}: that is message {len(said)} between us.{known}{before}"

    async def recall(self, key: str) -> list[str]:
        """Return what is remembered under one of petfleet's memory keys, oldest first."""
        async with self._memory.execute("SELECT text FROM memory WHERE key = ? ORDER BY number", (key,)) as rows:
            return [text async for (text,) in rows]

    async def _remember(self, key: str, text: str) -> None:
        await self._memory.execute("INSERT INTO memory (key, text) VALUES (?, ?)", (key, text))
        await self._memory.commit()

    async def _forget(self, key: str) -> None:
        await self._memory.execute("DELETE FROM memory WHERE key = ?", (key,))
        await self._memory.commit()


def _seen_at(now: int) -> Callable[[PetFleet], PetFleet]:
    """Return the change that touches the active pet, at most once a minute: an equal fleet writes nothing."""

    def change(fleet: PetFleet) -> PetFleet:
        handle = fleet.active_handle
        if handle is None or now - handle.last_active < TOUCH_EVERY:
            return fleet
        return fleet.with_last_active(handle.pet_name, now)

    return change


async def _write_durably(path: Path, text: str) -> None:
    await aiofiles.os.makedirs(path.parent, exist_ok=True)
    async with aiofiles.open(path, "x", encoding="utf-8") as file:
        await file.write(text)
        await file.flush()
        await asyncio.to_thread(os.fsync, file.fileno())
    await asyncio.to_thread(_sync_directories, path.parent)


def _sync_directories(directory: Path) -> None:
    # A new file is as durable as the entries that lead to it: its directory's, the user's, and that of all pets.
    for place in (directory, directory.parent, directory.parent.parent):
        descriptor = os.open(place, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
