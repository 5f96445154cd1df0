"""`petfleet check`: what it prints, its exit codes, and what an interrupted repair leaves."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from petfleet import PetFleet, dumps, loads
from petfleet._cli.checks.file_system import FileSystem
from petfleet._cli.commands import check
from tests.cli.check_helpers import TEMPORARY, mark_writing, put_files
from tests.cli.conftest import MIRA
from tests.cli.running import COMMAND, Done, environment, petfleet, put, rest, terminal, visible_lines
from tests.conftest import wait_until

HEALTHY = (
    r"{root}: (\S+|unknown file system), locks work, directory sync works, a durable write takes \d+\.\d\d ms\n"
    r"(warning: .*\n)*"
)


def test_a_healthy_root(two_pets_root: Path) -> None:
    """The exit code is 0; the output has the file system and the number of entries."""
    out = petfleet("check", "--root", two_pets_root).out
    assert re.fullmatch(HEALTHY.format(root=two_pets_root) + "4 entries checked: nothing wrong\n", out), out


def test_findings_are_exit_code_1_until_they_are_repaired(root: Path) -> None:
    """After the repair nothing is wrong; the broken file keeps its bytes under another name."""
    path = put_files(root, "ada", b"user_id = ")
    mark_writing(put_files(root, "bob"))
    (root / "bob" / TEMPORARY).touch(mode=0o600)
    out = petfleet("check", "--root", root, code=1).out
    assert "\nunparsable: ada/fleet.toml, line 1, column 11: expected valid TOML" in out
    assert f"\nleftover: bob/{TEMPORARY}: a temporary file that no living writer uses: " in out
    assert f"\ndead-writer: bob/fleet.toml.lock: a writer that died or could not sync, pid {os.getpid()} on " in out
    assert out.endswith(
        "\n2 entries checked: 3 findings\n`petfleet check --repair` mends leftovers, and sets aside what is no fleet\n"
    )
    out = petfleet("check", "--repair", "--root", root, code=1).out
    (aside,) = path.parent.glob("fleet.toml.corrupt-*")
    assert f"\nunparsable: ada/fleet.toml, line 1, column 11: set aside as {aside} (it was: expected valid TOML" in out
    assert f"\nleftover: bob/{TEMPORARY}: removed (it was: " in out
    assert "\ndead-writer: bob/fleet.toml.lock: recovered (it was: " in out
    assert out.endswith("\n2 entries checked: 3 findings, 3 repaired\n")
    assert aside.read_bytes() == b"user_id = "
    assert petfleet("check", "--root", root).out.endswith("\n2 entries checked: nothing wrong\n")


def test_a_check_as_json(root: Path, run: Callable[..., Done]) -> None:
    """It has the file system, each finding, and the numbers; a name with odd bytes is valid JSON."""
    path = put_files(root, "ada", dumps(PetFleet("ada", [MIRA], "rex")).encode())
    os.mkdir(os.fsencode(root) + b"/\xff", 0o700)
    surroundings, *findings, summary = petfleet("check", "--json", "--root", root, code=1).values
    assert surroundings["surroundings"].keys() == set(FileSystem._fields)
    assert sorted((found["finding"]["kind"], found["finding"]["path"]) for found in findings) == [
        ("active-pet-missing", str(path)),
        ("invalid-name", f"{root}/\udcff"),
    ]
    assert summary == {"summary": {"entries": 2, "findings": 2, "repaired": 0}}


@pytest.mark.parametrize(
    ("found", "line"),
    [
        (
            FileSystem(None, None, None, None, None, []),
            "unknown file system, locks not tried, directory sync not tried",
        ),
        (
            FileSystem("x", "/", False, False, None, ["w\x1b"]),
            "x, LOCKS DO NOT WORK, NO DIRECTORY SYNC\nwarning: w\\x1b",
        ),
    ],
)
def test_a_file_system_without_locks_or_sync(
    two_pets_root: Path, run: Callable[..., Done], monkeypatch: pytest.MonkeyPatch, found: FileSystem, line: str
) -> None:
    """It is reported, and is no finding."""
    monkeypatch.setattr("petfleet._cli.checks.file_system.probe", lambda root: found)
    assert run("check", "--root", two_pets_root).out == f"{two_pets_root}: {line}\n4 entries checked: nothing wrong\n"


def test_an_interrupted_repair_leaves_whole_files(root: Path) -> None:
    """After Ctrl-C each broken file has one of its two names, and its bytes are complete."""
    for number in range(400):
        put_files(root, f"user-{number}", b"user_id = " + b"x" * number)
    command = [*COMMAND, "check", "--repair", "--root", str(root)]
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment()
    ) as process:
        try:
            wait_until(lambda: sum(1 for _ in root.glob("*/*.corrupt-*")) >= 20)
            process.send_signal(signal.SIGINT)
            _, error = process.communicate(timeout=60)
        finally:
            process.kill()
    assert (process.returncode, "Traceback" in error) == (130, False), error
    aside = 0
    for number in range(400):
        directory = root / f"user-{number}"
        names = sorted(path.name for path in directory.iterdir())
        (broken,) = (name for name in names if name == "fleet.toml" or ".corrupt-" in name)
        aside += broken != "fleet.toml"
        assert (directory / broken).read_bytes() == b"user_id = " + b"x" * number
        assert set(names) <= {broken, "fleet.toml.lock"}
    assert 20 <= aside < 400
    petfleet("check", "--repair", "--root", root, code=1)
    petfleet("check", "--root", root)


def test_a_new_fleet_beside_the_one_set_aside(root: Path, run: Callable[..., Done]) -> None:
    """The old one stays, so that it can be restored by hand."""
    path = put_files(root, "ada", b"user_id = ")
    run("check", "--repair", "--root", root, code=1)
    run("add", "ada", "mira", "--root", root)
    assert loads(path.read_bytes()).active_pet == "mira"
    assert len(list(path.parent.glob("*.corrupt-*"))) == 1


def test_ctrl_c_waits_for_the_current_user_unless_it_comes_twice() -> None:
    """It never interrupts the event loop of a repair."""
    with pytest.raises(KeyboardInterrupt), check._one_user_at_a_time() as stop_if_interrupted:
        stop_if_interrupted()
        signal.raise_signal(signal.SIGINT)
        stop_if_interrupted()
    with check._one_user_at_a_time():
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_colours_of_a_check(two_pets_root: Path) -> None:
    """Findings are red and repaired ones green; with few entries there is no bar."""
    path = put(two_pets_root, "bob", "user_id = ")
    with terminal("check", "--repair", "--root", two_pets_root, columns=40) as session:
        printed, code = rest(session)
    assert code == 1
    # In one line, however narrow.
    assert f"\x1b[32munparsable\x1b[0m: bob/fleet.toml, line 1, column 11: set aside as {path}.corrupt-" in printed
    assert visible_lines(printed)[-1] == "4 entries checked: 1 finding, 1 repaired"
    put(two_pets_root, "eve", dumps(PetFleet("eve", [MIRA], "rex")))
    with terminal("check", "--root", two_pets_root) as session:
        printed, code = rest(session)
    assert code == 1
    assert "\x1b[31mactive-pet-missing\x1b[0m: " in printed
    assert visible_lines(printed)[-2] == "5 entries checked: 1 finding"
