"""Where the fleets of a trial are: in its directory, or in a bucket that a file beside its directory tells of."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from petfleet import ObjectBackend


def in_bucket(directory: Path, url: str, options: Sequence[Mapping[str, Any]]) -> None:
    """Have the fleets of all trials in that directory in a bucket.

    Args:
        directory: where the trials get directories of their own.
        url: under which each of them gets a prefix of its own.
        options: for ObjectBackend: those of the ways to the bucket, which the processes take by turns.
    """
    _told(directory).write_text(json.dumps({"url": url, "options": list(options)}))


def is_in_bucket(place: Path) -> bool:
    """Return whether the fleets of the trial in that directory are in a bucket."""
    return _told(place.parent).exists()


def fleets(place: Path, turn: int = 0) -> Path | ObjectBackend:
    """Return what a store over the fleets of the trial in that directory is made of."""
    if not is_in_bucket(place):
        return place / "fleets"
    told = json.loads(_told(place.parent).read_text())
    options = told["options"]
    return ObjectBackend(f"{told['url']}/{place.name}", **options[turn % len(options)])


def _told(directory: Path) -> Path:
    return directory / "bucket.json"
