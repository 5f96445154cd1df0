"""Statistics of measured numbers, and the records that hold them. Standard library only."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, Literal


def percentile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that at least ``share`` (0 to 1) of the sorted values do not exceed."""
    if not values:
        return math.nan
    return values[max(0, math.ceil(share * len(values)) - 1)]


def jain(shares: Sequence[float]) -> float:
    """Return Jain's fairness index: 1 for equal shares, 1/n if one of n has everything."""
    squares = sum(share * share for share in shares)
    return math.nan if squares == 0 else sum(shares) ** 2 / (len(shares) * squares)


@dataclasses.dataclass(frozen=True)
class Scenario:
    """What a run does, with how many processes and tasks, on which data.

    Attributes:
        group: the question that it answers; each group has a table and a chart.
        operation: touch (replace a pet), add (grow), load, or mixed (90 loads to 10 touches).
        users: how many users there are; each call picks one at random. With 1, all calls are for the same user.
        pets: how many each has at the beginning.
        loop: the event loop.
        place: disk, or memory (tmpfs: not durable; it shows the cost without the disk).
        beside: other work at the same time, which is not counted: nothing, readers (many readers of the same user),
            hot (32 other users with two tasks each in the same process), stuck (1,000 other users, each with a call
            that waits for a lock that another process holds). With hot and stuck, the counted task pauses between any
            two calls; pauses is the same without other work.
        cold: whether each call is for a user that its process has never seen.
        sync_ms: how many milliseconds longer each sync takes than the disk needs. Only peers that sync with
            ``os.fsync`` can be slowed.
    """

    group: str
    processes: int = 1
    tasks: int = 1
    operation: Literal["touch", "add", "load", "mixed"] = "touch"
    users: int = 1
    pets: int = 5
    loop: Literal["asyncio", "uvloop", "trio"] = "asyncio"
    place: Literal["disk", "memory"] = "disk"
    beside: Literal["nothing", "pauses", "readers", "hot", "stuck"] = "nothing"
    cold: bool = False
    sync_ms: int = 0

    @property
    def name(self) -> str:
        """A short name, the same for the same scenario in every run."""
        parts = [self.operation, f"{self.processes}x{self.tasks}"]
        parts.append("1 user" if self.users == 1 else f"{self.users:,} users")
        if self.pets != 5:
            parts.append("1 pet" if self.pets == 1 else f"{self.pets:,} pets")
        if self.loop != "asyncio":
            parts.append(self.loop)
        if self.place != "disk":
            parts.append("tmpfs")
        if self.beside != "nothing":
            parts.append("with pauses" if self.beside == "pauses" else f"beside {self.beside}")
        if self.cold:
            parts.append("first sight")
        if self.sync_ms:
            parts.append(f"sync {self.sync_ms} ms longer")
        return ", ".join(parts)


@dataclasses.dataclass(frozen=True)
class Result:
    """One peer in one scenario.

    Attributes:
        seconds: how long it was measured.
        calls: how many calls came back in that time without an error.
        changes: how many of them were changes.
        rate: calls in a second, all processes together.
        p50_ms, p99_ms, max_ms: latencies of those calls, in milliseconds.
        jain_processes, jain_tasks: Jain's index of the calls of each process, of each task.
        stall_ms: the longest that any event loop was late for a timer; None where calls block their thread.
        cpu_s: CPU seconds for 1,000 calls, server processes included.
        peak_mb: the largest growth of a process's resident memory, in MB; without server processes.
        lost: acknowledged changes that the data do not hold afterwards; None where nothing can be lost.
        errors: calls that raised; not counted anywhere else.
        error: the first of those errors, as text.
        durability: what has reached the disk when a call returns.
        commits: those of all processes, including other work at the same time; None where they are not counted.
    """

    peer: str
    scenario: Scenario
    seconds: float
    calls: int
    changes: int
    rate: float
    p50_ms: float
    p99_ms: float
    max_ms: float
    jain_processes: float
    jain_tasks: float
    stall_ms: float | None
    cpu_s: float
    peak_mb: float
    lost: int | None
    errors: int
    error: str | None
    durability: str
    commits: int | None = None


@dataclasses.dataclass(frozen=True)
class Target:
    """A figure with a goal, measured in rounds that interleave the things it compares.

    Attributes:
        name: what is compared with what.
        goal: the bound; None if the figure only helps to read others.
        at_most: whether the bound is an upper one.
        median, low, high: over the rounds, with the quartiles.
        rounds: how many there were.
    """

    name: str
    goal: float | None
    at_most: bool
    median: float
    low: float
    high: float
    rounds: int

    @property
    def reached(self) -> bool:
        """Whether the median is within the bound, if there is one."""
        if self.goal is None:
            return True
        return self.median <= self.goal if self.at_most else self.median >= self.goal


@dataclasses.dataclass(frozen=True)
class Report:
    """A whole run, as stored in a JSON file.

    Attributes:
        kind: quick or full.
        when: the beginning, ISO 8601.
        machine: processor, cores, memory, kernel, disk and file system, as text.
        versions: of Python and of every relevant package and server.
        results: in the order in which they were measured.
        targets: the figures with goals.
        syncs: for each peer, fsyncs and fdatasyncs per acknowledged change of a single task, counted by strace.
    """

    kind: str
    when: str
    machine: dict[str, str]
    versions: dict[str, str]
    results: list[Result]
    targets: list[Target]
    syncs: dict[str, float]

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {"format": 1, **dataclasses.asdict(self)}

    @staticmethod
    def from_json(document: dict[str, Any]) -> Report:
        """Return what :meth:`to_json` made; ValueError for another format."""
        if document.get("format") != 1:
            raise ValueError(f"format {document.get('format')!r}: this reads reports of format 1")
        results = [Result(**{**r, "scenario": Scenario(**r["scenario"])}) for r in document["results"]]
        targets = [Target(**target) for target in document["targets"]]
        kept = {key: document[key] for key in ("kind", "when", "machine", "versions", "syncs")}
        return Report(**kept, results=results, targets=targets)
