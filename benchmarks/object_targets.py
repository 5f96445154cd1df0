"""The figures of object storage, in rounds like those of a directory, against one server."""

from __future__ import annotations

import asyncio
import math
import statistics
import time
from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple

import obstore

from benchmarks.figures import Result, Scenario
from benchmarks.peers.objects import Objects
from benchmarks.peers.petfleet_store import new_fleet
from benchmarks.processes import in_child
from benchmarks.runs import Deployments
from benchmarks.targets import Effort, Figure, Run, about, at_least, at_most
from petfleet import FleetStore, PetFleet, dumps

OURS: Final = "petfleet, objects"
LOOP: Final = "compare-and-swap loop"
BARE: Final = "bare get and put"
PEERS: Final = (OURS, LOOP, BARE)
_TOGETHER: Final = 32
_LEAST: Final = 30  # calls of each kind, however short a run is
_PER_SECOND: Final = 300  # of each kind, for the seconds of a run


class Batches(NamedTuple):
    """The medians of the seconds of a bare put, and of batches of one and of many calls; requests for each batch."""

    put: float
    one: float
    many: float
    requests: float


def hot_object(deployments: Deployments, run: Run, effort: Effort) -> list[Figure]:
    """Return the rate of one user's changes made by all tasks, and the requests that they take."""
    everybody = (
        Scenario("objects", 4, 32) if effort.rounds > 1 else Scenario("objects", 2, 4)
    )  # collisions take seconds
    ours, requests = _measured(deployments, run, everybody)
    return [
        at_least(20, "hot user, 4 x 32 / a compare-and-swap loop in each task", ours.rate, run(LOOP, everybody).rate),
        about("hot user, 4 x 32, durable changes per second", ours.rate),
        about("hot user, 4 x 32, p50 of a call, ms", ours.p50_ms),
        about("hot user, 4 x 32, p99 of a call, ms", ours.p99_ms),
        about("hot user, 4 x 32, requests for each change", requests),
    ]


def object_batch(deployments: Deployments, run: Run, effort: Effort) -> list[Figure]:
    """Return the time of a batch without contention, compared with one put of the same bytes."""
    objects = _objects(deployments)
    turns = max(_LEAST, int(effort.seconds * _PER_SECOND))
    seconds: list[float] = in_child(lambda: list(asyncio.run(_batches(objects, turns))))
    took = Batches(*seconds)
    return [
        at_most(1.25, "batch of one call / one bare put of the same bytes", took.one, took.put),
        about(f"batch of {_TOGETHER} calls / one bare put of the same bytes", took.many / took.put),
        about("one bare put in one executor call, ms", took.put * 1e3),
        at_most(1.0, "requests for each batch of the last writer", took.requests),
    ]


def many_objects(deployments: Deployments, run: Run, effort: Effort) -> list[Figure]:
    """Return the rate of many users' changes, compared with a bare get and put for each."""
    scenario = Scenario("objects", 4, 16, users=effort.many)
    bare = run(BARE, scenario)
    ours, requests = _measured(deployments, run, scenario)
    name = f"{effort.many:,} users, 4 x 16"
    return [
        at_most(1.3, f"{name}, time of a change / of a bare get and put", bare.rate, ours.rate),
        about(f"{name}, durable changes per second", ours.rate),
        about(f"{name}, requests for each change", requests),
    ]


GROUPS: Final = (hot_object, object_batch, many_objects)


def _measured(deployments: Deployments, run: Run, scenario: Scenario) -> tuple[Result, float]:
    """Measure petfleet, and return the result and its requests for each change."""
    objects = _objects(deployments)
    objects.taken_requests()  # those of before
    ours = run(OURS, scenario)
    return ours, objects.taken_requests().total() / ours.calls if ours.calls else math.nan


def _objects(deployments: Deployments) -> Objects:
    peer = deployments.deploy(OURS).peer
    assert isinstance(peer, Objects)
    return peer


async def _batches(objects: Objects, turns: int) -> Batches:
    await objects.open()
    store: FleetStore = objects.store
    fleet = await store.save(new_fleet("batch", 5), overwrite=True)
    data = dumps(fleet).encode()
    aside = objects.bare()
    objects.requests.clear()
    loop = asyncio.get_running_loop()

    def touched(fleet: PetFleet) -> PetFleet:
        return fleet.with_last_active("pet-0001", fleet.pet("pet-0001").last_active + 1)

    kinds: list[Callable[[], Awaitable[object]]] = [
        lambda: loop.run_in_executor(None, lambda: obstore.put(aside, "aside/fleet.toml", data)),
        lambda: store.update("batch", touched),
        lambda: asyncio.gather(*(store.update("batch", touched) for _ in range(_TOGETHER))),
    ]
    took: list[list[float]] = [[] for _ in kinds]
    for _ in range(turns):
        for call, seconds in zip(kinds, took, strict=True):
            begin = time.perf_counter()
            await call()
            seconds.append(time.perf_counter() - begin)
    requests = objects.requests.total() / store.statistics().commits
    await store.aclose()
    put, one, many = map(statistics.median, took)
    return Batches(put, one, many, requests)
