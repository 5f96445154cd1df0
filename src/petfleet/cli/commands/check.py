"""`petfleet check`: prints what is found, as it is found."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import typer

from petfleet._backends.objects.backend import ObjectBackend
from petfleet.cli.checks import bucket
from petfleet.cli.checks.directory import Finding, check
from petfleet.cli.checks.file_system import Surroundings, look_around
from petfleet.cli.output import Printer, as_json, printable
from petfleet.cli.roots import opened
from petfleet.cli.settings import Settings

_LOCK_TIMEOUT: Final = 10.0  # seconds for which the lock of one user is waited for


def check_root(settings: Settings, *, repair: bool) -> None:
    """Print what is wrong under the root, and what it is on; exit code 1 if anything is wrong, repaired or not."""
    printer = Printer()
    entries = findings = repaired = 0
    others: Counter[str] = Counter()
    place = opened(settings)
    if isinstance(place, ObjectBackend):
        checked = bucket.check(place, repair=repair, count=others)
        _say_bucket(printer, settings)
    else:
        checked = check(settings.root, repair=repair, lock_timeout=_LOCK_TIMEOUT)
        _say_surroundings(printer, settings)
    with printer.progress("checked", settings) as progress, _one_user_at_a_time() as stop_if_interrupted:
        for found in checked:
            for finding in found:
                _print(printer, finding, settings)
                findings += 1
                repaired += finding.repaired is not None
            entries += 1
            progress.advance()
            stop_if_interrupted()
    if settings.json:
        printer.line(as_json({"summary": {"entries": entries, "findings": findings, "repaired": repaired, **others}}))
    else:
        what = "nothing wrong" if not findings else f"{findings:,} {'finding' if findings == 1 else 'findings'}"
        done = f", {repaired:,} repaired" if repair and findings else ""
        printer.line(f"{entries:,} {'entry' if entries == 1 else 'entries'} checked: {what}{done}", "bold")
        if findings > repaired and not repair:
            printer.line("`petfleet check --repair` mends leftovers, and sets aside what is no fleet")
        if others["deleted"] or others["foreign"]:
            printer.line(
                f"deleted fleets: {others['deleted']:,}; written by other programs than petfleet: {others['foreign']:,}"
            )
    if findings:
        raise typer.Exit(1)


@contextmanager
def _one_user_at_a_time() -> Iterator[Callable[[], None]]:
    """Have Ctrl-C wait for the user who is being repaired, unless it comes twice."""
    noted: list[int] = []

    def note(number: int, frame: object) -> None:
        if noted:
            raise KeyboardInterrupt
        noted.append(number)

    def stop_if_interrupted() -> None:
        if noted:
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, note)
    try:
        yield stop_if_interrupted
    finally:
        signal.signal(signal.SIGINT, before)


def _print(printer: Printer, finding: Finding, settings: Settings) -> None:
    if settings.json:
        printer.line(as_json({"finding": finding._asdict()}))
        return
    if settings.in_bucket:
        where = finding.path.removeprefix(settings.root.rstrip("/") + "/")
    else:
        where = os.path.relpath(finding.path, settings.root)
    where += "".join(f", {word} {at}" for word, at in (("line", finding.line), ("column", finding.column)) if at)
    if finding.repaired is None:
        printer.line(printable(f": {where}: {finding.message}"), "red", lead=finding.kind)
    else:
        printer.line(
            printable(f": {where}: {finding.repaired} (it was: {finding.message})"), "green", lead=finding.kind
        )


def _say_bucket(printer: Printer, settings: Settings) -> None:
    if settings.json:
        printer.line(as_json({"surroundings": {"object_storage": settings.root}}))
    else:
        # Where a store ignores conditions, one that nothing fulfils would write.
        untried = "whether it honours conditions is not tried, since that takes a write"
        printer.line(printable(f"{settings.root}: object storage; {untried}"))


def _say_surroundings(printer: Printer, settings: Settings) -> None:
    surroundings = look_around(settings.root)
    if settings.json:
        printer.line(as_json({"surroundings": surroundings._asdict()}))
    else:
        printer.line(_describe(settings.root, surroundings))
        for warning in surroundings.warnings:
            printer.line(printable(f"warning: {warning}"), "yellow")


def _describe(root: str, on: Surroundings) -> str:
    def works(answer: bool | None, yes: str, no: str, unknown: str) -> str:
        return unknown if answer is None else yes if answer else no

    parts: list[Any] = [
        on.file_system or "unknown file system",
        works(on.locks, "locks work", "LOCKS DO NOT WORK", "locks not tried"),
        works(on.directory_sync, "directory sync works", "NO DIRECTORY SYNC", "directory sync not tried"),
    ]
    if on.fsync_seconds is not None:
        parts.append(f"a durable write takes {1000 * on.fsync_seconds:.2f} ms")
    return printable(f"{root}: {', '.join(parts)}")
