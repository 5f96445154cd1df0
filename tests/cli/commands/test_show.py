"""`petfleet show`."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest

from petfleet import PetFleet, dumps
from tests.cli.conftest import MIRA, REX, CommandRoot
from tests.cli.running import Done, petfleet
from tests.conftest import pet

ADA = {
    "user_id": "ada",
    "pets": [{**asdict(MIRA), "extra": {}}, {**asdict(REX), "extra": {}}],
    "active_pet": "mira",
    "extra": {},
}


@pytest.mark.usefixtures("local_time")
def test_show(two_pets_root: Path) -> None:
    """It prints the pets in order, and marks the active one."""
    os.utime(two_pets_root / "ada" / "fleet.toml", (0, 1_700_000_002))
    assert petfleet("show", "ada", "--root", two_pets_root).out == (
        "ada: 2 pets, mira is active, changed 2023-11-14 23:13:22\n"
        "   PET   ROLE    MANIFEST        LAST ACTIVE\n"
        "*  mira  friend  pets/mira.toml  2023-11-14 23:13:20\n"
        "   rex   guard   pets/rex.toml   2023-11-14 23:13:21\n"
    )
    assert petfleet("show", "ada", "--root", two_pets_root, "--json").value == ADA


@pytest.mark.usefixtures("local_time")
def test_show_of_odd_fleets(any_root: CommandRoot, run: Callable[..., Done]) -> None:
    """Unknown keys are named, texts are safe on a terminal, and any year is accepted."""
    odd = pet("\x1b[2J\u202e", 2**62, extra={"mood": 1.5, "dates": [float("inf")]})
    fleet = PetFleet("odd", [odd], None, {"colour": "blue"})
    any_root.put("odd", dumps(fleet))
    summary, header, line, others = run("show", "odd", "--root", any_root.argument).out.splitlines()
    assert summary.startswith("odd: 1 pet, none is active, changed ")
    assert header.split("  ")[-1] == "OTHER KEYS"
    assert line.split() == ["\\x1b[2J\\u202e", "friend", "pets/\\x1b[2J\\u202e.toml", str(2**62), "mood,", "dates"]
    assert others == "other keys: colour"
    extra = run("show", "odd", "--root", any_root.argument, "--json").value["pets"][0]["extra"]
    assert extra == {"mood": 1.5, "dates": ["inf"]}
    assert run("show", "bob", "--root", any_root.argument).out.startswith("bob: 0 pets, none is active, changed ")
