"""`petfleet list`: a line for each user."""

from __future__ import annotations

from functools import partial
from itertools import islice
from typing import Any, Final

import typer

from petfleet import FleetFormatError
from petfleet._cli.output import Printer, as_json, columns, describe_error, moment, printable
from petfleet._cli.roots import AnyBackend, count_entries, map_concurrently, open_backend, read_fleet
from petfleet._cli.settings import Settings

_BATCH: Final = 500  # users whose lines are formatted and printed together


def list_users(settings: Settings) -> None:
    """Print a line for each user as it is found; exit with 1 if a file is not a fleet or cannot be read."""
    backend = open_backend(settings)
    printer = Printer()
    count = broken = 0
    invalid: list[dict[str, Any]] = []
    widths = [0] * 4
    header = [] if settings.json else [["USER", "PETS", "ACTIVE", "LAST CHANGE"]]
    with printer.progress("users", partial(count_entries, backend)) as progress:
        ids = backend.users(lambda name, error: invalid.append(_failed(name, error)))
        users = map_concurrently(backend, partial(_describe, backend), ids)
        while (some := list(islice(users, _BATCH))) or invalid:
            found = [*invalid, *(user for user in some if user is not None)]
            invalid.clear()
            broken += sum("error" in user for user in found)
            if not found:
                continue
            if settings.json:
                printer.line("\n".join(map(as_json, found)))
            else:
                lines = columns([*header, *map(_row, found)], widths)
                if header:
                    printer.line(lines.pop(0), "bold")
                    header = []
                printer.line("\n".join(lines))
            count += len(found)
            progress.advance(len(found))
    if printer.on_terminal and not settings.json:
        printer.line(f"{count:,} {'user' if count == 1 else 'users'}{f', {broken:,} broken' if broken else ''}", "dim")
    if broken:
        raise typer.Exit(1)


def _describe(backend: AnyBackend, user_id: str) -> dict[str, Any] | None:
    try:
        fleet, changed = read_fleet(backend, user_id)
    except (FleetFormatError, OSError) as error:
        return _failed(user_id, error)
    if fleet is None:
        return None  # deleted after it was listed
    return {
        "user_id": user_id,
        "pets": len(fleet.pets),
        "active_pet": fleet.active_pet,
        "last_change": changed and int(changed),
    }


def _failed(user_id: str, error: Exception) -> dict[str, Any]:
    return {"user_id": user_id, "error": type(error).__name__, "message": describe_error(error)}


def _row(user: dict[str, Any]) -> list[str]:
    if "error" in user:
        return [printable(user["user_id"]), "-", "-", printable(user["message"])]
    active = "-" if user["active_pet"] is None else printable(user["active_pet"])
    changed = "-" if user["last_change"] is None else moment(user["last_change"])
    return [printable(user["user_id"]), f"{user['pets']:,}", active, changed]
