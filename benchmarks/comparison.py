"""How one run differs from an older one. Standard library only."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Final, Literal, NamedTuple

from benchmarks.figures import Report, Result, Target
from benchmarks.tables import durabilities

NOTABLE: Final = 0.10
"""A ratio further from 1 than this is marked."""

Verdict = Literal["better", "worse", "same"]


class Ratio(NamedTuple):
    """A figure of the new run divided by that of the old one; nan where it is unknown."""

    value: float
    more_is_better: bool

    @property
    def verdict(self) -> Verdict:
        """Whether it got notably better or worse."""
        # Not exactly 0.1: 1.1 - 1 is a little more than that.
        if math.isnan(self.value) or abs(self.value - 1) <= NOTABLE + 1e-9:
            return "same"
        return "better" if (self.value > 1) == self.more_is_better else "worse"


class Change(NamedTuple):
    """One peer in one scenario, in both runs."""

    old: Result
    new: Result

    @property
    def ratios(self) -> dict[str, Ratio]:
        """The ratios new / old, by figure."""
        old, new = self.old, self.new
        return {
            "rate": Ratio(quotient(old.rate, new.rate), True),
            "p50": Ratio(quotient(old.p50_ms, new.p50_ms), False),
            "p99": Ratio(quotient(old.p99_ms, new.p99_ms), False),
            "max": Ratio(quotient(old.max_ms, new.max_ms), False),
            "cpu": Ratio(quotient(old.cpu_s, new.cpu_s), False),
        }


class TargetChange(NamedTuple):
    """One target in both runs."""

    old: Target
    new: Target

    @property
    def ratio(self) -> Ratio:
        """The new median divided by the old one."""
        return Ratio(quotient(self.old.median, self.new.median), not self.new.at_most)


class Difference(NamedTuple):
    """A condition that differs, which may be why the figures differ."""

    what: str
    old: str
    new: str


class Comparison(NamedTuple):
    """What :func:`compare` found.

    Attributes:
        changes: of all that is in both runs, in the new one's order.
        targets: those in both runs.
        differences: conditions that are not the same.
        only_old, only_new: names of what is in one of them only.
    """

    changes: list[Change]
    targets: list[TargetChange]
    differences: list[Difference]
    only_old: list[str]
    only_new: list[str]


def quotient(old: float, new: float) -> float:
    """Return new / old, nan if there is none."""
    return new / old if old else math.nan


def compare(old: Report, new: Report) -> Comparison:
    """Compare what both runs measured: the same peer in the same group and scenario, the same target."""
    results = _by_name(old), _by_name(new)
    targets = {target.name: target for target in old.targets}, {target.name: target for target in new.targets}
    labels = [
        [*(", ".join(key) for key in names), *(f"target: {name}" for name in goals)]
        for names, goals in zip(results, targets, strict=True)
    ]
    return Comparison(
        changes=[Change(results[0][key], result) for key, result in results[1].items() if key in results[0]],
        targets=[TargetChange(targets[0][name], target) for name, target in targets[1].items() if name in targets[0]],
        differences=_differences(old, new),
        only_old=[label for label in labels[0] if label not in labels[1]],
        only_new=[label for label in labels[1] if label not in labels[0]],
    )


def apart(report: Report, earlier: str) -> tuple[Report, Report]:
    """Return a run's results of an earlier revision and of petfleet as two runs that can be compared."""

    def of(peer: str) -> Report:
        results = [dataclasses.replace(result, peer="petfleet") for result in report.results if result.peer == peer]
        return dataclasses.replace(report, results=results, targets=[])

    return of(earlier), of("petfleet")


def _by_name(report: Report) -> dict[tuple[str, str, str], Result]:
    # With the group: two groups may hold a scenario of the same name, measured at different times.
    return {(result.scenario.group, result.scenario.name, result.peer): result for result in report.results}


def _differences(old: Report, new: Report) -> list[Difference]:
    pairs: list[tuple[str, Mapping[str, str], Mapping[str, str]]] = [
        ("", {"kind of run": old.kind}, {"kind of run": new.kind}),
        ("", old.machine, new.machine),
        ("", old.versions, new.versions),
        ("durability of ", durabilities(old.results), durabilities(new.results)),
    ]
    found = []
    for prefix, before, after in pairs:
        keys = dict.fromkeys([*before, *after])
        if prefix:  # a peer that only one of them measured is listed as such
            keys = {key: None for key in keys if key in before and key in after}
        found += [
            Difference(prefix + key, before.get(key, "-"), after.get(key, "-"))
            for key in keys
            if before.get(key) != after.get(key)
        ]
    return found
