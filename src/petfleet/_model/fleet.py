"""The values: a pet handle, a fleet, the pure changes of a fleet, and the two memory keys. No I/O."""

# No `from __future__ import annotations`: the two classes name the public module as theirs, and typing.get_type_hints
# would look there for names like Mapping.
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, final

from petfleet._model.errors import PetAlreadyInFleetError, PetNotInFleetError
from petfleet._model.extra import EMPTY, FrozenDict, freeze, integer
from petfleet._model.names import check_pet_name, check_user_id, text

HANDLE_KEYS: Final = frozenset({"pet_name", "role", "manifest_path", "last_active"})
FLEET_KEYS: Final = frozenset({"user_id", "pets", "active_pet"})

_set: Callable[[object, str, object], None] = object.__setattr__


class _Written:
    """A slot for the TOML text of a handle, which is no part of its value.

    The codec fills it, so that writing a fleet again renders only the pets that changed.
    """

    __slots__ = ("_block",)
    _block: str


@final
@dataclass(frozen=True, slots=True, init=False)
class PetHandle(_Written):
    """One pet in a fleet: immutable, hashable, and checked when it is created.

    Not promised: that the name is unique, or not empty; :meth:`PetFleet.with_pet` checks both.

    Args:
        pet_name: the name.
        role: the caller's own word for what the pet is.
        manifest_path: where the caller keeps the pet's manifest. petfleet stores the text unchanged and never opens the
            file. A path object is stored as ``os.fspath`` of it.
        last_active: Unix time in whole seconds.
        extra: keys that petfleet does not know, written back with the pet; TOML values only.

    Raises:
        TypeError: an argument has the wrong type. Nothing is converted; a bool is not an integer.
        ValueError: UTF-8 cannot hold a text, an integer exceeds 64 bits, or TOML cannot hold ``extra``.
    """

    __module__ = "petfleet"
    pet_name: str
    role: str
    manifest_path: str
    last_active: int
    extra: Mapping[str, Any] = field(default_factory=FrozenDict, hash=False)

    def __init__(
        self,
        pet_name: str,
        role: str,
        manifest_path: str | os.PathLike[str],
        last_active: int,
        extra: Mapping[str, Any] = EMPTY,
    ) -> None:
        if isinstance(manifest_path, os.PathLike):
            manifest_path = os.fspath(manifest_path)
        _set(self, "pet_name", text(pet_name, "pet_name"))
        _set(self, "role", text(role, "role"))
        _set(self, "manifest_path", text(manifest_path, "manifest_path"))
        _set(self, "last_active", integer(last_active, "last_active"))
        _set(self, "extra", freeze(extra, HANDLE_KEYS))


@final
@dataclass(frozen=True, slots=True, init=False)
class PetFleet:
    """One user's pets in order, and which of them is active: immutable, hashable, and checked when it is created.

    Not promised: that names are unique, or that the active pet is one of the pets, since a file may say otherwise. If a
    name occurs twice, look-ups and changes use the first pet of that name.

    Args:
        user_id: the user. The store has rules for user ids, this class has none.
        pets: the handles, in order.
        active_pet: the name of the active pet, or None.
        extra: top-level keys that petfleet does not know, written back with the fleet; TOML values only.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: UTF-8 cannot hold a text, or TOML cannot hold ``extra``.
    """

    __module__ = "petfleet"
    user_id: str
    pets: tuple[PetHandle, ...] = ()
    active_pet: str | None = None
    extra: Mapping[str, Any] = field(default_factory=FrozenDict, hash=False)

    def __init__(
        self,
        user_id: str,
        pets: Iterable[PetHandle] = (),
        active_pet: str | None = None,
        extra: Mapping[str, Any] = EMPTY,
    ) -> None:
        pets = tuple(pets)
        for pet in pets:
            if type(pet) is not PetHandle:
                raise TypeError(f"pets must hold PetHandle objects, not {type(pet).__name__}")
        _set(self, "user_id", text(user_id, "user_id"))
        _set(self, "pets", pets)
        _set(self, "active_pet", None if active_pet is None else text(active_pet, "active_pet"))
        _set(self, "extra", freeze(extra, FLEET_KEYS))

    def get(self, pet_name: str) -> PetHandle | None:
        """Return the pet of that name, or None."""
        for pet in self.pets:
            if pet.pet_name == pet_name:
                return pet
        return None

    def pet(self, pet_name: str) -> PetHandle:
        """Return the pet of that name.

        Raises:
            PetNotInFleetError: there is none.
        """
        return self.pets[self._index(pet_name)]

    @property
    def active_handle(self) -> PetHandle | None:
        """The active pet's handle; None if no pet is active or the active one is not in the fleet."""
        return None if self.active_pet is None else self.get(self.active_pet)

    def with_pet(self, handle: PetHandle) -> "PetFleet":
        """Return the fleet with ``handle`` appended. If no pet is active, the new one becomes active.

        Raises:
            PetAlreadyInFleetError: the name is taken.
            InvalidNameError: the name is empty.
        """
        check_pet_name(_handle(handle).pet_name)
        if self.get(handle.pet_name) is not None:
            raise PetAlreadyInFleetError(self.user_id, handle.pet_name)
        active_pet = handle.pet_name if self.active_pet is None else self.active_pet
        return self._with((*self.pets, handle), active_pet)

    def with_replaced(self, pet_name: str, handle: PetHandle) -> "PetFleet":
        """Return the fleet with ``handle`` in place of the pet of that name.

        ``handle`` may have another name: this renames the pet, which stays active if it was.

        Raises:
            PetNotInFleetError: there is no such pet.
            PetAlreadyInFleetError: another pet has the new name.
            InvalidNameError: the new name is empty.
        """
        index = self._index(pet_name)
        active_pet = self.active_pet
        if _handle(handle).pet_name != pet_name:
            check_pet_name(handle.pet_name)
            if self.get(handle.pet_name) is not None:
                raise PetAlreadyInFleetError(self.user_id, handle.pet_name)
            if active_pet == pet_name:
                active_pet = handle.pet_name
        return self._with((*self.pets[:index], handle, *self.pets[index + 1 :]), active_pet)

    def without_pet(self, pet_name: str) -> "PetFleet":
        """Return the fleet without that pet. If it was active, the first of the other pets becomes active, if any.

        Raises:
            PetNotInFleetError: there is no such pet.
        """
        index = self._index(pet_name)
        pets = self.pets[:index] + self.pets[index + 1 :]
        active_pet = self.active_pet
        if active_pet == pet_name:
            active_pet = pets[0].pet_name if pets else None
        return self._with(pets, active_pet)

    def with_active(self, pet_name: str) -> "PetFleet":
        """Return the fleet with that pet active.

        Raises:
            PetNotInFleetError: there is no such pet.
        """
        self._index(pet_name)
        return self._with(self.pets, pet_name)

    def with_last_active(self, pet_name: str, seconds: int) -> "PetFleet":
        """Return the fleet with that pet's ``last_active`` set to ``seconds`` of Unix time.

        Raises:
            PetNotInFleetError: there is no such pet.
            TypeError: ``seconds`` is not an int.
            ValueError: it exceeds 64 bits.
        """
        index = self._index(pet_name)
        old = self.pets[index]
        # All other fields were checked before.
        new = object.__new__(PetHandle)
        _set(new, "pet_name", old.pet_name)
        _set(new, "role", old.role)
        _set(new, "manifest_path", old.manifest_path)
        _set(new, "last_active", integer(seconds, "last_active"))
        _set(new, "extra", old.extra)
        return self._with((*self.pets[:index], new, *self.pets[index + 1 :]), self.active_pet)

    def _index(self, pet_name: str) -> int:
        text(pet_name, "pet_name")
        for index, pet in enumerate(self.pets):
            if pet.pet_name == pet_name:
                return index
        raise PetNotInFleetError(self.user_id, pet_name)

    def _with(self, pets: tuple[PetHandle, ...], active_pet: str | None) -> "PetFleet":
        # All fields were checked before; checking 1,000 handles again would cost more than the change.
        changed = object.__new__(PetFleet)
        _set(changed, "user_id", self.user_id)
        _set(changed, "pets", pets)
        _set(changed, "active_pet", None if active_pet is None else text(active_pet, "active_pet"))
        _set(changed, "extra", self.extra)
        return changed


def _handle(handle: PetHandle) -> PetHandle:
    if type(handle) is not PetHandle:
        raise TypeError(f"handle must be a PetHandle, not {type(handle).__name__}")
    return handle


def shared_memory_key(user_id: str) -> str:
    """Return ``shared::{user_id}``: the key of the memory that all pets of a user share.

    Raises:
        InvalidNameError: the user id breaks a rule of the store.
        TypeError: it is not a str.
    """
    return f"shared::{check_user_id(user_id)}"


def per_pet_memory_key(user_id: str, pet_name: str) -> str:
    """Return ``pet::{user_id}::{pet_name}``: the key of one pet's own conversation.

    Two different pairs of user id and pet name never have the same key.

    Raises:
        InvalidNameError: the user id breaks a rule of the store.
        TypeError: an argument is not a str.
        ValueError: UTF-8 cannot hold the pet's name.
    """
    return f"pet::{check_user_id(user_id)}::{text(pet_name, 'pet_name')}"


shared_memory_key.__module__ = per_pet_memory_key.__module__ = "petfleet"
