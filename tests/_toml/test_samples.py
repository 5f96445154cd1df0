"""petfleet reads and refuses the same texts as the old program."""

from __future__ import annotations

import base64
import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from petfleet import FleetFormatError, PetFleet, PetHandle, dumps, loads
from petfleet._toml import decode

DATA = Path(__file__).parents[1] / "data"
# Texts of TOML 1.1: a tomllib that reads it accepts them.
NEWER_TOML = {"escape-e", "escape-x", "pets-inline-trailing-comma-in-table"}


def lines(name: str) -> list[Any]:
    with open(DATA / name, encoding="utf-8") as file:
        return [pytest.param(sample, id=sample["name"]) for sample in map(json.loads, file)]


WRITTEN, VERDICTS = lines("written_by_original.jsonl"), lines("verdicts_of_original.jsonl")


def fleet_of(values: dict[str, Any]) -> PetFleet:
    """Return the fleet of a sample's values."""
    return PetFleet(values["user_id"], [PetHandle(**pet) for pet in values["pets"]], values["active_pet"])


def without_extra(fleet: PetFleet) -> PetFleet:
    """Return the fleet without the keys that the old program drops."""
    pets = [PetHandle(pet.pet_name, pet.role, pet.manifest_path, pet.last_active) for pet in fleet.pets]
    return PetFleet(fleet.user_id, pets, fleet.active_pet)


def check_written(fleet: PetFleet) -> None:
    text = dumps(fleet)
    assert isinstance(tomllib.loads(text)["pets"], list)
    assert loads(text) == fleet
    assert dumps(loads(text)) == text


def test_all_samples_are_there() -> None:
    """The samples are complete: 27 files and 63 verdicts, good and bad."""
    assert len(WRITTEN) == 27
    assert len(VERDICTS) == 63
    assert {sample.values[0]["ok"] for sample in VERDICTS} == {True, False}


@pytest.mark.parametrize("fast", [True, False], ids=["fast", "full"])
@pytest.mark.parametrize("sample", WRITTEN)
def test_written(sample: dict[str, Any], fast: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every file that the old program wrote loads as its values, by either way of reading."""
    if not fast:
        monkeypatch.setattr(decode, "_parse_blocks", lambda source: None)
    for content in (sample["toml"], sample["toml"].encode()):
        fleet = loads(content, user_id=sample["user_id"])
        assert fleet == fleet_of(sample["fleet"])


@pytest.mark.parametrize("sample", WRITTEN)
def test_written_again(sample: dict[str, Any]) -> None:
    """petfleet's text of the same fleet is TOML with pets, and has the same meaning."""
    check_written(fleet_of(sample["fleet"]))


@pytest.mark.parametrize("fast", [True, False], ids=["fast", "full"])
@pytest.mark.parametrize("sample", VERDICTS)
def test_verdicts(sample: dict[str, Any], fast: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every text is read or refused as by the old program, except for features of a newer TOML."""
    if not fast:
        monkeypatch.setattr(decode, "_parse_blocks", lambda source: None)
    try:
        fleet = loads(base64.b64decode(sample["toml_base64"]))
    except FleetFormatError:
        assert not sample["ok"]
        return
    if sample["ok"]:
        assert without_extra(fleet) == fleet_of(sample["fleet"])
    else:
        assert sample["name"] in NEWER_TOML
        assert reads_newer_toml()
    check_written(fleet)


def reads_newer_toml() -> bool:
    """Whether this Python's tomllib reads TOML 1.1."""
    try:
        tomllib.loads(r'x = "\e"')
    except tomllib.TOMLDecodeError:
        return False
    return True
