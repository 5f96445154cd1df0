"""`petfleet export` and `petfleet import`: the whole store as JSON Lines, one user at a time."""

from __future__ import annotations

import json
import os
import stat
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any, Final, Literal

import aiofiles
import anyio
import anyio.to_thread
import typer
from aiofiles import stdin_bytes, stdout_bytes

from petfleet import FleetConflictError, FleetError, FleetFormatError, FleetStore, PetFleet, dumps, loads
from petfleet._backends.files import disk
from petfleet._model.names import text
from petfleet.cli.output import INTERRUPTED, Printer, as_json, describe_error, printable, say_interrupted
from petfleet.cli.roots import map_concurrently, opened
from petfleet.cli.settings import Settings

_AT_ONCE: Final = 64  # users that are saved together
_MUCH: Final = 1024 * 1024  # characters: no more fleets are read, or saved, together
_STANDARD: Final = "-"


def export(settings: Settings, file: str) -> None:
    """Write each user's id and TOML text; what cannot be read is reported, and makes it exit code 1.

    A regular file appears whole at the end, durable, in the place of an older one; interrupted, nothing changed.
    One that is not complete does not replace a complete one: it is called ``FILE.incomplete``.
    """
    stream = _is_stream(file)
    printer = Printer(sys.stderr if stream else sys.stdout)
    if stream:
        count = anyio.run(_ending_at_once, _export, settings, file, printer)
    else:
        file = os.path.realpath(file)
        os.stat(os.path.dirname(file))  # an error about this, and not about a temporary file in it
        temporary = disk.temporary_name(file)
        try:
            count = anyio.run(_export, settings, temporary, printer)
            if count["failed"]:
                file += ".incomplete"
            disk.sync_file(temporary)
            disk.rename(temporary, file)
            disk.sync_directory(os.path.dirname(file))
        finally:
            disk.remove(temporary)
        if count["failed"]:
            _complain(settings, "failed", file, "not complete, and so it has this name")
    _report(settings, printer, count, "exported", "failed")


def import_(settings: Settings, file: str, *, overwrite: bool) -> None:
    """Save what `export` wrote; exit code 1 if a line is no fleet, or a user has another fleet and keeps it.

    Each fleet is saved whole or not at all, in the layout that petfleet writes.
    """
    run = _Import(settings, file, overwrite=overwrite).run
    count = anyio.run(_ending_at_once, run) if _is_stream(file) else anyio.run(run)
    _report(settings, Printer(), count, "imported", "unchanged", "refused", "failed")


def _is_stream(file: str) -> bool:
    """Return whether it is a standard stream, a pipe or a device: not to be replaced, and it may keep one waiting."""
    try:
        return file == _STANDARD or not stat.S_ISREG(os.stat(file).st_mode)
    except FileNotFoundError:
        return False


async def _ending_at_once(run: Callable[..., Awaitable[Counter[str]]], *arguments: Any) -> Counter[str]:
    """Run something that reads or writes a stream; when it is interrupted, end the process."""
    interruptions = (anyio.get_cancelled_exc_class(), KeyboardInterrupt)
    try:
        return await run(*arguments)
    except BaseException as error:
        # A SIGTERM is raised wherever the event loop is just then, in one of the tasks too.
        if not isinstance(error, interruptions) and not (
            isinstance(error, BaseExceptionGroup) and error.subgroup(KeyboardInterrupt)
        ):
            raise
        # Commits are done by now. What is not is a read or a write that may never be, in a thread that the end of the
        # event loop, and of the interpreter, would wait for.
        say_interrupted()
        sys.stderr.flush()
        os._exit(INTERRUPTED)


async def _export(settings: Settings, file: str, printer: Printer) -> Counter[str]:
    count: Counter[str] = Counter()
    with printer.progress("exported", settings) as progress:
        chunks = _chunks(settings, count)
        done = 0
        async with _opened(file, "wb") as output:
            while (chunk := await anyio.to_thread.run_sync(next, chunks, None)) is not None:
                await output.write(chunk.encode())
                progress.advance(count.total() - done)
                done = count.total()
            await output.flush()
    return count


def _chunks(settings: Settings, count: Counter[str]) -> Iterator[str]:
    """Yield the lines of all users, some at a time, or none where one fails: only between two it can be interrupted."""
    place = opened(settings)

    def failed(name: str, error: Exception) -> None:
        count["failed"] += 1
        _complain(settings, "failed", name, f"not exported: {describe_error(error)}")

    def read(user_id: str) -> tuple[str, str | Exception | None]:
        try:
            return user_id, place.text(user_id)
        except (FleetFormatError, OSError) as error:
            return user_id, error

    lines: list[str] = []
    size = 0
    for user_id, toml in map_concurrently(place, read, place.users(failed)):
        if isinstance(toml, Exception):
            failed(user_id, toml)
            yield ""  # where no one answers, the next failure may take long
        elif toml is not None:  # None: deleted since it was listed
            lines.append(as_json({"user_id": user_id, "toml": toml}) + "\n")
            size += len(toml)
            count["exported"] += 1
        if len(lines) >= _AT_ONCE or size > _MUCH:
            yield "".join(lines)
            lines, size = [], 0
    if lines:
        yield "".join(lines)


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
        self._store = FleetStore(opened(settings))

    async def run(self) -> Counter[str]:
        async with self._store:
            waiting: dict[str, PetFleet] = {}
            size = 0
            async for number, line in self._lines():
                fleet = self._parse(number, line)
                if fleet is None:
                    continue
                # Two of one user are saved in their order.
                if fleet.user_id in waiting or len(waiting) >= _AT_ONCE or size > _MUCH:
                    await self._save_all(waiting)
                    waiting, size = {}, 0
                waiting[fleet.user_id] = fleet
                size += len(line)
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
            return loads(record["toml"], user_id=text(record["user_id"], "user_id"))
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
                    what = "another fleet" if isinstance(error, FleetConflictError) else describe_error(error)
                    way_out = "--overwrite replaces it, unless it is another user's"
                    self._fail("refused", fleet.user_id, f"not imported over {what}: {way_out}")
                    return
                await self._store.save(fleet, overwrite=True)
        except (FleetError, OSError, ValueError) as error:
            self._fail("failed", fleet.user_id, describe_error(error))
        else:
            self._count["imported"] += 1

    def _fail(self, kind: str, what: str, why: str) -> None:
        self._count[kind] += 1
        _complain(self._settings, kind, what, why)


def _complain(settings: Settings, kind: str, what: str, why: str) -> None:
    if settings.json:
        print(as_json({"error": kind, "about": what, "message": why}), file=sys.stderr)
    else:
        print(f"petfleet: {printable(what)}: {printable(why)}", file=sys.stderr)


def _report(settings: Settings, printer: Printer, count: Counter[str], *kinds: str) -> None:
    """Print how many of each kind there were, the first of them always; exit code 1 if any was refused or failed."""
    if settings.json:
        printer.line(as_json({kind: count[kind] for kind in kinds}))
    else:
        printer.line(", ".join(f"{count[kind]:,} {kind}" for kind in kinds if count[kind] or kind == kinds[0]))
    if count["refused"] or count["failed"]:
        raise typer.Exit(1)
