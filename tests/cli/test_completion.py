"""What the shell offers: users and pets, from the root that the command would take."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.running import petfleet, put


def complete(*words: str, root: Path | str = "") -> list[str]:
    """Return what bash offers for the last of these words."""
    line = " ".join(["petfleet", *words])
    done = petfleet(
        _PETFLEET_COMPLETE="complete_bash", COMP_WORDS=line, COMP_CWORD=str(len(words)), PETFLEET_ROOT=str(root)
    )
    return done.out.split()


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["show", "a"], ["ada"]),
        (["show", "e"], []),
        (["switch", "ada", ""], ["mira", "rex"]),
        (["switch", "ada", "r"], ["rex"]),
        (["switch", "eve", ""], []),
        (["swi"], ["switch"]),
    ],
)
def test_names_are_completed(two_pets_root: Path, words: list[str], offered: list[str]) -> None:
    """It offers users that have a fleet, and their pets."""
    assert complete(*words, root=two_pets_root) == offered


def test_the_root_may_be_an_option(two_pets_root: Path) -> None:
    """It may be anywhere before the word that is completed."""
    assert complete("--root", str(two_pets_root), "show", "b") == ["bob"]
    assert complete("show", "--root", str(two_pets_root), "b") == ["bob"]


def test_without_a_root_nothing_is_offered(two_pets_root: Path) -> None:
    """No error is printed either."""
    put(two_pets_root, "ada", "user_id = ")
    assert complete("show", "") == []
    assert complete("switch", "ada", "", root=two_pets_root) == []


def test_completion_can_be_installed() -> None:
    """The script is printed for a shell that the test names, since none may run above the test."""
    printed = petfleet("--show-completion", "bash", _TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION="1").out
    assert "complete" in printed
