"""Imports between the folders of the package go in one direction, and each file can be read in one sitting."""

from __future__ import annotations

import ast
import graphlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

import petfleet

PACKAGE: Final = Path(petfleet.__file__).parent
# From the top down: a file may import from its own room, and from the ones after it.
ROOMS: Final = (
    *("__main__", "_cli", "__init__", "backends", "_store", "_watch"),
    *("_commit", "_backends", "_toml", "_model", "_util"),
)
SEAM: Final = {"_backends.polling", "_backends.protocol", "_backends.state"}  # what every kind of backend may import
# The error of a conflict has a fleet as a field, and a fleet raises errors.
ONLY_TYPES: Final = {("_model.errors", "_model.fleet")}
MAX_LINES: Final = 400


def name_of(path: Path) -> str:
    """Return the name of a module in the package; a folder's own is that of its `__init__.py`, without this."""
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")


FILES: Final = {name_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def room(module: str) -> str:
    """Return the folder or the single file at the top that a module belongs to."""
    return module.partition(".")[0]


def module_of(name: str) -> str | None:
    """Return the module of the package that has that full name; None if there is none."""
    inside = "__init__" if name == "petfleet" else name.removeprefix("petfleet.")
    return inside if inside in FILES else None


def imported(text: str) -> Iterator[str]:
    """Yield the modules of the package that a source imports, wherever in the source, types included."""
    for node in ast.walk(ast.parse(text)):
        assert not isinstance(node, ast.ImportFrom) or node.level == 0, "imports name the package"
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names if room(alias.name) == "petfleet"]
        elif isinstance(node, ast.ImportFrom) and node.module is not None and room(node.module) == "petfleet":
            names = [name if module_of(name := f"{node.module}.{alias.name}") else node.module for alias in node.names]
        else:
            continue
        for name in names:
            module = module_of(name)
            assert module is not None, name
            yield module


ARROWS: Final = {(name, target) for name, path in FILES.items() for target in imported(path.read_text("utf-8"))}


def cycle(arrows: set[tuple[str, str]]) -> list[str]:
    """Return modules that import each other in a circle; none if there is no circle."""
    graph = graphlib.TopologicalSorter[str]()
    for source, target in arrows:
        graph.add(source, target)
    try:
        graph.prepare()
    except graphlib.CycleError as error:
        return list(error.args[1])
    return []


def test_no_module_is_imported_by_one_that_it_imports() -> None:
    """Not even for types, with one exception."""
    assert cycle(ARROWS - ONLY_TYPES) == []


def test_the_exception_is_for_types_only() -> None:
    """At run time it imports nothing of the package."""
    assert ONLY_TYPES <= ARROWS
    for source, _ in ONLY_TYPES:
        tree = ast.parse(FILES[source].read_text("utf-8"))
        run = [
            node for node in tree.body if not (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
        ]
        assert list(imported(ast.unparse(ast.Module(run, [])))) == []


def test_a_circle_is_noticed() -> None:
    """An arrow back closes one."""
    assert {"_store", "_model.fleet"} <= set(cycle((ARROWS - ONLY_TYPES) | {("_model.fleet", "_store")}))


def test_imports_are_found_wherever_they_are() -> None:
    """In functions, for types, of modules and of names."""
    text = """
import os, petfleet._store
from petfleet import FleetStore, _watch
from petfleet._toml import encode
if TYPE_CHECKING:
    from petfleet._toml.decode import loads
def later():
    from petfleet._backends.files.backend import FileBackend
"""
    found = {"_store", "__init__", "_watch", "_toml.encode", "_toml.decode", "_backends.files.backend"}
    assert set(imported(text)) == found


def test_every_module_has_its_room() -> None:
    """A new folder or file at the top is to be put into the order first."""
    assert {room(module) for module in FILES} == set(ROOMS)


@pytest.mark.parametrize("source", ROOMS)
def test_arrows_between_rooms_go_down(source: str) -> None:
    """A room imports from rooms below it only."""
    above = ROOMS[: ROOMS.index(source)]
    assert [arrow for arrow in sorted(ARROWS) if room(arrow[0]) == source and room(arrow[1]) in above] == []


def test_the_packages_face_and_its_lazy_names_are_the_same() -> None:
    """Type checkers read imports that never run; what runs is the table beside them."""
    assert {target for source, target in ARROWS if source == "__init__"} == set(petfleet._HOME.values())


@pytest.mark.parametrize("source", ["_commit", "_watch"])
def test_the_engine_knows_no_kind_of_backend(source: str) -> None:
    """It knows what a backend is."""
    known = {target for module, target in ARROWS if room(module) == source and room(target) == "_backends"}
    assert known <= SEAM


@pytest.mark.parametrize("kind", ["_backends.files", "_backends.objects"])
def test_kinds_of_backends_do_not_know_each_other(kind: str) -> None:
    """Nor does what they share know any of them."""
    known = {target for module, target in ARROWS if module.startswith(kind) and room(target) == "_backends"}
    assert {target for target in known if not target.startswith(kind)} <= SEAM
    assert not [target for module, target in ARROWS if module in SEAM and target.startswith(kind)]


@pytest.mark.parametrize("module", FILES)
def test_a_file_is_read_in_one_sitting(module: str) -> None:
    """It has at most 400 lines."""
    assert len(FILES[module].read_text("utf-8").splitlines()) <= MAX_LINES
