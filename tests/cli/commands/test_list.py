"""`petfleet list`."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from petfleet import PetFleet, dumps
from tests.cli.conftest import MIRA, CommandRoot
from tests.cli.running import Done, petfleet, put, rest, terminal, visible_lines


@pytest.mark.usefixtures("local_time")
def test_list(two_pets_root: Path) -> None:
    """It prints a line for each user, in columns, and nothing about other files."""
    os.utime(two_pets_root / "ada" / "fleet.toml", (0, 1_700_000_002))
    os.utime(two_pets_root / "bob" / "fleet.toml", (0, 1_700_000_003))
    header, *lines = petfleet("list", "--root", two_pets_root).out.splitlines()
    assert header == "USER  PETS  ACTIVE  LAST CHANGE"
    assert sorted(lines) == ["ada   2     mira    2023-11-14 23:13:22", "bob   0     -       2023-11-14 23:13:23"]


def test_list_as_json(any_root: CommandRoot, run: Callable[..., Done]) -> None:
    """It prints an object for each user, with the time of the last write."""
    before = int(time.time())
    run("switch", "ada", "rex", "--root", any_root.argument)
    found = {user["user_id"]: user for user in petfleet("list", "--json", "--root", any_root.argument).values}
    changed = found["ada"]["last_change"]
    assert found["ada"] == {"user_id": "ada", "pets": 2, "active_pet": "rex", "last_change": changed}
    assert before <= changed <= time.time()
    assert (found["bob"]["pets"], found["bob"]["active_pet"]) == (0, None)


def test_list_of_broken_fleets(any_root: CommandRoot, run: Callable[..., Done]) -> None:
    """They are listed with their error, like invalid user ids, and the exit code is 1."""
    where = any_root.put("ada", "user_id = \n")
    any_root.put("x::y", "")
    out = run("list", "--root", any_root.argument, code=1).out
    assert f"ada   -     -       {where}, line 1, column 11: expected" in out
    assert "x::y  -     -       invalid name 'x::y': a user id must not contain '::'" in out
    users = run("list", "--json", "--root", any_root.argument, code=1).values
    assert {user["user_id"] for user in users if "error" in user} == {"ada", "x::y"}


def test_list_of_unreadable_files(two_pets_root: Path, run: Callable[..., Done]) -> None:
    """A pipe, for example, is listed with its error."""
    (two_pets_root / "pip").mkdir()
    os.mkfifo(two_pets_root / "pip" / "fleet.toml")
    assert "pip   -     -" in run("list", "--root", two_pets_root, code=1).out


def test_a_fleet_deleted_during_a_command(
    two_pets_root: Path, run: Callable[..., Done], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is listed as it was read first, and is not deleted twice."""
    ada = PetFleet("ada", [MIRA])
    monkeypatch.setattr("petfleet._backends.files.backend.FileBackend.users", lambda *_: iter(["gone"]))
    monkeypatch.setattr("petfleet._backends.files.backend.FileBackend.peek", lambda *_: None)
    assert run("list", "--root", two_pets_root) == ("", "")
    monkeypatch.setattr("petfleet._backends.files.backend.FileBackend.peek", lambda *_: ada)
    assert run("list", "--root", two_pets_root, "--json").value == {
        "user_id": "gone",
        "pets": 1,
        "active_pet": None,
        "last_change": None,
    }
    assert run("show", "gone", "--root", two_pets_root).out.startswith("ada: 1 pet, none is active\n")
    error = run("delete", "gone", "--yes", "--root", two_pets_root, code=1).err
    assert error == "petfleet: fleet not found for user gone\n"


def test_a_list_on_a_terminal(two_pets_root: Path) -> None:
    """It has a bold header, a line for each user, and the number of users."""
    with terminal("list", "--root", two_pets_root) as session:
        printed, code = rest(session)
    assert code == 0
    assert printed.startswith("\x1b[1mUSER  PETS  ACTIVE  LAST CHANGE\x1b[0m\r\n")
    lines = visible_lines(printed)
    assert sorted(line.split()[0] for line in lines[1:3]) == ["ada", "bob"]
    assert lines[3:] == ["2 users"]


def test_a_list_with_a_broken_fleet(two_pets_root: Path) -> None:
    """The broken fleet is counted, and the exit code is 1."""
    put(two_pets_root, "bob", "")
    with terminal("list", "--root", two_pets_root) as session:
        printed, code = rest(session)
    assert (visible_lines(printed)[-1], code) == ("2 users, 1 broken", 1)


def test_a_long_list(root: Path) -> None:
    """Its lines are above a bar, which is gone in the end."""
    for number in range(1200):
        put(root, f"user-{number}", dumps(PetFleet(f"user-{number}")))
    with terminal("list", "--root", root) as session:
        printed, code = rest(session)
    assert code == 0
    assert len(set(re.findall(r"user-\d+", printed))) == 1200
    assert re.search(r"users .*/1200", printed)
    assert visible_lines(printed)[-1] == "1,200 users"


def test_progress_of_a_bucket(bucket: CommandRoot) -> None:
    """The total is unknown, and no request asks for it."""
    for number in range(3):
        bucket.put(f"user-{number}", dumps(PetFleet(f"user-{number}")))
    with terminal("list", "--root", bucket.argument) as session:
        printed, code = rest(session)
    assert code == 0
    assert re.search(r"users .*3/\?", printed)
    assert visible_lines(printed)[-1] == "3 users"
