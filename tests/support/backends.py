"""Storages: where fleets are in tests that run on every backend, and what other programs see and do there."""

from __future__ import annotations

import json
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from petfleet import FleetStore
from petfleet._backends.protocol import Backend
from tests.support.file_storage import FileStorage as FileStorage
from tests.support.file_storage import is_free as is_free
from tests.support.gate import Gate
from tests.support.object_storage import Gateways
from tests.support.object_storage import MemoryStorage as MemoryStorage
from tests.support.object_storage import ObjectStorage as ObjectStorage
from tests.support.points import HeldCall

if TYPE_CHECKING:  # child processes import this module too
    import pytest

KINDS: Final = ("files", "objects")


class Storage(Protocol):
    """Where a test keeps fleets: at first empty, and also to be read and written as other programs do.

    Attributes:
        crowd: how many stores can write to one user at once and still finish quickly.
        renamed: characters that are not the same in a user id that ``users`` returns.
        load: what each of four processes does: its tasks, their calls on a user, and the users beside the shared one.
    """

    crowd: int
    renamed: str
    load: tuple[int, int, int]

    def backend(self) -> Backend:
        """Return a new backend over it."""

    def store(self, **options: Any) -> FleetStore:
        """Return a new store over it, whose calls have no deadline unless the options say so."""

    def where(self, user_id: str = "user") -> str:
        """Return the path or URL of a user's fleet, as it is in errors."""

    def read(self, user_id: str = "user") -> bytes | None:
        """Return the bytes of a user's fleet; None if there is none."""

    def version(self, user_id: str = "user") -> object:
        """Return a value that changes with every write, even of the same bytes; None if there is no fleet."""

    def write(self, data: bytes, user_id: str = "user") -> None:
        """Write a user's fleet as a program without petfleet does."""

    def remove(self, user_id: str = "user") -> None:
        """Remove a user's fleet as such a program does."""

    def write_long_ago(self, data: bytes, user_id: str = "user") -> None:
        """Write as :meth:`write` does, with a time so old that the file cannot be taken for half-written."""

    def leave(self, name: str, data: bytes = b"") -> None:
        """Write a file or object that is not petfleet's."""

    def left(self) -> list[str]:
        """Return the names of all files or objects, except what petfleet keeps for users without a fleet."""

    def make(self) -> None:
        """Make the root directory, which otherwise the first fleet makes."""

    def is_untouched(self) -> bool:
        """Return whether nothing at all was made."""

    def is_empty(self) -> bool:
        """Return whether there is no fleet, and nothing else is left."""

    def is_settled(self, user_id: str = "user") -> bool:
        """Return whether a user has a fleet, nothing is left beside it, and its lock is free."""

    def argument(self) -> str:
        """Return the argument from which :func:`storage_at` makes this storage in another process."""

    def contended(self, user_id: str = "user") -> str:
        """Return the path of a LockTimeoutError."""

    def busy(self, user_id: str = "user") -> AbstractContextManager[None]:
        """Let another writer keep every write of this user from succeeding; the fleet stays the same."""

    def held(self, point: str) -> HeldCall:
        """Return a context manager that holds every worker that comes to this point of a call."""

    def gate_before_write(self, patch: pytest.MonkeyPatch, gate: Gate) -> None:
        """Hold commits before the last step, when nobody can see their changes yet."""

    def gate_after_write(self, patch: pytest.MonkeyPatch, gate: Gate) -> None:
        """Hold commits after the last step, when everybody can see their changes."""

    def gate_users(self, patch: pytest.MonkeyPatch, gate: Gate) -> None:
        """Hold whatever thread lists users."""

    def fail_writes(self, patch: pytest.MonkeyPatch, number: int) -> None:
        """Let every write fail with this errno before anything has changed."""

    def fail_reads(self, patch: pytest.MonkeyPatch, number: int) -> None:
        """Let every read of a fleet fail with this errno."""

    def doubt_writes(self, patch: pytest.MonkeyPatch) -> None:
        """Let the next write succeed without a confirmation."""

    def overtake_once(self, patch: pytest.MonkeyPatch) -> list[None]:
        """Let another writer come between the read and the write of one commit; the list is empty after that."""


def version_and_bytes(storage: Storage) -> tuple[object, bytes | None]:
    """Return what changes with every write of the user's fleet, and its bytes."""
    return storage.version(), storage.read()


def storage_at(argument: str) -> Storage:
    """Return the storage whose ``argument`` this is, in another process."""
    told = json.loads(argument)
    if "root" in told:
        return FileStorage(Path(told["root"]))
    return ObjectStorage(Gateways(told["bucket"], told["ways"]), told["prefix"])
