"""Where the random walks are taken: on files, on objects in memory, on those of a real store."""

from __future__ import annotations

import random
import uuid
from collections import Counter
from pathlib import Path
from typing import Final

from tests.support.backends import MemoryStorage, ObjectStorage
from tests.support.seaweedfs import SeaweedFS
from tests.torture.machine import Made, walk
from tests.torture.machine_files import FileMachine
from tests.torture.machine_objects import ObjectMachine
from tests.torture.parts import Part


def on_files(directory: Path) -> Made:
    """Return what makes a machine on a root of its own."""
    return lambda loops, counted: FileMachine(directory, loops, counted)


def in_memory() -> Made:
    """Return what makes a machine on objects of its own in memory."""
    return lambda loops, counted: ObjectMachine(MemoryStorage(), loops, counted)


def on_object_store(seaweedfs: SeaweedFS) -> Made:
    """Return what makes a machine on a prefix of its own of an object store."""
    return lambda loops, counted: ObjectMachine(ObjectStorage(seaweedfs, f"walk-{uuid.uuid4()}"), loops, counted)


def _round(rng: random.Random, directory: Path) -> Counter[str]:
    return walk(on_files(directory), rng.randrange(2**32), walks=40, steps=30)


PART: Final = Part("model", "random walks through the API, other programs beside it, go as a dictionary would", _round)
