"""The benchmarks of fair turns, with and without an earlier revision."""

from __future__ import annotations

import fcntl
import math
import shutil
from pathlib import Path

import pytest

import petfleet
from benchmarks import pairs, suite, targets, turn_targets, waits
from benchmarks.figures import Result, Scenario
from benchmarks.revisions import Revision
from benchmarks.runs import Deployments, measure
from benchmarks.targets import Effort

pytestmark = pytest.mark.slow

EFFORT = Effort(1, 0.05, 10, 10)


def test_figures_beside_an_earlier_revision(tmp_path: Path) -> None:
    """Each figure is there once and is a number; those that compare revisions name the earlier one."""
    earlier = Revision("abc1234", tmp_path / "src")
    shutil.copytree(Path(petfleet.__file__).parent, earlier.source / "petfleet")
    with Deployments(tmp_path / "disk", tmp_path / "memory", earlier) as deployments:

        def run(peer: str, scenario: Scenario) -> Result:
            result = measure(deployments, peer, scenario, EFFORT.seconds)
            assert (result.lost or 0, result.errors, result.error) == (0, 0, None)
            return result

        figures = [figure for group in turn_targets.GROUPS for figure in group(deployments, run, EFFORT)]
    assert all(math.isfinite(figure.value) for figure in figures)
    assert len({figure.name for figure in figures}) == len(figures) == 24
    compared = [figure for figure in figures if earlier.peer in figure.name]
    assert [figure.goal for figure in compared] == [1.15, 0.85, 1.0, 1.02, 1.02, None, None, None, None]


def test_figures_without_an_earlier_revision(tmp_path: Path) -> None:
    """Those that need one are left out, and nothing else is."""
    with Deployments(tmp_path / "disk", tmp_path / "memory") as deployments:
        for group in (turn_targets.earlier_rates, turn_targets.earlier_calls):
            assert group(deployments, _nothing, EFFORT) == []
        names = [figure.name for figure in turn_targets.outsiders(deployments, _nothing, EFFORT)]
    assert len(names) == 4
    assert not [name for name in names if "petfleet, " in name]


def _nothing(peer: str, scenario: Scenario) -> Result:
    raise AssertionError("nothing is to be compared")


def test_a_group_is_measured_once() -> None:
    """A run of all parts measures a group once, although two parts contain it."""
    assert {targets.fairness, targets.quiet} < set(turn_targets.GROUPS)
    assert suite.groups([suite.TURNS, suite.TARGETS]).count(targets.quiet) == 1
    assert suite.groups([suite.STARTUP]) == [targets.startup]


def test_peers_in_blocks(tmp_path: Path) -> None:
    """Two peers make their calls in turn, each in its own directory, and every change of every block is made."""
    times = 2
    with Deployments(tmp_path / "disk", tmp_path / "memory") as deployments:
        ours, theirs = (deployments.deploy("petfleet").peer for _ in range(2))
        took = pairs.against(ours, theirs, times)
        assert all(map(math.isfinite, took))
        in_a_block = pairs.CHANGES_IN_BLOCK + pairs.WARM_UP_OF_BLOCK
        for peer in (ours, theirs):
            file = peer.lock_path("user-000000").with_name("fleet.toml")
            # Each time the fleet is made anew.
            assert petfleet.loads(file.read_text()).pet("pet-0001").last_active == pairs.BLOCKS * in_a_block


@pytest.mark.parametrize("how", waits.OUTSIDERS)
def test_outsiders_exclude_one_another(tmp_path: Path, how: str) -> None:
    """Either way takes the real lock: a try without waiting fails."""
    path = tmp_path / "lock"

    def is_held() -> bool:
        with path.open("r+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False

    with waits.OUTSIDERS[how](path):
        assert is_held()
    assert not is_held()
