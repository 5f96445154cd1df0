"""`petfleet demo` loses nothing, and would notice a loss."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from petfleet import PetFleet, dumps, fleet_path
from petfleet._cli.commands import demo
from tests.cli.running import petfleet
from tests.conftest import pet, wait_until

SMALL = ("--seconds", "1", "--users", "20", "--tasks", "8")
LONG = ("demo", "--seconds", "60", "--users", "20", "--tasks", "4")


def test_the_demonstration_loses_nothing_and_cleans_up(temporary: Path) -> None:
    """It prints progress, the table and the hot user's file, and removes its directory."""
    printed = petfleet("demo", *SMALL).out
    assert re.search(r"^ +[\d,]+ changes acknowledged, worker \d+ killed and replaced$", printed, re.MULTILINE)
    table = dict(re.findall(r"^(\S.*?) {2,}([\d,.]+)", printed, re.MULTILINE))
    assert list(table) == [
        "changes acknowledged",
        "found on disk",
        "lost",
        "changes/s",
        "latency p50, p99, max",
        "recovered",
    ]
    assert table["found on disk"] == table["changes acknowledged"] != "0"
    assert table["lost"] == "0"
    assert 'user_id = "hot-user"\nactive_pet = "pet-' in printed
    assert list(temporary.iterdir()) == []


def test_the_demonstration_as_json() -> None:
    """It prints one object and nothing else."""
    found = json.loads(petfleet("demo", "--json", *SMALL, "--seconds", 0.2).out)
    assert found["acknowledged"] == found["found"] > 0
    assert (found["lost"], found["failed_workers"]) == ([], 0)
    # A machine that has other things to do may take a second or more between two turns of a lock.
    assert [warning for warning in found["warnings"] if not warning.startswith("waited ")] == []


def test_an_interrupted_demonstration_ends_its_workers_and_cleans_up(temporary: Path) -> None:
    """Ctrl-C gives status 130 without a traceback, and leaves no process and no directory."""
    command = [sys.executable, "-m", "petfleet", *LONG]
    # A session of its own, by which its processes are found.
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        assert process.stdout is not None
        assert "changes acknowledged" in process.stdout.readline()  # all workers have reported by then
        assert len(processes_of_session(process.pid)) == 5
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 130
    assert errors == "petfleet: interrupted; what was reported as done is done, and nothing is half done\n"
    assert processes_of_session(process.pid) == []
    assert list(temporary.iterdir()) == []


def test_workers_end_when_the_demonstration_is_killed(temporary: Path) -> None:
    """No worker outlives even SIGKILL of the main process."""
    command = [sys.executable, "-m", "petfleet", *LONG]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, start_new_session=True
    )
    try:
        assert process.stdout is not None
        assert "changes acknowledged" in process.stdout.readline()
    finally:
        process.kill()
        process.communicate()
    wait_until(lambda: processes_of_session(process.pid) == [])


def processes_of_session(leader: int) -> list[int]:
    """Return the processes of a session that have not ended."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdecimal():
            try:
                state, _, _, session = Path("/proc", entry, "stat").read_text().rpartition(")")[2].split()[:4]
            except (FileNotFoundError, ProcessLookupError):
                continue  # it has ended since
            if int(session) == leader and state not in "ZX":
                found.append(int(entry))
    return found


ACKNOWLEDGED = {("hot-user", "pet-0"): [1, 2, 5], ("user-000", "pet-1"): [3]}


def write(root: Path, user_id: str, **pets: int) -> None:
    """Write a fleet file without the store."""
    path = fleet_path(user_id, root)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(dumps(PetFleet(user_id, [pet(name.replace("_", "-"), value) for name, value in pets.items()])))


def test_the_demonstration_accepts_more_than_was_acknowledged(tmp_path: Path) -> None:
    """A value or a pet whose call has not returned may be there as well."""
    write(tmp_path, "hot-user", pet_0=5, pet_7=1)
    write(tmp_path, "user-000", pet_1=4)
    assert demo.find_lost(str(tmp_path), ACKNOWLEDGED) == []
    assert demo.report(str(tmp_path), demo.Log(ACKNOWLEDGED, [0.001] * 4)) == 0


@pytest.mark.parametrize(
    ("hot", "other", "lost"),
    [
        pytest.param({"pet_0": 4}, {"pet_1": 3}, ["hot-user pet-0: 5 was acknowledged, found 4"], id="last touch"),
        pytest.param(
            {"pet_0": 1},
            {"pet_1": 3},
            ["hot-user pet-0: 2 was acknowledged, found 1", "hot-user pet-0: 5 was acknowledged, found 1"],
            id="two touches",
        ),
        pytest.param({"pet_0": 5}, {}, ["user-000 pet-1: 3 was acknowledged, found None"], id="an add"),
        pytest.param({"pet_0": 5}, None, ["user-000 pet-1: 3 was acknowledged, found None"], id="a whole file"),
    ],
)
def test_the_demonstration_notices_a_loss(
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    hot: dict[str, int],
    other: dict[str, int] | None,
    lost: list[str],
) -> None:
    """It names every acknowledged change that is not on disk, and the status is 1."""
    write(tmp_path, "hot-user", **hot)
    if other is not None:
        write(tmp_path, "user-000", **other)
    assert demo.find_lost(str(tmp_path), ACKNOWLEDGED) == lost
    assert demo.report(str(tmp_path), demo.Log(ACKNOWLEDGED, [0.001] * 4)) == 1
    printed = capfd.readouterr().out
    assert f"lost                   {len(lost):10}\n" in printed
    assert printed.endswith("".join(f"LOST: {change}\n" for change in lost))


def test_the_demonstration_notices_an_unreadable_file(tmp_path: Path) -> None:
    """A file that a TOML parser refuses holds nothing."""
    write(tmp_path, "hot-user", pet_0=5)
    write(tmp_path, "user-000", pet_1=3)
    fleet_path("user-000", tmp_path).write_text("user_id = \n")
    assert demo.find_lost(str(tmp_path), ACKNOWLEDGED) == ["user-000 pet-1: 3 was acknowledged, found None"]


def test_the_demonstration_notices_a_failed_worker(tmp_path: Path) -> None:
    """A failed worker gives status 1 even if nothing is lost."""
    write(tmp_path, "hot-user", pet_0=5)
    write(tmp_path, "user-000", pet_1=3)
    assert demo.report(str(tmp_path), demo.Log(ACKNOWLEDGED, [0.001] * 4, failed_workers=1)) == 1


def test_a_small_file_is_shown_whole(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Long files are shortened in the middle."""
    write(tmp_path, "hot-user", pet_0=5)
    demo.show_file(str(tmp_path), "hot-user")
    assert "..." not in capfd.readouterr().out


def test_warnings_of_a_worker_are_kept(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Recoveries are counted, and other warnings are shown."""
    log = demo.Log()
    for line in ("! u: recovering after pid 1 on here\n", "! something else\n", "hot-user pet-0 5 0.001\n"):
        log.record(line)
    write(tmp_path, "hot-user", pet_0=5)
    assert demo.report(str(tmp_path), log) == 0
    printed = capfd.readouterr().out
    assert "recovered                       1 files" in printed
    assert "\nwarning: something else\n" in printed
