"""The earlier synchronous program, as far as it concerns us: no lock, truncate, write in place, drop unknown keys."""

from __future__ import annotations

import itertools
import select
import sys
import time
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Final

from petfleet import PetFleet, PetHandle, dumps
from tests.conftest import pet

USER: Final = "user"
_MAX_PETS: Final = 5


def read(path: Path) -> PetFleet:
    """Return the fleet, of the fields that the old program knows."""
    document = tomllib.loads(path.read_text(encoding="utf-8"))
    known = ("pet_name", "role", "manifest_path", "last_active")
    pets = [PetHandle(**{name: fields[name] for name in known}) for fields in document["pets"]]
    return PetFleet(document["user_id"], pets, document.get("active_pet"))


def rewrite(path: Path, fleet: PetFleet, between: Callable[[], object] = lambda: None) -> None:
    """Write the fleet as the old program does, but in two halves, with something done before each of them.

    The first half ends within the last pet: at its end it would be a fleet by itself.
    """
    data = dumps(fleet).encode()
    middle = data.rindex(b"manifest_path")
    with open(path, "wb", buffering=0) as file:
        between()
        file.write(data[:middle])
        between()
        file.write(data[middle:])


def version(number: int) -> PetFleet:
    """Return the fleet of that version: as many pets as it says, all of the same time."""
    return PetFleet(USER, [pet(f"pet{n}", number) for n in range(number % _MAX_PETS + 1)])


def is_version(fleet: PetFleet) -> bool:
    """Return whether this is one of the versions, whole."""
    return fleet == version(fleet.pets[0].last_active)


def main() -> None:
    """Rewrite a file, version after version, pausing within each rewrite and after it, until stdin ends."""
    path, pause = Path(sys.argv[1]), float(sys.argv[2])
    for number in itertools.count(1):
        rewrite(path, version(number), lambda: time.sleep(pause))
        if select.select([sys.stdin], [], [], 3 * pause)[0]:
            break


if __name__ == "__main__":
    main()
