"""Group commit: changes wait per user, worker threads commit them in batches and wake the waiting tasks.

The event loop only enqueues, waits and wakes. For each user with waiting changes exactly one job is under way: in the
thread pool, or parked while the user's lock is refused.
"""

from __future__ import annotations

import concurrent.futures
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, TypeVar

import anyio

from petfleet import logs, waking
from petfleet.backend import Backend
from petfleet.changes import Change, Kind, fail
from petfleet.fleet import PetFleet
from petfleet.forks import start_clean_in_child
from petfleet.memory import Memory
from petfleet.parking import Parking
from petfleet.spin import LONGEST_PAUSE, Spin
from petfleet.waking import Waiter
from petfleet.workers import Workers, threads_may_run_out

T = TypeVar("T")

_MOST_IN_BATCH: Final = 256  # so that no one holds a lock, or the interpreter, for long
_CONTENDED_SECONDS: Final = 0.1  # how long after a refused lock others are taken to want it too
_HOT_SECONDS: Final = 0.01  # a user who comes back so soon after a batch is hot
_LONG_WAIT: Final = 1.0  # seconds; a longer wait for a lock is worth a warning


@dataclass(frozen=True, slots=True)
class FleetStoreStatistics:
    """What a store has done in this process so far.

    Attributes:
        commits: batches carried out, of loads too.
        changes: calls that those batches carried.
        largest_batch: the most calls in one batch.
        lock_waits: how often a lock was found held by someone else.
        lock_wait_seconds: how long all of those waits took.
    """

    commits: int = 0
    changes: int = 0
    largest_batch: int = 0
    lock_waits: int = 0
    lock_wait_seconds: float = 0.0


class _Call(Change):
    """A change, and the task that waits for it."""

    __slots__ = ("deadline", "enqueued", "once", "waiter", "withdrawn")

    def __init__(self, apply: Callable[[PetFleet | None], PetFleet | None], kind: Kind, lock_timeout: float) -> None:
        super().__init__(apply, kind)
        self.enqueued = time.monotonic()
        self.once = lock_timeout == 0
        self.deadline = math.inf if self.once else self.enqueued + lock_timeout
        self.withdrawn = False
        self.waiter = Waiter()

    async def wait(self) -> None:
        """Wait until the call was posted, and raise its error, if it has one."""
        await self.waiter.wait()
        if self.error is not None:
            try:
                raise self.error
            finally:
                self.error = None  # or the error, its traceback and this frame would keep each other alive

    @staticmethod
    def post(calls: list[_Call]) -> None:
        """Wake the tasks of these calls."""
        Waiter.wake([call.waiter for call in calls])


class _Queue:
    """One user's waiting changes, and those that the commit under way has taken."""

    workers: Workers[_Queue]  # who have its job

    def __init__(self, batching: Batching, user_id: str) -> None:
        self._batching = batching
        self.user_id = user_id
        self.waiting: deque[_Call] = deque()
        self.taken: list[_Call] = []
        self.late: list[_Call] = []  # found past their deadline
        self.refused_at: float | None = None
        self.tried_at = 0.0
        self.spin: Spin | None = None
        self.any_seen_waiting: bool | None = None  # calls, at the last look while the lock was refused; None: no look
        self.has_waited = False

    def may_create(self) -> bool:
        with self._batching.mutex:
            return any(call.kind >= Kind.CREATE and not call.withdrawn for call in self.waiting)

    def waited(self) -> None:
        self.has_waited = True

    def take(self) -> list[_Call]:
        self._batching.stop_spinning(self)
        now = time.monotonic()
        with self._batching.mutex:
            while self.waiting and len(self.taken) < _MOST_IN_BATCH:
                call = self.waiting.popleft()
                if not call.withdrawn:
                    (self.taken if now <= call.deadline else self.late).append(call)
        return self.taken

    def wait(self, sign: object) -> bool:
        return self._batching.wait(self, sign)

    def pause(self, seconds: float) -> None:
        with self._batching.aside(self):
            time.sleep(seconds)

    def seconds_left(self) -> float:
        now = time.monotonic()
        return max((0.0 if call.once else call.deadline - now for call in self.taken), default=0.0)

    def put_back(self) -> None:
        with self._batching.mutex:
            self.waiting.extendleft(reversed(self.taken))
            self.taken = []


class Batching:
    """Carries calls from tasks to a backend and back.

    Args:
        backend: what performs the commits.
        lock_timeout: seconds that a call waits for a user's lock; 0 tries once.
        threads: the most commits at the same time.
    """

    def __init__(self, backend: Backend, lock_timeout: float, threads: int) -> None:
        self._backend = backend
        self._lock_timeout = lock_timeout
        self._threads = threads
        waking.load()
        self.start_clean()
        start_clean_in_child(self)

    def start_clean(self) -> None:
        """Begin without queues and threads: when made, and in a forked child, which has none of the threads."""
        self.mutex = threading.Lock()
        self._queues: dict[str, _Queue] = {}
        self._workers: Workers[_Queue] | None = None
        self._peekers: concurrent.futures.ThreadPoolExecutor | None = None
        self._closing: list[Workers[_Queue] | concurrent.futures.ThreadPoolExecutor] = []
        self._served: Memory[str, float] = Memory(4096, 1024 * 1024)  # when a user's last batch was done
        self._contended: Memory[str, float] = Memory(1024, 256 * 1024)  # when a user's lock was last refused
        self._parking = Parking(self._look)
        self._spinning = 0  # workers that retry a refused lock
        self._commits = self._changes = self._largest = self._waits = 0
        self._wait_seconds = 0.0

    # --- in the event loop -------------------------------------------------------------------------------------------

    async def call(
        self, user_id: str, apply: Callable[[PetFleet | None], PetFleet | None], kind: Kind
    ) -> PetFleet | None:
        """Have a change carried out, and return the fleet right after it.

        Cancelled before the change was taken, it never happens; later it happens whole.
        """
        call = _Call(apply, kind, self._lock_timeout)
        self._enqueue(user_id, call)
        try:
            await call.wait()
        except BaseException:
            # A flag and no lock: the garbage collector may close a dead loop's coroutine inside any lock of ours.
            call.withdrawn = True
            raise
        return call.result

    async def peek(self, read: Callable[[], T]) -> T:
        """Return what ``read`` returns, in a thread that no commit can occupy."""
        call = _Call(lambda fleet: fleet, Kind.READ, 0)
        results: list[T] = []

        def job() -> None:
            try:
                results.append(read())
            except BaseException as error:  # noqa: BLE001 - it belongs to the call
                call.error = error
            call.post([call])

        with self.mutex:
            if self._peekers is None:
                self._peekers = concurrent.futures.ThreadPoolExecutor(self._backend.peeks_at_once, "petfleet-peek")
            with threads_may_run_out():
                self._peekers.submit(job)
        await call.wait()
        return results[0]

    async def aclose(self) -> None:
        """Wait for the jobs under way and for calls made before, and end the threads; a later call starts new ones."""
        with self.mutex:
            most = max((len(queue.waiting) for queue in self._queues.values()), default=0)
        # What waits behind a batch under way is given to new threads.
        for _ in range(2 + most // _MOST_IN_BATCH):
            with self.mutex:
                self._closing += [pool for pool in (self._workers, self._peekers) if pool is not None]
                self._workers = self._peekers = None
                closing = self._closing.copy()  # those of an aclose that was cancelled, too
            for pool in closing:
                await anyio.to_thread.run_sync(pool.shutdown, abandon_on_cancel=True)
            with self.mutex:
                self._closing = [pool for pool in self._closing if pool not in closing]

    def statistics(self) -> FleetStoreStatistics:
        """Return the counts so far."""
        with self.mutex:
            return FleetStoreStatistics(self._commits, self._changes, self._largest, self._waits, self._wait_seconds)

    def _enqueue(self, user_id: str, call: _Call) -> None:
        with self.mutex:
            queue = self._queues.get(user_id)
            if queue is None:
                queue = _Queue(self, user_id)
                self._submit(queue)
                self._queues[user_id] = queue
            # Last, so that nothing, a KeyboardInterrupt neither, leaves a waiting call without a job. (A job without a
            # call, or of a queue that is not that of its user, ends by itself.)
            queue.waiting.append(call)

    # --- in any thread, with the mutex -------------------------------------------------------------------------------

    def _submit(self, queue: _Queue) -> None:
        """Have a worker commit the user's next batch; users who were not served just now come first."""
        hot = time.monotonic() - (self._served.get(queue.user_id) or 0.0) < _HOT_SECONDS
        if self._workers is None:
            self._workers = Workers(self._run, self._threads)
        queue.workers = self._workers
        with threads_may_run_out():
            self._workers.submit(queue, ahead=not hot)

    # --- in a worker thread, or in the parking thread ----------------------------------------------------------------

    def _run(self, queue: _Queue) -> bool:
        """Do a user's job, and return whether it waited for the disk."""
        queue.has_waited = False
        try:
            if not self._commit(queue):
                with threads_may_run_out():
                    self._parking.park(queue, self._earliest(queue))
                return False
        except BaseException as error:  # noqa: BLE001 - whatever it is, the calls concerned must hear of it
            fail(queue.taken or queue.take(), error, None)
        waited = queue.has_waited  # read now: another thread may have the user's next job as soon as this one ends
        self._end(queue)
        return waited

    def _commit(self, queue: _Queue) -> bool:
        """Commit one batch, if any call is left; False if the lock is refused and the user is to be parked."""
        refused = self._contended.get(queue.user_id)
        contended = refused is not None and time.monotonic() - refused < _CONTENDED_SECONDS
        if contended and self._lock_timeout > 0:
            # Others try for the lock that this user's last batch has just released. Without a pause it would be taken
            # again before any of them looks, half of this process's calls would miss each batch, and theirs would wait.
            with self.aside(queue):
                time.sleep(LONGEST_PAUSE)
        queue.tried_at = time.monotonic()
        queue.any_seen_waiting = None
        try:
            if self._backend.commit(queue.user_id, queue):
                return True
            # Not looked at a second time: a task that the first look has woken may have called again.
            return not (self._refused(queue) if queue.any_seen_waiting is None else queue.any_seen_waiting)
        finally:
            self.stop_spinning(queue)

    def wait(self, queue: _Queue, sign: object) -> bool:
        """Wait a little for a refused lock, as long as its holders get on; False if they seem stuck."""
        now = time.monotonic()
        spin = queue.spin
        if spin is None or spin.is_time_to_look(now) or self._lock_timeout == 0:
            queue.any_seen_waiting = self._refused(queue)
            if not queue.any_seen_waiting:
                return False
        self._contended.put(queue.user_id, now, len(queue.user_id))
        if spin is None:
            spin = Spin(sign, now)
            if not self._start_spinning(queue, spin):
                return False
        pause = spin.pause(sign, now)
        if pause is None:
            return False
        if self._threads < 4 and queue.workers.any_waiting():
            return False  # so few cannot spare one
        time.sleep(pause * self._spinning)  # together the workers of a process look as often as one of them would
        queue.tried_at = time.monotonic()
        return True

    def _start_spinning(self, queue: _Queue, spin: Spin) -> bool:
        with self.mutex:
            # Few at a time: many users with stuck locks must not keep the others' workers busy.
            if self._spinning >= max(1, self._threads // 4):
                return False
            self._spinning += 1
            queue.spin = spin
        queue.workers.aside(1)
        return True

    def stop_spinning(self, queue: _Queue) -> None:
        """Count the user's worker among those that get on, if it was not."""
        if queue.spin is None:
            return
        with self.mutex:
            self._spinning -= 1
            queue.spin = None
        queue.workers.aside(-1)

    @contextmanager
    def aside(self, queue: _Queue) -> Iterator[None]:
        """Let another thread run while this one waits for nothing but time."""
        queue.workers.aside(1)
        try:
            yield
        finally:
            queue.workers.aside(-1)

    def _look(self, queue: _Queue) -> float | None:
        """Look whether a parked user's lock is free; None when the user has a job again, or nothing to wait for."""
        queue.tried_at = time.monotonic()
        try:
            free = self._backend.is_free(queue.user_id)
        except Exception:  # noqa: BLE001 - the job will meet it too, and tell the calls
            free = True
        if not free and self._refused(queue):
            return self._earliest(queue)
        self._end(queue)
        return None

    def _refused(self, queue: _Queue) -> bool:
        """Note that the lock was refused, sort out calls that wait no longer, and return whether any is left."""
        now = time.monotonic()
        with self.mutex:
            if queue.refused_at is None:
                queue.refused_at = now
                self._waits += 1
            left = deque[_Call]()
            for call in queue.waiting:
                if not call.withdrawn and not call.waiter.loop_is_closed():
                    over = call.enqueued <= queue.tried_at if call.once else now >= call.deadline
                    (queue.late if over else left).append(call)
            queue.waiting = left
            any_left = bool(left)  # looked at now: as soon as a task is woken, its next call may join them
        self._time_out(queue)
        return any_left

    def _time_out(self, queue: _Queue) -> None:
        """Fail the calls that were found past their deadline."""
        late, queue.late = queue.late, []
        if late:
            timeout = self._backend.lock_timeout(queue.user_id)
            now = time.monotonic()
            for call in late:
                call.error = timeout(now - call.enqueued)
            _Call.post(late)

    def _earliest(self, queue: _Queue) -> float:
        with self.mutex:
            return min((0 if call.once else call.deadline for call in queue.waiting), default=0)

    def _end(self, queue: _Queue) -> None:
        """End a job: wake its tasks, and put the user's next job at the back, or forget the user."""
        calls, queue.taken = queue.taken, []
        self._time_out(queue)
        waited = 0.0
        if queue.refused_at is not None and (calls or not queue.waiting):
            waited = time.monotonic() - queue.refused_at
            queue.refused_at = None
        with self.mutex:
            self._wait_seconds += waited
            if calls:
                self._commits += 1
                self._changes += len(calls)
                self._largest = max(self._largest, len(calls))
                self._served.put(queue.user_id, time.monotonic(), len(queue.user_id))
            if self._queues.get(queue.user_id) is not queue:
                pass  # its first call was interrupted before it was one
            elif not queue.waiting:
                del self._queues[queue.user_id]
            else:
                try:
                    self._submit(queue)
                except OSError as error:
                    del self._queues[queue.user_id]
                    fail(queue.waiting, error, None)
                    calls += queue.waiting
        if waited > _LONG_WAIT:
            logs.warning("waited %.1f s for the lock of user %s", waited, queue.user_id)
        _Call.post(calls)
