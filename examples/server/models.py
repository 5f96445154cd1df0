"""The JSON of requests and answers, and its conversion to petfleet's values and back."""

from __future__ import annotations

import hashlib
import time
from typing import Annotated, Self

from fastapi import Path
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PrivateAttr, model_validator

from petfleet import PetFleet, PetHandle, dumps

# For the description only: petfleet checks its own rule, which also limits the bytes (to 255).
_USER_ID = r"^(?!\.{1,2}$)(?!.*::)[^/\x00-\x1f\x7f-\x9f]*[^/:\x00-\x1f\x7f-\x9f]$"

UserId = Annotated[str, Path(json_schema_extra={"pattern": _USER_ID, "maxLength": 255})]
# Browsers remove these from every address, percent-encoded or not.
_NO_ADDRESS = (".", "..")


def _addressed(name: str) -> str:
    if name in _NO_ADDRESS:
        raise ValueError(f"no address can name a pet called {name}")
    return name


PetName = Annotated[
    str,
    Field(min_length=1, json_schema_extra={"not": {"enum": [*_NO_ADDRESS]}}, description="unique in the fleet"),
    AfterValidator(_addressed),
]


def _integer(value: object) -> object:
    return int(value) if isinstance(value, float) and value.is_integer() else value  # JSON has only one kind of number


Seconds = Annotated[int, Field(ge=-(2**53), le=2**53, description="Unix time"), BeforeValidator(_integer)]


class Request(BaseModel):
    """What a client sends: no other keys, nothing coerced."""

    model_config = ConfigDict(extra="forbid", strict=True)


class NewPet(Request):
    """A pet to add; without ``last_active``, a new one was active just now."""

    pet_name: PetName
    role: str
    manifest_path: str
    last_active: Seconds | None = None
    _received: int = PrivateAttr(default_factory=lambda: int(time.time()))

    @model_validator(mode="after")
    def check(self) -> Self:
        """Refuse what petfleet refuses: JSON can hold halves of surrogate pairs, a file can not."""
        self.handle()
        return self

    def handle(self, stored: PetHandle | None = None) -> PetHandle:
        """Return it as a handle; what it does not say, and petfleet does not know, is that of the stored one."""
        now = self._received if stored is None else stored.last_active
        last_active = now if self.last_active is None else self.last_active
        extra = {} if stored is None else stored.extra
        return PetHandle(self.pet_name, self.role, self.manifest_path, last_active, extra)


class NewFleet(Request):
    """A whole fleet to store in the place of another one."""

    pets: list[NewPet]
    active_pet: str | None = None

    @model_validator(mode="after")
    def check(self) -> Self:
        """Refuse what no call of petfleet would have made."""
        names = [pet.pet_name for pet in self.pets]
        if len(set(names)) < len(names):
            raise ValueError("two pets have the same name")
        if self.active_pet is not None and self.active_pet not in names:
            raise ValueError("the active pet is none of the pets")
        return self

    def replacing(self, stored: PetFleet) -> PetFleet:
        """Return the fleet to store in the place of that one; what petfleet does not know stays as it is there."""
        handles = [pet.handle(stored.get(pet.pet_name)) for pet in self.pets]
        return PetFleet(stored.user_id, handles, self.active_pet, stored.extra)


class Choice(Request):
    """Which pet is to be the active one."""

    pet_name: PetName


class Answer(BaseModel):
    """What a client gets: ``Pet.model_validate(handle)``, ``Fleet.model_validate(fleet)``."""

    model_config = ConfigDict(from_attributes=True)


class Pet(Answer):
    """A pet as a client gets it."""

    pet_name: str
    role: str
    manifest_path: str
    last_active: int


class Fleet(Answer):
    """A fleet as a client gets it."""

    user_id: str
    pets: list[Pet]
    active_pet: str | None


def etag(fleet: PetFleet) -> str:
    """Return the fleet's strong ETag, quoted: the same from every worker, another one after every change."""
    return f'"{hashlib.sha256(dumps(fleet).encode()).hexdigest()}"'
