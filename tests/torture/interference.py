"""Others interfere at every call of a commit, and beside busy processes at random moments."""

from __future__ import annotations

import os
import random
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from unittest import mock

from petfleet._backends.files import reader
from petfleet._backends.files.backend import FileBackend
from tests.torture.disturbances import DISTURBANCES, play
from tests.torture.held_commits import OPERATIONS, Call, Operation, Trial, carry_out, moments, prepare
from tests.torture.interferences import INTERFERENCES, PAIRS, Interference, Pair, Site
from tests.torture.parts import Part
from tests.torture.verdicts import (
    judge,
    judge_return,
    judge_rewriting,
    open_descriptors,
    see_that_nothing_is_left,
    see_to_the_end,
)

_PAIRS_A_ROUND: Final = 250
_DISTURBANCE_SECONDS: Final = 2.0
_LATEST: Final = 40  # calls after the last that a commit makes when nobody interferes: starting over takes as many more


_BLIND: Final = ("geteuid", "getpid", "lseek")  # an interference before them is one before the call that follows


def sweep(name: str) -> Counter[str]:
    """Try every interference before every call of one operation."""
    operation = OPERATIONS[name]
    counted: Counter[str] = Counter()
    calls = recorded(operation)
    named = enumerate(moments(calls))
    points = [(number, moment) for number, moment in named if calls[number][0] not in _BLIND]
    for theirs in INTERFERENCES:
        for number, moment in points:
            counted["interferences at a call"] += interfere(operation, theirs, number, moment)
    return counted


def pairs(rng: random.Random, number: int) -> Counter[str]:
    """Begin an interference at a random call of a random operation and end it at a later call, ``number`` times."""
    counted: Counter[str] = Counter()
    named = {name: moments(recorded(operation)) for name, operation in OPERATIONS.items()}
    for _ in range(number):
        name = rng.choice(list(OPERATIONS))
        first = rng.randrange(len(named[name]))
        second = rng.randrange(first + 1, len(named[name]) + _LATEST)
        counted["interferences at two calls"] += interfere_twice(
            OPERATIONS[name], rng.choice(PAIRS), first, second, named[name][first]
        )
    return counted


def recorded(operation: Operation) -> list[Call]:
    """Return the system calls of the commit when nobody interferes."""
    with _site() as site:
        prepare(site, operation.found)
        return carry_out(FileBackend(str(site.root)), site, operation, {}).calls


def interfere(operation: Operation, theirs: Interference, number: int, moment: str) -> bool:
    """Interfere just before that call, and judge the outcome; False if it was impossible there."""
    with _site() as site:
        before = prepare(site, operation.found)
        backend = FileBackend(str(site.root))
        descriptors = open_descriptors()
        trial = carry_out(backend, site, operation, {number: theirs.act})
        if trial.done:
            with _blaming(trial, f"{theirs.name}, {moment}", {number}):
                judge(site, operation, theirs, moment, before, trial)
                see_that_nothing_is_left(site)
                see_to_the_end(backend, site, descriptors)
        return trial.done


def interfere_twice(operation: Operation, pair: Pair, first: int, second: int, moment: str) -> bool:
    """Begin to interfere before one call, end before another, and judge the outcome."""
    with _site() as site:
        before = prepare(site, operation.found)
        backend = FileBackend(str(site.root))
        descriptors = open_descriptors()
        trial = carry_out(backend, site, operation, {first: pair.begin, second: pair.end})
        if trial.done:
            with _blaming(trial, f"{pair.name}, {moment}", {first, second}):
                if pair.rewrites:
                    judge_rewriting(site, operation, moment, before, trial)
                else:
                    judge_return(site, operation, before, trial)
                see_to_the_end(backend, site, descriptors)
        return trial.done


@contextmanager
def _site() -> Iterator[Site]:
    """Make a place for one trial, in memory if possible: the order of the calls counts, not the disk."""
    memory = "/dev/shm"
    with (
        tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as directory,
        mock.patch.object(os, "fsync", return_value=None),
        mock.patch.object(reader, "_TORN_SECONDS", 0),  # what is torn here stays so
    ):
        yield Site(Path(directory))


@contextmanager
def _blaming(trial: Trial, what: str, numbers: set[int]) -> Iterator[None]:
    """Add the commit and the moment of the interference to an error."""
    try:
        yield
    except Exception as error:
        calls = [f"{'>' if at in numbers else ' '} {at} {name} {path}" for at, (name, path) in enumerate(trial.calls)]
        story = "\n".join([f"{what}: {error!r}", *calls, f"seen {trial.seen}, error {trial.error!r}"])
        raise AssertionError(story) from error


def _round(rng: random.Random, directory: Path) -> Counter[str]:
    counted = pairs(rng, _PAIRS_A_ROUND)
    counted += sweep(rng.choice(list(OPERATIONS)))
    for name in rng.sample(list(DISTURBANCES), 2):
        place = directory / name.replace(" ", "-")
        place.mkdir()
        counted += play(DISTURBANCES[name], rng, place, _DISTURBANCE_SECONDS)
    return counted


PART: Final = Part(
    "interference",
    "files, locks and directories replaced, moved, edited and torn by others, at every call of a commit and at random",
    _round,
    means=("linux",),
)
