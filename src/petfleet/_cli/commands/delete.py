"""`petfleet delete`."""

from __future__ import annotations

from petfleet import FleetNotFoundError, FleetStore
from petfleet._cli import interrupt
from petfleet._cli.confirm import confirm
from petfleet._cli.output import Printer, as_json, printable, summary
from petfleet._cli.roots import open_backend
from petfleet._cli.settings import Settings
from petfleet._model.names import check_user_id


def delete(settings: Settings, user_id: str, *, yes: bool) -> None:
    """Delete a fleet after asking, unless ``yes``.

    Raises:
        FleetNotFoundError: there is none.
        typer.Abort: the answer is no.
    """
    backend = open_backend(settings)
    fleet = backend.peek(check_user_id(user_id))
    if fleet is None:
        raise FleetNotFoundError(user_id)
    confirm(f"Delete {summary(fleet)}? There is no way back", yes=yes)
    if not interrupt.run(FleetStore(backend).delete, user_id):
        raise FleetNotFoundError(user_id)
    Printer().line(
        as_json({"user_id": user_id, "deleted": True}) if settings.json else f"{printable(user_id)}: deleted"
    )
