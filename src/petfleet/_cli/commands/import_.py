"""`petfleet import`: saves the fleets of an export."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncIterator

import anyio

from petfleet import FleetConflictError, FleetError, FleetFormatError, FleetStore, PetFleet, dumps, loads
from petfleet._cli import interrupt
from petfleet._cli.output import Printer, describe_error
from petfleet._cli.roots import open_backend
from petfleet._cli.settings import Settings
from petfleet._cli.transfer import BATCH, MAX_CHARACTERS, complain, is_stream, open_file, report
from petfleet._model.names import text


def import_(settings: Settings, file: str, *, overwrite: bool) -> None:
    """Save the fleets that `export` wrote; exit with 1 if a line is not a fleet, or a user keeps another fleet.

    Each fleet is saved completely or not at all, in petfleet's own layout.
    """
    run = _Import(settings, file, overwrite=overwrite).run
    if is_stream(file):
        count = interrupt.run(interrupt.end_at_once, settings.json, run)
    else:
        count = interrupt.run(run)
    report(settings, Printer(), count, "imported", "unchanged", "refused", "failed")


class _Import:
    def __init__(self, settings: Settings, file: str, *, overwrite: bool) -> None:
        self._settings = settings
        self._file = file
        self._overwrite = overwrite
        self._count: Counter[str] = Counter()
        self._store = FleetStore(open_backend(settings))

    async def run(self) -> Counter[str]:
        async with self._store:
            waiting: dict[str, PetFleet] = {}
            size = 0
            async for number, line in self._lines():
                fleet = self._parse(number, line)
                if fleet is None:
                    continue
                # Two fleets of one user are saved one after the other: the last one counts.
                if fleet.user_id in waiting or len(waiting) >= BATCH or size > MAX_CHARACTERS:
                    await self._save_all(waiting)
                    waiting, size = {}, 0
                waiting[fleet.user_id] = fleet
                size += len(line)
            await self._save_all(waiting)
        return self._count

    async def _lines(self) -> AsyncIterator[tuple[int, bytes]]:
        number = 0
        async with open_file(self._file, "rb") as lines:
            async for line in lines:
                number += 1
                yield number, line

    def _parse(self, number: int, line: bytes) -> PetFleet | None:
        try:
            record = json.loads(line)
            return loads(record["toml"], user_id=text(record["user_id"], "user_id"))
        except FleetFormatError as error:
            why = f"the fleet of {record['user_id']!r}: {error}"
        except (ValueError, TypeError, KeyError, RecursionError):
            why = 'no JSON object with the strings "user_id" and "toml"'
        self._fail("failed", f"{self._file}, line {number}", why)
        return None

    async def _save_all(self, fleets: dict[str, PetFleet]) -> None:
        async with anyio.create_task_group() as group:
            for fleet in fleets.values():
                group.start_soon(self._save, fleet)

    async def _save(self, fleet: PetFleet) -> None:
        try:
            try:
                await self._store.save(fleet)
            except (FleetConflictError, FleetFormatError) as error:
                if isinstance(error, FleetConflictError) and error.current and dumps(error.current) == dumps(fleet):
                    self._count["unchanged"] += 1
                    return
                if not self._overwrite:
                    what = "another fleet" if isinstance(error, FleetConflictError) else describe_error(error)
                    way_out = "--overwrite replaces it, unless it is another user's"
                    self._fail("refused", fleet.user_id, f"not imported over {what}: {way_out}")
                    return
                await self._store.save(fleet, overwrite=True)
        except (FleetError, OSError, ValueError) as error:
            self._fail("failed", fleet.user_id, describe_error(error))
        else:
            self._count["imported"] += 1

    def _fail(self, kind: str, what: str, why: str) -> None:
        self._count[kind] += 1
        complain(self._settings, kind, what, why)
