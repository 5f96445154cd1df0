"""A child process that uses user ids while each path that it touches is watched."""

from __future__ import annotations

import json
import os
import random
import re
import subprocess
import sys
import tomllib  # noqa: F401 - petfleet imports it with the first text that it parses, which would touch foreign paths
from pathlib import Path
from typing import Any, Final

import anyio

from petfleet import FleetStore
from petfleet._backends.files import backend, disk, lock, reader
from tests.conftest import pet
from tests.support.store_calls import ALL, Call
from tests.torture.hostile_ids import is_taken, is_valid, user_id

BEGIN: Final = "/begin-of-the-watch"  # looked for by the child, so that a trace shows when
END: Final = "/end-of-the-watch"
_PATH_EVENTS: Final = {
    *["open", "os.listdir", "os.scandir", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.chmod", "os.chown"],
    *["os.link", "os.symlink", "os.truncate", "os.utime", "os.chflags", "os.setxattr", "os.removexattr", "os.getxattr"],
    *["os.chdir", "os.walk", "os.startfile", "glob.glob", "shutil.rmtree", "shutil.move", "shutil.copyfile"],
}
_ABOVE: Final = {"open", "os.mkdir", "lstat", "stat"}  # what may be done to the root and what is above it
_ABOVE_TRACED: Final = {"open", "openat", "mkdir", "stat", "lstat", "newfstatat", "statx"}
_OWN: Final = re.compile(r"fleet\.toml|fleet\.toml\.lock|\.fleet\.toml\.[0-9a-f]{16}\.tmp")


class _Watch:
    """Notes each path that the process touches, by Python's audit events and by an ``os`` module of petfleet's own."""

    def __init__(self) -> None:
        self.touched: list[tuple[str, str]] = []
        self.on = False
        sys.addaudithook(self._audit)
        for module in (disk, lock, backend, reader):
            module.os = self  # type: ignore[attr-defined] # stat and lstat have no audit event

    def _audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.on and event in _PATH_EVENTS:
            self.note(event, arguments[:2] if event in ("os.rename", "os.link", "os.symlink") else arguments[:1])

    def note(self, event: str, paths: tuple[Any, ...]) -> None:
        """Note those of the paths that are no descriptors."""
        self.touched += [(event, os.fsdecode(path)) for path in paths if not isinstance(path, int)]

    def __getattr__(self, name: str) -> Any:
        value = getattr(os, name)
        if name not in ("stat", "lstat", "access", "readlink", "statvfs"):
            return value

        def noted(path: Any, *arguments: Any, **options: Any) -> Any:
            self.note(name, (path,))
            return value(path, *arguments, **options)

        return noted


def strays(touched: list[tuple[str, str]], root: str, user_id: str | None) -> list[tuple[str, str]]:
    """Return what was done outside the directory of that user (None: of no user), but to the root and above it."""
    own = None if user_id is None else f"{root}/{user_id}"
    above = {root, *map(str, Path(root).parents)}
    found = []
    for event, path in touched:
        directory, _, name = path.rpartition("/")
        in_own = own is not None and (path == own or (directory == own and _OWN.fullmatch(name) is not None))
        if not in_own and not (user_id is not None and path in above and event in _ABOVE):
            found.append((event, path))
    return found


def watched(root: Path, seed: int, number: int, *, trace: Path | None = None, sabotage: str = "") -> dict[str, int]:
    """Have a child use that many ids in a store over ``root``, and return what it counted.

    Args:
        root: the root directory, alone in its parent.
        seed: decides the ids and the calls.
        number: how many ids.
        trace: where strace is to write what the child asks of the system; None for no trace.
        sabotage: Python code for the child to run first.

    Raises:
        AssertionError: it touched a path that is not the user's own.
    """
    code = f"{sabotage}\nfrom tests.torture import hostile_watch\nhostile_watch.main({str(root)!r}, {seed}, {number})"
    traced = ["strace", "-f", "-qq", "-s", "9999", "-e", "trace=%file", "-o", str(trace)] if trace else []
    done = subprocess.run(
        [*traced, sys.executable, "-c", code],
        cwd=Path(__file__).parent.parent.parent,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def main(root: str, seed: int, number: int) -> None:
    """Use the ids, and print what was counted; AssertionError for the first path that is not the user's own."""
    rng = random.Random(seed)
    os.fsync = lambda fd: None  # durability is not what is looked at
    watch = _Watch()
    backend = rng.choice(["asyncio", "trio"])
    print(json.dumps(anyio.run(_use, watch, root, rng, number, backend=backend)))


async def _use(watch: _Watch, root: str, rng: random.Random, number: int) -> dict[str, int]:
    counted = {"valid user ids": 0, "refused user ids": 0, "paths watched": 0}
    kept: set[str] = set()
    calls = list(ALL.items())
    async with FleetStore(root, threads=1) as store:
        for _, call in calls:
            await _outcome(call, store, "first")  # imports, threads, the root and what is above it
        await store.delete("first")
        os.access(BEGIN, os.F_OK)
        for index in range(number):
            name = user_id(rng)
            valid = is_taken(name)
            counted["valid user ids" if valid else "refused user ids"] += 1
            some = calls if index % 20 == 0 else rng.sample(calls, 2)
            for called, call in [*some, ("add", _add)]:
                watch.touched, watch.on = [], True
                outcome = await _outcome(call, store, name)
                watch.on = False
                counted["paths watched"] += len(watch.touched)
                stray = strays(watch.touched, root, name if valid else None)
                assert not stray, f"{called} for {name!r} touched {stray}"
                assert valid or isinstance(outcome, ValueError), f"{called} for {name!r}: {outcome!r}"
                assert not isinstance(outcome, OSError), f"{called} for {name!r}: {outcome!r}"
            if valid:
                kept.add(name)
        os.access(END, os.F_OK)
        found = {name async for name in store.users()}
        assert found == kept, f"only in one of both: {found ^ kept}"
        for name in kept:
            fleet = await store.peek(name)
            assert fleet.user_id == name, f"{name!r} has the fleet of {fleet.user_id!r}"
            assert fleet.get("own") is not None, f"{name!r} has lost its pet"
    assert os.listdir(os.path.dirname(root)) == [os.path.basename(root)], "something was put beside the root"
    return counted


def _add(store: FleetStore, user_id: str) -> Any:
    return store.update(user_id, lambda fleet: fleet if fleet.get("own") else fleet.with_pet(pet("own")))


async def _outcome(call: Call, store: FleetStore, user_id: str) -> object:
    try:
        return await call(store, user_id)
    except Exception as error:  # noqa: BLE001 - which ones are right depends on the id
        return error


def traced(trace: Path, root: str) -> tuple[int, list[tuple[str, str]]]:
    """Return how many paths the system was asked for between the two marks of a trace, and which are no user's."""
    seen = 0
    stray = []
    on = False
    above = {root, *map(str, Path(root).parents)}
    for line in trace.read_text(encoding="ascii").splitlines():
        if BEGIN in line or END in line:
            on = BEGIN in line
        elif on and (call := re.match(r"\d+ +(\w+)\(", line)):
            for quoted in re.findall(r'"((?:[^"\\]|\\.)+)"', line):
                path = os.fsdecode(quoted.encode("ascii").decode("unicode_escape").encode("latin-1"))
                seen += 1
                user_id, _, name = path.removeprefix(f"{root}/").partition("/")
                directory = not call[1].startswith("open") or "O_DIRECTORY" in line
                own = path.startswith(f"{root}/") and is_valid(user_id)
                own &= _OWN.fullmatch(name) is not None or (not name and directory)
                if not own and not (path in above and directory and call[1] in _ABOVE_TRACED):
                    stray.append((call[1], path))
    return seen, stray
