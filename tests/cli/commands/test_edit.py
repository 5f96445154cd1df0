"""`petfleet edit` with a scripted editor: what is saved, what is kept, and what others do meanwhile."""

from __future__ import annotations

import json
import os
import re
import shlex
import sys
from pathlib import Path

import pytest

from petfleet import PetFleet, UnconfirmedCommitError, dumps, fleet_path
from petfleet._cli.commands import edit
from petfleet._cli.settings import Settings
from tests.cli.conftest import MIRA, REX, CommandRoot
from tests.cli.running import petfleet, rest, terminal
from tests.conftest import wait_until
from tests.support.backends import FileStorage

pytestmark = pytest.mark.usefixtures("temporary")
KEPT = re.compile(r"Nothing was saved; your edit is kept in (\S+)")


def editor(program: str) -> str:
    """Return an editor that runs a program, in which ``path`` is the file to edit."""
    return shlex.join([sys.executable, "-c", f"import pathlib, sys; path = pathlib.Path(sys.argv[1])\n{program}"])


RENAME = editor("path.write_text(path.read_text().replace('rex', 'tom'))")


def kept_copy(message: str) -> str:
    """Return the text of the copy that a message names."""
    found = KEPT.search(message)
    assert found, message
    return Path(found[1]).read_text(errors="replace")


def test_an_edit_is_shown_and_saved(any_root: CommandRoot, temporary: Path) -> None:
    """It prints a diff, removes the copy, and leaves nothing beside the fleet."""
    out = petfleet("edit", "ada", "--root", any_root.argument, EDITOR=RENAME).out
    assert out == (
        '--- stored\n+++ edited\n@@ -8,5 +8,5 @@\n \n [[pets]]\n-pet_name = "rex"\n+pet_name = "tom"\n'
        ' role = "guard"\n-manifest_path = "pets/rex.toml"\n+manifest_path = "pets/tom.toml"\n'
        " last_active = 1700000001\n"
        "saved. ada: 2 pets, mira is active\n"
    ).replace("@@ -8,5 +8,5 @@", re.search(r"@@.*@@", out)[0])  # type: ignore[index]
    assert [pet.pet_name for pet in any_root.fleet("ada").pets] == ["mira", "tom"]
    assert list(temporary.iterdir()) == []
    if isinstance(any_root.storage, FileStorage):
        assert set(os.listdir(fleet_path("ada", any_root.argument).parent)) == {"fleet.toml", "fleet.toml.lock"}


def test_an_edit_as_json(two_pets_root: Path) -> None:
    """It prints the fleet that is stored now."""
    where = ("--root", two_pets_root, "--json")
    assert petfleet("edit", "ada", *where, EDITOR=RENAME).value["pets"][1]["pet_name"] == "tom"
    assert petfleet("edit", "ada", *where, EDITOR="true").value["pets"][1]["pet_name"] == "tom"


def test_the_copy_is_private(two_pets_root: Path, temporary: Path) -> None:
    """No other account may read it."""
    modes = temporary / "modes"
    program = f"pathlib.Path({str(modes)!r}).write_text(f'{{path.stat().st_mode:o}} {{path.parent.stat().st_mode:o}}')"
    petfleet("edit", "ada", "--root", two_pets_root, VISUAL=editor(program), EDITOR="false")
    assert modes.read_text() == "100600 40700"


def test_an_edit_that_changes_nothing_writes_nothing(two_pets_root: Path, temporary: Path) -> None:
    """Another layout of the same fleet is no change."""
    before = fleet_path("ada", two_pets_root).stat()
    blank = editor("path.write_text(path.read_text() + '\\n# a comment\\n')")
    assert petfleet("edit", "ada", "--root", two_pets_root, EDITOR=blank).out == "ada: nothing changed\n"
    assert fleet_path("ada", two_pets_root).stat() == before
    assert list(temporary.iterdir()) == []


def test_an_edit_that_may_have_been_saved_keeps_the_copy(
    two_pets_root: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message does not claim that nothing was saved."""

    async def unconfirmed(*_: object) -> PetFleet:
        raise UnconfirmedCommitError("s3://...")

    def write(copy: str) -> None:
        Path(copy).write_text(Path(copy).read_text().replace("friend", "guard"))

    monkeypatch.setattr(edit, "_save", unconfirmed)
    monkeypatch.setattr(edit, "_run_editor", write)
    with pytest.raises(edit.KeptError, match="It may have been saved; your edit is kept in"):
        edit.edit(Settings(str(two_pets_root), False), "ada", yes=True)


def test_a_conflict_keeps_the_copy(any_root: CommandRoot) -> None:
    """The other change stays."""
    switch = [sys.executable, "-m", "petfleet", "switch", "ada", "rex", "--root", any_root.argument]
    meanwhile = editor(
        f"import subprocess; subprocess.run({switch!r}, check=True, stdout=subprocess.DEVNULL)\n"
        "path.write_text(path.read_text().replace('rex', 'tom'))"
    )
    error = petfleet("edit", "ada", "--root", any_root.argument, EDITOR=meanwhile, code=1).err
    assert "someone else changed the fleet of ada meanwhile (now ada: 2 pets, rex is active)" in error
    assert 'pet_name = "tom"' in kept_copy(error)
    assert any_root.fleet("ada") == PetFleet("ada", [MIRA, REX], "rex")


def test_a_deletion_meanwhile_is_a_conflict(any_root: CommandRoot) -> None:
    """The fleet does not come back."""
    delete = [sys.executable, "-m", "petfleet", "delete", "ada", "--yes", "--root", any_root.argument]
    meanwhile = editor(
        f"import subprocess; subprocess.run({delete!r}, check=True, stdout=subprocess.DEVNULL)\n"
        "path.write_text(path.read_text().replace('rex', 'tom'))"
    )
    error = json.loads(petfleet("edit", "ada", "--root", any_root.argument, "--json", EDITOR=meanwhile, code=1).err)
    assert "(now it was deleted)" in error["message"]
    assert 'pet_name = "tom"' in kept_copy(error["message"])
    assert any_root.text("ada") is None


@pytest.mark.parametrize(
    ("program", "why"),
    [
        ("path.write_text('user_id = ')", "fleet text, line 1, column 11: expected"),
        (
            "path.write_text('user_id = \"bob\"\\npets = []\\n')",
            "fleet text, line 1: expected user_id = 'ada', found 'bob'",
        ),
        ("path.write_bytes(b'user_id = \"\\xff\"')", "fleet text, line 1, column 12: expected UTF-8"),
        ("path.unlink()", "the edited copy cannot be read ("),
        ("sys.exit(3)", "ended with status 3"),
    ],
)
def test_a_mistake_keeps_the_copy(two_pets_root: Path, program: str, why: str) -> None:
    """The message has the line and the column, and the fleet is as it was."""
    before = fleet_path("ada", two_pets_root).read_bytes()
    error = petfleet("edit", "ada", "--root", two_pets_root, EDITOR=editor(program), code=1).err
    assert why in error
    gone = re.search(r"Nothing was saved; (\S+) is gone\n", error)
    if program == "path.unlink()":
        assert gone
    else:
        kept_copy(error)
    assert fleet_path("ada", two_pets_root).read_bytes() == before


def test_a_save_that_fails_keeps_the_copy(two_pets_root: Path) -> None:
    """The message has the error."""
    directory = str(two_pets_root / "ada")
    program = f"""
path.write_text(path.read_text().replace('rex', 'tom'))
import shutil; shutil.rmtree({directory!r}); pathlib.Path({directory!r}).write_text('')
"""
    error = petfleet("edit", "ada", "--root", two_pets_root, EDITOR=editor(program), code=1).err
    assert "Not a directory" in error
    assert 'pet_name = "tom"' in kept_copy(error)


@pytest.mark.parametrize("command", ["no-such-editor", "'unbalanced"])
def test_an_editor_that_cannot_be_run(two_pets_root: Path, temporary: Path, command: str) -> None:
    """It is misuse, and no copy is left."""
    error = petfleet("edit", "ada", "--root", two_pets_root, EDITOR=command, code=2).err
    assert error.endswith("set EDITOR to one that can\n")
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize(
    ("answer", "saved"), [("y\r", True), ("n\r", False), ("\x03", False)], ids=["yes", "no", "ctrl-C"]
)
def test_on_a_terminal_it_asks(two_pets_root: Path, answer: str, saved: bool) -> None:
    """It shows the diff first, and only yes saves."""
    with terminal("edit", "ada", "--root", two_pets_root, EDITOR=RENAME) as session:
        session.expect_exact('+pet_name = "tom"')
        session.expect_exact("Save this? [y/N]: ")
        session.send(answer)
        printed, code = rest(session)
    assert code == (0 if saved else 1)
    assert ("saved. ada: 2 pets" in printed) == saved
    assert ("you did not say yes" in printed) != saved
    assert (b'"tom"' in fleet_path("ada", two_pets_root).read_bytes()) == saved


def test_yes_does_not_ask(two_pets_root: Path) -> None:
    """On a terminal it saves without a question."""
    with terminal("edit", "ada", "--yes", "--root", two_pets_root, EDITOR=RENAME) as session:
        printed, code = rest(session)
    assert ("saved. ada" in printed, "Save this?" in printed, code) == (True, False, 0)


def test_ctrl_c_in_the_editor_is_the_editors(two_pets_root: Path, tmp_path: Path) -> None:
    """The command goes on until the editor ends."""
    ready = tmp_path / "ready"
    program = f"""
import signal
def stop(*_):
    path.write_text(path.read_text().replace('rex', 'tom'))
    sys.exit()
signal.signal(signal.SIGINT, stop)
pathlib.Path({str(ready)!r}).touch()
signal.pause()
"""
    with terminal("edit", "ada", "--yes", "--root", two_pets_root, EDITOR=editor(program)) as session:
        wait_until(ready.exists)
        session.send("\x03")
        printed, code = rest(session)
    assert ("saved. ada" in printed, code) == (True, 0)


def test_a_broken_fleet_is_not_edited(any_root: CommandRoot, temporary: Path) -> None:
    """The message says where it is broken."""
    where = any_root.put("ada", "user_id = ")
    error = petfleet("edit", "ada", "--root", any_root.argument, EDITOR=RENAME, code=1).err
    assert f"{where}, line 1, column 11: expected" in error
    assert os.listdir(temporary) == []


def test_a_fleet_without_pets_may_be_edited(two_pets_root: Path) -> None:
    """It is stored, unlike a missing one."""
    program = f"path.write_text({dumps(PetFleet('bob', [REX]))!r})"
    assert petfleet("edit", "bob", "--root", two_pets_root, EDITOR=editor(program)).out.endswith(
        "saved. bob: 1 pet, none is active\n"
    )


def test_an_inconsistent_edit_is_a_warning(two_pets_root: Path) -> None:
    """Such fleets are valid, since the old program wrote them, but hardly intended."""
    double = editor("path.write_text(path.read_text().replace('rex', 'mira'))")
    out = petfleet("edit", "ada", "--root", two_pets_root, EDITOR=double).out
    assert "\nwarning: more than one pet of the name 'mira': " in out
    assert out.endswith("saved. ada: 2 pets, mira is active\n")
