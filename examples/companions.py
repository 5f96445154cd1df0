"""What a bot does with pets, apart from any messenger: telegram_bot.py and discord_cog.py are two faces of it.

A pet is three things, each where it belongs:

    <data>/fleets/<user_id>/fleet.toml      which pets the user has, and which is active: petfleet's
    <data>/pets/<user_id>/<name>-<id>.toml  a pet's manifest: the bot's own, written with aiofiles, named in the handle
    <data>/memory.sqlite                    what was said, under petfleet's two memory keys

What a call returned is on disk. No call needs a lock of the bot's own, and each may be repeated: a messenger delivers
an update again if the bot died before it confirmed the update, and people send again what was not answered.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
import secrets
import time
import tomllib
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import aiofiles
import aiofiles.os
import aiosqlite
import tomli_w

from petfleet import (
    FleetNotFoundError,
    FleetStore,
    LockTimeoutError,
    PetFleet,
    PetHandle,
    PetNotInFleetError,
    fleet_path,
    per_pet_memory_key,
    shared_memory_key,
)

log = logging.getLogger(__name__)
TOUCH_EVERY: Final = 60  # seconds
MAX_PETS: Final = 20  # a list with a button for each has to fit into one message
LONGEST_ROLE: Final = 100  # characters
_NAME: Final = re.compile(r"\w[\w-]{0,31}")
# `pet` is the manifest of the pet that was told, and so one adoption: a new pet of an old name remembers nothing of the
# old one's, whatever crash or call came between. `message` is unique: what is delivered twice is remembered once.
_TABLES: Final = """
PRAGMA journal_mode = WAL;
PRAGMA synchronous = FULL; -- what was answered is still known after a power cut
CREATE TABLE IF NOT EXISTS memory (
    number INTEGER PRIMARY KEY, key TEXT NOT NULL, pet TEXT NOT NULL, message TEXT NOT NULL UNIQUE, text TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS memory_by_key ON memory (key);
"""
_REMEMBER: Final = "INSERT INTO memory (key, pet, message, text) VALUES (?, ?, ?, ?) ON CONFLICT (message) DO NOTHING"
_SAID_BEFORE: Final = "SELECT text FROM memory WHERE key = ? AND pet = ? AND message != ? ORDER BY number"


class RefusedError(Exception):
    """Something the user asked for is not possible; the text says why, in words for the user."""


def excuse(error: BaseException) -> str:
    """Return what to tell a user of an error; the log has the rest."""
    if isinstance(error, RefusedError):
        return str(error)
    if isinstance(error, LockTimeoutError):
        log.warning("%s", error)
        return "Your pets are busy just now. Please try again in a moment."
    log.error("not answered", exc_info=error)
    return "Sorry, something went wrong, and it may not have been done. Please look with /pets, and try again."


def listed(fleet: PetFleet) -> str:
    """Return a user's pets in words."""
    if not fleet.pets:
        return "You have no pets yet. /adopt NAME ROLE"
    lines = [f"{'▶' if pet.pet_name == fleet.active_pet else '•'} {pet.pet_name}, {pet.role}" for pet in fleet.pets]
    return "\n".join(["Your pets:", *lines])


def listening(fleet: PetFleet) -> str:
    """Return which pet hears the next message, in words."""
    return f"Your active pet is {fleet.active_pet}." if fleet.active_pet else "You have no active pet now."


class Turns:
    """Each user's messages are handled one after another, as they were sent, and all before the bot stops.

    Neither aiogram nor discord.py does that by itself: they give each message a task of its own, and leave it half way.
    """

    def __init__(self) -> None:
        self._last: dict[int, asyncio.Task[Any]] = {}

    def begin(self, user_id: int) -> asyncio.Task[Any] | None:
        """Note that this task handles something a user sent; return the one, if any, to wait for first."""
        task = asyncio.current_task()
        assert task is not None
        before, self._last[user_id] = self._last.get(user_id), task

        def forget(done: asyncio.Task[Any]) -> None:
            if self._last.get(user_id) is done:
                del self._last[user_id]

        # When the task has ended, and not just the handler: errors are answered after that.
        task.add_done_callback(forget)
        return before if before is not task else None  # it is where one task handles all

    async def finish(self) -> None:
        """Wait until all that was begun is answered."""
        while self._last:
            await asyncio.wait(set(self._last.values()))


class Companions:
    """All users' pets, with what they are like and what they remember. An async context manager.

    Args:
        data: the directory of everything; it is made, for its owner only, if it is not there, in a directory that is.
            (One that is there should be 0700: users tell their pets things.) It may be moved while no bot runs:
            handles name their manifests from here. One account, one machine.
        lock_timeout: seconds; shorter than a messenger waits for an answer (Discord: 3).
    """

    def __init__(self, data: str | os.PathLike[str], *, lock_timeout: float = 2.0) -> None:
        self._data = Path(data).absolute()
        self.store = FleetStore(self._data / "fleets", lock_timeout=lock_timeout)

    async def __aenter__(self) -> Self:
        with contextlib.suppress(FileExistsError):
            await aiofiles.os.mkdir(self._data, 0o700)
        await asyncio.to_thread(_sync, self._data.parent)
        async with contextlib.AsyncExitStack() as stack:
            stack.push_async_callback(self.store.aclose)
            # Without an isolation level every statement is a transaction of its own: no call commits half of another's.
            opening = aiosqlite.connect(self._data / "memory.sqlite", isolation_level=None)
            self._memory = await stack.enter_async_context(opening)
            await self._memory.executescript(_TABLES)
            self._closing = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._closing.aclose()

    async def adopt(self, user_id: str, name: str, role: str) -> PetFleet:
        """Give the user a pet and return the fleet. RefusedError: a bad name or role, a name taken, too many pets."""
        if not _NAME.fullmatch(name) or len(name.encode()) > 40:  # a file name, and part of a button's data
            raise RefusedError("A name is one word of letters, digits, - and _, and no longer than a button.")
        if not role.strip() or len(role) > LONGEST_ROLE:
            raise RefusedError(f"A role has to be there, and no longer than {LONGEST_ROLE} characters.")
        # Its name is used only once, so that the release of an older pet of that name cannot take the new one's
        # manifest away. fleet_path refuses a user id that is no name of a directory.
        path = fleet_path(user_id, self._data / "pets").with_name(f"{name}-{secrets.token_hex(4)}.toml")
        handle = PetHandle(name, role, path.relative_to(self._data), last_active=int(time.time()))

        def adopted(fleet: PetFleet) -> PetFleet:
            if fleet.get(name) is not None:
                raise RefusedError(f"You have a pet called {name} already.")
            if len(fleet.pets) >= MAX_PETS:
                raise RefusedError(f"You have {MAX_PETS} pets. Release one first.")
            return fleet.with_pet(handle)

        # First the manifest, then the handle: no handle names a manifest that was never written.
        await _write_durably(path, tomli_w.dumps({"name": name, "role": role}))
        try:
            return await self.store.update(user_id, adopted)
        except (RefusedError, LockTimeoutError):
            # Only where nothing was added for sure: after a cancellation, or an UnconfirmedCommitError, the pet may be
            # there. A manifest that nothing names does no harm.
            await aiofiles.os.remove(path)
            raise

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
            await self._forget_left(user_id, name)
            raise RefusedError(f"You have no pet called {name}.") from None
        # Only after the handle: a crash in between leaves what nothing names, never a pet without a manifest. The user,
        # who got no answer, says it again, and `_forget_left` does the rest.
        manifest = let_go[0].manifest_path
        await self._forget(per_pet_memory_key(user_id, name), manifest)
        with contextlib.suppress(FileNotFoundError):
            await aiofiles.os.remove(self._data / manifest)
        return fleet

    async def answer(self, user_id: str, text: str, *, message: str | None = None) -> str:
        """Return what the active pet says to a message. It remembers the message before this returns.

        Args:
            user_id: whose message it is.
            text: what it says.
            message: what a message has again when it is delivered again, and no other message has: it is remembered
                once. Without it, every call is another message.

        RefusedError: the user has no active pet.
        """
        handle, role = await self._active(user_id)
        pet, message = handle.manifest_path, message or secrets.token_hex(16)
        own, shared = per_pet_memory_key(user_id, handle.pet_name), shared_memory_key(user_id)
        fact = re.match(r"remember:?\s+(.+)", text, re.IGNORECASE | re.DOTALL)
        if fact:
            await self._memory.execute(_REMEMBER, (shared, pet, message, fact[1]))
            return f"{handle.pet_name}, your {role}: I'll remember, and so will all your pets: {fact[1]}"
        await self._memory.execute(_REMEMBER, (own, pet, message, text))
        if all(each.manifest_path != pet for each in (await self.store.peek(user_id)).pets):
            await self._forget(own, pet)  # it was released meanwhile, and that had forgotten already
            raise RefusedError(f"{handle.pet_name} has just left.")
        async with self._memory.execute(_SAID_BEFORE, (own, pet, message)) as rows:
            said = [earlier async for (earlier,) in rows]
        facts = await self.recall(shared)
        known = f" I know: {'; '.join(facts)}." if facts else ""
        before = f" Before that you said: {said[-1]}" if said else ""
        return f"{handle.pet_name}, your {role}: that is message {len(said) + 1} between us.{known}{before}"

    async def recall(self, key: str) -> list[str]:
        """Return what is remembered under one of petfleet's memory keys, oldest first."""
        async with self._memory.execute("SELECT text FROM memory WHERE key = ? ORDER BY number", (key,)) as rows:
            return [text async for (text,) in rows]

    async def _active(self, user_id: str) -> tuple[PetHandle, str]:
        """Return the active pet, touched if it is time to, and its role."""
        while True:
            handle = (await self.store.update(user_id, _seen_at(int(time.time())))).active_handle
            if handle is None:
                raise RefusedError("None of your pets is active. Adopt one, or choose one.")
            try:
                async with aiofiles.open(self._data / handle.manifest_path, encoding="utf-8") as file:
                    return handle, tomllib.loads(await file.read())["role"]
            except FileNotFoundError:
                # Released since: look who is active now. A manifest that is missing is another matter.
                fleet = await self.store.load(user_id)
                if any(pet.manifest_path == handle.manifest_path for pet in fleet.pets):
                    raise

    async def _forget_left(self, user_id: str, name: str) -> None:
        """Forget what was told to pets of a name that the user has not."""
        # In this order, since a new pet of that name may come at any time: what it is told has higher numbers.
        async with self._memory.execute("SELECT max(number) FROM memory") as rows:
            (last,) = [number async for (number,) in rows]
        if (await self.store.load(user_id)).get(name) is None:
            key = per_pet_memory_key(user_id, name)
            await self._memory.execute("DELETE FROM memory WHERE key = ? AND number <= ?", (key, last))

    async def _forget(self, key: str, pet: str) -> None:
        await self._memory.execute("DELETE FROM memory WHERE key = ? AND pet = ?", (key, pet))


def _seen_at(now: int) -> Callable[[PetFleet], PetFleet]:
    """Return the change that touches the active pet, at most once a minute: an equal fleet writes nothing."""

    def change(fleet: PetFleet) -> PetFleet:
        handle = fleet.active_handle
        if handle is None or 0 <= now - handle.last_active < TOUCH_EVERY:  # below 0: a clock was set back
            return fleet
        return fleet.with_last_active(handle.pet_name, now)

    return change


async def _write_durably(path: Path, text: str) -> None:
    await aiofiles.os.makedirs(path.parent, exist_ok=True)
    async with aiofiles.open(path, "x", encoding="utf-8") as file:
        await file.write(text)
        await file.flush()
        await asyncio.to_thread(os.fsync, file.fileno())
    # A new file is as durable as the entries that lead to it: its directory's, the user's, and that of all pets.
    await asyncio.to_thread(_sync, path.parent, path.parent.parent, path.parent.parent.parent)


def _sync(*directories: Path) -> None:
    for directory in directories:
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
