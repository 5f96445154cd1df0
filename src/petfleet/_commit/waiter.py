"""Lets tasks wait and threads wake them, on asyncio and trio; a waking thread never waits for an event loop."""

from __future__ import annotations

import math
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final

import anyio

if TYPE_CHECKING:
    import asyncio

_MAX_WOKEN: Final = 32


class Waiter:
    """Lets the task that creates it wait until any thread wakes it."""

    __slots__ = ("_event", "_future", "_in_loop", "_woken", "loop_is_closed")

    _future: asyncio.Future[None] | None  # a plain future: any event costs a tenth of a load more
    _event: anyio.Event
    _in_loop: Callable[..., object]
    loop_is_closed: Callable[[], bool]

    def __init__(self) -> None:
        self._woken = False
        # Calls a function in the loop from any thread. Not anyio's own way back from a thread: that one waits for the
        # loop, which may be closed by then.
        # Where nothing has imported asyncio there is no asyncio task; to import it costs as much as all of petfleet.
        asyncio = sys.modules.get("asyncio")
        try:
            # Not the running loop decides: under trio's guest mode that may be asyncio's, and then there is no asyncio
            # task.
            if asyncio is not None and asyncio.current_task() is not None:
                running = asyncio.get_running_loop()
                self._future = running.create_future()
                self._in_loop = running.call_soon_threadsafe
                self.loop_is_closed = running.is_closed
                return
        except RuntimeError:
            pass  # no asyncio here
        loop: Any = anyio.lowlevel.current_token().native_token
        self._future, self._event = None, anyio.Event()
        self._in_loop = loop.run_sync_soon
        self.loop_is_closed = bool  # False: trio does not end without cancelling its tasks

    async def wait(self, seconds: float) -> bool:
        """Wait until it is woken, at most so long by a timer of the event loop; return whether it was."""
        if self._future is None:
            scope = anyio.move_on_after(seconds)
            scope.__enter__()
            try:
                await self._event.wait()
            except GeneratorExit:
                raise  # closed by the garbage collector: there is no event loop any more to leave a scope in
            except BaseException as error:
                if not scope.__exit__(type(error), error, error.__traceback__):
                    raise
            else:
                scope.__exit__(None, None, None)
        else:
            if seconds < math.inf:
                _Deadlines.of(self._future.get_loop(), seconds).add(self)
            await self._future
            if not self._woken:
                self._future = self._future.get_loop().create_future()  # for another wait
        return self._woken

    def is_done(self) -> bool:
        """Return whether the wait has ended, on asyncio. Call it in the event loop of the waiter."""
        return self._future is None or self._future.done()

    def resolve(self) -> None:
        """End the wait, on asyncio. Call it in the event loop of the waiter."""
        if self._future is not None and not self._future.done():  # it is done when its task was cancelled
            self._future.set_result(None)

    @staticmethod
    def wake(waiters: Iterable[Waiter]) -> None:
        """Wake the tasks of these waiters, with one call for each event loop."""
        loops: dict[Callable[..., object], list[Waiter]] = {}
        for waiter in waiters:
            loops.setdefault(waiter._in_loop, []).append(waiter)
        for woken in loops.values():
            _have_woken(woken)


class _Deadlines:
    """The waiters of one event loop that wait for the same time: a timer each would cost a tenth of a call."""

    def __init__(self, loop: asyncio.AbstractEventLoop, seconds: float) -> None:
        self.loop = loop
        self._seconds = seconds
        self._waiting: deque[tuple[float, Waiter]] = deque()  # in order
        self._compact_at = 64
        self._runs = False

    @staticmethod
    def of(loop: asyncio.AbstractEventLoop, seconds: float) -> _Deadlines:
        """Return the deadlines of the event loop that runs in this thread."""
        if _here.loop is not loop:
            _here.loop, _here.deadlines = loop, {}
        deadlines = _here.deadlines.get(seconds)
        if deadlines is None:
            deadlines = _here.deadlines[seconds] = _Deadlines(loop, seconds)
        return deadlines

    def add(self, waiter: Waiter) -> None:
        """Resolve a waiter when its time is over."""
        if len(self._waiting) >= self._compact_at:
            self._waiting = deque(each for each in self._waiting if not each[1].is_done())
            self._compact_at = 2 * len(self._waiting) + 64
        self._waiting.append((self.loop.time() + self._seconds, waiter))
        if not self._runs:
            self._runs = True
            self.loop.call_later(self._seconds, self._run)

    def _run(self) -> None:
        now = self.loop.time()
        while self._waiting and (self._waiting[0][0] <= now or self._waiting[0][1].is_done()):
            self._waiting.popleft()[1].resolve()
        self._runs = bool(self._waiting)
        if self._runs:
            self.loop.call_later(self._waiting[0][0] - now, self._run)


class _Here(threading.local):
    """The deadlines of the event loop that was last seen in a thread, by their seconds."""

    def __init__(self) -> None:
        self.loop: asyncio.AbstractEventLoop | None = None
        self.deadlines: dict[float, _Deadlines] = {}


_here = _Here()


def load() -> None:
    """Import what waiting takes: anyio does it when first asked, which would hold up the first call's event loop."""
    for name in ("Event", "lowlevel", "to_thread"):
        getattr(anyio, name)


def _have_woken(waiters: list[Waiter]) -> None:
    """Let the event loop of these waiters wake their tasks in its next turn."""
    try:
        waiters[0]._in_loop(_wake, waiters)
    except Exception:  # noqa: BLE001 - the loop is closed: no task waits any more
        pass


def _wake(waiters: list[Waiter]) -> None:
    if len(waiters) > _MAX_WOKEN:
        # The others a turn later: whatever else the loop has to do must not wait for hundreds of tasks.
        _have_woken(waiters[_MAX_WOKEN:])
        waiters = waiters[:_MAX_WOKEN]
    for waiter in waiters:
        waiter._woken = True
        if waiter._future is None:
            waiter._event.set()
        else:
            waiter.resolve()
