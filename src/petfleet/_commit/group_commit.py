"""Group commit: changes wait per user, worker threads commit them in batches and wake the waiting tasks.

The event loop only enqueues, waits and wakes. A user with waiting calls has exactly one job: it runs in a worker thread
(which may wait there for the user's turn), or a timer will start it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

import anyio

from petfleet._backends.protocol import Backend, Commit, OvertakenError
from petfleet._commit import waiter
from petfleet._commit.change import Kind, carry_out, fail
from petfleet._commit.lock_queue import LockQueue
from petfleet._commit.nesting import refuse_nested
from petfleet._commit.peeks import Peeks
from petfleet._commit.pool import Pool
from petfleet._commit.statistics import Counts, FleetStoreStatistics
from petfleet._commit.timeouts import timeout_error
from petfleet._commit.user_queue import NO_THREAD, OTHERS_TURN, PendingCall, UserQueue, mark_done, wake_tasks
from petfleet._model.fleet import PetFleet
from petfleet._util import log, runtime
from petfleet._util.backoff import random_rest
from petfleet._util.cache import BoundedCache
from petfleet._util.fork import finish_at_exit, start_clean_in_child

_HOT_SECONDS: Final = 0.01  # a user with new calls so soon after a batch lets other users go first


class _HandedOnError(Exception):
    """The user's job goes on in another thread, or later."""


class GroupCommit:
    """Takes calls from tasks to a backend, and results back; the arguments are those of the store."""

    def __init__(self, backend: Backend, lock_timeout: float, threads: int) -> None:
        self._backend = backend
        self._lock_timeout = lock_timeout
        self._threads = threads
        waiter.load()
        self.start_clean()
        start_clean_in_child(self)
        finish_at_exit(self)

    def start_clean(self) -> None:
        """Start without queues and threads. Also called in a forked child, which inherits no thread."""
        self.mutex = runtime.Lock()
        # Notified when calls are done, or begin to wait for other processes.
        self.changed = runtime.Condition(self.mutex)
        self._queues: dict[str, UserQueue] = {}
        self._timers = runtime.Timers()
        self.workers: Pool[UserQueue] = Pool(self._run, 4, self._threads, self._timers)
        self._lock_queue = LockQueue(self._backend, self.mutex)
        self.peeks = Peeks(self._backend.peeks_at_once, self._timers)
        self._served: BoundedCache[str, float] = BoundedCache(4096, 1024 * 1024)  # when a user's last batch was done
        self._counts = Counts()
        self._ends = False

    async def call(
        self, user_id: str, apply: Callable[[PetFleet | None], PetFleet | None], kind: Kind
    ) -> PetFleet | None:
        """Carry out a change, and return the fleet right after it.

        A call that is cancelled before its change was taken has no effect; later it takes full effect.
        """
        refuse_nested(self, user_id)
        call = PendingCall(apply, kind)
        queue = self._enqueue(user_id, call)
        try:
            if not await call.waiter.wait(self._lock_timeout or math.inf):
                with self.mutex:
                    taken = call.expire()
                if taken:
                    await call.waiter.wait(math.inf)
            if call.done:
                return call.outcome()
            resume = partial(self._resume, queue, queue.ticket)
            raise await timeout_error(queue, call, self._backend, self.peeks, resume)
        except BaseException:
            # A flag and no lock: the garbage collector may close a dead loop's coroutine inside any lock of ours.
            call.cancelled = True
            raise

    async def aclose(self) -> None:
        """Wait for the calls made before, except those that wait for other processes, and end the threads."""
        with self.mutex:
            before = [(q, call) for q in self._queues.values() for call in (*q.taken, *q.waiting)]
        if before or self.workers.is_used() or self.peeks.is_used():
            await anyio.to_thread.run_sync(self._close, before, abandon_on_cancel=True)

    def statistics(self) -> FleetStoreStatistics:
        """Return the counts so far."""
        with self.mutex:
            return self._counts.snapshot()

    def _enqueue(self, user_id: str, call: PendingCall) -> UserQueue:
        with self.mutex:
            queue = self._queues.get(user_id)
            if queue is None:
                queue = UserQueue(user_id)
                self._submit(queue)
                self._queues[user_id] = queue
            # Last, so that no KeyboardInterrupt leaves a waiting call without a job; a job without a call just ends.
            queue.append(call)
            return queue

    def _submit(self, queue: UserQueue) -> None:
        """Let a worker commit the user's next batch; users who were not served just now come first."""
        hot = runtime.monotonic() - (self._served.get(queue.user_id) or 0.0) < _HOT_SECONDS
        queue.enter(NO_THREAD)
        queue.ticket = None
        self.workers.submit(queue, ahead=not hot)

    def _submit_or_fail(self, queue: UserQueue) -> list[PendingCall]:
        """Submit the user's next batch. If there is no thread for it, fail its calls and return them."""
        try:
            self._submit(queue)
        except OSError as error:
            del self._queues[queue.user_id]
            fail(queue.waiting, error, None)
            return list(queue.waiting)
        return []

    def _run(self, queue: UserQueue) -> float:
        """Do a user's job, and return how many seconds its write took, or 0."""
        try:
            took = self._try(queue)
        except _HandedOnError:
            return 0.0
        except BaseException as error:  # noqa: BLE001 - every error must reach the calls
            took = 0.0
            with self.mutex:
                calls = queue.taken or queue.take()
            fail(calls, error, None)
        self._end(queue)
        return took

    def _try(self, queue: UserQueue) -> float:
        """Commit one batch, if any call is left. This is the only retry loop."""
        while True:
            with self.mutex:
                queue.tried_at = runtime.monotonic()
                if not queue.any_waits():
                    return 0.0
                create = any(call.kind >= Kind.CREATE and not call.cancelled for call in queue.waiting)
            try:
                commit = self._backend.begin(queue.user_id, create=create)
                try:
                    waited = not commit.try_turn()
                    if waited and not self._wait_turn(queue, commit):
                        return 0.0
                    calls = self._take(queue)  # as late as possible: calls that arrived meanwhile join the batch
                    # Without calls it still removes the directory that begin has just created.
                    return carry_out(calls, commit, queue.enter) if calls or (create and not waited) else 0.0
                finally:
                    # A commit stays a commit, even if the lock cannot be released.
                    log.best_effort(commit.close)
            except OvertakenError:
                queue.enter(OTHERS_TURN)
                with self.mutex:
                    expired = queue.requeue()
                wake_tasks(expired)
                queue.overtaken += 1
            if queue.overtaken > 1:  # once is no sign of contention
                if not self._refused(queue):
                    return 0.0
                ticket = queue.ticket = object()
                self._timers.call_later(random_rest(queue.overtaken - 2), partial(self._resume, queue, ticket))
                raise _HandedOnError

    def _take(self, queue: UserQueue) -> list[PendingCall]:
        with self.mutex:
            if self._ends:
                raise _HandedOnError
            return queue.take()

    def _end(self, queue: UserQueue) -> None:
        """End a job: wake its tasks, and submit the user's next job or drop the user."""
        now, waited = runtime.monotonic(), 0.0
        with self.mutex:
            calls, queue.taken = queue.taken, []
            if queue.refused_at is not None and (calls or not queue.waiting):
                waited, queue.refused_at = now - queue.refused_at, None
            warns = self._counts.end_wait(waited)
            if calls:
                queue.overtaken = 0
                self._counts.add_commit(len(calls))
                self._served.put(queue.user_id, now, len(queue.user_id))
            if self._queues.get(queue.user_id) is not queue:
                pass  # an interrupt came before its first call was added
            elif not queue.waiting:
                del self._queues[queue.user_id]
            else:
                calls += self._submit_or_fail(queue)
            mark_done(calls)
            self.changed.notify_all()
        if warns:
            log.warning("waited %.1f s for the lock of user %s", waited, queue.user_id)
        wake_tasks(calls)

    def _close(self, before: Sequence[tuple[UserQueue, PendingCall]]) -> None:
        with self.mutex:
            self.changed.wait_for(lambda: not any(queue.is_under_way(call) for queue, call in before))
        self.workers.end_idle()
        self.peeks.end_idle()

    def finish(self) -> None:
        """Take no more calls, and wait for the taken ones, since the interpreter ends."""
        with self.mutex:
            self._ends = True
            self.changed.wait_for(lambda: not any(queue.taken for queue in self._queues.values()))

    def _wait_turn(self, queue: UserQueue, commit: Commit) -> bool:
        """Wait for the turn in this thread, while another one has its slot; False if no call is left."""
        if not self._refused(queue):
            return False
        ticket = queue.ticket = object()
        try:
            waited = self._lock_queue.wait(commit, self.workers.release_slot)
        finally:
            with self.mutex:
                if queue.ticket is not ticket:
                    raise _HandedOnError  # however the wait ended, another job has the calls by now
                queue.ticket = None
        if not waited:
            ticket = queue.ticket = object()
            self._lock_queue.poll(queue, partial(self._resume, queue, ticket))
            raise _HandedOnError
        return True

    def _refused(self, queue: UserQueue) -> bool:
        """Note that another process has the turn, and return whether any call waits for it."""
        queue.enter(OTHERS_TURN)
        with self.mutex:
            if queue.refused_at is None:
                queue.refused_at = runtime.monotonic()
                self._counts.add_wait()
            refused = queue.refuse() if self._lock_timeout == 0 else []
            waits = not refused and queue.any_waits()  # before any task is woken, since it may call again
            self.changed.notify_all()
        wake_tasks(refused)
        return waits

    def _resume(self, queue: UserQueue, ticket: object) -> None:
        """Submit a new job in place of the waiting one, unless that has gone on."""
        with self.mutex:
            calls = [] if ticket is None or queue.ticket is not ticket else self._submit_or_fail(queue)
            mark_done(calls)
            self.changed.notify_all()
        wake_tasks(calls)
