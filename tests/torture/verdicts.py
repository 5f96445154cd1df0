"""Which outcomes are right for a commit that others interfered with."""

from __future__ import annotations

import os
from pathlib import Path

from petfleet import FleetFormatError
from petfleet._backends.files import lock
from petfleet._backends.files.backend import FileBackend
from petfleet._commit.change import Kind
from tests.support.commits import add, commit
from tests.torture.held_commits import Operation, Trial
from tests.torture.interferences import THEIRS, Interference, Pets, Site, pets_in


def judge(site: Site, operation: Operation, theirs: Interference, moment: str, before: Pets, trial: Trial) -> None:
    """Check that the outcome is that of both, one after the other, in the order that the moment decides."""
    if theirs.unreadable:
        _judge_unreadable(site, operation, moment, before, trial)
        return
    assert trial.error is None, trial.error
    assert trial.seen is not None
    after_both = operation.means(theirs.means(before))
    before_both = theirs.means(operation.means(before))
    if operation.kind is Kind.READ:
        assert trial.seen[0] in (before, theirs.means(before))
        allowed = {before_both, before} if moment == "instant" else {before_both}
    elif moment == "seen":
        assert trial.seen[0] == theirs.means(before)
        allowed = {after_both}
    elif moment == "after":
        assert trial.seen[0] == before
        allowed = {before_both}
    else:
        allowed = {after_both, before_both, operation.means(before)}
    assert site.pets() in allowed, f"{site.pets()} is none of {allowed}"


def judge_return(site: Site, operation: Operation, before: Pets, trial: Trial) -> None:
    """Check that a commit did all its work in one place while the directory or the root was away for a time."""
    assert trial.error is None, trial.error
    assert trial.seen is not None
    assert trial.seen[0] in (before, None)
    allowed = {operation.means(trial.seen[0])}
    if trial.seen[0] is None and operation.kind is not Kind.CREATE:
        allowed = {before}  # it was away, and there was nothing to be done
    assert site.pets() in allowed, f"{site.pets()} is none of {allowed}"
    if site.away.exists():  # something had taken its place
        assert trial.seen[0] is None
        assert {pets_in(path) for path in site.away.rglob("fleet.toml")} <= {before, operation.means(before)}


def judge_rewriting(site: Site, operation: Operation, moment: str, before: Pets, trial: Trial) -> None:
    """Check that a file in the middle of being rewritten is neither replaced unseen nor taken from its writer."""
    theirs = (*(before or ()), THEIRS)
    if trial.error is not None:
        assert isinstance(trial.error, FleetFormatError), trial.error
        assert site.pets() == theirs
        return
    assert trial.seen is not None
    if operation.kind is Kind.READ:
        assert trial.seen[0] in (before, theirs)
        assert site.pets() == theirs or (moment == "instant" and site.pets() == before)
    elif moment == "seen":
        assert trial.seen[0] == theirs
        assert site.pets() == operation.means(theirs)
    elif moment == "after":
        assert site.pets() == (*(operation.means(before) or ()), THEIRS)
    else:
        assert site.pets() in (theirs, operation.means(before), operation.means(theirs))


def _judge_unreadable(site: Site, operation: Operation, moment: str, before: Pets, trial: Trial) -> None:
    """Check that the error is clear and that the others' file stands, but for the instant that nobody can notice."""
    if trial.error is not None:
        assert isinstance(trial.error, FleetFormatError), trial.error
        assert moment != "after" or operation.kind is Kind.READ, trial.error
        assert trial.error.path == str(site.path)
        assert trial.error.expected in ("the required field user_id", "user_id = 'u', found 'other'")
    else:
        assert trial.seen is not None
        assert trial.seen[0] == before
        assert moment != "seen" or operation.kind is Kind.READ, "what others left was not seen"
    if is_unreadable(site.path):
        return
    assert moment == "instant", "what others left was replaced"
    assert site.pets() == operation.means(before)


def is_unreadable(path: Path) -> bool:
    """Return whether a file is there that means no fleet of user u."""
    return path.exists() and b'"u"' not in path.read_bytes()


def see_to_the_end(backend: FileBackend, site: Site, descriptors: int) -> None:
    """Check that no descriptor, lock or file is left, and that the next call works."""
    assert open_descriptors() == descriptors, "a descriptor was left open"
    assert not lock._descriptors
    assert backend.holder("u") is None, "the lock was left held"
    if is_unreadable(site.path):
        kept = site.path.read_bytes()
        try:
            commit(backend, add("next"))
        except FleetFormatError:
            pass
        assert site.path.read_bytes() == kept
        return
    pets = site.pets()
    commit(backend, add("next"))
    assert site.pets() == (*(pets or ()), "next")
    see_that_nothing_is_left(site)


def open_descriptors() -> int:
    """Return how many descriptors this process has open."""
    return len(os.listdir("/dev/fd"))


def see_that_nothing_is_left(site: Site) -> None:
    """Check that the user has the fleet, the lock file, and nothing else."""
    names = os.listdir(site.directory) if site.directory.exists() else []
    assert {"fleet.toml", "fleet.toml.lock"}.issuperset(names), f"left behind: {names}"
