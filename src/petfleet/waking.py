"""Tasks that wait, and threads that wake them: on asyncio and trio alike, and without ever waiting for a loop."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final

import anyio

if TYPE_CHECKING:
    import asyncio

_MOST_WOKEN: Final = 32


class Waiter:
    """Where the task that makes it waits, once, until any thread wakes it."""

    __slots__ = ("_event", "_future", "_in_loop", "loop_is_closed")

    _future: asyncio.Future[None] | None  # a plain future: any event costs a tenth of a load more
    _event: anyio.Event
    _in_loop: Callable[..., object]
    loop_is_closed: Callable[[], bool]

    def __init__(self) -> None:
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

    async def wait(self) -> None:
        """Wait until it is woken."""
        if self._future is None:
            await self._event.wait()
        else:
            await self._future

    @staticmethod
    def wake(waiters: Iterable[Waiter]) -> None:
        """Wake their tasks, all of one event loop in one go."""
        loops: dict[Callable[..., object], list[Waiter]] = {}
        for waiter in waiters:
            loops.setdefault(waiter._in_loop, []).append(waiter)
        for woken in loops.values():
            _have_woken(woken)


def load() -> None:
    """Import what waiting takes: anyio does it when first asked, which would hold up the first call's event loop."""
    for name in ("Event", "lowlevel", "to_thread"):
        getattr(anyio, name)


def _have_woken(waiters: list[Waiter]) -> None:
    """Have the loop of these waiters wake their tasks in its next turn."""
    try:
        waiters[0]._in_loop(_wake, waiters)
    except Exception:  # noqa: BLE001 - the loop is closed: no task waits any more
        pass


def _wake(waiters: list[Waiter]) -> None:
    if len(waiters) > _MOST_WOKEN:
        # The others a turn later: whatever else the loop has to do must not wait for hundreds of tasks.
        _have_woken(waiters[_MOST_WOKEN:])
        waiters = waiters[:_MOST_WOKEN]
    for waiter in waiters:
        if waiter._future is None:
            waiter._event.set()
        elif not waiter._future.done():  # it is when its task was cancelled
            waiter._future.set_result(None)
