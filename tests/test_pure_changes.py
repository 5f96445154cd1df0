"""The pure changes of a fleet and its look-ups."""

from __future__ import annotations

import copy

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
    """A change gives another fleet, keeps what it does not concern, and means the first pet of a name."""
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
