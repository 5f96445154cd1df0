"""The user's directory, or the root, vanishes in the middle of a commit, is moved away, or comes back."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from petfleet import PetFleet
from petfleet._backends.files import disk, lock
from petfleet._backends.files.backend import FileBackend
from petfleet._backends.files.lock import UserLock
from petfleet._commit.change import Change, Kind
from tests.conftest import pet
from tests.support.commits import (
    add,
    attempt,
    commit,
    delete,
    load,
    names,
    once_before,
    stored,
)


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (UserLock, "try_acquire"),
        (disk, "read"),
        (disk, "write_new"),
        (disk, "unchanged"),
        (disk, "rename"),
    ],
)
def test_a_directory_that_vanishes_makes_the_commit_start_over(
    backend: FileBackend, path: Path, monkeypatch: pytest.MonkeyPatch, owner: object, name: str
) -> None:
    """Never ENOENT: the change then applies to a user who has nothing."""
    commit(backend, add("mira"))
    once_before(monkeypatch, owner, name, lambda: shutil.rmtree(path.parent))
    fleet = commit(backend, add("otto"))
    assert fleet == PetFleet("u", [pet("otto")], "otto")
    assert stored(path) == ["otto"]


def test_a_directory_moved_away_after_the_rename_takes_the_commit_with_it(
    backend: FileBackend, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The change was made and synced; where the directory went is not ours to follow."""
    commit(backend, add("mira"))
    away = path.parent.with_name("away")
    rename = disk.rename
    monkeypatch.setattr(disk, "rename", lambda source, target: (rename(source, target), path.parent.rename(away)))
    fleet = commit(backend, add("otto"))
    assert fleet is not None
    assert stored(away / "fleet.toml") == ["mira", "otto"]
    assert not path.exists()


def test_a_root_that_vanishes_after_the_rename_is_no_error(
    backend: FileBackend, path: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The program that moved it has to sync the names."""
    rename = disk.rename
    away = root.with_name("away")
    monkeypatch.setattr(disk, "rename", lambda source, target: (rename(source, target), root.rename(away)))
    commit(backend, add("mira"))
    assert stored(away / "u" / "fleet.toml") == ["mira"]


def test_a_user_directory_whose_parent_can_never_be_made_is_an_error(tmp_path: Path) -> None:
    """A root behind a dangling link is ENOENT for good, and said so instead of being tried for ever."""
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError):
        commit(FileBackend(str(tmp_path / "link")), add("mira"))


@pytest.mark.parametrize(("owner", "name"), [(lock, "_open"), (UserLock, "marker")], ids=["opening", "reading"])
def test_a_directory_that_vanishes_again_and_again_counts_as_busy(
    backend: FileBackend, monkeypatch: pytest.MonkeyPatch, owner: object, name: str
) -> None:
    """Never ENOENT: the engine tries again until the call's deadline."""
    commit(backend, add("mira"))

    def vanished(*arguments: object, **options: object) -> None:
        raise FileNotFoundError(2, "No such file or directory")

    monkeypatch.setattr(owner, name, vanished)
    assert not attempt(backend, Change(load, Kind.READ))


def test_a_directory_that_comes_back_holds_no_half_written_file(
    backend: FileBackend, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was away when the temporary file was to be removed, so that is looked for again."""
    commit(backend, add("mira"))
    away = path.parent.with_name("away")
    write_new = disk.write_new
    monkeypatch.setattr(disk, "write_new", lambda *of: (write_new(*of), path.parent.rename(away)))
    opened = lock._open

    def open_after_the_return(*of: Any, **options: Any) -> Any:
        if away.exists():
            away.rename(path.parent)
            monkeypatch.setattr(disk, "write_new", write_new)
        return opened(*of, **options)

    monkeypatch.setattr(lock, "_open", open_after_the_return)
    commit(backend, add("otto"))
    assert stored(path) == ["mira", "otto"]
    assert names(path) == {"fleet.toml", "fleet.toml.lock"}


def test_a_fleet_that_was_away_when_it_was_to_be_deleted_is_not_reported_as_deleted(
    backend: FileBackend, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may come back: the commit starts over, and reports what it then finds."""
    commit(backend, add("mira"))
    away = path.parent.with_name("away")
    unchanged = disk.unchanged
    monkeypatch.setattr(disk, "unchanged", lambda *of: (unchanged(*of), path.parent.rename(away))[0])
    seen: list[PetFleet | None] = []

    def watched(fleet: PetFleet | None) -> PetFleet | None:
        seen.append(fleet)
        return delete(fleet)

    commit(backend, watched, Kind.DELETE)
    assert seen == [PetFleet("u", [pet("mira")], "mira"), None]
    assert stored(away / "fleet.toml") == ["mira"]
