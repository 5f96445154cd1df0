"""The scenarios in measuring order: the peers of a scenario come one after another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, Literal

from benchmarks.figures import Scenario

Runs = list[tuple[str, Scenario]]

STORES: Final = ("petfleet", "step by step", "aiosqlite", "aiosqlite, batched", "diskcache", "PostgreSQL")
ALL: Final = ("petfleet", "raw", *STORES[1:])
VERY_MANY: Final = 100_000  # users: preparing takes minutes if each user has files
SLOWED: Final = ("petfleet", "raw", "step by step")  # peers that sync in Python
LOOPS: Final[tuple[Literal["uvloop", "trio"], ...]] = ("uvloop", "trio")
OPERATIONS: Final[tuple[Literal["add", "load", "mixed"], ...]] = ("add", "load", "mixed")


def quick() -> Runs:
    """Return about thirty runs that answer the main questions."""
    return [
        *_each(ALL, Scenario("hot", 1, 1)),
        *_each(["petfleet"], Scenario("hot", 1, 32)),
        *_each(STORES, Scenario("hot", 4, 32)),
        *_each(STORES, Scenario("many", 4, 16, users=1000)),
        *_each(["raw"], Scenario("many", 1, 16, users=1000)),
        *_each(["petfleet", "raw"], Scenario("operations", operation="load")),
        *_each(["petfleet"], Scenario("operations", 4, 32, operation="mixed")),
        *_each(["petfleet"], Scenario("sizes", pets=50)),
        *_each(["petfleet"], Scenario("sizes", pets=1000)),
        *(run for loop in LOOPS for run in _each(["petfleet"], Scenario("loops", 1, 32, loop=loop))),
        *_each(["petfleet", "raw"], Scenario("memory", place="memory")),
    ]


def full() -> Runs:
    """Return the whole matrix."""
    return [*_hot(), *_many(), *_operations(), *_sizes(), *_users(), *_beside(), *_loops(), *_memory(), *_slow()]


def smoke() -> Runs:
    """Return every peer and every kind of scenario, as small as possible, to see whether they work."""
    return [
        *_each(ALL, Scenario("hot", 2, 4)),
        *_each(STORES, Scenario("many", 2, 4, users=20)),
        *_each(STORES, Scenario("operations", 2, 2, "add")),
        *_each(STORES, Scenario("operations", 2, 2, "load")),
        *_each(["petfleet"], Scenario("operations", 2, 2, "mixed")),
        *_each(["raw"], Scenario("operations", operation="load")),
        *_each(["petfleet"], Scenario("sizes", pets=1)),
        *_each(["petfleet"], Scenario("sizes", 1, 4, pets=1000)),
        *_each(["petfleet", "step by step"], Scenario("users", users=100, cold=True)),
        *_each(STORES, Scenario("beside", 2, 1, beside="readers")),
        *_each(["petfleet"], Scenario("beside", beside="pauses")),
        *_each(["petfleet", "aiosqlite"], Scenario("beside", beside="hot")),
        *_each(["petfleet", "step by step"], Scenario("beside", beside="stuck")),
        *(run for loop in LOOPS for run in _each(["petfleet"], Scenario("loops", 2, 4, loop=loop))),
        *_each(["aiosqlite"], Scenario("loops", 2, 4, loop="uvloop")),
        *_each(["petfleet", "raw"], Scenario("memory", place="memory")),
        *_each(SLOWED, Scenario("slow", sync_ms=2)),
    ]


def with_earlier(runs: Runs, earlier: str) -> Runs:
    """Return the runs with each of petfleet followed by the same of an earlier revision, which is another peer."""
    found: Runs = []
    for peer, scenario in runs:
        found.append((peer, scenario))
        if peer == "petfleet" and scenario.users < VERY_MANY:
            found.append((earlier, scenario))
    return found


def _each(peers: Sequence[str], scenario: Scenario) -> Iterator[tuple[str, Scenario]]:
    return ((peer, scenario) for peer in peers)


def _hot() -> Iterator[tuple[str, Scenario]]:
    for processes in (1, 2, 4):
        for tasks in (1, 8, 32, 128):
            yield from _each(ALL if processes == 1 else STORES, Scenario("hot", processes, tasks))


def _many() -> Iterator[tuple[str, Scenario]]:
    for processes in (1, 4):
        for tasks in (1, 16):
            yield from _each(ALL if processes == 1 else STORES, Scenario("many", processes, tasks, users=1000))


def _operations() -> Iterator[tuple[str, Scenario]]:
    for operation in OPERATIONS:
        for processes, tasks in ((1, 1), (1, 32), (4, 32)):
            peers = ALL if operation == "load" and processes == 1 else STORES
            yield from _each(peers, Scenario("operations", processes, tasks, operation))


def _sizes() -> Iterator[tuple[str, Scenario]]:
    for pets in (1, 5, 50, 1000):
        yield from _each(ALL, Scenario("sizes", pets=pets))
        yield from _each(STORES, Scenario("sizes", 4, 32, pets=pets))


def _users() -> Iterator[tuple[str, Scenario]]:
    for users in (100, 10_000, VERY_MANY):
        yield "petfleet", Scenario("users", users=users, cold=True)
        yield from _each(STORES if users < VERY_MANY else ["petfleet"], Scenario("users", 4, 16, users=users))


def _beside() -> Iterator[tuple[str, Scenario]]:
    yield from _each(STORES, Scenario("beside", 4, 1, beside="readers"))
    yield from _each(STORES, Scenario("beside", beside="pauses"))
    yield from _each(STORES, Scenario("beside", beside="hot"))
    yield from _each(["petfleet", "step by step"], Scenario("beside", beside="stuck"))  # the others lock no user


def _loops() -> Iterator[tuple[str, Scenario]]:
    for processes, tasks in ((1, 1), (1, 32), (4, 32)):
        for loop in LOOPS:
            yield "petfleet", Scenario("loops", processes, tasks, loop=loop)
    yield from _each(STORES[1:], Scenario("loops", 4, 32, loop="uvloop"))


def _memory() -> Iterator[tuple[str, Scenario]]:
    yield from _each(["petfleet", "raw"], Scenario("memory", place="memory"))
    yield from _each(["petfleet", "raw"], Scenario("memory", operation="load", place="memory"))
    yield from _each(["petfleet", "raw"], Scenario("memory", 1, 32, place="memory"))
    yield "petfleet", Scenario("memory", 4, 32, place="memory")


def _slow() -> Iterator[tuple[str, Scenario]]:
    for sync_ms in (2, 10, 50):
        yield from _each(SLOWED, Scenario("slow", sync_ms=sync_ms))
        yield from _each(["petfleet", "step by step"], Scenario("slow", 4, 8, sync_ms=sync_ms))
        yield from _each(SLOWED, Scenario("slow", 1, 64, users=1000, sync_ms=sync_ms))
