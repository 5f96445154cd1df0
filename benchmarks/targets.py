"""The figures with goals, measured in rounds: the two sides of a ratio are measured one right after the other.

So a slow phase of the machine slows both, and the quartiles over the rounds show the noise of a figure.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from typing import Final, NamedTuple

from benchmarks import pairs
from benchmarks.figures import Result, Scenario, Target
from benchmarks.runs import Deployments


class Effort(NamedTuple):
    """The size of a measurement: rounds, seconds of a run, and the numbers of "many" and "very many" users."""

    rounds: int
    seconds: float
    many: int
    very_many: int


class Figure(NamedTuple):
    """A figure of one round; without a goal it only helps to read others."""

    name: str
    at_most: bool
    goal: float | None
    value: float


Run = Callable[[str, Scenario], Result]
"""Measures one peer in one scenario for the seconds of a run; all figures are nan if the peer fails."""


def one_change(deployments: Deployments, run: Run, effort: Effort) -> list[Figure]:
    """Return the time of one call without contention."""
    took = pairs.calls(deployments.directory("pairs"))
    return [
        at_most(
            1.2, "one uncontended durable change / raw protocol in one executor call", took.change, took.raw_change
        ),
        at_most(1.3, "load, 5 pets / reading the same file in one executor call", took.load, took.raw_read),
        at_most(3, "change to a fleet of 1,000 pets / to one of 5", took.large_change, took.change),
        about("raw protocol in one executor call, ms", took.raw_change * 1e3),
        about("one uncontended durable change, ms", took.change * 1e3),
    ]


def parsing(deployments: Deployments, run: Run, effort: Effort) -> list[Figure]:
    """Return the time of parsing a file for the first time."""
    took = pairs.parses()
    return [at_most(0.2, "first sight of a 50-pet file / tomllib's parse alone", took.loads, took.tomllib)]


def hot(deployments: Deployments, run: Run, effort: Effort) -> list[Figure]:
    """Return the rate of one user's changes made by all tasks."""
    one = run("petfleet", Scenario("targets", 1, 128))
    raw = run("raw", Scenario("targets"))
    all_at_once = Scenario("targets", 4, 32)
    four = run("petfleet", all_at_once)
    name = "hot user, 4 x 32 / "
    return [
        at_least(15, "hot user, 1 process x 128 tasks / raw rate in one thread", one.rate, raw.rate),
        at_least(100, name + "step by step", four.rate, run("step by step", all_at_once).rate),
        at_least(20, name + "aiosqlite", four.rate, run("aiosqlite", all_at_once).rate),
        at_least(10, name + "PostgreSQL", four.rate, run("PostgreSQL", all_at_once).rate),
        about("hot user, 4 x 32, durable changes per second", four.rate),
    ]


def many(deployments: Deployments, run: Run, effort: Effort) -> list[Figure]:
    """Return the rate of many users' changes."""
    raw = run("raw", Scenario("targets", 1, 16, users=effort.many))
    ours = run("petfleet", Scenario("targets", 4, 16, users=effort.many))
    sqlite = run("aiosqlite", Scenario("targets", 4, 16, users=effort.many))
    name = f"{effort.many:,} users, 4 x 16 / "
    return [
        at_least(0.85, name + "raw protocol in 16 threads", ours.rate, raw.rate),
        at_least(3, name + "aiosqlite", ours.rate, sqlite.rate),
        about(f"{effort.many:,} users, 4 x 16, durable changes per second", ours.rate),
    ]


def fairness(deployments: Deployments, run: Run, effort: Effort) -> list[Figure]:
    """Return how evenly tasks and processes that share one user are served."""
    ours = run("petfleet", Scenario("targets", 4, 8))
    return [
        at_most(3, "hot user, 4 x 8: p99 / p50", ours.p99_ms, ours.p50_ms),
        at_most(10, "hot user, 4 x 8: max / p50", ours.max_ms, ours.p50_ms),
        at_least(0.99, "hot user, 4 x 8: Jain's index among processes", ours.jain_processes),
    ]


def quiet(deployments: Deployments, run: Run, effort: Effort) -> list[Figure]:
    """Return how much slower a quiet user's changes are beside hot users."""
    alone = run("petfleet", Scenario("targets", beside="pauses"))
    beside = run("petfleet", Scenario("targets", beside="hot"))
    return [at_most(3, "quiet user's change beside 32 hot users / alone, p50", beside.p50_ms, alone.p50_ms)]


def users(deployments: Deployments, run: Run, effort: Effort) -> list[Figure]:
    """Return how the rate depends on the number of users in one root."""
    few = run("petfleet", Scenario("targets", 4, 16, users=100))
    very_many = run("petfleet", Scenario("targets", 4, 16, users=effort.very_many))
    return [at_least(0.9, f"{effort.very_many:,} users / 100 users, 4 x 16", very_many.rate, few.rate)]


def stalls(deployments: Deployments, run: Run, effort: Effort) -> list[Figure]:
    """Return the longest stall of the event loop, and that of a loop that only awaits the raw protocol."""
    busy = Scenario("targets", 1, 32)
    large = Scenario("targets", 1, 32, pets=1000)
    ours = [_stall(run("petfleet", scenario)) for scenario in (busy, large, Scenario("targets", 1, 128))]
    return [
        at_most(5, "longest event-loop stall, 32 and 128 tasks, 5 and 1,000 pets, ms", max(ours, key=_nan_first)),
        about("the same of 32 tasks that await the raw protocol, ms", _stall(run("raw, awaited", busy))),
    ]


def startup(deployments: Deployments, run: Run, effort: Effort) -> list[Figure]:
    """Return the time of importing petfleet, and of starting its command line."""
    took = pairs.starts()
    return [
        at_most(1.3, "import petfleet / import anyio, filelock, tomli_w", took.library, took.dependencies),
        at_most(1.5, "petfleet --help / import typer", took.help, took.typer),
        about("import petfleet, ms", took.library * 1e3),
        about("petfleet --help, ms", took.help * 1e3),
    ]


Group = Callable[[Deployments, Run, Effort], list[Figure]]
Say = Callable[[str], None]

GROUPS: Final = (one_change, parsing, hot, many, fairness, quiet, users, stalls, startup)


def in_rounds(group: Group, deployments: Deployments, run: Run, effort: Effort, say: Say) -> list[Target]:
    """Measure a group's figures round by round; figures without a finite value are left out."""
    found: dict[str, list[Figure]] = {}
    for number in range(1, effort.rounds + 1):
        say(f"targets: {group.__name__.replace('_', ' ')}, round {number} of {effort.rounds}")
        for figure in group(deployments, run, effort):
            if math.isfinite(figure.value):
                found.setdefault(figure.name, []).append(figure)
    return [_target(figures) for figures in found.values()]


def _target(figures: list[Figure]) -> Target:
    name, at_most, goal, value = figures[0]
    values = [figure.value for figure in figures]
    quartiles = statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else [value, value, value]
    low, median, high = quartiles
    return Target(name, goal, at_most, median, low, high, len(values))


def at_most(goal: float, name: str, value: float, unit: float = 1.0) -> Figure:
    """Return a figure that is good when it is small."""
    return Figure(name, True, goal, value / unit)


def at_least(goal: float, name: str, value: float, unit: float = 1.0) -> Figure:
    """Return a figure that is good when it is large."""
    return Figure(name, False, goal, value / unit)


def about(name: str, value: float) -> Figure:
    """Return a figure without a goal."""
    return Figure(name, True, None, value)


def _stall(result: Result) -> float:
    return math.nan if result.stall_ms is None else result.stall_ms


def _nan_first(value: float) -> float:
    return math.inf if math.isnan(value) else value
