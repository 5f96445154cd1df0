"""The program that is recorded: plays scripts of calls on stores, and says what begins and what has returned.

A script is a list of steps, JSON all through:

    ["calls", [[user, call, pet], ...]]   calls of the store, all at once; of several, the later ones share a batch
    ["dying", [user, call, pet], n]       a call of a process that dies before its n-th change or sync
    ["old program", user, [pet, ...]]     a fleet written in place by a program that syncs nothing and locks nothing
    ["emptied lock", user]                what other programs leave that take the lock, if there is one, and truncate it
    ["restart"]                           another process goes on
    ["root removed"]                      by someone who tidies up, and it has to be empty
    ["root replaced"]                     an empty one by another, by someone who syncs nothing
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any, Final

from filelock import lock_descriptor

from petfleet import FleetError, FleetStore, PetFleet, PetHandle, dumps, fleet_path
from petfleet._backends.files import backend, disk, lock, reader
from tests.support.recording_os import CHANGING, RecordingOS

ROOT: Final = "srv/pets/fleets"  # below the directory of a script, and missing at first
OLD_MODE: Final = 0o640  # of what the old program writes
REFUSED: Final = "refused"
_TOUCHED: Final = 1_800_000_000
_DIED: Final = 9
_SECONDS: Final = 100  # what a process gets at most; strace, killed, would leave it running

Call = tuple[str, str, str]  # user, call, pet
Step = list[Any]


def pet(name: str) -> PetHandle:
    """Return a handle of which three fill more than a sector."""
    return PetHandle(name, "friend " * 20, f"pets/{name}.toml", 1_700_000_000)


def old_fleet(user: str, pets: list[str]) -> PetFleet:
    """Return the fleet that the old program writes."""
    return PetFleet(user, [pet(name) for name in pets])


def after(call: Call, stored: PetFleet | None) -> PetFleet | None:
    """Return what a call makes of what is stored, in plain functions; the same if it is refused."""
    user, what, name = call
    if what == "load":
        return stored
    if what == "delete":
        return None
    if what == "overwrite":
        return PetFleet(user, [pet(name)])
    fleet = PetFleet(user) if stored is None else stored
    try:
        if what == "add":
            return fleet.with_pet(pet(name))
        if what == "switch":
            return fleet.with_active(name)
        if what == "remove":
            return fleet.without_pet(name)
    except FleetError:
        return stored
    assert what == "touch"
    return stored if fleet.get(name) is None else fleet.with_last_active(name, _TOUCHED)


async def _perform(store: FleetStore, call: Call) -> str | None:
    """Make a call, and return what it said: the text of a fleet, None for a deleted one, or that it was refused."""
    user, what, name = call
    try:
        match what:
            case "delete":
                await store.delete(user)
                return None
            case "load":
                return dumps(await store.load(user))
            case "overwrite":
                return dumps(await store.save(PetFleet(user, [pet(name)]), overwrite=True))
            case "add":
                return dumps(await store.add(user, pet(name)))
            case "touch":
                return dumps(await store.touch(user, name, last_active=_TOUCHED))
            case "switch":
                return dumps(await store.switch(user, name))
            case _:
                return dumps(await store.remove(user, name))
    except FleetError:
        return REFUSED


class _ScriptRunner:
    """Plays one script in a directory of its own."""

    def __init__(self, directory: str) -> None:
        self._root = f"{directory}/{ROOT}"
        self._labels = os.open(f"{directory}.labels", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._store = FleetStore(self._root)

    def play(self, script: list[Step]) -> None:
        for what, *arguments in script:
            match what:
                case "calls":
                    asyncio.run(self._together([(user, call, name) for user, call, name in arguments[0]]))
                case "dying":
                    self._die((arguments[0][0], arguments[0][1], arguments[0][2]), arguments[1])
                case "old program":
                    self._write_in_place(*arguments)
                case "emptied lock":
                    _close(self._open_lock(arguments[0], os.O_WRONLY | os.O_TRUNC))
                case "restart":
                    self._store = FleetStore(self._root)
                case "root removed":
                    os.rmdir(self._root)
                case _:
                    assert what == "root replaced"
                    os.rename(self._root, f"{self._root}.old")
                    os.mkdir(self._root)
        os.close(self._labels)

    async def _together(self, calls: list[Call]) -> None:
        """Make these calls at once: while the lock is held, so that they come into one batch."""
        held = self._open_lock(calls[0][0], os.O_RDWR) if len(calls) > 1 else None
        if held is not None:
            lock_descriptor(held, blocking=False)
        tasks = [asyncio.create_task(self._call(call)) for call in calls]
        await asyncio.sleep(0)  # each runs as far as it gets
        _close(held)
        await asyncio.gather(*tasks)
        await self._store.aclose()  # no thread is left when a child is forked

    async def _call(self, call: Call) -> None:
        self._say("begun", call)
        self._say("ended", call, await _perform(self._store, call))

    def _die(self, call: Call, at: int) -> None:
        pid = os.fork()
        if pid == 0:
            signal.alarm(_SECONDS)
            _die_before(at, self._root)
            self._store = FleetStore(self._root)
            asyncio.run(self._together([call]))
            os._exit(0)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        if code:
            assert code == _DIED, f"the child ended with {code}"
            self._say("died", call)

    def _write_in_place(self, user: str, pets: list[str]) -> None:
        text = dumps(old_fleet(user, pets))
        path = fleet_path(user, self._root)
        self._say("old program", user, text)
        os.makedirs(path.parent, exist_ok=True)
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.fchmod(fd, OLD_MODE)
        os.write(fd, text.encode())
        os.close(fd)
        self._say("old program", user, text)

    def _open_lock(self, user: str, flags: int) -> int | None:
        try:
            return os.open(f"{fleet_path(user, self._root)}.lock", flags)
        except FileNotFoundError:
            return None

    def _say(self, *words: object) -> None:
        os.write(self._labels, json.dumps(words).encode())


def _close(fd: int | None) -> None:
    if fd is not None:
        os.close(fd)


def _die_before(at: int, root: str) -> None:
    system = RecordingOS(Path(root))
    left = at

    def before(name: str, path: str) -> None:
        nonlocal left
        left -= name in CHANGING
        if left == 0:
            os._exit(_DIED)

    system.before = before
    for module in (disk, lock, backend, reader):
        setattr(module, "os", system)  # noqa: B010 - mypy knows what os is


def main() -> None:
    """Play the scripts that stand on stdin, by their directories."""
    signal.alarm(_SECONDS)
    for directory, script in json.load(sys.stdin).items():
        _ScriptRunner(directory).play(script)


if __name__ == "__main__":
    main()
