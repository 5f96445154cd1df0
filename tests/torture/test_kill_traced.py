"""Commits killed at every system call that they make, one after another, under strace."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

import pytest

from petfleet import FleetFormatError, PetFleet
from petfleet._backends.files.backend import FileBackend
from petfleet._commit.change import Kind
from tests.conftest import pet
from tests.support.commits import add, commit, load
from tests.support.mutate import IN_PLACE, mutate
from tests.torture import means
from tests.torture.kill_traced import Call, End, Traced, open_traced, prepare
from tests.torture.next_writer import check_tidy, expected_warnings, heard, stored, unfinished

OLD, NEW, BOTH = (PetFleet("u", map(pet, names), names[0]) for names in (["old"], ["new"], ["old", "new"]))
# What is stored before and after.
COMMITS: dict[str, tuple[PetFleet | None, PetFleet | None]] = {
    "create": (None, NEW),
    "add": (OLD, BOTH),
    "delete": (OLD, None),
    "recovery": (OLD, OLD),
}


def kill_everywhere(directory: Path, name: str, traced: Traced) -> list[tuple[Call, Path, End]]:
    """Kill commits of that name at each of its system calls, each under another root."""
    places = []
    for number, call in enumerate(traced.calls(directory, name)):
        root = directory / f"{name}-{number}"
        prepare(root, name)
        places.append((call, root))
    return [(call, root, end) for (call, root), end in zip(places, traced.kill_at(places), strict=True)]


def judge(call: Call, root: Path, end: End) -> PetFleet | None:
    """Raise AssertionError unless the fleet is whole, and the next writer recovers at the first try; return it."""
    assert (end.code, end.begun, end.returned) == (-signal.SIGKILL, True, False), f"{call} was not hit: {end}"
    fleet = stored(root, "u")
    assert fleet in COMMITS[call.commit], f"{fleet} after {call}"
    writer = unfinished(root, "u")
    # In a recovery that has not begun to write it is who has prepared it.
    assert writer is None or re.match(rf"pid ({end.pid}|{os.getpid()}) on ", writer), f"{writer} after {call}"
    with heard() as warned:
        warnings = expected_warnings(root, "u")
        backend = FileBackend(str(root))
        assert commit(backend, load, Kind.READ) == fleet
        assert warned.messages == warnings, f"{warned.messages} after {call}"
    check_tidy(root, "u")
    assert commit(backend, add("next")) == (fleet or PetFleet("u")).with_pet(pet("next"))
    check_tidy(root, "u")
    return fleet


def test_killed_at_any_system_call_a_commit_leaves_the_old_or_the_new_fleet(tmp_path: Path) -> None:
    """First creation, change, deletion and recovery; the next writer waits for nothing and tidies up."""
    means.need("strace")
    with open_traced() as traced:
        for name, (before, after) in COMMITS.items():
            left = [judge(*killed) for killed in kill_everywhere(tmp_path, name, traced)]
            olds = len(left) if before == after else left.index(after)
            assert olds > 0, "the first call has changed it"
            assert left == [before] * olds + [after] * (len(left) - olds)  # the change happens at one call


def test_a_commit_that_writes_in_place_does_not_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed between emptying the file and writing it, it leaves no fleet."""
    means.need("strace")
    mutate(tmp_path / "src", monkeypatch, IN_PLACE)
    with open_traced() as traced, pytest.raises(FleetFormatError):
        for killed in kill_everywhere(tmp_path, "add", traced):
            judge(*killed)
