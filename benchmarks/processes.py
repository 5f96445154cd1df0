"""Run functions in child processes."""

from __future__ import annotations

import contextlib
import gc
import multiprocessing
import traceback
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from typing import Any, Final

GRACE: Final = 120.0  # seconds that a process may take beyond the plan; then it is killed, and the run fails

# Forked: everything is imported already, and closures need no pickling.
_fork = multiprocessing.get_context("fork")


def in_child(function: Callable[[], Any]) -> Any:
    """Run a function in a child process, and return its result; RuntimeError if it failed."""
    with child(lambda pipe: pipe.send(function())) as pipe:
        return receive(pipe, 10 * GRACE)


@contextlib.contextmanager
def child(function: Callable[[Connection], None]) -> Iterator[Connection]:
    """Run a function with one end of a pipe in a child process, which has ended after the block."""
    ours, theirs = _fork.Pipe()
    process = _fork.Process(target=_run, args=(function, theirs))
    process.start()
    theirs.close()
    try:
        yield ours
        process.join(GRACE)
    finally:
        if process.is_alive():
            process.kill()
        process.join()
        ours.close()


def receive(pipe: Connection, seconds: float) -> Any:
    """Return what the process sends; RuntimeError if it sends nothing within these seconds, or failed."""
    if not pipe.poll(seconds):
        raise RuntimeError(f"a process of the run said nothing for {seconds:.0f} s")
    try:
        received = pipe.recv()
    except EOFError:
        raise RuntimeError("a process of the run died") from None
    if isinstance(received, RuntimeError):
        raise received
    return received


def _run(function: Callable[[Connection], None], pipe: Connection) -> None:
    # The suite's own imports must not make the garbage collector's pauses longer.
    gc.freeze()
    try:
        function(pipe)
    except BaseException as error:  # noqa: BLE001 - the process ends here
        # Before it is sent: the receiver may kill this process.
        traceback.print_exc()
        pipe.send(RuntimeError(f"a process of the run failed: {type(error).__name__}: {error}"))
