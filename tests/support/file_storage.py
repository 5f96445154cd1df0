"""Fleets as files, for tests that run on every backend."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import filelock

from petfleet import FleetStore, fleet_path
from petfleet._backends.files import disk
from petfleet._backends.files.backend import FileBackend
from petfleet._backends.protocol import Backend
from tests.support.gate import Gate
from tests.support.points import HeldCall

if TYPE_CHECKING:  # child processes import this module too
    import pytest


_LONG_AGO: Final = (1_700_000_000, 1_700_000_000)


class FileStorage:
    """A root directory that does not exist yet."""

    crowd = 21
    renamed = ""
    load = (50, 4, 20)

    def __init__(self, root: Path) -> None:
        self._root = root

    def backend(self) -> Backend:
        return FileBackend(str(self._root))

    def store(self, **options: Any) -> FleetStore:
        return FleetStore(self._root, **{"lock_timeout": 3600, **options})

    def where(self, user_id: str = "user") -> str:
        return str(fleet_path(user_id, self._root))

    def read(self, user_id: str = "user") -> bytes | None:
        path = fleet_path(user_id, self._root)
        return path.read_bytes() if path.exists() else None

    def version(self, user_id: str = "user") -> object:
        path = fleet_path(user_id, self._root)
        return (path.stat().st_ino, path.stat().st_mtime_ns) if path.exists() else None

    def write(self, data: bytes, user_id: str = "user") -> None:
        path = fleet_path(user_id, self._root)
        path.parent.mkdir(parents=True, exist_ok=True)
        # By a rename: on a busy machine a watch could meet a half-written file for longer than it waits for the rest.
        path.with_name("new").write_bytes(data)
        path.with_name("new").replace(path)

    def remove(self, user_id: str = "user") -> None:
        fleet_path(user_id, self._root).unlink()

    def write_long_ago(self, data: bytes, user_id: str = "user") -> None:
        self.write(data, user_id)
        os.utime(fleet_path(user_id, self._root), _LONG_AGO)

    def leave(self, name: str, data: bytes = b"") -> None:
        path = self._root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    def left(self) -> list[str]:
        return sorted(str(path.relative_to(self._root)) for path in self._root.rglob("*") if not path.is_dir())

    def make(self) -> None:
        self._root.mkdir()

    def is_untouched(self) -> bool:
        return not self._root.exists()

    def is_empty(self) -> bool:
        return os.listdir(self._root) == []

    def is_settled(self, user_id: str = "user") -> bool:
        directory = fleet_path(user_id, self._root).parent
        there = sorted(os.listdir(directory)) == ["fleet.toml", "fleet.toml.lock"]
        return there and is_free(directory / "fleet.toml.lock")

    def argument(self) -> str:
        return json.dumps({"root": str(self._root)})

    def contended(self, user_id: str = "user") -> str:
        return f"{fleet_path(user_id, self._root)}.lock"

    @contextmanager
    def busy(self, user_id: str = "user") -> Iterator[None]:
        with filelock.FileLock(self.contended(user_id)):
            yield

    def held(self, point: str) -> HeldCall:
        return HeldCall(point)

    def gate_before_write(self, patch: pytest.MonkeyPatch, gate: Gate) -> None:
        patch.setattr(disk, "rename", gate.before(disk.rename))

    def gate_after_write(self, patch: pytest.MonkeyPatch, gate: Gate) -> None:
        patch.setattr(disk, "rename", gate.after(disk.rename))

    def gate_users(self, patch: pytest.MonkeyPatch, gate: Gate) -> None:
        patch.setattr(disk, "exists", gate.before(disk.exists))

    def fail_writes(self, patch: pytest.MonkeyPatch, number: int) -> None:
        def write_new(path: str, data: bytes, like: object) -> str:
            raise OSError(number, os.strerror(number), path)

        patch.setattr(disk, "write_new", write_new)

    def fail_reads(self, patch: pytest.MonkeyPatch, number: int) -> None:
        def read(path: str, *arguments: object) -> disk.Stored:
            raise OSError(number, os.strerror(number), path)

        patch.setattr(disk, "read", read)

    def doubt_writes(self, patch: pytest.MonkeyPatch) -> None:
        def sync(directory: disk.Directory) -> None:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

        patch.setattr(disk.Directory, "sync", sync)

    def overtake_once(self, patch: pytest.MonkeyPatch) -> list[None]:
        left = [None]
        unchanged = disk.unchanged
        patch.setattr(disk, "unchanged", lambda path, before: bool(left.pop()) if left else unchanged(path, before))
        return left


def is_free(path: Path) -> bool:
    """Return whether another program gets this lock at the first try."""
    # Not by a FileLock: most versions empty the file that they have locked, and the marker is still wanted.
    with open(path, "rb") as file:
        return filelock.lock_descriptor(file.fileno(), blocking=False)
