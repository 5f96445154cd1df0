"""Fleets of pet personas, one small TOML file per user: awaitable, durable, safe among tasks, threads and processes."""

from petfleet.backend import Backend
from petfleet.codec import dumps, loads
from petfleet.errors import (
    FleetConflictError,
    FleetError,
    FleetFormatError,
    FleetNotFoundError,
    InvalidNameError,
    LockTimeoutError,
    PetAlreadyInFleetError,
    PetNotInFleetError,
    UnconfirmedCommitError,
)
from petfleet.fleet import PetFleet, PetHandle, per_pet_memory_key, shared_memory_key
from petfleet.layout import fleet_path
from petfleet.objects import ObjectBackend
from petfleet.statistics import FleetStoreStatistics
from petfleet.store import FleetStore

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
    "dumps",
    "fleet_path",
    "loads",
    "per_pet_memory_key",
    "shared_memory_key",
]
