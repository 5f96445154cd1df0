"""`petfleet export`: all fleets as JSON Lines."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Iterator
from functools import partial

import anyio.to_thread

from petfleet import FleetFormatError
from petfleet._backends.files import disk
from petfleet._cli import interrupt
from petfleet._cli.output import Printer, as_json, describe_error
from petfleet._cli.roots import AnyBackend, count_entries, map_concurrently, open_backend
from petfleet._cli.settings import Settings
from petfleet._cli.transfer import BATCH, MAX_CHARACTERS, complain, is_stream, open_file, report


def export(settings: Settings, file: str) -> None:
    """Write each user's id and TOML text; report fleets that cannot be read, and exit with 1 if there are any.

    A regular file is written under a temporary name, synced, and then renamed over an older one. An interrupt leaves
    the older one as it was. An export that is not complete gets the name ``FILE.incomplete`` instead.
    """
    stream = is_stream(file)
    printer = Printer(sys.stderr if stream else sys.stdout)
    if stream:
        count = interrupt.run(interrupt.end_at_once, settings.json, _export, settings, file, printer)
    else:
        file = os.path.realpath(file)
        os.stat(os.path.dirname(file))  # so that an error names this directory, not a temporary file in it
        temporary = disk.temporary_name(file)
        try:
            count = interrupt.run(_export, settings, temporary, printer)
            if count["failed"]:
                file += ".incomplete"
            disk.sync_file(temporary)
            disk.rename(temporary, file)
            disk.sync_directory(os.path.dirname(file))
        finally:
            disk.remove(temporary)
        if count["failed"]:
            complain(settings, "failed", file, "not complete, and so it has this name")
    report(settings, printer, count, "exported", "failed")


async def _export(settings: Settings, file: str, printer: Printer) -> Counter[str]:
    count: Counter[str] = Counter()
    backend = open_backend(settings)
    with printer.progress("exported", partial(count_entries, backend)) as progress:
        chunks = _chunks(backend, settings, count)
        done = 0
        async with open_file(file, "wb") as output:
            while (chunk := await anyio.to_thread.run_sync(next, chunks, None)) is not None:
                await output.write(chunk.encode())
                progress.advance(count.total() - done)
                done = count.total()
            await output.flush()
    return count


def _chunks(backend: AnyBackend, settings: Settings, count: Counter[str]) -> Iterator[str]:
    """Yield the lines of all users, several at a time, and an empty text after each failure.

    It can be interrupted only between two texts, and where the store does not answer, each failure takes seconds.
    """

    def failed(name: str, error: Exception) -> None:
        count["failed"] += 1
        complain(settings, "failed", name, f"not exported: {describe_error(error)}")

    def read(user_id: str) -> tuple[str, str | Exception | None]:
        try:
            return user_id, backend.text(user_id)
        except (FleetFormatError, OSError) as error:
            return user_id, error

    lines: list[str] = []
    size = 0
    for user_id, toml in map_concurrently(backend, read, backend.users(failed)):
        if isinstance(toml, Exception):
            failed(user_id, toml)
            yield ""
        elif toml is not None:  # None: deleted after it was listed
            lines.append(as_json({"user_id": user_id, "toml": toml}) + "\n")
            size += len(toml)
            count["exported"] += 1
        if len(lines) >= BATCH or size > MAX_CHARACTERS:
            yield "".join(lines)
            lines, size = [], 0
    if lines:
        yield "".join(lines)
