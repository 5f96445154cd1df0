"""`petfleet list` and `petfleet show`."""

from __future__ import annotations

from itertools import islice
from typing import Any

import typer

from petfleet import FleetFormatError, FleetNotFoundError, PetFleet
from petfleet._model.names import check_user_id
from petfleet.cli.output import Printer, as_json, columns, describe_error, moment, printable, summary
from petfleet.cli.roots import AnyBackend, look, map_concurrently, opened
from petfleet.cli.settings import Settings

_AT_ONCE = 500  # users: their lines are made, and printed, together


def list_users(settings: Settings) -> None:
    """Print a line a user, as they come; exit code 1 if a file is no fleet or cannot be read."""
    place = opened(settings)
    printer = Printer()
    count = broken = 0
    bad: list[dict[str, Any]] = []
    widths = [0] * 4
    header = [] if settings.json else [["USER", "PETS", "ACTIVE", "LAST CHANGE"]]
    with printer.progress("users", settings) as progress:
        ids = place.users(lambda name, error: bad.append(_failed(name, error)))
        looks = map_concurrently(place, lambda user_id: _look(place, user_id), ids)
        while (some := list(islice(looks, _AT_ONCE))) or bad:
            found = [*bad, *(user for user in some if user is not None)]
            bad.clear()
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


def show(settings: Settings, user_id: str) -> None:
    """Print a user's pets; FleetNotFoundError if there is no fleet."""
    fleet, changed = look(opened(settings), check_user_id(user_id))
    if fleet is None:
        raise FleetNotFoundError(user_id)
    printer = Printer()
    if settings.json:
        printer.line(as_json(fleet))
        return
    printer.line(summary(fleet) + ("" if changed is None else f", changed {moment(changed)}"))
    rows = [["", "PET", "ROLE", "MANIFEST", "LAST ACTIVE", "OTHER KEYS"], *_pets(fleet)]
    if not any(row[-1] for row in rows[1:]):
        rows = [row[:-1] for row in rows]
    header, *lines = columns(rows, [0] * len(rows[0]))
    if lines:
        printer.line(header, "bold")
        printer.line("\n".join(lines))
    if fleet.extra:
        printer.line(printable(f"other keys: {', '.join(fleet.extra)}"))


def _look(place: AnyBackend, user_id: str) -> dict[str, Any] | None:
    try:
        fleet, changed = look(place, user_id)
    except (FleetFormatError, OSError) as error:
        return _failed(user_id, error)
    if fleet is None:
        return None  # deleted since it was listed
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


def _pets(fleet: PetFleet) -> list[list[str]]:
    return [
        [
            "*" if pet.pet_name == fleet.active_pet else "",
            printable(pet.pet_name),
            printable(pet.role),
            printable(pet.manifest_path),
            moment(pet.last_active),
            printable(", ".join(pet.extra)),
        ]
        for pet in fleet.pets
    ]
