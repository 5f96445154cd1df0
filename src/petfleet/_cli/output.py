"""What commands print: lines for people, JSON for programs, and progress on a terminal."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime
from math import isfinite
from typing import TYPE_CHECKING, Any, Final, TextIO

from petfleet import PetFleet
from petfleet._model.errors import WAY_OUT

if TYPE_CHECKING:
    from rich.console import Console

INTERRUPTED: Final = 130  # the exit code
_MIN_STEPS: Final = 1000  # with fewer, no progress is shown


def printable(text: str) -> str:
    """Return a text as one line that is safe on a terminal: names may hold any character."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def moment(seconds: float) -> str:
    """Return a Unix time as local time, to the second."""
    try:
        return datetime.fromtimestamp(seconds).isoformat(" ", "seconds")
    except (OverflowError, ValueError, OSError):  # the year is out of range
        return str(int(seconds))


def describe_error(error: Exception) -> str:
    """Return what went wrong, without the advice that is meant for programs."""
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{os.fsdecode(error.filename)}: {error.strerror}"
    return str(error).removesuffix(WAY_OUT)


def report_error(error: str, message: str, *, json: bool) -> None:
    """Report on standard error what went wrong.

    Args:
        error: the name of the error's class.
        message: what went wrong, and the way out.
        json: whether to print JSON, or a line for people.
    """
    text = as_json({"error": error, "message": message}) if json else f"petfleet: {printable(message)}"
    print(text, file=sys.stderr)


def report_interruption(*, json: bool) -> None:
    """Report that the command was interrupted, and what that means for the fleets."""
    message = "interrupted; what was reported as done is done, and nothing is half done"
    report_error("Interrupted", message, json=json)


def summary(fleet: PetFleet) -> str:
    """Return a line about a fleet: the user, the number of pets, and the active pet."""
    pets = "1 pet" if len(fleet.pets) == 1 else f"{len(fleet.pets):,} pets"
    active = "none is active" if fleet.active_pet is None else f"{fleet.active_pet} is active"
    return printable(f"{fleet.user_id}: {pets}, {active}")


def as_json(value: object) -> str:
    """Return a value as one line of JSON. Values that JSON lacks (dates, infinities) become strings."""
    if isinstance(value, PetFleet):
        value = asdict(value)
    plain = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"  # other encodings lack characters
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
    """Return rows as lines with aligned cells. ``widths`` grows to the widest cell of each column."""
    from rich.cells import cell_len

    for row in rows:
        for index, cell in enumerate(row):
            widths[index] = max(widths[index], cell_len(cell))
    return [
        "  ".join(cell + " " * (width - cell_len(cell)) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


class Printer:
    """Prints a command's lines, above the progress bar if both are on the same terminal.

    Args:
        stream: sys.stdout, or sys.stderr for a command that writes data to standard output.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = sys.stdout if stream is None else stream
        self._console = _console(self._stream) if self._stream.isatty() else None

    @property
    def on_terminal(self) -> bool:
        """Whether the lines go to a terminal."""
        return self._console is not None

    def line(self, text: str, style: str | None = None, *, lead: str = "") -> None:
        """Print one or several lines.

        Args:
            text: the lines.
            style: rich's name of a style, for terminals. It applies to ``lead`` if there is one, else to the text.
            lead: what comes before the text.
        """
        if self._console is None:
            print(lead + text, file=self._stream, flush=True)
        else:
            from rich.segment import Segment, Segments
            from rich.style import Style

            # Not as text, which rich would measure line by line: for 100,000 users that took longer than the check.
            styles = Style.parse(style or "none"), Style.null()
            first, rest = styles if lead else reversed(styles)
            self._console.print(Segments([Segment(lead, first), Segment(text, rest), Segment.line()]))

    @contextmanager
    def progress(self, what: str, count: Callable[[], int | None]) -> Iterator[Progress]:
        """Show how many steps are done, if there is a terminal and much to do.

        Args:
            what: what the steps are, in a word.
            count: returns how many steps there are; None if that is unknown. Called only where there is a terminal.
        """
        console = self._console or (_console(sys.stderr) if sys.stderr.isatty() else None)
        total = None if console is None else count()
        if console is None or (total is not None and total < _MIN_STEPS):
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
    """Counts the steps that a command has done."""

    def __init__(self, bar: Any, task: Any) -> None:
        self._bar = bar
        self._task = task

    def advance(self, steps: int = 1) -> None:
        """Count more steps as done."""
        if self._bar is not None:
            self._bar.advance(self._task, steps)


def _console(stream: TextIO) -> Console:
    from rich.console import Console

    return Console(file=stream, highlight=False, markup=False, emoji=False, soft_wrap=True)
