"""Statistics of measured numbers, and the records that hold them."""

from __future__ import annotations

import dataclasses
import json
import math

import pytest

from benchmarks.figures import Report, Scenario, jain, percentile
from benchmarks.tables import (
    goal,
    reached,
)
from tests.benchmarks.records import TARGET, report, result

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("share", "value"), [(0.0, 1.0), (0.1, 1.0), (0.11, 2.0), (0.5, 5.0), (0.99, 10.0), (1.0, 10.0)]
)
def test_percentile(share: float, value: float) -> None:
    """A percentile is one of the values: the smallest that so large a share does not exceed."""
    assert percentile([float(n) for n in range(1, 11)], share) == value


def test_percentile_of_nothing() -> None:
    """Nothing has no percentile."""
    assert math.isnan(percentile([], 0.5))


@pytest.mark.parametrize(("shares", "index"), [([3, 3, 3], 1.0), ([7, 0, 0, 0], 0.25), ([1, 2], 0.9), ([5], 1.0)])
def test_jain(shares: list[float], index: float) -> None:
    """Jain's index is 1 for equal shares and 1/n where one has everything, whatever their size."""
    assert jain(shares) == pytest.approx(index)
    assert jain([share * 1000 for share in shares]) == pytest.approx(index)


@pytest.mark.parametrize("shares", [[], [0, 0]])
def test_jain_of_nothing(shares: list[float]) -> None:
    """Without any share there is no index."""
    assert math.isnan(jain(shares))


@pytest.mark.parametrize(
    ("at_most", "median", "reached"),
    [(True, 1.19, True), (True, 1.2, True), (True, 1.21, False), (False, 1.19, False), (False, 1.2, True)],
)
def test_target(at_most: bool, median: float, reached: bool) -> None:
    """A target is reached by a median on its side of the bound, or on the bound."""
    assert dataclasses.replace(TARGET, at_most=at_most, median=median).reached is reached


def test_figure_without_a_goal() -> None:
    """A figure that is only there to read others by cannot be missed."""
    figure = dataclasses.replace(TARGET, goal=None)
    assert (figure.reached, goal(figure), reached(figure)) == (True, "-", "-")


@pytest.mark.parametrize(
    ("scenario", "name"),
    [
        (Scenario("any"), "touch, 1x1, 1 user"),
        (Scenario("any", 4, 32, "load", 10_000, 1), "load, 4x32, 10,000 users, 1 pet"),
        (Scenario("any", beside="pauses"), "touch, 1x1, 1 user, with pauses"),
        (
            Scenario("any", pets=1000, loop="trio", place="memory", beside="stuck", cold=True),
            "touch, 1x1, 1 user, 1,000 pets, trio, tmpfs, beside stuck, first sight",
        ),
        (Scenario("any", 4, 8, sync_ms=10), "touch, 4x8, 1 user, sync 10 ms longer"),
    ],
)
def test_scenario_name(scenario: Scenario, name: str) -> None:
    """A scenario's name lists its unusual values."""
    assert scenario.name == name


def test_json() -> None:
    """A report comes back from JSON as it was."""
    original = report(result(), result("raw", Scenario("sizes", pets=50), lost=None, error="it broke", errors=2))
    assert Report.from_json(json.loads(json.dumps(original.to_json()))) == original


def test_json_of_earlier_suites() -> None:
    """A report that says nothing of longer syncs had none, and one that counted no commits is read all the same."""
    original = report(result())
    document = json.loads(json.dumps(original.to_json()))
    del document["results"][0]["scenario"]["sync_ms"], document["results"][0]["commits"]
    assert Report.from_json(document) == original


@pytest.mark.parametrize("version", [None, 0, 2, "1"])
def test_json_of_another_format(version: object) -> None:
    """A report of another format is refused, not misread."""
    document = report().to_json() | {"format": version}
    with pytest.raises(ValueError, match="this reads reports of format 1"):
        Report.from_json(document)
