"""What `petfleet export` and `petfleet import` share: the store as JSON Lines in a file or stream."""

from __future__ import annotations

import os
import stat
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final, Literal

import aiofiles
import typer
from aiofiles import stdin_bytes, stdout_bytes

from petfleet._cli.output import Printer, as_json, printable
from petfleet._cli.settings import Settings

BATCH: Final = 64  # users that are read or saved together
MAX_CHARACTERS: Final = 1024 * 1024  # no more fleets are read or saved together
_STANDARD: Final = "-"


def is_stream(file: str) -> bool:
    """Return whether it is a standard stream, a pipe or a device: it is not replaced, and it may block for ever."""
    try:
        return file == _STANDARD or not stat.S_ISREG(os.stat(file).st_mode)
    except FileNotFoundError:
        return False


@asynccontextmanager
async def open_file(file: str, mode: Literal["rb", "wb"]) -> AsyncIterator[Any]:
    """Open a file that only its owner may read, as fleets are, or a standard stream."""
    if file == _STANDARD:
        yield stdin_bytes if mode == "rb" else stdout_bytes
        return
    async with aiofiles.open(file, mode, opener=lambda name, flags: os.open(name, flags, 0o600)) as stream:
        yield stream


def complain(settings: Settings, kind: str, what: str, why: str) -> None:
    """Report on standard error something that could not be exported or imported.

    Args:
        settings: what the command was given.
        kind: ``failed`` or ``refused``.
        what: the user, file or line.
        why: what is wrong, and the way out.
    """
    if settings.json:
        print(as_json({"error": kind, "about": what, "message": why}), file=sys.stderr)
    else:
        print(f"petfleet: {printable(what)}: {printable(why)}", file=sys.stderr)


def report(settings: Settings, printer: Printer, count: Counter[str], *kinds: str) -> None:
    """Print how many there are of each kind; exit with 1 if any was refused or failed.

    Args:
        settings: what the command was given.
        printer: where to print it.
        count: how many there are.
        kinds: the kinds in order; a line for people leaves out those with none, except the first.
    """
    if settings.json:
        printer.line(as_json({kind: count[kind] for kind in kinds}))
    else:
        printer.line(", ".join(f"{count[kind]:,} {kind}" for kind in kinds if count[kind] or kind == kinds[0]))
    if count["refused"] or count["failed"]:
        raise typer.Exit(1)
