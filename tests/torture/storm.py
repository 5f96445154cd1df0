"""Processes that call all the time, while at random moments this one interferes with their user's files."""

from __future__ import annotations

import json
import math
import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import filelock

from petfleet import PetFleet, dumps, fleet_path, loads
from petfleet._backends.files.backend import FileBackend
from petfleet._commit.change import Change, Kind
from tests.conftest import pet
from tests.support.commits import attempt
from tests.support.old_program import USER, rewrite, version

LOOPS: Final = ("asyncio", "trio")
_TORN: Final = 0.05  # of the calls, those that meet a file that was torn for long: on a busy machine anyone may stall


@dataclass
class Storm:
    """One user's files, and what was done to them.

    Attributes:
        did: how often what was done.
        theirs: the pets that were added without petfleet, all of which have to be there in the end.
    """

    root: Path
    rng: random.Random
    did: Counter[str] = field(default_factory=Counter)
    theirs: list[str] = field(default_factory=list)

    @property
    def path(self) -> Path:
        """Where the fleet is."""
        return fleet_path(USER, self.root)

    @property
    def lock(self) -> Path:
        """Where its lock is."""
        return self.path.with_name("fleet.toml.lock")

    def pause(self, most: float) -> None:
        """Let some time pass."""
        time.sleep(self.rng.random() * most)

    def note_pet(self) -> PetFleet:
        """Return the fleet as it is, with another pet of ours."""
        try:
            fleet = loads(self.path.read_bytes())
        except FileNotFoundError:
            fleet = PetFleet(USER)
        self.theirs.append(f"theirs-{len(self.theirs)}")
        return fleet.with_pet(pet(self.theirs[-1]))


def unlink_lock(storm: Storm) -> None:
    """Remove the lock file."""
    storm.lock.unlink(missing_ok=True)
    storm.did["lock files unlinked"] += 1
    storm.pause(0.02)


def hold_lock(storm: Storm) -> None:
    """Take the lock as any program may, edit the file in place, and sometimes keep the lock too long."""
    with filelock.FileLock(storm.lock):
        rewrite(storm.path, storm.note_pet())
        storm.did["edits under a FileLock"] += 1
        if storm.rng.random() < 0.1:
            time.sleep(0.4)
    storm.pause(0.03)


def save_by_rename(storm: Storm) -> None:
    """Edit the file without the lock, and save it by renaming."""
    saved = storm.path.with_name("saved")
    saved.write_text(dumps(storm.note_pet()), encoding="utf-8")
    os.replace(saved, storm.path)
    storm.did["edits saved by renaming"] += 1
    storm.pause(0.1)


def save_in_place(storm: Storm) -> None:
    """Edit the file without the lock, and save it in place."""
    rewrite(storm.path, storm.note_pet(), lambda: storm.pause(0.002))
    storm.did["edits saved in place"] += 1
    storm.pause(0.1)


def rewrite_slowly(storm: Storm) -> None:
    """Rewrite the file as the old program does, interrupted in the middle."""
    rewrite(storm.path, version(storm.did["slow rewrites"]), lambda: storm.pause(0.02))
    storm.did["slow rewrites"] += 1
    time.sleep(0.05)


def move_directory(storm: Storm) -> None:
    """Move the user's directory away, and back, unless there is another by then."""
    _move(storm, storm.path.parent)
    storm.did["directories moved away"] += 1


def move_root(storm: Storm) -> None:
    """Move the root away, and back, unless there is another by then."""
    _move(storm, storm.root)
    storm.did["roots renamed"] += 1


def _move(storm: Storm, directory: Path) -> None:
    away = storm.root.with_name(f"away-{storm.did.total()}")
    try:
        directory.rename(away)
    except FileNotFoundError:
        return
    storm.pause(0.003)
    try:
        away.rename(directory)
    except OSError:
        storm.did["places taken meanwhile"] += 1
    storm.pause(0.05)


def empty_directory(storm: Storm) -> None:
    """Remove what is in the user's directory, one after another."""
    for entry in sorted(os.listdir(storm.path.parent)) if storm.path.parent.exists() else ():
        storm.path.with_name(entry).unlink(missing_ok=True)
        storm.pause(0.001)
    storm.did["directories emptied"] += 1
    storm.pause(0.05)


@dataclass(frozen=True, slots=True)
class Weather:
    """A kind of storm.

    Attributes:
        act: what is done again and again.
        ours: whether each change that was acknowledged has to be there in the end.
        theirs: whether each pet that others added has to be.
        instants: how much of what is done, at most, falls into an instant in which nothing can tell; as many pets may
            be missing.
        calls: what the clients do, ``reads`` or ``changes``.
        moves: whether directories are taken away, with whatever is in them.
    """

    act: Callable[[Storm], None]
    ours: bool = False
    theirs: bool = False
    instants: float = 0.0
    calls: str = "changes"
    moves: bool = False


WEATHERS: Final = {
    "lock file unlinked": Weather(unlink_lock, ours=True, instants=0.02),
    "FileLock held": Weather(hold_lock, ours=True, theirs=True),
    "saved by renaming": Weather(save_by_rename, theirs=True, instants=0.2),
    "saved in place": Weather(save_in_place, theirs=True, instants=0.2),
    "rewritten slowly": Weather(rewrite_slowly, calls="reads"),
    "directory moved": Weather(move_directory, moves=True),
    "root renamed": Weather(move_root, moves=True),
    "directory emptied": Weather(empty_directory),
}


def play(weather: Weather, rng: random.Random, directory: Path, seconds: float) -> Counter[str]:
    """Let it rage for so long, and see that nothing was lost or torn but what has to be; return what was counted."""
    storm = Storm(directory / "root", rng)
    storm.path.parent.mkdir(parents=True)
    rewrite(storm.path, version(0))
    with ExitStack() as processes:
        clients = [processes.enter_context(_client(storm.root, loop, weather.calls)) for loop in LOOPS]
        for client in clients:
            assert client.stdout is not None
            assert client.stdout.readline() == "calling\n", client.communicate()[1]
        give_up = time.monotonic() + seconds
        while time.monotonic() < give_up:
            weather.act(storm)
        told = [_ended(client) for client in clients]
    for what in told:
        assert what["open"] == 0, "a lock file was left open"
        assert not what["torn"], what["torn"][0]
        _judge_errors(what, weather)
    _judge_the_end(storm, weather, [name for what in told for name in what["acknowledged"]])
    return _counted(storm, told)


def _judge_errors(what: dict[str, Any], weather: Weather) -> None:
    """See that calls failed by a lock held for long, or by a file torn for long, and by nothing else."""
    errors = Counter[str]()
    for error, number in what["errors"].items():
        errors[error.partition(":")[0]] += number
    unexpected = errors.keys() - {"LockTimeoutError", "FleetFormatError"}
    assert not unexpected, what["errors"]
    calls = sum(what["calls"].values()) + errors.total()
    assert errors["FleetFormatError"] <= _TORN * calls, what["errors"]


def _judge_the_end(storm: Storm, weather: Weather, ours: list[str]) -> None:
    left = set(os.listdir(storm.path.parent)) if storm.path.parent.exists() else set[str]()
    assert weather.moves or left <= {"fleet.toml", "fleet.toml.lock"}, f"left behind: {left}"
    pets = {handle.pet_name for handle in loads(storm.path.read_bytes()).pets} if storm.path.exists() else set[str]()
    must = (ours if weather.ours else []) + (storm.theirs if weather.theirs else [])
    lost = [name for name in must if name not in pets]
    may = math.ceil(weather.instants * storm.did.total())
    assert len(lost) <= may, f"{len(lost)} of {len(must)} pets are lost, {may} may be: {lost[:10]}"
    storm.did["pets replaced in the instant before a rename"] += len(lost)
    last = Change(lambda stored: (stored or PetFleet(USER)).with_pet(pet("last")), Kind.CREATE)
    assert attempt(FileBackend(str(storm.root)), last, user_id=USER), "the lock was left held"
    assert last.error is None, last.error
    assert set(os.listdir(storm.path.parent)) == {"fleet.toml", "fleet.toml.lock"}
    assert "last" in {handle.pet_name for handle in loads(storm.path.read_bytes()).pets}


def _counted(storm: Storm, told: list[dict[str, Any]]) -> Counter[str]:
    counted = storm.did.copy()
    for what in told:
        counted["calls"] += sum(what["calls"].values())
        counted["acknowledged changes"] += len(what["acknowledged"])
        for error, number in what["errors"].items():
            counted[f"calls that ended in {error.partition(':')[0]}"] += number
    return +counted


@contextmanager
def _client(root: Path, loop: str, calls: str) -> Iterator[subprocess.Popen[str]]:
    """Run a client; it is reaped whatever happens."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.torture.storm_client", str(root), loop, calls],
        cwd=Path(__file__).parent.parent.parent,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def _ended(client: subprocess.Popen[str]) -> dict[str, Any]:
    """End a client, and return what it tells."""
    output, errors = client.communicate()
    assert client.returncode == 0, errors
    told: dict[str, Any] = json.loads(output)
    return told
