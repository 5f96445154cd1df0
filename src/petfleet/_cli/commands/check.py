"""`petfleet check`: prints findings as they are found."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Final

import typer

from petfleet._backends.objects.backend import ObjectBackend
from petfleet._cli import interrupt
from petfleet._cli.checks import bucket, directory, file_system
from petfleet._cli.checks.file_system import FileSystem
from petfleet._cli.checks.finding import Finding
from petfleet._cli.output import Printer, as_json, printable
from petfleet._cli.roots import count_entries, open_backend
from petfleet._cli.settings import Settings

_LOCK_TIMEOUT: Final = 10.0  # seconds to wait for one user's lock


def check(settings: Settings, *, repair: bool) -> None:
    """Print what is wrong under the root, and its file system; exit with 1 for any finding, repaired or not."""
    printer = Printer()
    entries = findings = repaired = 0
    others: Counter[str] = Counter()
    backend = open_backend(settings)
    if isinstance(backend, ObjectBackend):
        checked = bucket.check(backend, repair=repair, count=others)
        _print_bucket(printer, settings)
    else:
        checked = directory.check(settings.root, repair=repair, lock_timeout=_LOCK_TIMEOUT)
        _print_file_system(printer, settings)
    with printer.progress("checked", partial(count_entries, backend)) as progress, _one_user_at_a_time() as stop:
        for found in checked:
            for finding in found:
                _print_finding(printer, finding, settings)
                findings += 1
                repaired += finding.repaired is not None
            entries += 1
            progress.advance()
            stop()
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
    """Have Ctrl-C wait until the repair of the current user has ended, unless it comes twice.

    Yields what raises KeyboardInterrupt if it has come.
    """
    noted: list[int] = []

    def note(number: int, frame: object) -> None:
        if noted:
            raise KeyboardInterrupt
        noted.append(number)

    def stop_if_interrupted() -> None:
        if noted:
            raise KeyboardInterrupt

    with interrupt.handled_by(note):
        yield stop_if_interrupted


def _print_finding(printer: Printer, finding: Finding, settings: Settings) -> None:
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


def _print_bucket(printer: Printer, settings: Settings) -> None:
    if settings.json:
        printer.line(as_json({"surroundings": {"object_storage": settings.root}}))
    else:
        # A store that ignores conditions would carry out a put whose condition can never hold.
        untried = "whether it honours conditions is not tried, since that takes a write"
        printer.line(printable(f"{settings.root}: object storage; {untried}"))


def _print_file_system(printer: Printer, settings: Settings) -> None:
    found = file_system.probe(settings.root)
    if settings.json:
        printer.line(as_json({"surroundings": found._asdict()}))
    else:
        printer.line(_describe(settings.root, found))
        for warning in found.warnings:
            printer.line(printable(f"warning: {warning}"), "yellow")


def _describe(root: str, found: FileSystem) -> str:
    def works(answer: bool | None, yes: str, no: str, unknown: str) -> str:
        return unknown if answer is None else yes if answer else no

    parts = [
        found.file_system or "unknown file system",
        works(found.locks, "locks work", "LOCKS DO NOT WORK", "locks not tried"),
        works(found.directory_sync, "directory sync works", "NO DIRECTORY SYNC", "directory sync not tried"),
    ]
    if found.fsync_seconds is not None:
        parts.append(f"a durable write takes {1000 * found.fsync_seconds:.2f} ms")
    return printable(f"{root}: {', '.join(parts)}")
