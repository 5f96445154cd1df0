"""Others interfere at every call of a commit, and beside busy processes; the harnesses notice missing protections."""

from __future__ import annotations

import os
import random
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from petfleet._backends.files import disk
from petfleet._backends.files.backend import FileBackend
from petfleet._util.cache import BoundedCache
from tests.support.mutate import mutate
from tests.torture import interference, means, parts
from tests.torture.disturbances import DISTURBANCES, play
from tests.torture.held_commits import OPERATIONS, moments
from tests.torture.interferences import PAIRS


@pytest.mark.parametrize("operation", OPERATIONS)
def test_every_interference_at_every_call_of_a_commit(operation: str) -> None:
    """The outcome is that of both, one after the other, and nothing of the commit is left behind."""
    means.need("linux")
    counted = interference.sweep(operation)
    assert counted["interferences at a call"] > 0


@pytest.mark.parametrize("settled", [False, True])
def test_interferences_that_begin_at_one_call_and_end_at_another(
    settled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same for a file that was written long ago, which is compared by its times alone."""
    means.need("linux")
    if settled:
        monkeypatch.setattr(disk, "_COARSEST_TIME", -1)
    counted = interference.pairs(random.Random(settled), 300)
    assert counted["interferences at two calls"] > 0


@pytest.mark.parametrize("disturbance", ["lock file unlinked", "rewritten slowly"])
def test_processes_go_on_while_others_interfere(disturbance: str, tmp_path: Path) -> None:
    """No change that must survive is lost, and no call fails or returns a fleet that nobody wrote."""
    means.need("linux")
    counted = play(DISTURBANCES[disturbance], parts.generator(0, disturbance, 0), tmp_path, 1.0)
    assert counted


# --- it can fail -----------------------------------------------------------------------------------------------------


def test_a_commit_that_does_not_look_again_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """It replaces unseen what others wrote after it had read."""
    means.need("linux")
    monkeypatch.setattr(disk, "unchanged", lambda path, before: True)
    with pytest.raises(AssertionError, match="the last look at the file is"):
        interference.sweep("add")


def test_a_temporary_file_left_in_a_directory_that_comes_back_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without another search for leftovers, it stays."""
    means.need("linux")

    def made(root: str) -> FileBackend:
        backend = FileBackend(root)
        backend._swept = _Unforgetting(1, 1000)
        return backend

    monkeypatch.setattr(interference, "FileBackend", made)
    with pytest.raises(AssertionError, match="left behind"):
        _all_pairs("add", "directory moved away and back")


def test_a_delete_of_a_fleet_that_is_away_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fleet comes back, although the call said that it was deleted."""
    means.need("linux")
    unlink = os.unlink

    def lenient(path: str, **options: Any) -> None:
        with suppress(FileNotFoundError):
            unlink(path, **options)

    monkeypatch.setattr(os, "unlink", lenient)
    with pytest.raises(AssertionError, match="is none of"):
        _all_pairs("delete", "directory moved away and back")


# Each of 20 plays has seen each of these. Even if it were 1 in 2, the odds that all of these plays miss one are below
# one in a billion. The first that sees it ends the test.
_SABOTAGED_PLAYS = 30


@pytest.mark.parametrize(
    ("disturbance", "protections", "failure"),
    [
        (
            "FileLock held",
            {
                "_backends/files/lock.py": (
                    "self._held = lock_descriptor(self._fd, blocking=False)",
                    "self._held = True",
                ),
                "_backends/files/disk.py": (
                    "return now is not None and _same(now.status, before.status) and now.data == before.data",
                    "return True",
                ),
            },
            "are lost",
        ),
        (
            "rewritten slowly",
            {"_backends/files/reader.py": ("_TORN_SECONDS: Final = 0.1", "_TORN_SECONDS: Final = 0")},
            "FleetFormatError",
        ),
    ],
    ids=["lock", "torn reads"],
)
def test_processes_without_a_protection_are_seen_to_fail(
    disturbance: str,
    protections: dict[str, tuple[str, str]],
    failure: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without the lock changes are lost; without a second look calls meet half-written files."""
    means.need("linux")
    mutate(tmp_path / "src", monkeypatch, *((name, *change) for name, change in protections.items()))
    with pytest.raises(AssertionError, match=failure):
        for seed in range(_SABOTAGED_PLAYS):
            place = tmp_path / str(seed)
            place.mkdir()
            play(DISTURBANCES[disturbance], random.Random(seed), place, 1.5)


class _Unforgetting(BoundedCache[str, bool]):
    def forget(self, key: str) -> None:
        pass


def _all_pairs(operation: str, name: str) -> None:
    named = moments(interference.recorded(OPERATIONS[operation]))
    (pair,) = (pair for pair in PAIRS if pair.name == name)
    for first, moment in enumerate(named):
        for second in range(first + 1, len(named) + 20, 4):
            interference.interfere_twice(OPERATIONS[operation], pair, first, second, moment)
