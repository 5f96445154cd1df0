"""Batches on files: what is only there when something goes wrong with a directory."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from petfleet import FleetFormatError, FleetStore, UnconfirmedCommitError, dumps, fleet_path
from petfleet._backends.files import disk
from tests.conftest import pet
from tests.store.test_batches import MIRA, kinds, together


def file_of(root: Path) -> tuple[int, bytes] | None:
    """The user's file: which one, and what is in it."""
    path = fleet_path("user", root)
    return (path.stat().st_ino, path.read_bytes()) if path.exists() else None


async def test_what_fails_a_whole_batch_gives_every_call_an_error_of_its_own(store: FleetStore, root: Path) -> None:
    """Tasks that fail for one reason do not share, and so do not change, one exception and its traceback."""
    path = fleet_path("user", root)
    os.makedirs(path)
    errors = await together(*[lambda: store.load("user")] * 3)
    assert kinds(errors) == [FleetFormatError] * 3
    assert len({id(error) for error in errors}) == 3
    assert {error.path for error in errors} == {str(path)}
    assert len({str(error) for error in errors}) == 1
    assert store.statistics().largest_batch == 3


async def test_a_failing_directory_sync_leaves_all_of_the_batch_in_doubt(
    store: FleetStore, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Loads too: what they would say may not survive. The next call writes the same bytes anew and answers."""
    await store.add("user", pet("mira"))

    def sync(directory: disk.Directory) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr(disk.Directory, "sync", sync)
        outcomes = await together(
            lambda: store.add("user", pet("nova")),
            lambda: store.load("user"),
            lambda: store.switch("user", "ghost"),
            lambda: store.add("user", pet("otto")),
        )
    assert kinds(outcomes) == [UnconfirmedCommitError] * 4
    assert len({id(error) for error in outcomes}) == 4
    assert {error.path for error in outcomes} == {str(fleet_path("user", root))}
    assert outcomes[0].__cause__.errno == errno.EIO
    in_doubt = file_of(root)
    assert in_doubt is not None
    fleet = await store.load("user")
    assert fleet == MIRA.with_pet(pet("nova")).with_pet(pet("otto"))
    recovered = file_of(root)
    assert recovered is not None
    assert recovered[1] == in_doubt[1] == dumps(fleet).encode()
    assert recovered[0] != in_doubt[0]
