"""The tables of a report, and that the documentation has those of the kept runs."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import pytest

from benchmarks.figures import Report, Scenario
from benchmarks.tables import (
    durabilities,
    goal,
    groups,
    markdown_tables,
    number,
    share,
    targets_table,
    wrongs,
)
from tests.benchmarks.records import TARGET, report, result

pytestmark = pytest.mark.slow


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
    """A number has about three significant digits and never an exponent; an unknown one is a dash."""
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
    """Failures are counted in words."""
    assert wrongs(result(lost=lost, errors=errors)) == said


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
    """A new measurement needs new tables, too."""
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
