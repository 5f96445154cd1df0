"""The pure changes of a fleet and its look-ups."""

from __future__ import annotations

import copy
import dataclasses
import enum
import pickle
from typing import Any

import pytest

from petfleet import InvalidNameError, PetAlreadyInFleetError, PetFleet, PetHandle, PetNotInFleetError
from tests.conftest import pet

A1, A2, B = pet("a", 1), pet("a", 2), pet("b", 3)
TWICE = PetFleet("ada", [A1, B, A2], "a", {"kept": 1})
GHOST = PetFleet("ada", [B], "ghost", {"kept": 1})
EMPTY = PetFleet("ada", extra={"kept": 1})


def fleet(*pets: PetHandle, active: str | None) -> PetFleet:
    return PetFleet("ada", pets, active, {"kept": 1})


C, C_FOR_A = pet("c", 9), pet("a", 9, role="guide", extra={"x": 1})
CHANGES: list[tuple[PetFleet, str, tuple[object, ...], PetFleet]] = [
    (EMPTY, "with_pet", (C,), fleet(C, active="c")),
    (TWICE, "with_pet", (C,), fleet(A1, B, A2, C, active="a")),
    (GHOST, "with_pet", (C,), fleet(B, C, active="ghost")),
    (PetFleet("ada", [B], "", {"kept": 1}), "with_pet", (C,), fleet(B, C, active="")),
    (TWICE, "with_replaced", ("a", C_FOR_A), fleet(C_FOR_A, B, A2, active="a")),
    (TWICE, "with_replaced", ("b", C), fleet(A1, C, A2, active="a")),
    (TWICE, "with_replaced", ("a", C), fleet(C, B, A2, active="c")),
    (GHOST, "with_replaced", ("b", C), fleet(C, active="ghost")),
    (TWICE, "without_pet", ("a",), fleet(B, A2, active="b")),
    (TWICE, "without_pet", ("b",), fleet(A1, A2, active="a")),
    (GHOST, "without_pet", ("b",), fleet(active="ghost")),
    (fleet(B, active="b"), "without_pet", ("b",), fleet(active=None)),
    (fleet(B, active=None), "without_pet", ("b",), fleet(active=None)),
    (TWICE, "with_active", ("b",), fleet(A1, B, A2, active="b")),
    (GHOST, "with_active", ("b",), fleet(B, active="b")),
    (TWICE, "with_last_active", ("a", 5), fleet(pet("a", 5), B, A2, active="a")),
    (TWICE, "with_last_active", ("b", -5), fleet(A1, pet("b", -5), A2, active="a")),
    (fleet(C_FOR_A, active=None), "with_last_active", ("a", 9), fleet(C_FOR_A, active=None)),
]


@pytest.mark.parametrize(("before", "name", "arguments", "after"), CHANGES)
def test_changes(before: PetFleet, name: str, arguments: tuple[object, ...], after: PetFleet) -> None:
    """A change returns another fleet, keeps the rest, and applies to the first pet of a name."""
    untouched = copy.deepcopy(before)
    assert getattr(before, name)(*arguments) == after
    assert before == untouched


REFUSED: list[tuple[str, tuple[object, ...], type[Exception], str]] = [
    ("pet", ("x",), PetNotInFleetError, "pet x not in fleet"),
    ("with_replaced", ("x", C), PetNotInFleetError, "pet x not in fleet"),
    ("without_pet", ("x",), PetNotInFleetError, "pet x not in fleet"),
    ("with_active", ("x",), PetNotInFleetError, "pet x not in fleet"),
    ("with_last_active", ("x", 1), PetNotInFleetError, "pet x not in fleet"),
    ("with_pet", (pet("b"),), PetAlreadyInFleetError, str(PetAlreadyInFleetError("ada", "b"))),
    ("with_replaced", ("a", pet("b")), PetAlreadyInFleetError, str(PetAlreadyInFleetError("ada", "b"))),
    ("with_pet", (pet(""),), InvalidNameError, "invalid name '': a pet name must not be empty"),
    ("with_replaced", ("a", pet("")), InvalidNameError, "invalid name '': a pet name must not be empty"),
    ("with_pet", ("c",), TypeError, "handle must be a PetHandle, not str"),
    ("with_replaced", ("a", "c"), TypeError, "handle must be a PetHandle, not str"),
    ("with_last_active", ("a", 1.5), TypeError, "last_active must be int, not float: use int(...)"),
    ("pet", (5,), TypeError, "pet_name must be str, not int: use str(5)"),
    ("without_pet", (5,), TypeError, "pet_name must be str, not int: use str(5)"),
    ("with_active", (None,), TypeError, "pet_name must be str, not NoneType"),
]


@pytest.mark.parametrize(("name", "arguments", "error", "text"), REFUSED)
def test_refused_changes(name: str, arguments: tuple[object, ...], error: type[Exception], text: str) -> None:
    """A change that cannot be made is refused with the error that says why."""
    with pytest.raises(error) as caught:
        getattr(TWICE, name)(*arguments)
    assert str(caught.value) == text


def test_a_nameless_pet_of_a_file_can_be_changed() -> None:
    """A pet without a name, as a file may hold it, can be replaced under that name and taken out."""
    nameless = PetFleet("ada", [pet("")])
    assert nameless.with_replaced("", pet("", 5)).pets == (pet("", 5),)
    assert nameless.without_pet("").pets == ()


def test_look_ups() -> None:
    """A look-up gives the first pet of the name; get gives None where pet raises."""
    assert TWICE.pet("a") is TWICE.get("a") is A1
    assert TWICE.get("x") is None


def test_active_handle() -> None:
    """The active pet's handle is the first of its name, and None where no pet is active or the active one is gone."""
    assert TWICE.active_handle is A1
    assert EMPTY.active_handle is None
    assert GHOST.active_handle is None
    assert PetFleet("ada", [pet("")], None).active_handle is None
    assert PetFleet("ada", [pet("")], "").active_handle == pet("")


# --- changes skip checks that were made before, and what they give is as good as new ---------------------------------


class Name(str):
    """A text of another type."""


class Names(enum.StrEnum):
    B = "b"


class Whole(int):
    """An integer of another type."""


class Five(enum.IntEnum):
    FIVE = 5


def parts(fleet: PetFleet) -> list[Any]:
    """Return all texts and numbers of a fleet, with their types."""
    values: list[Any] = [fleet.user_id, fleet.active_pet]
    for handle in fleet.pets:
        values += [handle.pet_name, handle.role, handle.manifest_path, handle.last_active]
    return [(type(value), value) for value in values]


@pytest.mark.parametrize(
    ("name", "arguments", "plain"),
    [
        ("with_active", (Name("b"),), ("b",)),
        ("with_active", (Names.B,), ("b",)),
        ("with_last_active", (Name("b"), 5), ("b", 5)),
        ("with_last_active", ("b", Whole(5)), ("b", 5)),
        ("with_last_active", (Names.B, Five.FIVE), ("b", 5)),
        ("with_replaced", (Name("a"), C), ("a", C)),
        ("with_replaced", (Names.B, pet("b", 1)), ("b", pet("b", 1))),
        ("with_pet", (PetHandle(Name("c"), Name("r"), Name("m"), Whole(1)),), (PetHandle("c", "r", "m", 1),)),
        ("without_pet", (Names.B,), ("b",)),
    ],
)
@pytest.mark.parametrize("before", [TWICE, GHOST, fleet(B, active=None)], ids=["twice", "ghost", "none active"])
def test_a_change_is_as_good_as_a_new_fleet(
    before: PetFleet, name: str, arguments: tuple[object, ...], plain: tuple[object, ...]
) -> None:
    """In each respect: types, equality, hash, repr, pickle, replace, and that nothing can be set."""
    if arguments[0] in ("a",) and before is not TWICE:
        before = TWICE
    changed = getattr(before, name)(*arguments)
    new = PetFleet(changed.user_id, changed.pets, changed.active_pet, dict(changed.extra))
    assert type(changed) is PetFleet
    assert type(changed.pets) is tuple
    assert {type(handle) for handle in changed.pets} <= {PetHandle}
    assert changed == new == getattr(before, name)(*plain)
    assert parts(changed) == parts(getattr(before, name)(*plain))
    assert all(kind in (str, int, type(None)) for kind, _ in parts(changed))
    assert (hash(changed), repr(changed)) == (hash(new), repr(new))
    assert changed.extra is before.extra
    for twin in (pickle.loads(pickle.dumps(changed)), copy.deepcopy(changed), dataclasses.replace(changed)):
        assert twin == changed
        assert repr(twin) == repr(changed)
    with pytest.raises(dataclasses.FrozenInstanceError):
        changed.pets = ()  # type: ignore[misc] # what it must not allow
    for handle in changed.pets:
        again = PetHandle(handle.pet_name, handle.role, handle.manifest_path, handle.last_active, dict(handle.extra))
        assert handle == again
        assert (hash(handle), repr(handle)) == (hash(again), repr(again))
        with pytest.raises(dataclasses.FrozenInstanceError):
            handle.role = "other"  # type: ignore[misc] # as above


def test_a_changed_time_keeps_the_rest_of_the_handle() -> None:
    """Unknown keys included, which are not copied; the old handle stays as it was."""
    before = fleet(B, C_FOR_A, active="b")
    changed = before.with_last_active("a", 10).pet("a")
    assert changed == dataclasses.replace(C_FOR_A, last_active=10)
    assert changed.extra is C_FOR_A.extra
    assert C_FOR_A.last_active == 9
    with pytest.raises(TypeError, match=r"^extra is immutable"):
        changed.extra["x"] = 2  # type: ignore[index] # what is tested


@pytest.mark.parametrize(
    ("name", "arguments", "error", "text"),
    [
        ("with_last_active", ("a", True), TypeError, "last_active must be int, not bool"),
        ("with_last_active", ("a", "5"), TypeError, "last_active must be int, not str"),
        ("with_last_active", ("a", None), TypeError, "last_active must be int, not NoneType"),
        ("with_last_active", ("a", 2**63), ValueError, "last_active 9223372036854775808 does not fit into 64 bits"),
        ("with_last_active", ("a", Whole(-(2**63) - 1)), ValueError, "last_active -9223372036854775809 does not"),
        ("with_last_active", (5, 5), TypeError, "pet_name must be str, not int: use str(5)"),
        ("with_active", (b"a",), TypeError, "pet_name must be str, not bytes"),
        ("with_active", ("a\ud800",), ValueError, "pet_name 'a\\ud800' holds a lone surrogate at position 1"),
        ("with_replaced", (None, C), TypeError, "pet_name must be str, not NoneType"),
    ],
)
def test_what_a_change_was_given_is_still_checked(
    name: str, arguments: tuple[object, ...], error: type[Exception], text: str
) -> None:
    """Only the fleet's earlier pets are not checked again."""
    with pytest.raises(error) as caught:
        getattr(TWICE, name)(*arguments)
    assert str(caught.value).startswith(text)
