"""A result, a target and a report of the benchmarks with numbers that no machine measured."""

from __future__ import annotations

import dataclasses
from typing import Any

from benchmarks.figures import Report, Result, Scenario, Target

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
