"""The points of a call, at each of which a hook can hold it."""

from __future__ import annotations

import operator
import threading
from collections.abc import Callable
from contextlib import ExitStack
from types import TracebackType
from typing import Any, ClassVar, Final
from unittest import mock

from petfleet import FleetStore
from petfleet._backends.files import disk, lock
from petfleet._backends.objects.bucket import Bucket
from petfleet._commit import group_commit, user_queue
from tests.support.gate import Gate

BEFORE_TAKEN: Final = ("enqueued", "refused", "waiting")
UNDER_LOCK: Final = ("taken", "written", "renamed")
POINTS: Final = (*BEFORE_TAKEN, *UNDER_LOCK, "committed", "posted")
BUSY: Final = ("refused", "waiting")  # someone else has to hold the lock, or they are never reached
REQUEST_POINTS: Final = ("enqueued", "refused", "taken", "put", "answered", "committed", "posted")
# Each kind of storage, with each of its points.
STORAGES_AND_POINTS: Final = (
    *(("files", point) for point in POINTS),
    *(("objects", point) for point in REQUEST_POINTS),
)
_SECONDS: Final = 60  # how long a point is waited for, and held, at most


class HeldCall:
    """Holds whatever worker comes to one point of a call; a context manager that lets go at its end.

    ``enqueued``: no thread has looked at it yet. ``refused``: the lock was refused. ``waiting``: its thread waits for
    the lock in the kernel, or is about to; the lock's holder is what keeps it there. ``taken``: the file is not read
    yet. ``written``: the temporary file is. ``renamed``: the fleet file is new. ``committed``: the lock is released, no
    task woken. ``posted``: like that, until :meth:`post`.
    """

    points: ClassVar[tuple[str, ...]] = POINTS

    def __init__(self, point: str) -> None:
        assert point in self.points
        self.point = point
        self.posted = threading.Event()
        self._entrance = Gate()
        self._stop = self._entrance if point == "enqueued" else Gate()
        self._hooks = ExitStack()

    def __enter__(self) -> HeldCall:
        self._hook_entrance()
        if self.point in ("committed", "posted"):
            wake_tasks = user_queue.wake_tasks

            def gated(posted: list[user_queue.PendingCall]) -> None:
                self._stop.hold()
                wake_tasks(posted)
                self.posted.set()

            self._hooks.enter_context(mock.patch("petfleet._commit.group_commit.wake_tasks", gated))
        elif self.point != "enqueued":
            self._hook_stop()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.open()
        self._hooks.close()

    def admit(self) -> None:
        """Let the worker, held before it takes what is enqueued, come as far as the point."""
        if self._stop is not self._entrance:
            self._entrance.open()

    def reached(self) -> bool:
        """Return whether a worker is held at the point."""
        return self._stop.reached.is_set()

    def reach(self) -> None:
        """Let the worker come to the point, and wait for it there."""
        self.admit()
        assert self._stop.reached.wait(_SECONDS), f"{self.point} was never reached"
        if self.point == "posted":
            self.post()

    def post(self) -> None:
        """Have the results posted to the event loops."""
        self.open()
        assert self.posted.wait(_SECONDS), "no result was posted"

    def open(self) -> None:
        """Let everyone go on."""
        self._entrance.open()
        self._stop.open()

    def _hook_entrance(self) -> None:
        self._hook(group_commit.GroupCommit, "_try", before=self._entrance)

    def _hook_stop(self) -> None:
        if self.point == "refused":
            self._hook(lock.UserLock, "try_acquire", after=self._stop, only=operator.not_)
        elif self.point == "waiting":
            acquire = lock.UserLock.acquire

            def waiting(user_lock: lock.UserLock) -> None:
                self._stop.reached.set()
                acquire(user_lock)

            self._hooks.enter_context(mock.patch.object(lock.UserLock, "acquire", waiting))
        elif self.point == "taken":
            self._hook(disk, "read", before=self._stop)
        elif self.point == "written":
            self._hook(disk, "write_new", after=self._stop)
        elif self.point == "renamed":
            self._hook(disk, "rename", after=self._stop)

    def _hook(
        self,
        place: object,
        name: str,
        *,
        before: Gate | None = None,
        after: Gate | None = None,
        only: Callable[[object], bool] = lambda result: True,
    ) -> None:
        function = getattr(place, name)

        def gated(*arguments: Any, **options: Any) -> Any:
            if before is not None:
                before.hold()
            result = function(*arguments, **options)
            if after is not None and only(result):
                after.hold()
            return result

        self._hooks.enter_context(mock.patch.object(place, name, gated))


class HeldObjectCall(HeldCall):
    """The same for calls on objects.

    ``enqueued``: as for files. ``refused``: others got ahead, and the calls wait again.
    ``taken``: they do not wait any more. ``put``: before the request that puts. ``answered``: after its answer.
    ``committed``, ``posted``: as for files.
    """

    points = REQUEST_POINTS

    def _hook_stop(self) -> None:
        if self.point == "refused":
            self._hook(group_commit.GroupCommit, "_refused", before=self._stop)
        elif self.point == "taken":
            self._hook(group_commit.GroupCommit, "_take", after=self._stop)
        elif self.point == "put":
            self._hook(Bucket, "put", before=self._stop)
        elif self.point == "answered":
            self._hook(Bucket, "put", after=self._stop)


def waits_for(store: FleetStore, number: int) -> bool:
    """Return whether so many calls wait to be taken for the user named ``user``."""
    queue = store._group_commit._queues.get("user")
    return queue is not None and len(queue.waiting) == number
