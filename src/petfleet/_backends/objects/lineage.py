"""Which commits made an object: told by its metadata, so that a commit whose answer was lost can be looked up."""

from __future__ import annotations

import itertools
import re
import secrets
from typing import Final, NamedTuple

_MOST: Final = 40  # ids that an object carries: with 19 bytes each they stay far below the 2 KB that S3 allows
_COMMIT: Final = re.compile(r"[0-9a-z]{12}-[1-9][0-9]{0,17}")


class Writer:
    """Gives each commit of one backend in one process an id of its own."""

    def __init__(self) -> None:
        self._name = secrets.token_hex(6)
        self._numbers = itertools.count(1)

    def next_commit(self) -> str:
        """Return a new commit id: the writer's name and a number."""
        return f"{self._name}-{next(self._numbers)}"


class Lineage(NamedTuple):
    """The ids of the commits that made an object what it is.

    Attributes:
        origin: the first one of all.
        commits: the newest first; of each writer only its newest, and of _MOST writers.
    """

    # Not simply the last commits of all: a busy fleet has seen hundreds before a lost answer is looked up.
    origin: str
    commits: tuple[str, ...]

    @staticmethod
    def of(note: str | None) -> Lineage | None:
        """Return what an object's metadata say; None if it was not written by petfleet."""
        origin, *commits = (note or "").split(" ")
        if not commits or len(commits) > _MOST or not all(map(_COMMIT.fullmatch, (origin, *commits))):
            return None
        return Lineage(origin, tuple(commits))

    def note(self) -> str:
        """Return what the object's metadata are to say."""
        return " ".join((self.origin, *self.commits))


def followed(before: Lineage | None, commit: str) -> Lineage:
    """Return the lineage of the object that ``commit`` puts in the place of one with the lineage ``before``."""
    if before is None:
        return Lineage(commit, (commit,))
    others = [other for other in before.commits if _writer(other) != _writer(commit)]
    return Lineage(before.origin, (commit, *others[: _MOST - 1]))


def happened(commit: str, before: Lineage | None, now: Lineage | None) -> bool | None:
    """Return whether ``commit`` is one of those that made the object; None if that cannot be told.

    Args:
        commit: the last one that its writer tried; it was to replace an object of the lineage ``before``.
        before: None for no object, or one that petfleet had not written.
        now: the lineage of the object that is there now.
    """
    if now is None:
        return None
    if commit in (now.origin, *now.commits):
        return True
    kept = False
    if before is not None:
        if now.origin != before.origin:
            return None  # someone who keeps no lineage has written in between
        newest = {_writer(other): _number(other) for other in now.commits}
        for other in before.commits:
            number = newest.get(_writer(other))
            if number is None and len(now.commits) >= _MOST:
                continue  # dropped, as the oldest are
            if number is None or number < _number(other):
                return None  # an ETag has come back: who wrote last had not looked since, and dropped what others did
            kept = kept or number == _number(other)
    if len(now.commits) < _MOST or kept:
        return False  # it would be there, before the ones that it was to follow
    return None


def _writer(commit: str) -> str:
    return commit.partition("-")[0]


def _number(commit: str) -> int:
    return int(commit.partition("-")[2])
