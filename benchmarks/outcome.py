"""Combine the measurements of a run's processes into one result."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Sequence

from benchmarks.figures import Result, Scenario, jain, percentile
from benchmarks.work import Count, Peer
from benchmarks.worker import Measured


def result(
    peer: Peer,
    name: str,
    scenario: Scenario,
    begin: float,
    measured: Sequence[Measured],
    server_cpu: float,
    lost: int | None,
) -> Result:
    """Return the result; RuntimeError if not one call came back.

    Args:
        peer, name: the peer, and what it is called.
        scenario: what was done.
        begin: when all processes began.
        measured: what each process measured.
        server_cpu: CPU seconds of the server.
        lost: how many acknowledged changes are missing; None if that is unknown.
    """
    tasks = [task for process in measured for task in process.latencies]
    latencies = array("d", sorted(latency for task in tasks for latency in task))
    calls = len(latencies)
    error = next((process.error for process in measured if process.error), None)
    if not calls:
        raise RuntimeError(f"not one call came back ({error or 'and none failed'})")
    seconds = max(process.last for process in measured) - begin
    commits = [process.commits for process in measured if process.commits is not None]
    stalls = [process.stall for process in measured if process.stall is not None]
    return Result(
        peer=name,
        scenario=scenario,
        seconds=seconds,
        calls=calls,
        changes=sum(process.touches.total() + process.adds.total() for process in measured),
        rate=calls / seconds,
        p50_ms=percentile(latencies, 0.5) * 1e3,
        p99_ms=percentile(latencies, 0.99) * 1e3,
        max_ms=latencies[-1] * 1e3,
        jain_processes=jain([sum(map(len, process.latencies)) for process in measured if process.latencies]),
        jain_tasks=jain([len(task) for task in tasks]),
        stall_ms=max(stalls) * 1e3 if stalls else None,
        cpu_s=(sum(process.cpu for process in measured) + server_cpu) / calls * 1000,
        peak_mb=max(process.peak for process in measured) / 1e6,
        lost=lost,
        errors=sum(process.errors for process in measured),
        error=error,
        durability="nothing: this is memory" if scenario.place == "memory" else peer.durability,
        commits=sum(commits) if commits else None,
    )


def acknowledged(measured: Sequence[Measured]) -> dict[str, Count]:
    """Return how many pets and touches were acknowledged, for each changed user."""
    touches: Counter[str] = sum((process.touches for process in measured), Counter())
    adds: Counter[str] = sum((process.adds for process in measured), Counter())
    return {user_id: Count(adds[user_id], touches[user_id]) for user_id in sorted(touches.keys() | adds.keys())}


def missing(before: Count, told: Count, after: Count) -> int:
    """Return how many of a user's acknowledged changes are missing in the data."""
    pets = max(0, before.pets + told.pets - after.pets)
    return pets + max(0, before.touches + told.touches - after.touches)
