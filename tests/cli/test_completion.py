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
def test_names_are_completed(kennel: Path, words: list[str], offered: list[str]) -> None:
    """Users who have a fleet, and their pets; nothing where there are none."""
    assert complete(*words, root=kennel) == offered


def test_the_root_may_be_an_option(kennel: Path) -> None:
    """Before the word that is completed."""
    assert complete("--root", str(kennel), "show", "b") == ["bob"]
    assert complete("show", "--root", str(kennel), "b") == ["bob"]


def test_without_a_root_nothing_is_offered(kennel: Path) -> None:
    """And nothing is said."""
    put(kennel, "ada", "user_id = ")
    assert complete("show", "") == []
    assert complete("switch", "ada", "", root=kennel) == []


def test_completion_can_be_installed() -> None:
    """For the shell that one uses."""
    assert "complete" in petfleet("--show-completion", "bash").out
