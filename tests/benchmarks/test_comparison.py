"""The comparison of two runs."""

from __future__ import annotations

import dataclasses
import math

import pytest

from benchmarks.comparison import Difference, Ratio, apart, compare
from benchmarks.figures import Scenario
from benchmarks.scenarios import VERY_MANY, with_earlier
from tests.benchmarks.records import RESULT, TARGET, report, result

pytestmark = pytest.mark.slow


def test_same_run() -> None:
    """A run compared with itself differs in nothing."""
    run = report(result(), result("raw"))
    found = compare(run, run)
    assert [ratio.value for change in found.changes for ratio in change.ratios.values()] == [1.0] * 10
    assert {ratio.verdict for change in found.changes for ratio in change.ratios.values()} == {"same"}
    assert [target.ratio.value for target in found.targets] == [1.0]
    assert (found.differences, found.only_old, found.only_new) == ([], [], [])


def test_ratios() -> None:
    """Ratios are of the new to the old; more is better of the rate, less of all else."""
    new = result(rate=2000.0, p50_ms=2.5, p99_ms=20.0, max_ms=1234.5, cpu_s=0.24)
    (change,) = compare(report(result()), report(new)).changes
    assert {name: (ratio.value, ratio.verdict) for name, ratio in change.ratios.items()} == {
        "rate": (2.0, "better"),
        "p50": (2.0, "worse"),
        "p99": (0.5, "better"),
        "max": (1.0, "same"),
        "cpu": (0.96, "same"),
    }


@pytest.mark.parametrize(
    ("value", "verdict"), [(0.89, "worse"), (0.9, "same"), (1.1, "same"), (1.11, "better"), (math.nan, "same")]
)
def test_verdict(value: float, verdict: str) -> None:
    """Figures that differ by at most ten per cent count as the same."""
    assert Ratio(value, more_is_better=True).verdict == verdict


def test_no_ratio() -> None:
    """There is no ratio to zero, and none of an unmeasured figure."""
    old, new = result(rate=0.0, p50_ms=math.nan), result(p99_ms=math.nan)
    (change,) = compare(report(old), report(new)).changes
    assert [name for name, ratio in change.ratios.items() if math.isnan(ratio.value)] == ["rate", "p50", "p99"]


def test_targets_compared() -> None:
    """A target is compared by its median, and is better on the side of its bound."""
    higher = dataclasses.replace(TARGET, median=2.14)
    (found,) = compare(report(), report(targets=[higher])).targets
    assert (found.ratio.value, found.ratio.verdict) == (2.0, "worse")


def test_revisions_of_one_run() -> None:
    """An earlier revision in the same run is compared with petfleet as an older run would be, and with nothing else."""
    run = report(result(), result("petfleet, abc1234", rate=500.0), result("raw"))
    found = compare(*apart(run, "petfleet, abc1234"))
    assert [(change.new.peer, change.ratios["rate"].value) for change in found.changes] == [("petfleet", 2.0)]
    assert (found.targets, found.differences, found.only_old, found.only_new) == ([], [], [], [])


def test_runs_with_an_earlier_revision() -> None:
    """It is measured right after petfleet, in the same scenario; not where only preparing it would take minutes."""
    one, large = Scenario("any"), Scenario("any", users=VERY_MANY)
    runs = [("petfleet", one), ("raw", one), ("petfleet", large)]
    assert with_earlier(runs, "earlier") == [runs[0], ("earlier", one), *runs[1:]]


def test_only_in_one() -> None:
    """Scenarios of only one run are listed; the same scenario of another group is a different one."""
    elsewhere = dataclasses.replace(RESULT.scenario, group="users")
    found = compare(report(result(), result("raw")), report(result("raw"), result(scenario=elsewhere), targets=[]))
    assert [change.new.peer for change in found.changes] == ["raw"]
    assert found.only_old == ["hot, touch, 4x32, 1 user, petfleet", "target: one change / raw"]
    assert found.only_new == ["users, touch, 4x32, 1 user, petfleet"]


def test_differences() -> None:
    """Every condition that differs is named, with both of its values."""
    old = report(result(), result("raw"))
    new = report(
        result(durability="nothing synced"),
        result("diskcache"),
        kind="quick",
        machine={"processor": "another", "memory": "8 GiB"},
        versions={"Python": "CPython 3.14.0"},
    )
    assert compare(old, new).differences == [
        Difference("kind of run", "full", "quick"),
        Difference("processor", "some", "another"),
        Difference("cores", "2", "-"),
        Difference("memory", "-", "8 GiB"),
        Difference("Python", "CPython 3.11.9", "CPython 3.14.0"),
        Difference("durability of petfleet", "file and directory synced", "nothing synced"),
    ]
