"""Takes protections of petfleet out of the present process, to see that the proof of them turns red."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from petfleet import PetFleet, batching, disk, lock, reading
from petfleet.changes import Kind
from petfleet.errors import LockTimeoutError


def no_lock() -> None:
    """Everyone gets the lock, whoever has it, and no one looks whether the file is still the one that was read."""
    for module, name in ((lock, "lock_descriptor"), (disk, "unchanged")):
        setattr(module, name, lambda *arguments, **options: True)


def unchecked_memory() -> None:
    """What a process has seen of a user is not compared with what is in the file now."""
    read = reading.Reader._state

    def state(self: reading.Reader, place: Any, stored: disk.Stored | None) -> Any:
        known = self._known.get(place.user_id)
        return read(self, place, stored) if known is None else known.state

    reading.Reader._state = state  # type: ignore[method-assign]


def again_when_cancelled() -> None:
    """The change of a cancelled call is made again, whether or not it was taken before."""
    original = batching.Batching.call

    async def call(self: batching.Batching, user_id: str, apply: Any, kind: Kind) -> PetFleet | None:
        try:
            return await original(self, user_id, apply, kind)
        except Exception:
            raise
        except BaseException:
            self._enqueue(user_id, batching._Call(apply, kind, 10))
            raise

    batching.Batching.call = call  # type: ignore[method-assign]


def timed_out_although_done() -> None:
    """A call that was carried out in time is told that it was not."""
    original = batching.Batching.call

    async def call(self: batching.Batching, user_id: str, apply: Any, kind: Kind) -> PetFleet | None:
        result = await original(self, user_id, apply, kind)
        if kind is Kind.CHANGE and self._lock_timeout < 1:
            raise LockTimeoutError(user_id, 0, None)
        return result

    batching.Batching.call = call  # type: ignore[method-assign]


SABOTAGES: Final[dict[str, Callable[[], None]]] = {
    "no lock": no_lock,
    "unchecked memory": unchecked_memory,
    "again when cancelled": again_when_cancelled,
    "timed out although done": timed_out_although_done,
}
