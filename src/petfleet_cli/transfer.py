"""`petfleet export` and `petfleet import`: the whole store as JSON Lines, one user at a time."""

from __future__ import annotations

import json
import os
import stat
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import islice
from typing import Any, Final, Literal

import aiofiles
import anyio
import anyio.to_thread
import typer
from aiofiles import stdin_bytes, stdout_bytes

from petfleet import FleetConflictError, FleetError, FleetFormatError, FleetStore, PetFleet, disk, dumps, loads
from petfleet.files import FileBackend
from petfleet_cli.app import Settings
from petfleet_cli.output import Printer, as_json, located, shown

_AT_ONCE: Final = 64  # users that are read, or saved, together
_STANDARD: Final = "-"


def export(settings: Settings, file: str) -> None:
    """Write each user's id and TOML text; what cannot be read is reported, and makes it exit code 1.

    A regular file appears whole at the end, durable, in the place of an older one; interrupted, nothing changed.
    """
    printer = Printer(sys.stderr if file == _STANDARD else sys.stdout)
    if file == _STANDARD or _is_special(file):
        count = anyio.run(_export, settings, file, printer)
    else:
        file = os.path.realpath(file)
        temporary = disk.temporary_name(file)
        try:
            count = anyio.run(_export, settings, temporary, printer)
            disk.sync_file(temporary)
            disk.rename(temporary, file)
            disk.sync_directory(os.path.dirname(file))
        finally:
            disk.remove(temporary)
    _report(settings, printer, count, "exported", "failed")


def import_(settings: Settings, file: str, *, overwrite: bool) -> None:
    """Save what `export` wrote; exit code 1 if a line is no fleet, or a user has another fleet and keeps it.

    Each fleet is saved whole or not at all, in the layout that petfleet writes.
    """
    count = anyio.run(_Import(settings, file, overwrite=overwrite).run)
    _report(settings, Printer(), count, "imported", "unchanged", "refused", "failed")


def _is_special(file: str) -> bool:
    """Return whether it is a pipe or a device, which nothing may replace."""
    try:
        return not stat.S_ISREG(os.stat(file).st_mode)
    except FileNotFoundError:
        return False


async def _export(settings: Settings, file: str, printer: Printer) -> Counter[str]:
    backend = FileBackend(settings.root)
    count: Counter[str] = Counter()

    def lines(some: list[str]) -> str:
        text = ""
        for user_id in some:
            try:
                toml = backend.text(user_id)
            except (FleetFormatError, OSError) as error:
                why = located(error) if isinstance(error, FleetFormatError) else str(error)
                _complain(settings, user_id, f"not exported: {why}")
                count["failed"] += 1
            else:
                if toml is not None:  # None: deleted since it was listed
                    text += as_json({"user_id": user_id, "toml": toml}) + "\n"
                    count["exported"] += 1
        return text

    ids = backend.users()
    with printer.progress("exported", settings.root) as progress:
        async with _opened(file, "wb") as output:
            while some := await anyio.to_thread.run_sync(lambda: list(islice(ids, _AT_ONCE))):
                await output.write((await anyio.to_thread.run_sync(lines, some)).encode())
                progress.advance(len(some))
            await output.flush()
    return count


@asynccontextmanager
async def _opened(file: str, mode: Literal["rb", "wb"]) -> AsyncIterator[Any]:
    if file == _STANDARD:
        yield stdin_bytes if mode == "rb" else stdout_bytes
        return
    # Private, as the fleets are.
    async with aiofiles.open(file, mode, opener=lambda name, flags: os.open(name, flags, 0o600)) as opened:
        yield opened


class _Import:
    def __init__(self, settings: Settings, file: str, *, overwrite: bool) -> None:
        self._settings = settings
        self._file = file
        self._overwrite = overwrite
        self._count: Counter[str] = Counter()
        self._store = FleetStore(settings.root)

    async def run(self) -> Counter[str]:
        async with self._store:
            waiting: dict[str, PetFleet] = {}
            async for number, line in self._lines():
                fleet = self._parse(number, line)
                if fleet is None:
                    continue
                if fleet.user_id in waiting or len(waiting) >= _AT_ONCE:  # two of one user are saved in their order
                    await self._save_all(waiting)
                    waiting = {}
                waiting[fleet.user_id] = fleet
            await self._save_all(waiting)
        return self._count

    async def _lines(self) -> AsyncIterator[tuple[int, bytes]]:
        number = 0
        async with _opened(self._file, "rb") as lines:
            async for line in lines:
                number += 1
                yield number, line

    def _parse(self, number: int, line: bytes) -> PetFleet | None:
        try:
            record = json.loads(line)
            return loads(record["toml"], user_id=record["user_id"])
        except FleetFormatError as error:
            why = f"the fleet of {record['user_id']!r}: {error}"
        except (ValueError, TypeError, KeyError, RecursionError):
            why = 'no JSON object with the strings "user_id" and "toml"'
        self._fail("failed", f"{self._file}, line {number}", why)
        return None

    async def _save_all(self, fleets: dict[str, PetFleet]) -> None:
        async with anyio.create_task_group() as group:
            for fleet in fleets.values():
                group.start_soon(self._save, fleet)

    async def _save(self, fleet: PetFleet) -> None:
        try:
            try:
                await self._store.save(fleet)
            except (FleetConflictError, FleetFormatError) as error:
                if isinstance(error, FleetConflictError) and error.current and dumps(error.current) == dumps(fleet):
                    self._count["unchanged"] += 1
                    return
                if not self._overwrite:
                    what = "another fleet" if isinstance(error, FleetConflictError) else "a file that is no fleet"
                    self._fail("refused", fleet.user_id, f"has {what} already; --overwrite replaces it")
                    return
                await self._store.save(fleet, overwrite=True)
        except (FleetError, OSError, ValueError) as error:
            self._fail("failed", fleet.user_id, str(error))
        else:
            self._count["imported"] += 1

    def _fail(self, kind: str, what: str, why: str) -> None:
        self._count[kind] += 1
        _complain(self._settings, what, why)


def _complain(settings: Settings, what: str, why: str) -> None:
    message = as_json({"about": what, "error": why}) if settings.json else f"petfleet: {shown(what)}: {shown(why)}"
    print(message, file=sys.stderr)


def _report(settings: Settings, printer: Printer, count: Counter[str], *kinds: str) -> None:
    """Print how many of each kind there were, the first of them always; exit code 1 if any was refused or failed."""
    if settings.json:
        printer.line(as_json({kind: count[kind] for kind in kinds}))
    else:
        printer.line(", ".join(f"{count[kind]:,} {kind}" for kind in kinds if count[kind] or kind == kinds[0]))
    if count["refused"] or count["failed"]:
        raise typer.Exit(1)
