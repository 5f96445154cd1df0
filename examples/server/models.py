"""What goes over the wire as JSON, and how it becomes petfleet's values and back."""

from __future__ import annotations

import hashlib
import time

from pydantic import BaseModel, ConfigDict

from petfleet import PetFleet, PetHandle, dumps


class PetBody(BaseModel):
    """A pet as a client sends it; without ``last_active`` it was active just now."""

    model_config = ConfigDict(extra="forbid", strict=True)

    pet_name: str
    role: str
    manifest_path: str
    last_active: int | None = None  # Unix seconds

    def handle(self, stored: PetHandle | None = None) -> PetHandle:
        """Return it as a handle, with the keys that petfleet does not know of the one that is stored."""
        last_active = int(time.time()) if self.last_active is None else self.last_active
        extra = {} if stored is None else stored.extra
        return PetHandle(self.pet_name, self.role, self.manifest_path, last_active, extra)


class FleetBody(BaseModel):
    """A whole fleet as a client sends it."""

    model_config = ConfigDict(extra="forbid", strict=True)

    pets: list[PetBody]
    active_pet: str | None = None

    def fleet(self, stored: PetFleet) -> PetFleet:
        """Return what to store in the place of that fleet. InvalidNameError, ValueError: it is no sensible fleet."""
        fleet = PetFleet(stored.user_id, (), None, stored.extra)
        for pet in self.pets:
            fleet = fleet.with_pet(pet.handle(stored.get(pet.pet_name)))
        return (
            PetFleet(fleet.user_id, fleet.pets, None, fleet.extra)
            if self.active_pet is None
            else fleet.with_active(self.active_pet)
        )


class Name(BaseModel):
    """The name of a pet."""

    model_config = ConfigDict(extra="forbid", strict=True)

    pet_name: str


class Pet(BaseModel):
    """A pet as a client gets it."""

    pet_name: str
    role: str
    manifest_path: str
    last_active: int

    @classmethod
    def of(cls, handle: PetHandle) -> Pet:
        """Return what to say about a handle."""
        return cls(
            pet_name=handle.pet_name,
            role=handle.role,
            manifest_path=handle.manifest_path,
            last_active=handle.last_active,
        )


class Fleet(BaseModel):
    """A fleet as a client gets it."""

    user_id: str
    pets: list[Pet]
    active_pet: str | None

    @classmethod
    def of(cls, fleet: PetFleet) -> Fleet:
        """Return what to say about a fleet."""
        return cls(user_id=fleet.user_id, pets=[Pet.of(handle) for handle in fleet.pets], active_pet=fleet.active_pet)


def etag(fleet: PetFleet) -> str:
    """Return the fleet's strong ETag, quoted: the same from every worker, another one after every change."""
    return f'"{hashlib.sha256(dumps(fleet).encode()).hexdigest()}"'
