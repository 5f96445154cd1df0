"""The names that programs may use are the ones that were designed, and they are typed and documented."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import importlib.resources
import inspect
import pickle
import typing
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Final

import pytest

import petfleet
import petfleet.backends

DESIGNED: Final = {
    petfleet: [
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
    ],
    petfleet.backends: [
        "ABSENT",
        "Backend",
        "Commit",
        "FileBackend",
        "Holder",
        "NoNotices",
        "Notices",
        "ObjectBackend",
        "OvertakenError",
        "Snapshot",
        "State",
        "StopSignal",
        "parse_state",
    ],
}
# What a module holds besides, and type checkers do not export: it imports these without `as`.
IMPORTED: Final = {"TYPE_CHECKING", "Any", "import_module"}
DOCUMENTED: Final = (FunctionType, property, staticmethod, classmethod)

each_module = pytest.mark.parametrize("module", DESIGNED, ids=lambda module: module.__name__)


@each_module
def test_the_designed_names(module: ModuleType) -> None:
    """__all__ has them in order, no more and no less."""
    assert module.__all__ == DESIGNED[module] == sorted(set(DESIGNED[module]))


@each_module
def test_nothing_else_is_public(module: ModuleType) -> None:
    """A module holds no other name that is neither private nor a module, however lazily."""
    for name in module.__all__:
        getattr(module, name)
    held = {
        name for name, value in vars(module).items() if not name.startswith("_") and not isinstance(value, ModuleType)
    }
    assert held - IMPORTED == set(module.__all__)


def test_every_name_has_its_module() -> None:
    """The package imports each public name when it is first used, and no other."""
    assert sorted(petfleet._HOME) == petfleet.__all__


def test_both_modules_hand_out_the_same_objects() -> None:
    """A name that both have means one thing."""
    shared = set(petfleet.__all__) & set(petfleet.backends.__all__)
    assert shared == {"Backend", "ObjectBackend"}
    assert all(getattr(petfleet, name) is getattr(petfleet.backends, name) for name in shared)


def test_public_things_name_the_public_module() -> None:
    """Tracebacks and pickles say petfleet.FleetStore. (Backends are public in petfleet.backends, too.)"""
    things = [getattr(petfleet, name) for name in petfleet.__all__ if not name.endswith("Backend")]
    assert {thing.__module__ for thing in things} == {"petfleet"}
    assert [pickle.loads(pickle.dumps(thing)) for thing in things] == things


@pytest.mark.parametrize("value", [petfleet.PetFleet, petfleet.PetHandle, petfleet.FleetStoreStatistics])
def test_type_hints_can_be_resolved(value: type) -> None:
    """Libraries that validate data look for the types of a dataclass in its module."""
    assert {field.name for field in dataclasses.fields(value)} <= typing.get_type_hints(value).keys()


def test_all_other_modules_are_private() -> None:
    """A name that begins with an underscore says so, in every folder; `python -m petfleet` needs one exception."""
    package = Path(petfleet.__file__).parent
    modules = [path.relative_to(package).with_suffix("").parts for path in package.rglob("*.py")]
    public = [parts for parts in modules if not any(part.startswith("_") for part in parts)]
    assert public == [("backends",)]
    dunder = sorted(parts[-1] for parts in modules if parts[-1].startswith("__") and len(parts) == 1)
    assert dunder == ["__init__", "__main__"]


def test_other_names_are_refused() -> None:
    """The package refuses them as any module does, and dir() shows the ones that it has."""
    with pytest.raises(AttributeError, match=r"^module 'petfleet' has no attribute 'Fleet'$"):
        _ = petfleet.Fleet  # type: ignore[attr-defined]  # the name that is missing
    assert {*petfleet.__all__, "__version__"} <= set(dir(petfleet))


def test_the_version_is_the_distributions() -> None:
    """Both are written down; neither is wrong."""
    assert petfleet.__version__ == importlib.metadata.version("petfleet")


def test_typed() -> None:
    """The marker that tells type checkers to read the package is part of it."""
    assert importlib.resources.files(petfleet).joinpath("py.typed").is_file()


def public_things() -> list[tuple[str, object]]:
    things: list[tuple[str, object]] = [(module.__name__, module) for module in DESIGNED]
    for module in DESIGNED:
        for name in module.__all__:
            value = getattr(module, name)
            if not inspect.isclass(value) and not inspect.isfunction(value):
                continue  # a constant; its type has the docstring
            things.append((f"{module.__name__}.{name}", value))
            if inspect.isclass(value):
                for member, attribute in vars(value).items():
                    if not member.startswith("_") and isinstance(attribute, DOCUMENTED):
                        things.append((f"{module.__name__}.{name}.{member}", attribute))
    return things


@pytest.mark.parametrize(("name", "thing"), public_things(), ids=lambda thing: thing if isinstance(thing, str) else "")
def test_documented(name: str, thing: object) -> None:
    """Each public class, function, method and property has a docstring of its own, whose first line is a sentence."""
    text = getattr(thing, "__doc__", None)
    assert text, f"{name} has no docstring"
    assert not text.startswith(f"{name.rpartition('.')[2]}("), f"{name} has only the docstring that dataclass made up"
    first = inspect.cleandoc(text).split("\n\n")[0].rstrip()
    assert first.endswith((".", "::")), f"{name}: {text!r}"
