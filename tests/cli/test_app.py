"""Options of every command: the root, the version, JSON."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from petfleet import __version__
from tests.cli.running import Done, petfleet


def test_the_root_of_a_command_comes_first(two_pets_root: Path, tmp_path: Path) -> None:
    """After it comes the option before the command, then the environment."""
    other = tmp_path / "other"
    other.mkdir()
    assert petfleet("--root", other, "list", "--root", two_pets_root, "--json", PETFLEET_ROOT=str(other)).out
    assert petfleet("--root", two_pets_root, "list", "--json", PETFLEET_ROOT=str(other)).out
    assert not petfleet("list", "--json", PETFLEET_ROOT=str(other)).out


def test_the_version(run: Callable[..., Done]) -> None:
    """It is the version of the package."""
    assert run("--version").out == f"petfleet {__version__}\n"
