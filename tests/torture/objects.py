"""Objects: random walks, and histories through two gateways, with requests in trouble on their way."""

from __future__ import annotations

import random
import uuid
from collections import Counter
from pathlib import Path
from typing import Final

from tests.support.seaweedfs import SeaweedFS
from tests.torture import histories
from tests.torture.history_processes import Objects
from tests.torture.machine import walk
from tests.torture.parts import Part
from tests.torture.walks import in_memory

TRIALS: Final = 2  # a round


def through_gateways(seaweedfs: SeaweedFS) -> Objects:
    """Return a new prefix that either gateway reaches."""
    return Objects(
        f"s3://{seaweedfs.bucket}/torture-{uuid.uuid4()}", [seaweedfs.options(gateway) for gateway in (0, 1)]
    )


def play(seaweedfs: SeaweedFS, seed: str, directory: Path, trials: int = TRIALS) -> Counter[str]:
    """Have processes play trials, and fail unless their histories are linearizable."""
    counted: Counter[str] = Counter()
    there = through_gateways(seaweedfs)
    histories.play(seed, directory, trials, there)
    for number in range(trials):
        histories.check(directory / str(number), counted, there)
    return counted


def _round(rng: random.Random, directory: Path) -> Counter[str]:
    counted = walk(in_memory(), rng.randrange(2**32), walks=20, steps=30)
    with SeaweedFS(directory / "weed") as seaweedfs:
        (directory / "histories").mkdir()
        return counted + play(seaweedfs, str(rng.random()), directory / "histories")


PART: Final = Part(
    "objects",
    "random walks over objects, and histories through two gateways, with answers that are lost",
    _round,
    ("seaweedfs",),
)
