"""Takes protections of petfleet out of the present process, to see that the torture notices."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from petfleet import PetFleet
from petfleet._backends.files import disk, lock, reader
from petfleet._backends.objects import backend, bucket, lineage
from petfleet._backends.objects.bucket import Version
from petfleet._commit import group_commit
from petfleet._commit.change import Kind
from petfleet._commit.user_queue import PendingCall
from petfleet._model.errors import LockTimeoutError


def no_lock() -> None:
    """Everyone gets the lock, whoever has it, and no one looks whether the file is still the one that was read."""
    for module, name in ((lock, "lock_descriptor"), (disk, "unchanged")):
        setattr(module, name, lambda *arguments, **options: True)


def unchecked_memory() -> None:
    """What a process has seen of a user is not compared with what is in the file now."""
    read = reader.Reader._state

    def state(self: reader.Reader, paths: Any, stored: disk.Stored | None) -> Any:
        known = self._known.get(paths.user_id)
        return read(self, paths, stored) if known is None else known.state

    reader.Reader._state = state  # type: ignore[method-assign]


def again_when_cancelled() -> None:
    """The change of a cancelled call is made again, whether or not it was taken before."""
    original = group_commit.GroupCommit.call

    async def call(self: group_commit.GroupCommit, user_id: str, apply: Any, kind: Kind) -> PetFleet | None:
        try:
            return await original(self, user_id, apply, kind)
        except Exception:
            raise
        except BaseException:
            self._enqueue(user_id, PendingCall(apply, kind))
            raise

    group_commit.GroupCommit.call = call  # type: ignore[method-assign]


def timed_out_although_done() -> None:
    """A call that was carried out in time is told that it was not."""
    original = group_commit.GroupCommit.call

    async def call(self: group_commit.GroupCommit, user_id: str, apply: Any, kind: Kind) -> PetFleet | None:
        result = await original(self, user_id, apply, kind)
        if kind is Kind.CHANGE and self._lock_timeout < 1:
            raise LockTimeoutError(user_id, 0, None)
        return result

    group_commit.GroupCommit.call = call  # type: ignore[method-assign]


def no_condition() -> None:
    """A put replaces whatever is there."""
    put = bucket.Bucket.put

    def unconditional(self: bucket.Bucket, key: str, data: bytes, note: str, replacing: Version | None) -> Version:
        found = self.get(key, 0)
        return put(self, key, data, note, None if found is None else found.version)

    bucket.Bucket.put = unconditional  # type: ignore[method-assign]


def unrevalidated_memory() -> None:
    """An answer that needs no put rests on what was seen last."""
    read = backend.ObjectBackend._read

    def seen_last(self: backend.ObjectBackend, user_id: str, seen: Any) -> Any:
        return read(self, user_id, None) if seen is None else seen

    backend.ObjectBackend._read = seen_last  # type: ignore[method-assign]


def not_looked_up() -> None:
    """A put whose answer was lost is taken not to have happened."""
    lineage.happened = lambda commit, before, now: False


OF_FILES: Final[dict[str, Callable[[], None]]] = {
    "no lock": no_lock,
    "unchecked memory": unchecked_memory,
    "again when cancelled": again_when_cancelled,
    "timed out although done": timed_out_although_done,
}
OF_OBJECTS: Final[dict[str, Callable[[], None]]] = {
    "no condition": no_condition,
    "unrevalidated memory": unrevalidated_memory,
    "not looked up": not_looked_up,
}
SABOTAGES: Final = OF_FILES | OF_OBJECTS
