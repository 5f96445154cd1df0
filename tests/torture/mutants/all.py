"""All mutants, room by room."""

from __future__ import annotations

from typing import Final

from tests.torture.mutants import cli, commit, files_backend, files_disk, objects, store, toml
from tests.torture.mutants.mutant import Mutant

MUTANTS: Final[tuple[Mutant, ...]] = (
    *files_backend.MUTANTS,
    *files_disk.MUTANTS,
    *commit.MUTANTS,
    *toml.MUTANTS,
    *store.MUTANTS,
    *cli.MUTANTS,
    *objects.MUTANTS,
)
