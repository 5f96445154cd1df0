"""`petfleet add`, `switch`, `remove` and `touch`."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from petfleet import PetFleet, dumps
from tests.cli.conftest import MIRA, REX, CommandRoot
from tests.cli.running import Done
from tests.conftest import pet


def test_the_life_of_a_fleet(any_root: CommandRoot, run: Callable[..., Done], monkeypatch: pytest.MonkeyPatch) -> None:
    """add, switch, touch, remove and delete do what the store's calls do, and print the fleet."""
    any_root = any_root.beside("new")
    where = ("--root", any_root.argument)
    assert run("add", "ada", "mira", "--role", "friend", "--manifest", "pets/mira.toml", "--at", 5, *where) == (
        "ada: 1 pet, mira is active\n",
        "",
    )
    before = int(time.time())
    assert run("--json", *where, "add", "ada", "rex").value["pets"][1]["last_active"] >= before
    assert run("switch", "ada", "rex", *where).out == "ada: 2 pets, rex is active\n"
    assert run("touch", "ada", "--at", 7, *where).out == "ada: 2 pets, rex is active\n"
    assert run("touch", "ada", "mira", "--at", "-8", *where, "--json").value["pets"][0]["last_active"] == -8
    rex = any_root.fleet("ada").pet("rex")
    assert (rex.role, rex.manifest_path, rex.last_active) == ("", "", 7)
    monkeypatch.setenv("PETFLEET_ROOT", any_root.argument)
    assert run("remove", "ada", "rex").out == "ada: 1 pet, mira is active\n"
    assert any_root.fleet("ada") == PetFleet("ada", [pet("mira", -8)], "mira")
    assert run("delete", "ada", "--yes", *where).out == "ada: deleted\n"
    assert any_root.storage.is_empty()
    assert run("list", "--json", *where).out == ""
    assert run("show", "ada", *where, code=1).err == "petfleet: fleet not found for user ada\n"


def test_other_keys_survive(any_root: CommandRoot, run: Callable[..., Done]) -> None:
    """They survive as in every call of the store."""
    any_root.put("ada", dumps(PetFleet("ada", [MIRA, REX], "mira", {"colour": "blue"})))
    run("switch", "ada", "rex", "--root", any_root.argument)
    assert any_root.fleet("ada").extra == {"colour": "blue"}
