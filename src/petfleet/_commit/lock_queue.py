"""Waiting for locks that other processes hold: a few threads wait in the kernel, one thread polls for the rest."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import closing
from typing import Final

from petfleet._backends.protocol import Backend, Commit
from petfleet._commit.user_queue import UserQueue
from petfleet._util import runtime

_MAX_THREADS: Final = 16
_POLL_SECONDS: Final = 0.02  # between two tries for a user
_MAX_TRIES: Final = 1000  # per second, for all users together


class LockQueue:
    """Waits for the turns of one store's users, thousands of them with a few threads."""

    def __init__(self, backend: Backend, mutex: threading.Lock) -> None:
        self._backend = backend
        self._mutex = mutex
        # Timers of its own: a disk that is stuck under one user must not stop the pool from adding workers.
        self._timers = runtime.Timers()
        self._waiting = self._polled = 0

    def wait(self, commit: Commit, release_slot: Callable[[Callable[[], object]], None]) -> bool:
        """Wait for a turn in this thread, without its slot; False at once if too many threads wait already."""
        with self._mutex:
            if self._waiting >= _MAX_THREADS:
                return False
            self._waiting += 1
        try:
            release_slot(commit.wait_turn)
        finally:
            with self._mutex:
                self._waiting -= 1
        return True

    def poll(self, queue: UserQueue, resume: Callable[[], object]) -> None:
        """Call ``resume`` when a thread may wait, the turn may be free, or no call waits any more.

        Raises:
            OSError: there is no thread for the timer.
        """

        def try_once() -> None:
            with self._mutex:
                self._polled -= 1
                waits = self._waiting >= _MAX_THREADS and queue.any_waits()
            if waits and self._is_refused(queue.user_id):
                self.poll(queue, resume)
            else:
                resume()

        self._timers.call_later(max(_POLL_SECONDS, self._polled / _MAX_TRIES), try_once)
        with self._mutex:
            self._polled += 1

    def _is_refused(self, user_id: str) -> bool:
        try:
            with closing(self._backend.begin(user_id, create=False)) as commit:
                return not commit.try_turn()
        except Exception:  # noqa: BLE001 - the job meets the same error, and the calls get it
            return False
