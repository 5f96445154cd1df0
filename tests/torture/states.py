"""Power cuts, modelled: every state that a crash at any moment of recorded calls may leave is laid out and checked.

The calls are recorded as system calls of the real code (:mod:`tests.torture.trace`), the states follow from a model of
the disk (:mod:`tests.torture.crash`), and what petfleet promises about each is checked
(:mod:`tests.torture.states_check`).
From states that a crash left, the recovery is recorded in the same way, and crashes too.
"""

from __future__ import annotations

import json
import os
import random
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.torture import trace
from tests.torture.crash import Disk
from tests.torture.disk_state import Tree, canonical, look, put
from tests.torture.parts import Part
from tests.torture.states_check import Expectation, Promise, check, quietly
from tests.torture.states_child import ROOT, Step
from tests.torture.states_scripts import random_recovery, random_steps

_SCRIPTS: Final = 6  # of a torture round
_RECOVERIES: Final = 12
_MAX_STATES: Final = 800  # of those that each of both may leave
_IN_MEMORY: Final = Path("/dev/shm")

Expected = frozenset[tuple[str, Expectation]]
Seen = set[tuple[Tree, Expected]]


@dataclass(frozen=True, slots=True)
class Script:
    """Steps, the state of the disk that they begin with, and what each user may have in that."""

    name: str
    steps: list[Step]
    start: Tree = frozenset()
    settled: Mapping[str, Expectation] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Recording:
    """What the steps of a script did to a disk, from its state at the start to that at the end."""

    script: Script
    start: Tree
    trace: trace.Trace
    end: Tree


@dataclass(frozen=True, slots=True)
class Crash:
    """A state that a crash after a line of the trace may leave, and what each user may have in it."""

    recording: Recording
    tree: Tree
    expected: Expected
    line: int

    def __str__(self) -> str:
        script, done = self.recording.script, [entry for entry in self.recording.trace if entry[0] <= self.line]
        parts: dict[str, Iterable[object]] = {
            f"{script.name}: {script.steps}\non a disk with": sorted(self.recording.start, key=str),
            "do": [operation for _, operation in done if not isinstance(operation, trace.Status)],
            "and may be left by a power cut with": sorted(self.tree, key=str),
            "where it must be": self.expected,
        }
        return "\n".join(
            line for part, entries in parts.items() for line in (part, *(f"  {entry}" for entry in entries))
        )


def record(scripts: list[Script], directory: Path, environment: Mapping[str, str] = os.environ) -> Iterator[Recording]:
    """Play scripts, all in one recorded process.

    Args:
        scripts: what to play, each on a disk of its own.
        directory: for the disks; made here.
        environment: of the process.
    """
    directory.mkdir()
    places = [directory / str(number) for number in range(len(scripts))]
    starts = []
    for place, script in zip(places, scripts, strict=True):
        place.mkdir()
        put(script.start, place)
        starts.append(look(place))
    played = json.dumps({str(place): script.steps for place, script in zip(places, scripts, strict=True)})
    lines = trace.record(["-m", "tests.torture.states_child"], played, environment, directory)
    for place, script, start in zip(places, scripts, starts, strict=True):
        yield Recording(script, start, trace.read(lines, str(place), f"{place}.labels"), look(place))


def crashes(recording: Recording, seen: Seen) -> Iterator[Crash]:
    """Yield every state that a power cut may leave at any moment, with what is then expected of it.

    Args:
        recording: what was done.
        seen: what not to yield, since it was yielded before; gets what is yielded now.
    """
    disk, promise = Disk(recording.start), Promise(recording.script.settled)
    seen_here: Seen = set()  # before they are made canonical
    for line, operation in recording.trace:
        if isinstance(operation, trace.Label):
            _check_tidy(disk.now(), promise.hear(operation.text))
        else:
            disk.apply(line, operation)
        if isinstance(operation, trace.Status | trace.Sync):
            continue  # nothing is left that could not have been before
        expected = frozenset(promise.expect().items())
        # No sets: their order differs between runs, and the same seed would give other states.
        new = [tree for tree in dict.fromkeys(disk.states()) if (tree, expected) not in seen_here]
        seen_here.update((tree, expected) for tree in new)
        for tree in dict.fromkeys(map(canonical, new)):
            if (tree, expected) not in seen:
                seen.add((tree, expected))
                yield Crash(recording, tree, expected, line)
    # If they differ, the recording has missed something.
    assert _contents(disk.now()) == _contents(recording.end), f"{disk.now()} in the model, in truth {recording.end}"


def examine(crashes: Iterable[Crash], directory: Path) -> int:
    """Check that each state is as expected, and return how many there were.

    Raises:
        AssertionError: with all about it, that a state is not.
    """
    count = 0
    with quietly():
        for crash in crashes:
            count += 1
            try:
                check(crash.tree, dict(crash.expected), directory / "state")
            except Exception as error:
                raise AssertionError(f"{type(error).__name__}: {error}\n{crash}") from error
    return count


def recoveries(crashes: Iterable[Crash], rng: random.Random) -> list[Script]:
    """Return scripts that begin where these crashes ended."""
    return [
        Script(f"after a crash in {crash.recording.script.name}", random_recovery(rng), crash.tree, _settled(crash))
        for crash in crashes
    ]


@contextmanager
def workplace(directory: Path) -> Iterator[Path]:
    """Give a place for the states, in memory where possible: they need not last."""
    in_memory = _IN_MEMORY.is_dir() and os.access(_IN_MEMORY, os.W_OK)
    with tempfile.TemporaryDirectory(prefix="petfleet-states-", dir=_IN_MEMORY if in_memory else directory) as place:
        yield Path(place)


def _round(rng: random.Random, directory: Path) -> Counter[str]:
    seen: Seen = set()
    scripts = [Script(f"script {number}", random_steps(rng)) for number in range(_SCRIPTS)]
    with workplace(directory) as place:
        first = [crash for recording in record(scripts, directory / "first") for crash in crashes(recording, seen)]
        states = examine(_some(first, _MAX_STATES, rng), place)
        again = recoveries(_some(first, _RECOVERIES, rng), rng)
        second = [crash for recording in record(again, directory / "second") for crash in crashes(recording, seen)]
        states_again = examine(_some(second, _MAX_STATES, rng), place)
    return Counter(
        {
            "scripts": len(scripts),
            "crash states": states,
            "recoveries": len(again),
            "crash states of recoveries": states_again,
        }
    )


def _settled(crash: Crash) -> dict[str, Expectation]:
    # Of what was torn, the mode may be missing too, and what is there now is durable.
    return {
        user: expectation._replace(modes=expectation.modes | {0o600}) if expectation.torn else expectation
        for user, expectation in crash.expected
    }


def _some(crashes: list[Crash], most: int, rng: random.Random) -> list[Crash]:
    return crashes if len(crashes) <= most else rng.sample(crashes, most)


def _check_tidy(tree: Tree, user: str | None) -> None:
    """Check that a user with a fleet and no call under way has no temporary files."""
    of_user = [path for path, _ in tree if user is not None and path.startswith(f"{ROOT}/{user}/")]
    if any(path.endswith("/fleet.toml") for path in of_user):
        assert not any(path.endswith(".tmp") for path in of_user), f"after a call there are {of_user}"


def _contents(tree: Tree) -> dict[str, tuple[bytes, int] | None]:
    return {path: None if state is None else (state.data, state.mode) for path, state in tree}


PART: Final = Part(
    "states", "power cuts at every step of recorded calls, in a model of the disk", _round, ("linux", "strace")
)
