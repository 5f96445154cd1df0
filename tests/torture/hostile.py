"""Hostile input: files that are no fleets, texts that are costly to read, user ids that would be paths."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path
from typing import Final

from tests.torture import hostile_ids, hostile_texts, hostile_watch, hostile_weights
from tests.torture.parts import Part

FILES: Final = 800  # a round
KEPT_FILES: Final = 20


def _round(rng: random.Random, directory: Path) -> Counter[str]:
    read = Counter(hostile_texts.check_read(hostile_texts.text(rng)) for _ in range(FILES))
    counted = Counter({"files read": read[True], "files refused": read[False]})
    counted += hostile_texts.check_kept(rng, directory / "files", KEPT_FILES)
    size = round(2 ** rng.triangular(16, 24, 16))
    hostile_weights.read_within_limits(rng.choice(list(hostile_weights.DEAR)), size)
    counted["texts read within limits of time and memory"] += 1
    for _ in range(8000):
        counted["user ids taken" if hostile_ids.is_taken(hostile_ids.user_id(rng)) else "user ids refused"] += 1
    counted["keys told apart"] += hostile_ids.check_keys(rng, 8000)
    counted.update(hostile_watch.watched(directory / "alone" / "root", rng.randrange(2**32), 200))
    return counted


PART = Part(
    "hostile",
    "any bytes as a file, any text as a user id: read or refused within bounds, nothing else overwritten or touched",
    _round,
    ("linux",),
)
