"""Runs of the benchmarks: their measurements, lost changes and errors."""

from __future__ import annotations

import asyncio
import functools
import importlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

import petfleet
from benchmarks import revisions, work, worker
from benchmarks.figures import Scenario
from benchmarks.processes import in_child
from benchmarks.revisions import Revision
from benchmarks.runs import Deployments, measure
from benchmarks.scenarios import SLOWED
from benchmarks.work import Count, Fleet, Peer

pytestmark = pytest.mark.slow

BUSY = Scenario("test", 2, 4)
SECONDS = 0.1


@pytest.fixture
def deployments(tmp_path: Path) -> Iterator[Deployments]:
    """Peers in a temporary directory."""
    with Deployments(tmp_path / "disk", tmp_path / "memory") as made:
        yield made


@pytest.fixture(autouse=True)
def peers_of_this_module(monkeypatch: pytest.MonkeyPatch) -> None:
    """The peers below can be measured by their names."""
    for peer in (Careless, Capricious, Broken, Mute):
        monkeypatch.setitem(work.PEERS, peer.__name__, f"{__name__}:{peer.__name__}")


class Careless(Peer):
    """Reads, lets other tasks run, and writes its change of the outdated fleet."""

    durability = "nothing"

    async def prepare(self, users: Sequence[str], pets: int) -> None:
        for user_id in users:
            self._path(user_id).write_text(json.dumps(work.fleet(user_id, pets)))

    async def open(self) -> None:
        pass

    async def close(self) -> None:
        pass

    async def touch(self, user_id: str, name: str) -> None:
        fleet = self._read(user_id)
        await asyncio.sleep(0.001)
        work.touch(fleet, name)
        self._write(fleet)

    async def add(self, user_id: str, name: str) -> None:
        fleet = self._read(user_id)
        await asyncio.sleep(0.001)
        work.add(fleet, name)
        self._write(fleet)

    async def load(self, user_id: str) -> int:
        return len(self._read(user_id)["pets"])

    async def count(self, user_id: str) -> Count:
        return Count.of(self._read(user_id))

    def _read(self, user_id: str) -> Fleet:
        fleet: Fleet = json.loads(self._path(user_id).read_text())
        return fleet

    def _write(self, fleet: Fleet) -> None:
        path = self._path(fleet["user_id"])
        temporary = path.with_suffix(f".{os.getpid()}-{id(asyncio.current_task())}")
        temporary.write_text(json.dumps(fleet))
        temporary.rename(path)

    def _path(self, user_id: str) -> Path:
        return self.directory / f"{user_id}.json"


class Capricious(Careless):
    """Refuses every second change."""

    _refused = False

    async def touch(self, user_id: str, name: str) -> None:
        self._refused = not self._refused
        if self._refused:
            raise ValueError("not this one")
        await super().touch(user_id, name)


class Mute(Careless):
    """Refuses every change."""

    async def touch(self, user_id: str, name: str) -> None:
        raise ValueError("never")


class Broken(Careless):
    """Cannot be opened."""

    async def open(self) -> None:
        raise OSError("out of order")


def test_petfleet_loses_nothing(deployments: Deployments) -> None:
    """Every acknowledged change is in the files, and every one is counted."""
    result = measure(deployments, "petfleet", BUSY, SECONDS)
    assert (result.lost, result.errors, result.error) == (0, 0, None)
    assert result.calls == result.changes > 0
    assert result.rate == pytest.approx(result.calls / result.seconds)
    assert 0 < result.p50_ms <= result.p99_ms <= result.max_ms
    assert result.stall_ms is not None


def test_data_used_again(deployments: Deployments) -> None:
    """A second run on the same data counts only its own changes."""
    stage = deployments.stage("petfleet", BUSY)
    assert [stage.run(BUSY, SECONDS).lost for _ in range(2)] == [0, 0]


def test_many_users_are_prepared_once(deployments: Deployments) -> None:
    """Data of many users are used again for the same users with as many pets."""
    many = Scenario("test", users=1000, pets=1)
    assert deployments.stage("Careless", many) is deployments.stage("Careless", many)
    assert deployments.stage("Careless", BUSY) is not deployments.stage("Careless", BUSY)


def test_adds(deployments: Deployments) -> None:
    """Adds are limited by their number, shared among all tasks, and not by time."""
    result = measure(deployments, "petfleet", Scenario("test", 2, 4, "add"), SECONDS, adds=16)
    assert (result.calls, result.changes, result.lost) == (16, 16, 0)


def test_loads(deployments: Deployments) -> None:
    """Loads change nothing."""
    result = measure(deployments, "petfleet", Scenario("test", 2, 4, "load"), SECONDS)
    assert (result.changes, result.lost) == (0, 0)
    assert result.calls > 0


def test_first_sight(deployments: Deployments) -> None:
    """No call meets a user that its process has met before, so there are as many calls as users at most."""
    result = measure(deployments, "petfleet", Scenario("test", 2, 2, users=8, cold=True), 3600)
    assert (result.calls, result.lost) == (8, 0)


@pytest.mark.parametrize("beside", ["pauses", "readers", "hot"])
def test_beside(deployments: Deployments, beside: str) -> None:
    """Other work at the same time is not counted; only tasks of the first process are."""
    scenario = Scenario("test", 2, 1, beside=beside)  # type: ignore[arg-type]
    result = measure(deployments, "petfleet", scenario, SECONDS)
    assert (result.lost, result.errors, result.jain_tasks) == (0, 0, 1.0)
    assert result.calls == result.changes > 0


def test_raw(deployments: Deployments) -> None:
    """The raw protocol runs in threads, and has nothing that could be lost."""
    result = measure(deployments, "raw", BUSY, SECONDS)
    assert result.calls == result.changes > 0
    assert (result.lost, result.stall_ms, result.errors) == (None, None, 0)


class NotedSleeps:
    """The time module, whose sleeps of 20 ms leave a byte in a file, and take no time."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __getattr__(self, name: str) -> Any:
        return getattr(time, name)

    def sleep(self, seconds: float) -> None:
        if seconds == 0.02:
            with self._path.open("ab") as file:
                file.write(b".")
        else:
            time.sleep(seconds)


@pytest.mark.parametrize("peer", SLOWED)
def test_slow_syncs(deployments: Deployments, peer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both syncs of a change take longer, whichever peer of those that can be slowed makes them."""
    sleeps = tmp_path / "sleeps"
    monkeypatch.setattr(worker, "time", NotedSleeps(sleeps))
    result = measure(deployments, peer, Scenario("test", sync_ms=20), SECONDS)
    assert sleeps.stat().st_size >= 2 * result.changes > 0
    assert result.errors == 0


def test_commits_are_counted(deployments: Deployments) -> None:
    """The commits are those of the measured calls, without the warm-up; other peers return None."""
    result = measure(deployments, "petfleet", Scenario("test", 2, 4, "add"), SECONDS, adds=16)
    assert result.commits is not None
    assert 2 <= result.commits <= 16
    assert measure(deployments, "raw", BUSY, SECONDS).commits is None


def test_earlier_revision(tmp_path: Path) -> None:
    """Its processes import it from its own sources, and petfleet's import petfleet, though this one has it imported."""
    here = Path(petfleet.__file__).parent
    earlier = Revision("abc1234", tmp_path / "src")
    shutil.copytree(here, earlier.source / "petfleet")
    with Deployments(tmp_path / "disk", tmp_path / "memory", earlier) as deployments:

        def imported(peer: Peer) -> list[Path]:
            asyncio.run(peer.open())
            again = importlib.import_module("petfleet")
            assert again.__file__ is not None
            return [Path(module.__file__ or "").parent for module in (again, sys.modules["petfleet._store"])]

        for name, source in (("petfleet", here), ("petfleet, abc1234", earlier.source / "petfleet")):
            peer = deployments.deploy(name).peer
            assert in_child(functools.partial(imported, peer)) == [source, source]
        result = measure(deployments, earlier.peer, BUSY, SECONDS)
    assert (result.peer, result.lost, result.errors) == ("petfleet, abc1234", 0, 0)
    assert sys.modules["petfleet"] is petfleet


@pytest.mark.skipif(shutil.which("git") is None, reason="revisions are git's")
def test_exported_revision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sources are those of the commit, whatever the work tree holds by now, and are removed afterwards."""
    monkeypatch.setattr(revisions, "_ROOT", tmp_path)
    file = tmp_path / "src" / "petfleet.py"
    file.parent.mkdir()
    file.write_text("old")
    who = ["-c", "user.name=someone", "-c", "user.email=someone@example.org"]
    for command in (["init", "--quiet"], ["add", "."], [*who, "commit", "--quiet", "-m", "Begin"]):
        subprocess.run(["git", "-C", str(tmp_path), *command], check=True)
    file.write_text("new")
    with revisions.exported("HEAD") as revision:
        assert (revision.source / "petfleet.py").read_text() == "old"
        assert revision.peer == f"petfleet, {revision.name}"
        assert len(revision.name) < 12
    assert not revision.source.exists()
    with pytest.raises(revisions.NoRevisionError), revisions.exported("no-such-branch"):
        pass


def test_lost_changes_are_found(deployments: Deployments) -> None:
    """A peer without a lock loses acknowledged changes."""
    result = measure(deployments, "Careless", BUSY, SECONDS)
    assert result.lost is not None
    assert 0 < result.lost < result.changes


def test_lost_pets_are_found(deployments: Deployments) -> None:
    """It also loses added pets."""
    result = measure(deployments, "Careless", Scenario("test", 2, 4, "add"), SECONDS, adds=80)
    assert result.lost is not None
    assert 0 < result.lost < result.changes == 80


def test_errors_are_counted(deployments: Deployments) -> None:
    """Calls that raise are counted apart from the others, with the first error."""
    result = measure(deployments, "Capricious", Scenario("test", 1, 4, users=100), SECONDS)
    assert result.error == "ValueError: not this one"
    assert result.errors - result.calls in (0, 1)
    assert result.changes == result.calls


def test_nothing_came_back(deployments: Deployments) -> None:
    """Where every call raises there is no result."""
    with pytest.raises(RuntimeError, match=r"^not one call came back \(ValueError: never\)$"):
        measure(deployments, "Mute", BUSY, SECONDS)


def test_broken_peer(deployments: Deployments, capfd: pytest.CaptureFixture[str]) -> None:
    """A process that fails ends its run, and says why."""
    with pytest.raises(RuntimeError, match=r"^a process of the run failed: OSError: out of order$"):
        measure(deployments, "Broken", BUSY, SECONDS)
    assert "out of order" in capfd.readouterr().err
    assert measure(deployments, "raw", BUSY, SECONDS).calls > 0


def test_everything_is_removed(tmp_path: Path) -> None:
    """Nothing is left where it was measured."""
    with Deployments(tmp_path / "disk", tmp_path / "memory") as deployments:
        measure(deployments, "raw", Scenario("test", place="memory"), SECONDS)
        measure(deployments, "petfleet", BUSY, SECONDS)
    assert [list(path.iterdir()) for path in tmp_path.iterdir()] == [[], []]
