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
from tests.torture.cuts import LAME_PLANS, PART, PROJECT, Plan, carry_out, command, see_a_loss

SYSTEMS = [system.name for system in images.FILE_SYSTEMS]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A directory for a plan, on a machine that can carry it out."""
    means.need(*PART.means)
    return tmp_path


@pytest.mark.parametrize("system", SYSTEMS)
def test_no_acknowledged_change_is_lost(system: str, directory: Path) -> None:
    """Not while writers pause, not while they work, and not in the middle of a recovery."""
    counted = carry_out(Plan(system, seed=15, cuts=3), directory)
    assert counted["acknowledged calls"] >= 20  # each of the two cuts in the middle of work waits for 10 at least
    assert counted["cuts"] == 4  # and each of both recoveries was cut, in its middle or, if that was over, after it
    for what in ("kill", "cut"):
        assert sum(counted[f"cuts {when} the recovery from a {what}"] for when in ("into", "after")) == 1


@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize("without", ["file fsync", "directory fsync"])
def test_changes_are_lost_without_each_fsync(system: str, without: str, directory: Path) -> None:
    """What a cut takes is really gone, or the cuts would show nothing."""
    see_a_loss(system, without, random.Random(0), directory)


def test_changes_are_lost_without_recovery(directory: Path) -> None:
    """What a killed process left is synced before a load returns it."""
    see_a_loss("xfs", "recovery", random.Random(0), directory)


def test_nothing_is_left_of_a_killed_plan(directory: Path) -> None:
    """It leaves no loop device, and so no mount and no process that works on it."""
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
    """Each round of the torture shows that it notices a missing protection."""
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
    played.clear()
    with pytest.raises(AssertionError, match="plans without the recovery lost nothing"):
        PART.round(random.Random(0), lame)
    assert played == [None, "file fsync", "directory fsync", *["recovery"] * LAME_PLANS]
