"""Copies of petfleet in which something is different, for processes that import them in its place."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Final

import pytest

LAST_RESORT: Final = "PETFLEET_TESTS_LAST_RESORT"  # how many seconds a test waits for a state that never comes

# Another way to write than by a temporary file and a rename.
IN_PLACE: Final = (
    "_backends/files/disk.py",
    "return os.replace(source, target)",
    "fd = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC);"
    " write_all(fd, read(source, 2**24).data); os.close(fd); return os.unlink(source)",
)


def sources() -> Path:
    """Return where the package is that is imported."""
    import petfleet  # not above: the runner of the mutants has none installed

    return Path(petfleet.__file__).parent


def copy_package(package: Path, directory: Path) -> Path:
    """Copy a package into a directory, and return the copy."""
    return Path(shutil.copytree(package, directory / package.name))


def replace_once(package: Path, module: str, code: str, instead: str) -> int:
    """Replace a piece of code that is there once, and return its line.

    Raises:
        ValueError: it is not there, or not only there.
    """
    path = package / module
    text = path.read_text(encoding="utf-8")
    if (found := text.count(code)) != 1:
        raise ValueError(f"no longer applies: {module} has its text {found} times")
    path.write_text(text.replace(code, instead), encoding="utf-8")
    return text[: text.index(code)].count("\n") + 1 + (len(code) - len(code.lstrip("\n")))


def environment(directory: Path | None = None) -> dict[str, str]:
    """Return the environment for a process of which no lines are counted, and that imports what is in a directory."""
    # What coverage would note of a copy, it could not find afterwards.
    kept = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    if directory is not None:
        kept["PYTHONPATH"] = os.pathsep.join([str(directory), *filter(None, [kept.get("PYTHONPATH")])])
    return kept


def import_from(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have all processes started from now on import what is in that directory."""
    wanted = environment(directory)
    for name in set(os.environ) - set(wanted):
        monkeypatch.delenv(name)
    monkeypatch.setenv("PYTHONPATH", wanted["PYTHONPATH"])


def mutate(directory: Path, monkeypatch: pytest.MonkeyPatch, *changes: tuple[str, str, str]) -> None:
    """Have all processes started from now on import a copy in which pieces of code (module, code, instead) differ."""
    package = copy_package(sources(), directory)
    for change in changes:
        replace_once(package, *change)
    import_from(directory, monkeypatch)
