"""`petfleet edit`: opens a copy in an editor, and saves it only if the fleet has not changed meanwhile."""

from __future__ import annotations

import difflib
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

import typer

from petfleet import (
    FleetConflictError,
    FleetFormatError,
    FleetNotFoundError,
    FleetStore,
    PetFleet,
    UnconfirmedCommitError,
    dumps,
    loads,
)
from petfleet._cli import interrupt
from petfleet._cli.checks import content
from petfleet._cli.confirm import confirm
from petfleet._cli.output import Printer, as_json, printable, summary
from petfleet._cli.roots import open_backend
from petfleet._cli.settings import Misuse, Settings


class KeptError(typer.TyperException):
    """The edit was not saved, or may not have been; the copy is kept."""

    def __init__(self, why: str, copy: str, saved: str = "Nothing was saved") -> None:
        kept = f"your edit is kept in {copy}" if os.path.exists(copy) else f"{copy} is gone"
        super().__init__(f"{why}. {saved}; {kept}")


def edit(settings: Settings, user_id: str, *, yes: bool) -> None:
    """Open a fleet in the editor, show the difference, and save it.

    On a terminal it asks before it saves, unless ``yes``.

    Raises:
        FleetNotFoundError: there is no fleet.
        KeptError: the edit was not saved, or may not have been.
    """
    backend = open_backend(settings)
    store = FleetStore(backend)
    before = interrupt.run(store.load, user_id)
    if backend.peek(user_id) is None:
        raise FleetNotFoundError(user_id)
    directory = tempfile.mkdtemp(prefix="petfleet-edit-")  # not in the user's directory: a crash would leave it there
    copy = os.path.join(directory, "fleet.toml")
    with open(copy, "x", encoding="utf-8", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        file.write(dumps(before))
    _run_editor(copy)
    after = _edited(copy, user_id)
    printer = Printer()
    if dumps(after) == dumps(before):
        shutil.rmtree(directory)
        printer.line(as_json(before) if settings.json else f"{printable(user_id)}: nothing changed")
        return
    if not settings.json:
        for line, style in _difference(before, after):
            printer.line(line, style)
        for finding in content.check_fleet(copy, user_id, after):
            printer.line(f"warning: {finding.message}", "yellow")
    if sys.stdin.isatty():
        try:
            confirm("Save this?", yes=yes)
        except (typer.Abort, KeyboardInterrupt):
            raise KeptError("you did not say yes", copy) from None
    try:
        fleet = interrupt.run(_save, store, after, before)
    except FleetConflictError as error:
        now = "it was deleted" if error.current is None else summary(error.current)
        raise KeptError(f"someone else changed the fleet of {user_id} meanwhile (now {now})", copy) from error
    except UnconfirmedCommitError as error:
        raise KeptError(str(error), copy, "It may have been saved") from error
    except Exception as error:
        raise KeptError(str(error), copy) from error
    shutil.rmtree(directory)
    printer.line(as_json(fleet) if settings.json else f"saved. {summary(fleet)}")


async def _save(store: FleetStore, after: PetFleet, before: PetFleet) -> PetFleet:
    return await store.save(after, replacing=before)


def _run_editor(copy: str) -> None:
    editor = os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi"
    try:
        with _leave_ctrl_c_to_editor():
            status = subprocess.run([*shlex.split(editor), copy]).returncode
    except (OSError, ValueError) as error:
        shutil.rmtree(os.path.dirname(copy))
        raise Misuse(f"the editor {editor!r} cannot be run ({error}): set EDITOR to one that can") from error
    if status != 0:
        raise KeptError(f"the editor {editor!r} ended with status {status}", copy)


@contextmanager
def _leave_ctrl_c_to_editor() -> Iterator[None]:
    before = signal.signal(signal.SIGINT, lambda *_: None)  # not SIG_IGN: the editor would inherit that
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _edited(copy: str, user_id: str) -> PetFleet:
    try:
        with open(copy, "rb") as file:
            return loads(file.read(), user_id=user_id)
    except FleetFormatError as error:
        raise KeptError(str(error), copy) from error
    except OSError as error:
        raise KeptError(f"the edited copy cannot be read ({error})", copy) from error


def _difference(before: PetFleet, after: PetFleet) -> Iterator[tuple[str, str | None]]:
    styles = {"+": "green", "-": "red", "@": "cyan"}
    for line in difflib.unified_diff(
        dumps(before).splitlines(), dumps(after).splitlines(), "stored", "edited", lineterm="", n=2
    ):
        yield printable(line), styles.get(line[:1])
