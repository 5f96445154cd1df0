"""Ctrl-C, SIGTERM and SIGHUP: they cancel what runs in the event loop, between two of its steps."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, TypeVar

import anyio

from petfleet._cli.output import INTERRUPTED, report_interruption

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM))
_WINDOWS: Final = sys.platform == "win32"
_Result = TypeVar("_Result")


def run(function: Callable[..., Awaitable[_Result]], *arguments: Any) -> _Result:
    """Run an async function on asyncio. The first signal cancels it; further ones change nothing.

    Raises:
        KeyboardInterrupt: a signal cancelled it, and it has ended.
    """
    import asyncio

    # Python's handler raises, and that of asyncio.run cancels, wherever the event loop is. A future that is just being
    # resolved then raises InvalidStateError, printed as a traceback, or the interrupt is lost in a callback. A handler
    # of the event loop runs between two steps, and a signal wakes the loop, even one that comes just before it sleeps.
    async def cancellable() -> _Result:
        task = asyncio.current_task()
        assert task is not None
        cancels = [task.cancel]

        def cancel() -> None:
            if cancels:
                cancels.pop()()

        for number in numbers:
            asyncio.get_running_loop().add_signal_handler(number, cancel)
        return await function(*arguments)

    numbers = [] if _WINDOWS else _raising()  # Windows has no such handlers: there Python's raises
    try:
        return anyio.run(cancellable)
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None
    finally:
        for number in numbers:  # the event loop puts the system's own handlers back
            signal.signal(number, signal.default_int_handler)


async def end_at_once(json: bool, function: Callable[..., Awaitable[_Result]], *arguments: Any) -> _Result:
    """Run a function that reads or writes a stream; if it is cancelled, report that and end the process.

    Args:
        json: whether to report it as JSON.
        function: what to run.
        arguments: its arguments.
    """
    try:
        return await function(*arguments)
    except anyio.get_cancelled_exc_class():
        # Commits are done by now. What may remain is a read or a write that never returns, in a thread. The end of the
        # event loop and the end of the interpreter would both wait for that thread.
        report_interruption(json=json)
        sys.stderr.flush()
        os._exit(INTERRUPTED)


@contextmanager
def handled_by(handler: Callable[[int, object], None]) -> Iterator[None]:
    """Have a function handle the signals that would raise KeyboardInterrupt, and no others: nohup ignores SIGHUP."""
    numbers = _raising()
    for number in numbers:
        signal.signal(number, handler)
    try:
        yield
    finally:
        for number in numbers:
            signal.signal(number, signal.default_int_handler)


def _raising() -> list[int]:
    return [number for number in _SIGNALS if signal.getsignal(number) is signal.default_int_handler]
