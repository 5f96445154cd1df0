"""`petfleet show`: one user's fleet."""

from __future__ import annotations

from petfleet import FleetNotFoundError, PetFleet
from petfleet._cli.output import Printer, as_json, columns, moment, printable, summary
from petfleet._cli.roots import open_backend, read_fleet
from petfleet._cli.settings import Settings
from petfleet._model.names import check_user_id


def show(settings: Settings, user_id: str) -> None:
    """Print a user's pets.

    Raises:
        FleetNotFoundError: there is no fleet.
    """
    fleet, changed = read_fleet(open_backend(settings), check_user_id(user_id))
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
