"""A store over files as an object: its arguments, and that a relative root does not move."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from petfleet import FleetStore, PetFleet
from petfleet._backends.files import disk
from tests.conftest import pet


async def test_another_process_may_make_a_directory_first(
    store: FleetStore, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two first calls for one user do not fail because both make the user's directory."""
    make_directories = disk.make_directories

    def make(path: str) -> int:
        made = make_directories(path)
        if path == str(root):
            os.mkdir(root / "user")  # as the other process does at just this moment
        return made

    monkeypatch.setattr(disk, "make_directories", make)
    assert await store.add("user", pet("mira")) == PetFleet("user", [pet("mira")], "mira")


async def test_a_relative_root_is_made_absolute_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that changes its directory later does not move its store, and `~` is a name like any other."""
    monkeypatch.chdir(tmp_path)
    store = FleetStore("~")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    await store.add("user", pet("mira"))
    assert (tmp_path / "~" / "user" / "fleet.toml").exists()
    assert repr(store) == f"FleetStore({str(tmp_path / '~')!r})"


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"root": ""}, ValueError, "root must be the path of a directory or an ObjectBackend(url), not ''"),
        (
            {"root": "s3://pets"},
            ValueError,
            "root must be the path of a directory or an ObjectBackend(url), not 's3://pets'",
        ),
        ({"root": "\ud800"}, ValueError, "root '\\ud800' holds a lone surrogate at position 0: UTF-8 cannot store it"),
        ({"root": b"pets"}, TypeError, "root must be str, not bytes"),
        ({"root": 7}, TypeError, "expected str, bytes or os.PathLike object, not int"),
        ({"lock_timeout": None}, ValueError, "lock_timeout must be a number of seconds, 0 or more, not None"),
        ({"lock_timeout": -0.1}, ValueError, "lock_timeout must be a number of seconds, 0 or more, not -0.1"),
        ({"lock_timeout": float("nan")}, ValueError, "lock_timeout must be a number of seconds, 0 or more, not nan"),
        ({"lock_timeout": "1"}, TypeError, "'>=' not supported between instances of 'str' and 'int'"),
        ({"threads": 0}, ValueError, "threads must be 1 or more, not 0"),
        ({"threads": 1.5}, TypeError, "threads must be int, not float"),
        ({"threads": True}, TypeError, "threads must be int, not bool"),
    ],
)
def test_the_constructor_checks_its_arguments(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    """A store that could not work is refused when it is made."""
    with pytest.raises(error) as caught:
        FleetStore(**{"root": "fleets", **arguments})
    assert type(caught.value) is error
    assert str(caught.value) == message
