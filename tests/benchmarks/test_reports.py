"""What the benchmarks compute and say of their numbers."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import pytest

from benchmarks.comparison import Difference, Ratio, apart, compare
from benchmarks.figures import Report, Result, Scenario, Target, jain, percentile
from benchmarks.scenarios import VERY_MANY, with_earlier
from benchmarks.tables import (
    durabilities,
    goal,
    groups,
    markdown_tables,
    number,
    reached,
    share,
    targets_table,
    wrongs,
)

pytestmark = pytest.mark.slow

RESULT = Result(
    peer="petfleet",
    scenario=Scenario("hot", 4, 32),
    seconds=2.0,
    calls=2000,
    changes=2000,
    rate=1000.0,
    p50_ms=1.25,
    p99_ms=40.0,
    max_ms=1234.5,
    jain_processes=0.9999,
    jain_tasks=0.5,
    stall_ms=None,
    cpu_s=0.25,
    peak_mb=12.0,
    lost=0,
    errors=0,
    error=None,
    durability="file and directory synced",
)
TARGET = Target("one change / raw", goal=1.2, at_most=True, median=1.07, low=1.05, high=1.1, rounds=15)


def result(peer: str = "petfleet", scenario: Scenario = RESULT.scenario, **values: Any) -> Result:
    return dataclasses.replace(RESULT, peer=peer, scenario=scenario, **values)


def report(*results: Result, **values: Any) -> Report:
    usual = Report(
        kind="full",
        when="2025-01-02T03:04:05+00:00",
        machine={"processor": "some", "cores": "2"},
        versions={"Python": "CPython 3.11.9"},
        results=list(results),
        targets=[TARGET],
        syncs={"petfleet": 3.0},
    )
    return dataclasses.replace(usual, **values)


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
    """Where nobody has anything there is no index."""
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
    """A scenario's name says what is not usual about it."""
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


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        (math.nan, "-"),
        (math.inf, "-"),
        (0.0, "0"),
        (0.00271, "0.0027"),
        (0.0456, "0.0456"),
        (1.0, "1.00"),
        (12.34, "12.3"),
        (123.4, "123"),
        (67370.2, "67,370"),
    ],
)
def test_number(value: float | None, text: str) -> None:
    """A number has about three significant digits and never an exponent; what is not known is a dash."""
    assert number(value) == text


@pytest.mark.parametrize(("value", "text"), [(1.0, "1.00"), (0.9999, "0.99"), (0.29, "0.29"), (math.nan, "-")])
def test_share(value: float, text: str) -> None:
    """Only an even share reads 1.00."""
    assert share(value) == text


def test_goal() -> None:
    """A goal says its direction."""
    assert goal(TARGET) == "≤ 1.2"
    assert goal(dataclasses.replace(TARGET, goal=15, at_most=False)) == "≥ 15"


def test_groups() -> None:
    """Within a group scenarios come as they were measured, and petfleet comes first."""
    first, second = Scenario("hot", 1, 8), Scenario("hot", 1, 1)
    other = result(scenario=Scenario("many", users=10))
    mine, raws, new = (result(peer, first) for peer in ("petfleet", "raw", "a new one"))
    last = result("raw", second)
    assert groups([new, last, raws, other, mine]) == {"hot": [mine, raws, new, last], "many": [other]}


def test_durabilities() -> None:
    """Each peer's durability is said once, and both where it changed."""
    results = [result("raw"), result("raw"), result(), result("raw", durability="nothing synced")]
    assert durabilities(results) == {
        "petfleet": "file and directory synced",
        "raw": "file and directory synced or nothing synced",
    }


@pytest.mark.parametrize(
    ("lost", "errors", "said"),
    [
        (None, 0, None),
        (0, 0, None),
        (1, 0, "1 acknowledged change lost"),
        (1234, 1, "1,234 acknowledged changes lost, 1 call failed"),
        (None, 2, "2 calls failed"),
    ],
)
def test_wrongs(lost: int | None, errors: int, said: str | None) -> None:
    """What went wrong is counted in words."""
    assert wrongs(result(lost=lost, errors=errors)) == said


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
    """What differs by ten per cent is the same; by more, it is not."""
    assert Ratio(value, more_is_better=True).verdict == verdict


def test_no_ratio() -> None:
    """There is no ratio to nothing, and none of what was not measured."""
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
    """What only one run measured is listed, and the same scenario of another group is not taken for it."""
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


MARKDOWN = """\
Measured on 2025-01-02 (full run). processor: some; cores: 2; Python: CPython 3.11.9.

What has reached the disk when a call returns:

- petfleet: file and directory synced
- raw: file and directory synced

Syncs for each acknowledged change of one task alone, counted by strace: petfleet: 3.00.

### Targets

| figure | goal | median | quartiles | rounds | reached |
| --- | ---: | ---: | ---: | ---: | ---: |
| one change / raw | ≤ 1.2 | 1.07 | 1.05 to 1.10 | 15 | yes |

### One hot user

Calls per second:

|  | petfleet | raw |
| --- | ---: | ---: |
| touch, 4x32, 1 user | 1,000 | 2,000 |
| touch, 1x1, 1 user | 300 |  |

Latency in ms: median / 99th percentile / maximum:

|  | petfleet | raw |
| --- | ---: | ---: |
| touch, 4x32, 1 user | 1.25 / 40.0 / 1,234 | 1.25 / 40.0 / 1,234 |
| touch, 1x1, 1 user | 1.25 / 40.0 / 1,234 |  |

Fairness among tasks (Jain's index, 1 is even):

|  | petfleet | raw |
| --- | ---: | ---: |
| touch, 4x32, 1 user | 0.50 | 0.50 |
| touch, 1x1, 1 user | 0.50 |  |

CPU seconds for 1,000 calls:

|  | petfleet | raw |
| --- | ---: | ---: |
| touch, 4x32, 1 user | 0.250 | 0.250 |
| touch, 1x1, 1 user | 0.250 |  |

No acknowledged change was lost (2 of 3 results can tell), no call failed.
"""


def test_markdown() -> None:
    """The documentation gets the conditions, the targets, and a table of each measure with a column a peer."""
    alone = result(scenario=Scenario("hot"), rate=300.0)
    other = result(scenario=Scenario("loops", loop="trio"))
    assert markdown_tables(report(result("raw", rate=2000.0, lost=None), result(), other, alone)) == MARKDOWN


def test_markdown_says_what_went_wrong() -> None:
    """Lost changes, failed calls and missed targets are said, but not the text of an error: it may hold a path."""
    wrong = result("raw|x", lost=3, errors=1, error="OSError: /home/someone")
    text = markdown_tables(report(result(), wrong, targets=[dataclasses.replace(TARGET, median=1.3)]))
    assert "What went wrong:\n\n- raw\\|x, touch, 4x32, 1 user: 3 acknowledged changes lost, 1 call failed\n" in text
    assert "No acknowledged change was lost" not in text
    assert "| **no** |" in text
    assert "| petfleet | raw\\|x |" in text
    assert "someone" not in text


def test_markdown_of_nothing() -> None:
    """A run without results has only its conditions."""
    text = markdown_tables(report(targets=[], syncs={}))
    assert text == "Measured on 2025-01-02 (full run). processor: some; cores: 2; Python: CPython 3.11.9.\n"


def test_the_tables_in_the_documentation_are_those_of_the_run_that_is_kept() -> None:
    """Whoever measures anew, with charts and JSON, writes new tables too."""
    project = Path(__file__).parents[2]
    kept = Report.from_json(json.loads((project / "docs/benchmarks/full.json").read_text(encoding="utf-8")))
    assert kept.kind == "full"
    assert (project / "docs/benchmarks/tables.md").read_text(encoding="utf-8") == markdown_tables(kept)
    table = targets_table(kept.targets)
    for page in ("README.md", "docs/benchmarks.md"):
        assert table in (project / page).read_text(encoding="utf-8"), f"{page} has the targets of another run"


def test_the_turns_in_the_documentation_are_those_of_the_run_that_is_kept() -> None:
    """As above, measured by itself beside an earlier revision."""
    project = Path(__file__).parents[2]
    kept = Report.from_json(json.loads((project / "docs/benchmarks/turns.json").read_text(encoding="utf-8")))
    assert targets_table(kept.targets) in (project / "docs/benchmarks.md").read_text(encoding="utf-8")


def test_the_start_up_in_the_documentation_is_that_of_the_run_that_is_kept() -> None:
    """As above, measured by itself; no update could be lost there."""
    project = Path(__file__).parents[2]
    kept = Report.from_json(json.loads((project / "docs/benchmarks/startup.json").read_text(encoding="utf-8")))
    table = targets_table([target for target in kept.targets if not target.name.startswith("lost")])
    assert table in (project / "docs/benchmarks.md").read_text(encoding="utf-8")
