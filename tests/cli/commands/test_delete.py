"""`petfleet delete`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.cli.conftest import CommandRoot
from tests.cli.running import Done, rest, terminal, visible_lines


def test_delete_as_json(any_root: CommandRoot, run: Callable[..., Done]) -> None:
    """It prints the user; a second deletion finds no fleet."""
    assert run("delete", "ada", "-y", "--json", "--root", any_root.argument).value == {
        "user_id": "ada",
        "deleted": True,
    }
    assert (
        run("delete", "ada", "-y", "--root", any_root.argument, code=1).err
        == "petfleet: fleet not found for user ada\n"
    )


def test_a_delete_asks(two_pets_root: Path) -> None:
    """Only yes deletes."""
    for answer, code, line in (("n", 1, "petfleet: not done: you did not say yes"), ("y", 0, "ada: deleted")):
        with terminal("delete", "ada", "--root", two_pets_root) as session:
            session.expect_exact("Delete ada: 2 pets, mira is active? There is no way back [y/N]: ")
            session.sendline(answer)
            printed, found = rest(session)
        assert (visible_lines(printed)[-1], found) == (line, code)
    assert not (two_pets_root / "ada").exists()
