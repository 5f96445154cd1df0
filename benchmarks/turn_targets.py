"""The figures of fair turns, on this disk and on slower ones, measured in rounds like the others.

Those that compare with an earlier revision are left out if none is given.
"""

from __future__ import annotations

import math
from typing import Final

from benchmarks import pairs, targets, waits
from benchmarks.figures import Result, Scenario
from benchmarks.runs import Deployments
from benchmarks.targets import Effort, Figure, Group, Run, about, at_least, at_most

_OURS: Final = "petfleet"
_TIMES: Final = 16  # in a round of a second, processes that make single calls are started anew
_LONG: Final = 10  # times as long as a run: waits of seconds are too rare for one run


def earlier_rates(deployments: Deployments, run: Run, effort: Effort) -> list[Figure]:
    """Return the rate of concurrent calls, divided by that of the earlier revision."""
    if deployments.earlier is None:
        return []
    other = deployments.earlier.peer
    hot = Scenario("turns", 4, 32)
    many = Scenario("turns", 4, 16, users=effort.many)
    our_hot, their_hot = run(_OURS, hot), run(other, hot)
    # In both orders: some file systems grow slower by the minute while files are replaced, so that the second of two
    # runs would always be the slower one.
    our_many, *theirs, our_last = (run(peer, many) for peer in (_OURS, other, other, _OURS))
    return [
        at_least(1.15, f"hot user, 4 x 32 / {other}", our_hot.rate, their_hot.rate),
        at_most(0.85, f"hot user, 4 x 32, processor time of a change / {other}", our_hot.cpu_s, their_hot.cpu_s),
        at_least(
            1.0,
            f"{effort.many:,} users, 4 x 16 / {other}",
            our_many.rate + our_last.rate,
            sum(result.rate for result in theirs),
        ),
    ]


def earlier_calls(deployments: Deployments, run: Run, effort: Effort) -> list[Figure]:
    """Return the time of one call without contention, divided by that of the earlier revision."""
    if deployments.earlier is None:
        return []
    other = deployments.earlier.peer
    ours, theirs = (deployments.deploy(name).peer for name in (_OURS, other))
    took = pairs.against(ours, theirs, max(1, round(effort.seconds * _TIMES)))
    return [
        at_most(1.02, f"time of one uncontended change / {other}", took.change),
        at_most(1.02, f"time of one load / {other}", took.load),
    ]


def two(deployments: Deployments, run: Run, effort: Effort) -> list[Figure]:
    """Return the rate of two alternating processes."""
    ours, raw = run(_OURS, Scenario("turns", 2, 1)), run("raw", Scenario("turns"))
    return [at_least(0.5, "hot user, 2 x 1 / raw rate in one thread", ours.rate, raw.rate)]


def slow_turns(deployments: Deployments, run: Run, effort: Effort) -> list[Figure]:
    """Return how evenly tasks that share one user are served if each commit takes long."""
    slow = run(_OURS, Scenario("turns", 4, 8, sync_ms=50))
    less = run(_OURS, Scenario("turns", 4, 8, sync_ms=2))
    name = "hot user, 4 x 8, sync 50 ms longer: "
    return [
        at_least(0.97, name + "Jain's index among processes", slow.jain_processes),
        at_most(12, name + "longest call / mean time of a commit", slow.max_ms, _commit_ms(slow)),
        at_most(0.15, "hot user, 4 x 8, sync 2 ms longer: longest call, s", less.max_ms, 1e3),
    ]


def slow_many(deployments: Deployments, run: Run, effort: Effort) -> list[Figure]:
    """Return how well many users' changes use a slow disk."""
    raw = run("raw", Scenario("turns", 1, 32, users=effort.many, sync_ms=10))
    rate = {ms: run(_OURS, Scenario("turns", 1, 64, users=effort.many, sync_ms=ms)).rate for ms in (10, 2, 0)}
    name = f"{effort.many:,} users, 1 x 64, "
    return [
        at_least(0.8, name + "sync 10 ms longer / raw protocol in 32 threads", rate[10], raw.rate),
        at_least(0.8, name + "sync 2 ms longer / without", rate[2], rate[0]),
    ]


def held_lock(deployments: Deployments, run: Run, effort: Effort) -> list[Figure]:
    """Return the processor time of waiting for a lock that stays held."""
    seconds = effort.seconds * _LONG
    peer = deployments.stage(_OURS, Scenario("turns")).peer
    used = waits.cpu_of_waiting(peer, seconds)
    return [at_most(0.02, f"processor time of waiting {seconds:g} s for a held lock, s", used)]


def outsiders(deployments: Deployments, run: Run, effort: Effort) -> list[Figure]:
    """Return how long other programs wait for the lock of a hot user."""
    scenario = Scenario("turns", 4, 8)
    figures = []
    for how in waits.OUTSIDERS:
        for name in (_OURS, *([] if deployments.earlier is None else [deployments.earlier.peer])):
            stage = deployments.stage(name, scenario)
            waited = waits.outsider(stage, scenario, effort.seconds * _LONG, how)
            figures += [
                about(f"{how} beside 4 x 8 of {name}: median wait, s", waited.median),
                about(f"{how} beside 4 x 8 of {name}: longest wait, s", waited.longest),
            ]
    return figures


LONG: Final[tuple[Group, ...]] = (held_lock, outsiders)
"""Long measurements, which get a third of the rounds."""

GROUPS: Final[tuple[Group, ...]] = (
    earlier_rates,
    earlier_calls,
    two,
    targets.fairness,
    slow_turns,
    slow_many,
    targets.quiet,
    *LONG,
)


def _commit_ms(result: Result) -> float:
    """Return the mean time of a commit: one user's commits come one after another."""
    return result.seconds * 1e3 / result.commits if result.commits else math.nan
