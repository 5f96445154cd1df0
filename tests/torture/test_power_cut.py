"""A power cut takes no acknowledged change, on file systems that are really cut off."""

from __future__ import annotations

import random
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from tests.conftest import wait_until
from tests.torture import cuts, images, means
from tests.torture.cut_ledger import LostError
from tests.torture.cuts import PART, PROJECT, Plan, carry_out, command

SYSTEMS = [system.name for system in images.FILE_SYSTEMS]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A directory for a plan, on a machine that can carry it out."""
    means.need(*PART.means)
    return tmp_path


@pytest.mark.parametrize("system", SYSTEMS)
def test_no_acknowledged_change_is_lost(system: str, directory: Path) -> None:
    """Neither while writers pause or work nor in the middle of a recovery."""
    # With this seed several processes write, and a lost recovery and a lost fsync of a directory are noticed.
    counted = carry_out(Plan(system, seed=15, cuts=3), directory)
    assert counted.pop("acknowledged calls") >= 20
    assert counted == {"cuts": 4, "cuts into the recovery from a kill": 1, "cuts into the recovery from a cut": 1}


@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize("without", ["file fsync", "directory fsync"])
def test_changes_are_lost_without_each_fsync(system: str, without: str, directory: Path) -> None:
    """What a cut takes is really gone, or the proof would prove nothing."""
    with pytest.raises(LostError):
        carry_out(Plan(system, seed=0, cuts=3, without=without), directory)


def test_changes_are_lost_without_recovery(directory: Path) -> None:
    """What a killed process left is synced before a load returns it."""
    with pytest.raises(LostError):
        carry_out(Plan("xfs", seed=0, cuts=3, without="recovery"), directory)


def test_nothing_is_left_of_a_killed_proof(directory: Path) -> None:
    """No loop device, and so neither a mount nor a process that works on it."""
    with subprocess.Popen(command(Plan("ext4", seed=0, cuts=1000), directory), cwd=PROJECT) as process:
        try:
            wait_until((directory / "copy-0").exists)
            assert _loop_devices(directory / "image")
        finally:
            process.kill()
    wait_until(lambda: not _loop_devices(directory / "image"))


def _loop_devices(image: Path) -> str:
    losetup = means.program("losetup") or "losetup"
    return subprocess.run([losetup, "--associated", image], capture_output=True, check=True, text=True).stdout


def test_a_round_fails_if_nothing_is_lost_without_a_protection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Torture too shows each time that it would notice."""
    played: list[str | None] = []

    def lose(plan: Plan, directory: Path) -> Counter[str]:
        played.append(plan.without)
        if plan.without in lossy:
            raise LostError
        return Counter(cuts=1)

    monkeypatch.setattr(cuts, "carry_out", lose)
    lossy = {"file fsync", "directory fsync", "recovery"}
    whole, lame = tmp_path / "whole", tmp_path / "lame"
    whole.mkdir()
    lame.mkdir()
    assert PART.round(random.Random(0), whole) == Counter(
        {"cuts": 1} | {f"losses noticed without {protection}": 1 for protection in lossy}
    )
    assert played == [None, "file fsync", "directory fsync", "recovery"]
    lossy.remove("recovery")
    with pytest.raises(AssertionError, match="'recovery'\\) lost nothing"):
        PART.round(random.Random(0), lame)
