"""Fleets of pet personas, one small TOML file per user: awaitable, durable, safe among tasks, threads and processes."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from petfleet._backends.files.paths import fleet_path as fleet_path
    from petfleet._backends.objects.backend import ObjectBackend as ObjectBackend
    from petfleet._backends.protocol import Backend as Backend
    from petfleet._commit.statistics import FleetStoreStatistics as FleetStoreStatistics
    from petfleet._model.errors import FleetConflictError as FleetConflictError
    from petfleet._model.errors import FleetError as FleetError
    from petfleet._model.errors import FleetFormatError as FleetFormatError
    from petfleet._model.errors import FleetNotFoundError as FleetNotFoundError
    from petfleet._model.errors import InvalidNameError as InvalidNameError
    from petfleet._model.errors import LockTimeoutError as LockTimeoutError
    from petfleet._model.errors import PetAlreadyInFleetError as PetAlreadyInFleetError
    from petfleet._model.errors import PetNotInFleetError as PetNotInFleetError
    from petfleet._model.errors import UnconfirmedCommitError as UnconfirmedCommitError
    from petfleet._model.fleet import PetFleet as PetFleet
    from petfleet._model.fleet import PetHandle as PetHandle
    from petfleet._model.fleet import per_pet_memory_key as per_pet_memory_key
    from petfleet._model.fleet import shared_memory_key as shared_memory_key
    from petfleet._store import FleetStore as FleetStore
    from petfleet._toml.decode import loads as loads
    from petfleet._toml.encode import dumps as dumps
    from petfleet._watch import Watch as Watch

__version__ = "0.1.0"

# Each public name and its module, imported when the name is first used (PEP 562): `petfleet --help` needs none of them.
_HOME = {
    "Backend": "_backends.protocol",
    "FleetConflictError": "_model.errors",
    "FleetError": "_model.errors",
    "FleetFormatError": "_model.errors",
    "FleetNotFoundError": "_model.errors",
    "FleetStore": "_store",
    "FleetStoreStatistics": "_commit.statistics",
    "InvalidNameError": "_model.errors",
    "LockTimeoutError": "_model.errors",
    "ObjectBackend": "_backends.objects.backend",
    "PetAlreadyInFleetError": "_model.errors",
    "PetFleet": "_model.fleet",
    "PetHandle": "_model.fleet",
    "PetNotInFleetError": "_model.errors",
    "UnconfirmedCommitError": "_model.errors",
    "Watch": "_watch",
    "dumps": "_toml.encode",
    "fleet_path": "_backends.files.paths",
    "loads": "_toml.decode",
    "per_pet_memory_key": "_model.fleet",
    "shared_memory_key": "_model.fleet",
}

__all__ = [
    "Backend",
    "FleetConflictError",
    "FleetError",
    "FleetFormatError",
    "FleetNotFoundError",
    "FleetStore",
    "FleetStoreStatistics",
    "InvalidNameError",
    "LockTimeoutError",
    "ObjectBackend",
    "PetAlreadyInFleetError",
    "PetFleet",
    "PetHandle",
    "PetNotInFleetError",
    "UnconfirmedCommitError",
    "Watch",
    "dumps",
    "fleet_path",
    "loads",
    "per_pet_memory_key",
    "shared_memory_key",
]


if not TYPE_CHECKING:  # pragma: no branch (type checkers would take every name for an attribute of type Any)

    def __getattr__(name: str) -> Any:
        if name not in _HOME:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = globals()[name] = getattr(import_module(f"petfleet.{_HOME[name]}"), name)
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
