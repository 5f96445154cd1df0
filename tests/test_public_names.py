"""What the package hands out is named, typed and documented."""

from __future__ import annotations

import importlib.metadata
import importlib.resources
import inspect
from types import ModuleType

import pytest

import petfleet


def test_all_is_sorted() -> None:
    """__all__ lists each name once, in order."""
    assert petfleet.__all__ == sorted(set(petfleet.__all__))


def test_all_is_complete() -> None:
    """__all__ names exactly what the package holds that is neither private nor a module, however lazily."""
    for name in petfleet._HOME:
        getattr(petfleet, name)
    imported = {"TYPE_CHECKING", "Any", "import_module"}
    held = {
        name for name, value in vars(petfleet).items() if not name.startswith("_") and not isinstance(value, ModuleType)
    }
    assert held - imported == set(petfleet.__all__) == set(petfleet._HOME)


def test_other_names_are_refused() -> None:
    """As any module refuses them; dir() shows those that there are."""
    with pytest.raises(AttributeError, match=r"^module 'petfleet' has no attribute 'Fleet'$"):
        _ = petfleet.Fleet
    assert {*petfleet.__all__, "__version__"} <= set(dir(petfleet))


def test_the_version_is_the_distributions() -> None:
    """Both are written down; neither is wrong."""
    assert petfleet.__version__ == importlib.metadata.version("petfleet")


def test_the_design_names() -> None:
    """The public face is the one that was designed, no more and no less."""
    assert petfleet.__all__ == [
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


def test_typed() -> None:
    """The marker that tells type checkers to read the package is part of it."""
    assert importlib.resources.files(petfleet).joinpath("py.typed").is_file()


def public_things() -> list[tuple[str, object]]:
    things: list[tuple[str, object]] = [("petfleet", petfleet)]
    for name in petfleet.__all__:
        value = getattr(petfleet, name)
        things.append((name, value))
        if inspect.isclass(value):
            for member, attribute in vars(value).items():
                if not member.startswith("_") and (inspect.isfunction(attribute) or isinstance(attribute, property)):
                    things.append((f"{name}.{member}", attribute))
    return things


@pytest.mark.parametrize(("name", "thing"), public_things(), ids=lambda thing: thing if isinstance(thing, str) else "")
def test_documented(name: str, thing: object) -> None:
    """Each public class, function, method and property has a docstring of its own, whose first line is a sentence."""
    text = getattr(thing, "__doc__", None)
    assert text, f"{name} has no docstring"
    assert not text.startswith(f"{name}("), f"{name} has only the docstring that dataclass made up"
    assert inspect.cleandoc(text).split("\n\n")[0].rstrip().endswith((".", "::")), f"{name}: {text!r}"
