"""What the documentation says of the torture is what it is and what it found."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.torture.all import PARTS
from tests.torture.report import table

DOCS = Path(__file__).parents[2] / "docs"
PAGE = DOCS / "guarantees.md"


@pytest.mark.parametrize("path", sorted((DOCS / "torture").glob("*.json")), ids=lambda path: path.name)
def test_the_figures_shown_are_those_of_the_run_that_was_kept(path: Path) -> None:
    """Each table on the page comes from the file that it names."""
    shown = f"<!-- docs/torture/{path.name} -->\n\n{table(json.loads(path.read_text(encoding='utf-8')))}\n"
    assert shown in PAGE.read_text(encoding="utf-8")


def test_every_part_is_described_and_was_run() -> None:
    """No part is missing from the page, and none is there that no longer is."""
    text = PAGE.read_text(encoding="utf-8")
    names = {part.name for part in PARTS}
    assert set(re.findall(r"^\|.*\| `([a-z]+)` \|$", text, re.MULTILINE)) == names
    kept = [json.loads(path.read_text(encoding="utf-8")) for path in (DOCS / "torture").glob("*.json")]
    assert {part["name"] for report in kept for part in report["parts"] if part["rounds"]} == names
