"""`petfleet check` as a process: what it prints, its exit codes, and what Ctrl-C leaves of a repair."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from petfleet import PetFleet, dumps, loads
from petfleet.cli.checks.file_system import Surroundings
from petfleet.cli.commands import check
from tests.cli.conftest import MIRA
from tests.cli.roots import TEMPORARY, put, say_writing
from tests.cli.running import COMMAND, Done, environment, petfleet
from tests.conftest import wait_until

HEALTHY = r"{root}: \S+, locks work, directory sync works, a durable write takes \d+\.\d\d ms\n(warning: .*\n)*"


def test_a_healthy_root(kennel: Path) -> None:
    """Exit code 0; what it is on, and how much was looked at."""
    out = petfleet("check", "--root", kennel).out
    assert re.fullmatch(HEALTHY.format(root=kennel) + "4 entries checked: nothing wrong\n", out), out


def test_findings_are_exit_code_1_until_they_are_repaired(root: Path) -> None:
    """Found, repaired, and then nothing is wrong; the broken file keeps its bytes under another name."""
    path = put(root, "ada", b"user_id = ")
    say_writing(put(root, "bob"))
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
    """What it is on, each finding, and the numbers; a name of odd bytes is JSON as well."""
    path = put(root, "ada", dumps(PetFleet("ada", [MIRA], "rex")).encode())
    os.mkdir(os.fsencode(root) + b"/\xff", 0o700)
    surroundings, *findings, summary = petfleet("check", "--json", "--root", root, code=1).values
    assert surroundings["surroundings"].keys() == set(Surroundings._fields)
    assert sorted((found["finding"]["kind"], found["finding"]["path"]) for found in findings) == [
        ("active-pet-missing", str(path)),
        ("invalid-name", f"{root}/\udcff"),
    ]
    assert summary == {"summary": {"entries": 2, "findings": 2, "repaired": 0}}


@pytest.mark.parametrize(
    ("found", "line"),
    [
        (
            Surroundings(None, None, None, None, None, []),
            "unknown file system, locks not tried, directory sync not tried",
        ),
        (
            Surroundings("x", "/", False, False, None, ["w\x1b"]),
            "x, LOCKS DO NOT WORK, NO DIRECTORY SYNC\nwarning: w\\x1b",
        ),
    ],
)
def test_where_little_works(
    kennel: Path, run: Callable[..., Done], monkeypatch: pytest.MonkeyPatch, found: Surroundings, line: str
) -> None:
    """It is said, and is no finding."""
    monkeypatch.setattr("petfleet.cli.commands.check.look_around", lambda root: found)
    assert run("check", "--root", kennel).out == f"{kennel}: {line}\n4 entries checked: nothing wrong\n"


def test_an_interrupted_repair_leaves_whole_files(root: Path) -> None:
    """Ctrl-C in the middle: each broken file is under the one name or the other, whole, and nothing else is there."""
    for number in range(400):
        put(root, f"user-{number}", b"user_id = " + b"x" * number)
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


def test_a_fleet_can_be_started_anew_beside_the_one_set_aside(root: Path, run: Callable[..., Done]) -> None:
    """And the old one be brought back by hand."""
    path = put(root, "ada", b"user_id = ")
    run("check", "--repair", "--root", root, code=1)
    run("add", "ada", "mira", "--root", root)
    assert loads(path.read_bytes()).active_pet == "mira"
    assert len(list(path.parent.glob("*.corrupt-*"))) == 1


def test_ctrl_c_waits_for_the_user_under_way_unless_it_comes_twice() -> None:
    """So that it falls into no event loop's end."""
    with pytest.raises(KeyboardInterrupt), check._one_user_at_a_time() as stop_if_interrupted:
        stop_if_interrupted()
        signal.raise_signal(signal.SIGINT)
        stop_if_interrupted()
    with check._one_user_at_a_time():
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
