"""Each command as a process of its own: what it prints, for people and as JSON, and its exit code."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest

from petfleet import PetFleet, __version__, dumps
from petfleet.cli.commands import watch
from tests.cli.conftest import MIRA, REX, Place
from tests.cli.running import Done, petfleet
from tests.conftest import pet

ADA = {
    "user_id": "ada",
    "pets": [{**asdict(MIRA), "extra": {}}, {**asdict(REX), "extra": {}}],
    "active_pet": "mira",
    "extra": {},
}


@pytest.mark.usefixtures("local_time")
def test_list(kennel: Path) -> None:
    """One line a user, in columns; what is no fleet is left out."""
    os.utime(kennel / "ada" / "fleet.toml", (0, 1_700_000_002))
    os.utime(kennel / "bob" / "fleet.toml", (0, 1_700_000_003))
    header, *lines = petfleet("list", "--root", kennel).out.splitlines()
    assert header == "USER  PETS  ACTIVE  LAST CHANGE"
    assert sorted(lines) == ["ada   2     mira    2023-11-14 23:13:22", "bob   0     -       2023-11-14 23:13:23"]


def test_list_as_json(place: Place, run: Callable[..., Done]) -> None:
    """One object a user, with the time of the last write."""
    before = int(time.time())
    run("switch", "ada", "rex", "--root", place.root)
    found = {user["user_id"]: user for user in petfleet("list", "--json", "--root", place.root).values}
    changed = found["ada"]["last_change"]
    assert found["ada"] == {"user_id": "ada", "pets": 2, "active_pet": "rex", "last_change": changed}
    assert before <= changed <= time.time()
    assert (found["bob"]["pets"], found["bob"]["active_pet"]) == (0, None)


def test_list_of_broken_fleets(place: Place, run: Callable[..., Done]) -> None:
    """They are listed with what is wrong, and it is exit code 1; names that no user can have as well."""
    where = place.put("ada", "user_id = \n")
    place.put("x::y", "")
    out = run("list", "--root", place.root, code=1).out
    assert f"ada   -     -       {where}, line 1, column 11: expected" in out
    assert "x::y  -     -       invalid name 'x::y': a user id must not contain '::'" in out
    users = run("list", "--json", "--root", place.root, code=1).values
    assert {user["user_id"] for user in users if "error" in user} == {"ada", "x::y"}


def test_list_of_what_cannot_be_read(kennel: Path, run: Callable[..., Done]) -> None:
    """A pipe, say, is listed with what is wrong, too."""
    (kennel / "pip").mkdir()
    os.mkfifo(kennel / "pip" / "fleet.toml")
    assert "pip   -     -" in run("list", "--root", kennel, code=1).out


@pytest.mark.usefixtures("local_time")
def test_show(kennel: Path) -> None:
    """The pets in their order, the active one marked."""
    os.utime(kennel / "ada" / "fleet.toml", (0, 1_700_000_002))
    assert petfleet("show", "ada", "--root", kennel).out == (
        "ada: 2 pets, mira is active, changed 2023-11-14 23:13:22\n"
        "   PET   ROLE    MANIFEST        LAST ACTIVE\n"
        "*  mira  friend  pets/mira.toml  2023-11-14 23:13:20\n"
        "   rex   guard   pets/rex.toml   2023-11-14 23:13:21\n"
    )
    assert petfleet("show", "ada", "--root", kennel, "--json").value == ADA


@pytest.mark.usefixtures("local_time")
def test_show_of_odd_fleets(place: Place, run: Callable[..., Done]) -> None:
    """Unknown keys are named, texts do nothing to the terminal, and no year is too far."""
    odd = pet("\x1b[2J\u202e", 2**62, extra={"mood": 1.5, "dates": [float("inf")]})
    fleet = PetFleet("odd", [odd], None, {"colour": "blue"})
    place.put("odd", dumps(fleet))
    summary, header, line, others = run("show", "odd", "--root", place.root).out.splitlines()
    assert summary.startswith("odd: 1 pet, none is active, changed ")
    assert header.split("  ")[-1] == "OTHER KEYS"
    assert line.split() == ["\\x1b[2J\\u202e", "friend", "pets/\\x1b[2J\\u202e.toml", str(2**62), "mood,", "dates"]
    assert others == "other keys: colour"
    extra = run("show", "odd", "--root", place.root, "--json").value["pets"][0]["extra"]
    assert extra == {"mood": 1.5, "dates": ["inf"]}
    assert run("show", "bob", "--root", place.root).out.startswith("bob: 0 pets, none is active, changed ")


def test_a_whole_life(place: Place, run: Callable[..., Done], monkeypatch: pytest.MonkeyPatch) -> None:
    """add, switch, touch, remove and delete do what the store's calls do, and print the fleet."""
    place = place.beside("new")
    where = ("--root", place.root)
    assert run("add", "ada", "mira", "--role", "friend", "--manifest", "pets/mira.toml", "--at", 5, *where) == (
        "ada: 1 pet, mira is active\n",
        "",
    )
    before = int(time.time())
    assert run("--json", *where, "add", "ada", "rex").value["pets"][1]["last_active"] >= before
    assert run("switch", "ada", "rex", *where).out == "ada: 2 pets, rex is active\n"
    assert run("touch", "ada", "--at", 7, *where).out == "ada: 2 pets, rex is active\n"
    assert run("touch", "ada", "mira", "--at", "-8", *where, "--json").value["pets"][0]["last_active"] == -8
    rex = place.fleet("ada").pet("rex")
    assert (rex.role, rex.manifest_path, rex.last_active) == ("", "", 7)
    monkeypatch.setenv("PETFLEET_ROOT", place.root)
    assert run("remove", "ada", "rex").out == "ada: 1 pet, mira is active\n"
    assert place.fleet("ada") == PetFleet("ada", [pet("mira", -8)], "mira")
    assert run("delete", "ada", "--yes", *where).out == "ada: deleted\n"
    assert place.home.is_empty()
    assert run("list", "--json", *where).out == ""
    assert run("show", "ada", *where, code=1).err == "petfleet: fleet not found for user ada\n"


def test_delete_as_json(place: Place, run: Callable[..., Done]) -> None:
    """It says so, and that there is none the next time."""
    assert run("delete", "ada", "-y", "--json", "--root", place.root).value == {"user_id": "ada", "deleted": True}
    assert run("delete", "ada", "-y", "--root", place.root, code=1).err == "petfleet: fleet not found for user ada\n"


def test_the_root_of_a_command_goes_before_all_others(kennel: Path, tmp_path: Path) -> None:
    """Its own option, then the one before the command, then the environment."""
    other = tmp_path / "other"
    other.mkdir()
    assert petfleet("--root", other, "list", "--root", kennel, "--json", PETFLEET_ROOT=str(other)).out
    assert petfleet("--root", kennel, "list", "--json", PETFLEET_ROOT=str(other)).out
    assert not petfleet("list", "--json", PETFLEET_ROOT=str(other)).out


def test_other_keys_survive(place: Place, run: Callable[..., Done]) -> None:
    """As in every call of the store."""
    place.put("ada", dumps(PetFleet("ada", [MIRA, REX], "mira", {"colour": "blue"})))
    run("switch", "ada", "rex", "--root", place.root)
    assert place.fleet("ada").extra == {"colour": "blue"}


def test_the_version(run: Callable[..., Done]) -> None:
    """The version of the package."""
    assert run("--version").out == f"petfleet {__version__}\n"


def test_a_fleet_that_goes_meanwhile(kennel: Path, run: Callable[..., Done], monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two looks of one command: it is listed as it was seen first, and not deleted twice."""
    ada = PetFleet("ada", [MIRA])
    monkeypatch.setattr("petfleet._backends.files.backend.FileBackend.users", lambda *_: iter(["gone"]))
    monkeypatch.setattr("petfleet._backends.files.backend.FileBackend.peek", lambda *_: None)
    assert run("list", "--root", kennel) == ("", "")
    monkeypatch.setattr("petfleet._backends.files.backend.FileBackend.peek", lambda *_: ada)
    assert run("list", "--root", kennel, "--json").value == {
        "user_id": "gone",
        "pets": 1,
        "active_pet": None,
        "last_change": None,
    }
    assert run("show", "gone", "--root", kennel).out.startswith("ada: 1 pet, none is active\n")
    error = run("delete", "gone", "--yes", "--root", kennel, code=1).err
    assert error == "petfleet: fleet not found for user gone\n"


TWO = PetFleet("u", [MIRA, REX], "mira")


@pytest.mark.parametrize(
    ("after", "what"),
    [
        (TWO.with_active("rex"), "rex is active"),
        (PetFleet("u", [MIRA, REX]), "none is active"),
        (TWO.with_pet(pet("tom")), "+ tom"),
        (TWO.without_pet("mira"), "- mira, rex is active"),
        (TWO.with_last_active("rex", 5), "rex touched"),
        (TWO.with_replaced("rex", pet("rex", role="cook")), "rex changed"),
        (PetFleet("u", [REX, MIRA], "mira"), "changed"),
    ],
)
def test_what_became_of_a_fleet(after: PetFleet, what: str) -> None:
    """In a few words."""
    assert watch.describe(TWO, after) == what


def test_the_same_error_again_is_no_change() -> None:
    """A broken file that is only touched."""
    assert watch._same(OSError("broken"), OSError("broken"))
    assert not watch._same(OSError("broken"), OSError("gone"))
    assert not watch._same(TWO, OSError("broken"))
