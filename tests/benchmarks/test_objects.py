"""The benchmarks of object storage: figures, lost changes, and counts of requests."""

from __future__ import annotations

import asyncio
import math
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from benchmarks import object_targets, suite
from benchmarks.figures import Result, Scenario
from benchmarks.peers.objects import Objects, SwapLoop
from benchmarks.processes import in_child
from benchmarks.runs import Deployments, measure
from benchmarks.targets import Effort
from benchmarks.work import Count

pytestmark = pytest.mark.slow

EFFORT = Effort(1, 0.05, 10, 10)


def figures(tmp_path: Path) -> None:
    """Each group measures what it names, on one server for all peers, and nothing is lost."""
    lost: list[int | None] = []
    with Deployments(tmp_path, tmp_path) as deployments:

        def run(peer: str, scenario: Scenario) -> Result:
            result = measure(deployments, peer, scenario, EFFORT.seconds)
            assert (result.errors, result.error) == (0, None)
            lost.append(result.lost)
            return result

        measured = [figure for group in object_targets.GROUPS for figure in group(deployments, run, EFFORT)]
    found = {figure.name: figure.value for figure in measured}
    assert all(map(math.isfinite, found.values()))
    assert found["requests for each batch of the last writer"] <= 1
    assert len(found) == 12
    assert lost == [0, 0, None, 0]  # the bare requests change nothing


def counts(tmp_path: Path) -> None:
    """Changes are counted in the objects themselves, requests from the first change on."""
    objects, loop = Objects(tmp_path), SwapLoop(tmp_path)
    objects.start_server()
    loop.start_server()

    async def work() -> list[Count]:
        counted = []
        for peer in (objects, loop):
            await peer.prepare(["u"], 2)
            await peer.open()
            assert await peer.load("u") == 2
            for _ in range(3):
                await peer.touch("u", "pet-0001")
            await peer.add("u", "new")
            counted.append(await peer.count("u"))
            await peer.close()
        return counted

    try:
        assert in_child(lambda: asyncio.run(work())) == [Count(3, 3), Count(3, 3)]
        assert objects.taken_requests() == Counter({"put": 4, "get": 1})
        assert objects.taken_requests() == Counter()
    finally:
        loop.stop_server()
        objects.stop_server()


@pytest.mark.parametrize("program", ["figures", "counts"])
def test_what_is_measured(program: str, tmp_path: Path) -> None:
    """In a process of its own, which forks: it must not have used a bucket before, as the one of the tests has."""
    command = [sys.executable, "-m", __name__, program, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=110, cwd=Path(__file__).parents[2])
    assert done.returncode == 0, done.stderr


def test_it_is_a_part_of_every_kind_of_run() -> None:
    """Also of the smoke run, which says only whether it works; of the quick one, which is to be quick, on demand."""
    assert all(suite.OBJECTS in suite.parts(kind) for kind in suite.KINDS)
    assert [kind for kind in suite.KINDS if suite.KINDS[kind].on_demand] == ["quick"]


if __name__ == "__main__":
    {"figures": figures, "counts": counts}[sys.argv[1]](Path(sys.argv[2]))
