"""The runner: seeds, time, the report of a failure, and the table."""

from __future__ import annotations

import json
import random
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.torture import __main__ as torture
from tests.torture import means
from tests.torture.all import PARTS
from tests.torture.parts import Part, generator


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Run the command line, and return its exit code."""
    monkeypatch.setattr(sys, "argv", ["torture", *arguments])
    return torture.main()


class Dice:
    """A part that notes what it draws; 7 is a failure."""

    def __init__(self) -> None:
        self.drawn: list[int] = []
        self.part = Part("dice", "throwing", self.play)

    def play(self, rng: random.Random, directory: Path) -> Counter[str]:
        assert list(directory.iterdir()) == []
        number = rng.randrange(10)
        self.drawn.append(number)
        assert number != 7, "seven"
        return Counter({"tries": 1})


@pytest.fixture
def dice(monkeypatch: pytest.MonkeyPatch) -> Dice:
    """The only part there is."""
    dice = Dice()
    monkeypatch.setattr(torture, "PARTS", (dice.part,))
    return dice


def test_a_seed_decides_every_round(
    monkeypatch: pytest.MonkeyPatch, dice: Dice, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same seed draws the same until a round fails, and the command that it prints repeats that round."""
    assert run(monkeypatch, "--seed", "3", "--minutes", "1") == 1
    first = dice.drawn.copy()
    assert first == [generator(3, "dice", number).randrange(10) for number in range(len(first))]
    assert first[-1] == 7
    said = capsys.readouterr().err
    assert "AssertionError: seven" in said
    again = f"--only dice --seed 3 --round {len(first) - 1}"
    assert f"dice: round {len(first) - 1} failed. To repeat it: nox -s torture -- {again}" in said
    dice.drawn.clear()
    assert run(monkeypatch, *again.split()) == 1
    assert dice.drawn == [7]


def test_the_figures_of_a_run_that_passed_are_kept(
    monkeypatch: pytest.MonkeyPatch, dice: Dice, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """They make the table, then and later; a failed run keeps none."""
    path = tmp_path / "out.json"
    rounds = [generator(3, "dice", number).randrange(10) for number in range(100)]
    whole, seven = rounds.index(next(n for n in rounds if n != 7)), rounds.index(7)
    assert run(monkeypatch, "--seed", "3", "--round", str(seven), "--json", str(path)) == 1
    assert not path.exists()
    assert run(monkeypatch, "--seed", "3", "--round", str(whole), "--json", str(path)) == 0
    capsys.readouterr()
    assert run(monkeypatch, "--show", str(path)) == 0
    assert "| dice | throwing | 1 | 1 tries |" in capsys.readouterr().out
    assert json.loads(path.read_text())["seed"] == 3


def test_a_part_whose_means_are_missing_is_said_and_fails_ci(
    monkeypatch: pytest.MonkeyPatch, dice: Dice, capsys: pytest.CaptureFixture[str]
) -> None:
    """Outside CI the other parts run."""
    monkeypatch.setattr(means, "missing", lambda *names: "no strace here" if names else None)
    monkeypatch.setattr(torture, "PARTS", (dice.part, Part("traced", "tracing", dice.play, ("strace",))))
    for in_ci, code in ((False, 0), (True, 1)):
        monkeypatch.setattr(means, "IN_CI", in_ci)
        dice.drawn.clear()
        assert run(monkeypatch, "--seed", "3", "--round", "0") == code
        assert len(dice.drawn) == (not in_ci)
        assert "traced: left out, no strace here" in capsys.readouterr().err


def test_an_unknown_part_is_refused(
    monkeypatch: pytest.MonkeyPatch, dice: Dice, capsys: pytest.CaptureFixture[str]
) -> None:
    """The error names the known parts."""
    with pytest.raises(SystemExit):
        run(monkeypatch, "--only", "cards")
    assert "no cards: there are dice" in capsys.readouterr().err


def test_the_parts_have_names_of_their_own() -> None:
    """Otherwise the command line could not tell them apart."""
    assert len({part.name for part in PARTS}) == len(PARTS)
