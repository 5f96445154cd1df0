"""Where the random walks are taken: on files, on objects in memory, on those of a real store."""

from __future__ import annotations

import random
import uuid
from collections import Counter
from pathlib import Path
from typing import Final

from tests.homes import MemoryHome, ObjectHome
from tests.proof.machine import Made, walk
from tests.proof.machine_files import FileMachine
from tests.proof.machine_objects import ObjectMachine
from tests.proof.parts import Part
from tests.weed import Weed


def on_files(directory: Path) -> Made:
    """Return what makes a machine on a root of its own."""
    return lambda loops, counted: FileMachine(directory, loops, counted)


def in_memory() -> Made:
    """Return what makes a machine on objects of its own in memory."""
    return lambda loops, counted: ObjectMachine(MemoryHome(), loops, counted)


def on_weed(weed: Weed) -> Made:
    """Return what makes a machine on a prefix of its own of an object store."""
    return lambda loops, counted: ObjectMachine(ObjectHome(weed, f"walk-{uuid.uuid4()}"), loops, counted)


def _round(rng: random.Random, directory: Path) -> Counter[str]:
    return walk(on_files(directory), rng.randrange(2**32), walks=40, steps=30)


PART: Final = Part("model", "random walks through the API, other programs beside it, go as a dictionary would", _round)
