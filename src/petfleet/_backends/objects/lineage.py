"""The commits that made an object. Its metadata name them, so that a writer without a response can find its own."""

from __future__ import annotations

import itertools
import re
import secrets
from typing import Final, NamedTuple

_MAX_COMMITS: Final = 40  # that an object names: at up to 31 bytes each, below the 2 KB that S3 allows
_COMMIT: Final = re.compile(r"[0-9a-z]{12}-[1-9][0-9]{0,17}")


class Writer:
    """Gives each commit of one backend in one process its own id."""

    def __init__(self) -> None:
        self._name = secrets.token_hex(6)
        self._numbers = itertools.count(1)

    def next_commit(self) -> str:
        """Return a new commit id: the name of the writer and a number."""
        return f"{self._name}-{next(self._numbers)}"


class Lineage(NamedTuple):
    """The ids of the commits that made an object what it is.

    Attributes:
        origin: the first commit of all.
        commits: the newest commit of each writer, for at most _MAX_COMMITS writers, the newest first.
    """

    # Not simply the last commits: a busy fleet has hundreds of new ones before a writer checks for a lost one.
    origin: str
    commits: tuple[str, ...]

    @staticmethod
    def of(note: str | None) -> Lineage | None:
        """Return the lineage in an object's metadata; None if petfleet has not written the object."""
        origin, *commits = (note or "").split(" ")
        if not commits or len(commits) > _MAX_COMMITS or not all(map(_COMMIT.fullmatch, (origin, *commits))):
            return None
        return Lineage(origin, tuple(commits))

    def note(self) -> str:
        """Return the metadata for the object."""
        return " ".join((self.origin, *self.commits))


def followed(before: Lineage | None, commit: str) -> Lineage:
    """Return the lineage of an object by which ``commit`` replaces one with the lineage ``before``."""
    if before is None:
        return Lineage(commit, (commit,))
    others = [other for other in before.commits if _writer(other) != _writer(commit)]
    return Lineage(before.origin, (commit, *others[: _MAX_COMMITS - 1]))


def happened(commit: str, before: Lineage | None, now: Lineage | None) -> bool | None:
    """Return whether ``commit`` is one of those that made the object; None if nobody can tell.

    Args:
        commit: the last one that its writer tried.
        before: the lineage of the object that the commit should replace; None if there was none, or petfleet had not
            written it.
        now: the lineage of the object that is stored now.
    """
    if now is None:
        return None
    if commit in (now.origin, *now.commits):
        return True
    kept = False
    if before is not None:
        if now.origin != before.origin:
            return None  # a program that keeps no lineage has written since
        newest = {_writer(other): _number(other) for other in now.commits}
        for other in before.commits:
            number = newest.get(_writer(other))
            if number is None and len(now.commits) >= _MAX_COMMITS:
                continue  # the oldest ones are dropped
            if number is None or number < _number(other):
                return None  # an ETag has come back: the last writer had not read since, and overwrote other commits
            kept = kept or number == _number(other)
    if len(now.commits) < _MAX_COMMITS or kept:
        return False  # else it would be named, before the commits that it follows
    return None


def _writer(commit: str) -> str:
    return commit.partition("-")[0]


def _number(commit: str) -> int:
    return int(commit.partition("-")[2])
