"""The part of a pet bot that no messenger matters to: telegram_bot.py and discord_cog.py use it.

A pet consists of three things:

    <data>/fleets/<user_id>/fleet.toml      the user's pets and the active one, written by petfleet
    <data>/pets/<user_id>/<name>-<id>.toml  the pet's manifest, written by the bot with aiofiles; the handle names it
    <data>/memory.sqlite                    the users' messages, under petfleet's two memory keys

When a call returns, its result is on disk. The bot needs no locks of its own, and each call may be repeated: a
messenger delivers an update again if the bot died before confirming it, and people repeat unanswered messages.
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
# `pet` is the manifest of the pet that heard the message. It stands for one adoption: a new pet of the same name has
# another manifest, and remembers nothing of the old one's, even after a crash. `message` is unique: a message that is
# delivered twice is remembered once.
_TABLES: Final = """
PRAGMA journal_mode = WAL;
PRAGMA synchronous = FULL; -- answered messages survive a power cut
CREATE TABLE IF NOT EXISTS memory (
    number INTEGER PRIMARY KEY, key TEXT NOT NULL, pet TEXT NOT NULL, message TEXT NOT NULL UNIQUE, text TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS memory_by_key ON memory (key);
"""
_REMEMBER: Final = "INSERT INTO memory (key, pet, message, text) VALUES (?, ?, ?, ?) ON CONFLICT (message) DO NOTHING"
_SAID_BEFORE: Final = "SELECT text FROM memory WHERE key = ? AND pet = ? AND message != ? ORDER BY number"


class RefusedError(Exception):
    """The user asked for something impossible; the text tells the user why."""


def error_text(error: BaseException) -> str:
    """Return the text that tells a user about an error; log the details."""
    if isinstance(error, RefusedError):
        return str(error)
    if isinstance(error, LockTimeoutError):
        log.warning("%s", error)
        return "Your pets are busy just now. Please try again in a moment."
    log.error("not answered", exc_info=error)
    return "Sorry, something went wrong, and it may not have been done. Please look with /pets, and try again."


def list_text(fleet: PetFleet) -> str:
    """Return a user's pets as a text."""
    if not fleet.pets:
        return "You have no pets yet. /adopt NAME ROLE"
    lines = [f"{'▶' if pet.pet_name == fleet.active_pet else '•'} {pet.pet_name}, {pet.role}" for pet in fleet.pets]
    return "\n".join(["Your pets:", *lines])


def active_text(fleet: PetFleet) -> str:
    """Return a sentence about the active pet."""
    return f"Your active pet is {fleet.active_pet}." if fleet.active_pet else "You have no active pet now."


class Turns:
    """Handle each user's messages one after another, in the order of sending, and all of them before the bot stops.

    aiogram and discord.py do not: they start a task for each message, and drop unfinished ones when they stop.
    """

    def __init__(self) -> None:
        self._last: dict[int, asyncio.Task[Any]] = {}

    def begin(self, user_id: int) -> asyncio.Task[Any] | None:
        """Note that this task handles a user's message; return the task to wait for first, if there is one."""
        task = asyncio.current_task()
        assert task is not None
        before, self._last[user_id] = self._last.get(user_id), task

        def forget(done: asyncio.Task[Any]) -> None:
            if self._last.get(user_id) is done:
                del self._last[user_id]

        # When the task has ended, not only the handler: errors are answered after the handler.
        task.add_done_callback(forget)
        return before if before is not task else None  # it is the same if one task handles all

    async def finish(self) -> None:
        """Wait until all begun messages are answered."""
        while self._last:
            await asyncio.wait(set(self._last.values()))


class Companions:
    """All users' pets, with their manifests and memories. An async context manager.

    Args:
        data: the directory of all data, used by one account on one machine. A missing one is created for its owner
            only; its parent must exist. (An existing one should be 0700: users tell their pets private things.) It may
            be moved while no bot runs: handles name manifests relative to it.
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
            # Without an isolation level each statement is a transaction, so that no call commits half of another.
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
        """Give the user a pet, and return the fleet. RefusedError: bad name or role, taken name, too many pets."""
        if not _NAME.fullmatch(name) or len(name.encode()) > 40:  # a file name, and part of a button's data
            raise RefusedError("A name is one word of letters, digits, - and _, and no longer than a button.")
        if not role.strip() or len(role) > LONGEST_ROLE:
            raise RefusedError(f"A role has to be there, and no longer than {LONGEST_ROLE} characters.")
        # The file name is used only once, so that the release of an older pet of that name cannot remove the new one's
        # manifest. fleet_path refuses a user id that cannot name a directory.
        path = fleet_path(user_id, self._data / "pets").with_name(f"{name}-{secrets.token_hex(4)}.toml")
        handle = PetHandle(name, role, path.relative_to(self._data), last_active=int(time.time()))

        def adopted(fleet: PetFleet) -> PetFleet:
            if fleet.get(name) is not None:
                raise RefusedError(f"You have a pet called {name} already.")
            if len(fleet.pets) >= MAX_PETS:
                raise RefusedError(f"You have {MAX_PETS} pets. Release one first.")
            return fleet.with_pet(handle)

        # First the manifest, then the handle: no handle names a missing manifest.
        await _write_durably(path, tomli_w.dumps({"name": name, "role": role}))
        try:
            return await self.store.update(user_id, adopted)
        except (RefusedError, LockTimeoutError):
            # Only if the pet was certainly not added: after a cancellation or an UnconfirmedCommitError it may have
            # been. A manifest without a handle does no harm.
            await aiofiles.os.remove(path)
            raise

    async def pets(self, user_id: str) -> PetFleet:
        """Return the user's fleet; an empty one for a new user."""
        return await self.store.load(user_id)

    async def switch(self, user_id: str, name: str) -> PetFleet:
        """Make a pet the active one, and return the fleet. RefusedError: there is no pet of that name."""
        try:
            return await self.store.switch(user_id, name)
        except (FleetNotFoundError, PetNotInFleetError):
            raise RefusedError(f"You have no pet called {name} any more.") from None

    async def release(self, user_id: str, name: str) -> PetFleet:
        """Release a pet, delete its memory, and return the fleet. RefusedError: there is no pet of that name."""
        let_go: list[PetHandle] = []

        def without(fleet: PetFleet) -> PetFleet:
            let_go[:] = [fleet.pet(name)]  # a change may run more than once; the last run counts
            return fleet.without_pet(name)

        try:
            fleet = await self.store.update(user_id, without)
        except PetNotInFleetError:
            await self._forget_left(user_id, name)
            raise RefusedError(f"You have no pet called {name}.") from None
        # After the handle: a crash in between leaves a manifest without a pet, never a pet without a manifest. The user
        # gets no answer and repeats the command; then `_forget_left` does the rest.
        manifest = let_go[0].manifest_path
        await self._forget(per_pet_memory_key(user_id, name), manifest)
        with contextlib.suppress(FileNotFoundError):
            await aiofiles.os.remove(self._data / manifest)
        return fleet

    async def answer(self, user_id: str, text: str, *, message: str | None = None) -> str:
        """Return the active pet's answer to a message, after it has remembered the message.

        Args:
            user_id: the sender.
            text: the message.
            message: an id that the message keeps when it is delivered again, and that no other message has: it is
                remembered once. Without an id, every call is a new message.

        Raises:
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
            await self._forget(own, pet)  # the release of the pet had deleted its memory before
            raise RefusedError(f"{handle.pet_name} has just left.")
        async with self._memory.execute(_SAID_BEFORE, (own, pet, message)) as rows:
            said = [earlier async for (earlier,) in rows]
        facts = await self.recall(shared)
        known = f" I know: {'; '.join(facts)}." if facts else ""
        before = f" Before that you said: {said[-1]}" if said else ""
        return f"{handle.pet_name}, your {role}: that is message {len(said) + 1} between us.{known}{before}"

    async def recall(self, key: str) -> list[str]:
        """Return the messages under one of petfleet's memory keys, oldest first."""
        async with self._memory.execute("SELECT text FROM memory WHERE key = ? ORDER BY number", (key,)) as rows:
            return [text async for (text,) in rows]

    async def _active(self, user_id: str) -> tuple[PetHandle, str]:
        """Return the active pet and its role; touch the pet if the last touch is older than a minute."""
        while True:
            handle = (await self.store.update(user_id, _seen_at(int(time.time())))).active_handle
            if handle is None:
                raise RefusedError("None of your pets is active. Adopt one, or choose one.")
            try:
                async with aiofiles.open(self._data / handle.manifest_path, encoding="utf-8") as file:
                    return handle, tomllib.loads(await file.read())["role"]
            except FileNotFoundError:
                # If the pet was released meanwhile, look for the new active one; otherwise its manifest is lost.
                fleet = await self.store.load(user_id)
                if any(pet.manifest_path == handle.manifest_path for pet in fleet.pets):
                    raise

    async def _forget_left(self, user_id: str, name: str) -> None:
        """Delete the memory of a name that none of the user's pets has."""
        # In this order, since a new pet of that name may arrive at any time; its messages have higher numbers.
        async with self._memory.execute("SELECT max(number) FROM memory") as rows:
            (last,) = [number async for (number,) in rows]
        if (await self.store.load(user_id)).get(name) is None:
            key = per_pet_memory_key(user_id, name)
            await self._memory.execute("DELETE FROM memory WHERE key = ? AND number <= ?", (key, last))

    async def _forget(self, key: str, pet: str) -> None:
        await self._memory.execute("DELETE FROM memory WHERE key = ? AND pet = ?", (key, pet))


def _seen_at(now: int) -> Callable[[PetFleet], PetFleet]:
    """Return a change that touches the active pet, at most once a minute; an unchanged fleet is not written."""

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
    # A new file is durable when the entries on its path are: its own, the user's directory, the pets' directory.
    await asyncio.to_thread(_sync, path.parent, path.parent.parent, path.parent.parent.parent)


def _sync(*directories: Path) -> None:
    for directory in directories:
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
