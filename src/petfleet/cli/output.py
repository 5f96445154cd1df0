"""What commands print: lines for people, JSON for programs, and progress on a terminal."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime
from math import isfinite
from typing import TYPE_CHECKING, Any, Final, TextIO

from petfleet import PetFleet
from petfleet._model.errors import WAY_OUT

if TYPE_CHECKING:
    from rich.console import Console

    from petfleet.cli.settings import Settings

INTERRUPTED: Final = 130  # the exit code
_FEW: Final = 1000  # of things to do: no progress is shown below that


def printable(text: str) -> str:
    """Return a text as one line that does nothing to a terminal: names may hold any character."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def moment(seconds: float) -> str:
    """Return a Unix time as local time, to the second."""
    try:
        return datetime.fromtimestamp(seconds).isoformat(" ", "seconds")
    except (OverflowError, ValueError, OSError):  # a year that no calendar has
        return str(int(seconds))


def describe_error(error: Exception) -> str:
    """Return what went wrong, without the ways out that only a program has."""
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{os.fsdecode(error.filename)}: {error.strerror}"
    return str(error).removesuffix(WAY_OUT)


def say(error: str, message: str) -> None:
    """Say on standard error what went wrong: in a line, or as JSON if that was asked for."""
    wants_json = "--json" in sys.argv
    text = as_json({"error": error, "message": message}) if wants_json else f"petfleet: {printable(message)}"
    print(text, file=sys.stderr)


def say_interrupted() -> None:
    """Say that the command was interrupted, and what that means."""
    say("Interrupted", "interrupted; what was reported as done is done, and nothing is half done")


def summary(fleet: PetFleet) -> str:
    """Return a fleet in a line."""
    pets = "1 pet" if len(fleet.pets) == 1 else f"{len(fleet.pets):,} pets"
    active = "none is active" if fleet.active_pet is None else f"{fleet.active_pet} is active"
    return printable(f"{fleet.user_id}: {pets}, {active}")


def as_json(value: object) -> str:
    """Return a value as one line of JSON; what JSON has not (dates, infinities) becomes a string."""
    if isinstance(value, PetFleet):
        value = asdict(value)
    plain = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"  # else what cannot be printed is escaped
    return json.dumps(_finite(value), default=str, ensure_ascii=not plain)


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not isfinite(value):
        return str(value)
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return value


def columns(rows: Sequence[Sequence[str]], widths: list[int]) -> list[str]:
    """Return rows as lines with their cells below one another; ``widths`` grows to what the widest cells need."""
    from rich.cells import cell_len

    for row in rows:
        for index, cell in enumerate(row):
            widths[index] = max(widths[index], cell_len(cell))
    return [
        "  ".join(cell + " " * (width - cell_len(cell)) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


class Printer:
    """Prints a command's lines, above its progress if that is shown on the same terminal.

    Args:
        stream: sys.stdout, or sys.stderr for a command whose data goes to standard output.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = sys.stdout if stream is None else stream
        self._console = _console(self._stream) if self._stream.isatty() else None

    @property
    def on_terminal(self) -> bool:
        """Whether someone looks at it, and not a program."""
        return self._console is not None

    def line(self, text: str, style: str | None = None, *, lead: str = "") -> None:
        """Print a line, or several; on a terminal in that style, or only what leads them, if anything does."""
        if self._console is None:
            print(lead + text, file=self._stream, flush=True)
        else:
            from rich.segment import Segment, Segments
            from rich.style import Style

            # Not as text that rich would look at line by line: of 100,000 that took twice as long as finding them.
            styles = Style.parse(style or "none"), Style.null()
            first, rest = styles if lead else reversed(styles)
            self._console.print(Segments([Segment(lead, first), Segment(text, rest), Segment.line()]))

    @contextmanager
    def progress(self, what: str, settings: Settings) -> Iterator[Progress]:
        """Show how many of the root's entries are done: on the terminal, if there is one and much to do.

        Of a bucket it is not known how much there is to do: to count it would take as many requests as to list it.
        """
        console = self._console or (_console(sys.stderr) if sys.stderr.isatty() else None)
        total: int | None = None
        if console is not None and not settings.in_bucket:
            with os.scandir(settings.root) as entries:
                total = sum(1 for _ in entries)
        if console is None or (total is not None and total < _FEW):
            yield Progress(None, None)
            return
        from rich import progress

        parts = (
            progress.TextColumn("{task.description}"),
            progress.BarColumn(),
            progress.MofNCompleteColumn(),
            progress.TimeRemainingColumn(),
        )
        with progress.Progress(*parts, console=console, transient=True) as bar:
            yield Progress(bar, bar.add_task(what, total=total))


class Progress:
    """How far a command has come."""

    def __init__(self, bar: Any, task: Any) -> None:
        self._bar = bar
        self._task = task

    def advance(self, steps: int = 1) -> None:
        """Count more as done."""
        if self._bar is not None:
            self._bar.advance(self._task, steps)


def _console(stream: TextIO) -> Console:
    from rich.console import Console

    return Console(file=stream, highlight=False, markup=False, emoji=False, soft_wrap=True)
