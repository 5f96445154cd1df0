"""The list of mutants fits the sources and the tests, and its runner tells which of them survive."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.torture.mutants import __main__ as runner
from tests.torture.mutants.all import MUTANTS
from tests.torture.mutants.mutant import Mutant

SOURCES = Path(__file__).parents[3] / "src" / "petfleet"


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.protection)
def test_every_mutant_applies_and_names_a_test(mutant: Mutant) -> None:
    """A protection that was moved or renamed takes its mutant along."""
    assert mutant.found != mutant.instead
    assert (SOURCES / mutant.module).read_text(encoding="utf-8").count(mutant.found) == 1
    module, _, name = mutant.test.partition("::")
    text = (Path(__file__).parents[2] / module).read_text(encoding="utf-8")
    assert re.search(rf"^(async )?def {name}\(", text, re.MULTILINE) or not name


def test_no_two_mutants_are_the_same() -> None:
    """Each has a name of its own, and takes out something of its own."""
    assert len({mutant.protection for mutant in MUTANTS}) == len(MUTANTS)
    assert len({mutant[1:4] for mutant in MUTANTS}) == len(MUTANTS)


@pytest.mark.parametrize("found", ["no such text", "os"])
def test_a_mutant_that_no_longer_applies_is_an_error(tmp_path: Path, found: str) -> None:
    """Neither a text that is gone nor one that stands in several places can be taken out."""
    outcome = runner.try_one(Mutant("any", "_backends/files/disk.py", found, "", "test_layout.py"), tmp_path / "place")
    assert outcome.wrong is not None
    assert re.fullmatch(r"no longer applies: _backends/files/disk\.py has its text \d+ times", outcome.wrong)


def test_a_mutant_that_its_test_does_not_notice_is_not_caught(tmp_path: Path) -> None:
    """A change that changes nothing stays green."""
    text = '"""Fleets in files: one commit'
    outcome = runner.try_one(
        Mutant("any", "_backends/files/backend.py", text, text + "!", "test_guard.py"), tmp_path / "place"
    )
    assert outcome.wrong == "its test stays green"


def test_a_test_that_cannot_run_is_no_verdict(tmp_path: Path) -> None:
    """A mutant that cannot be imported, or a test that is not there, catches nothing."""
    text = '"""Fleets in files: one commit'
    outcome = runner.try_one(
        Mutant("any", "_backends/files/backend.py", text, text, "test_guard.py::test_gone"), tmp_path / "place"
    )
    assert outcome.wrong is not None
    assert outcome.wrong.startswith("its test could not run:")
