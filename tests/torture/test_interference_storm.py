"""Others interfere at every call of a commit, and beside busy processes; and the harnesses see what goes wrong."""

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
from tests.torture.held_commits import OPERATIONS, moments
from tests.torture.interferences import PAIRS
from tests.torture.storm import WEATHERS, play


@pytest.mark.parametrize("operation", OPERATIONS)
def test_every_interference_at_every_call_of_a_commit(operation: str) -> None:
    """The outcome is that of both, one after the other, and nothing of the commit is left behind."""
    means.need("linux")
    counted = interference.sweep(operation)
    assert counted["interferences at a call"] > 100


@pytest.mark.parametrize("settled", [False, True])
def test_interferences_that_begin_at_one_call_and_end_at_another(
    settled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So too for a file that was written long ago, which is compared by its times alone."""
    means.need("linux")
    if settled:
        monkeypatch.setattr(disk, "_COARSEST_TIME", -1)
    counted = interference.pairs(random.Random(settled), 300)
    assert counted["interferences at two calls"] > 200


@pytest.mark.parametrize("weather", ["lock file unlinked", "rewritten slowly"])
def test_processes_go_on_while_others_interfere(weather: str, tmp_path: Path) -> None:
    """What has to survive does, and no call fails or tells of a fleet that nobody wrote."""
    means.need("linux")
    counted = play(WEATHERS[weather], parts.generator(0, weather, 0), tmp_path, 1.0)
    assert counted["calls"] > 20


# --- it can fail -----------------------------------------------------------------------------------------------------


def test_a_commit_that_does_not_look_again_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """It replaces unseen what others wrote since it read."""
    means.need("linux")
    monkeypatch.setattr(disk, "unchanged", lambda path, before: True)
    with pytest.raises(AssertionError, match="the last look at the file is"):
        interference.sweep("add")


def test_a_temporary_file_left_in_a_directory_that_comes_back_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """So it is without another search for leftovers."""
    means.need("linux")

    def made(root: str) -> FileBackend:
        backend = FileBackend(root)
        backend._swept = _Unforgetting(1, 1000)
        return backend

    monkeypatch.setattr(interference, "FileBackend", made)
    with pytest.raises(AssertionError, match="left behind"):
        _all_pairs("add", "directory moved away and back")


def test_a_delete_of_a_fleet_that_is_away_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """It comes back, although the call said that it is no more."""
    means.need("linux")
    unlink = os.unlink

    def lenient(path: str, **options: Any) -> None:
        with suppress(FileNotFoundError):
            unlink(path, **options)

    monkeypatch.setattr(os, "unlink", lenient)
    with pytest.raises(AssertionError, match="is none of"):
        _all_pairs("delete", "directory moved away and back")


@pytest.mark.parametrize(
    ("weather", "protections", "failure"),
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
    weather: str,
    protections: dict[str, tuple[str, str]],
    failure: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without the lock changes are lost, and without a second look half-written files are met."""
    means.need("linux")
    mutate(tmp_path / "src", monkeypatch, *((name, *change) for name, change in protections.items()))
    with pytest.raises(AssertionError, match=failure):
        play(WEATHERS[weather], random.Random(0), tmp_path, 1.5)


class _Unforgetting(BoundedCache[str, bool]):
    def forget(self, key: str) -> None:
        pass


def _all_pairs(operation: str, name: str) -> None:
    named = moments(interference.recorded(OPERATIONS[operation]))
    (pair,) = (pair for pair in PAIRS if pair.name == name)
    for first, moment in enumerate(named):
        for second in range(first + 1, len(named) + 20, 4):
            interference.interfere_twice(OPERATIONS[operation], pair, first, second, moment)
