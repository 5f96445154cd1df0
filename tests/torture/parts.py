"""What a part of the torture is made of: rounds, each decided by a seed, and the figures that they add up to."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

FIXED_SEED: Final = 0  # of the rounds that `nox -s proof` plays

Round = Callable[[random.Random, Path], Counter[str]]


@dataclass(frozen=True, slots=True)
class Part:
    """One way to try to break a promise.

    Attributes:
        name: one word, for the command line.
        about: what it tries, in a sentence without a full stop.
        round: tries some of it, all decisions made by the given generator, in an empty directory of its own, within
            about 20 seconds; returns what it counted, by names that read well after a number ("kills"), or raises
            AssertionError. Nothing of it is left running or mounted, whatever happens.
        means: what it needs of the machine, see :mod:`tests.torture.means`.
    """

    name: str
    about: str
    round: Round
    means: tuple[str, ...] = ()


def generator(seed: int, part: str, number: int) -> random.Random:
    """Return what decides one round of one part: the same for the same seed on every machine."""
    return random.Random(f"{seed} {part} {number}")


def first_rounds(part: Part, directory: Path, rounds: int = 1) -> Counter[str]:
    """Play the first rounds of the fixed seed, as the tests do, and return what they counted."""
    counted: Counter[str] = Counter()
    for number in range(rounds):
        place = directory / str(number)
        place.mkdir()
        print(f"nox -s torture -- --only {part.name} --seed {FIXED_SEED} --round {number}")  # shown if it fails
        counted += part.round(generator(FIXED_SEED, part.name, number), place)
    return counted
