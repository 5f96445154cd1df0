"""Ctrl-C and SIGTERM: what runs in the event loop is cancelled between two steps."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Iterator

import anyio
import anyio.lowlevel
import pytest

from petfleet._cli import interrupt


@pytest.fixture(params=["SIGINT", "SIGTERM"])
def number(request: pytest.FixtureRequest) -> Iterator[signal.Signals]:
    """A signal that raises KeyboardInterrupt, as in the command line."""
    number = signal.Signals[request.param]
    before = signal.signal(number, signal.default_int_handler)
    yield number
    assert signal.getsignal(number) is signal.default_int_handler
    signal.signal(number, before)


def test_a_result_is_returned() -> None:
    """Without a signal it is a plain call."""

    async def double(value: int) -> int:
        await anyio.lowlevel.checkpoint()
        return 2 * value

    assert interrupt.run(double, 21) == 42


def test_a_signal_while_a_future_is_resolved(number: signal.Signals, caplog: pytest.LogCaptureFixture) -> None:
    """It gets its result, and the cancellation comes after that: else the result would be an InvalidStateError."""

    async def wait() -> None:
        loop = asyncio.get_running_loop()
        future = loop.create_future()

        def resolve() -> None:
            assert not future.done()
            signal.raise_signal(number)
            future.set_result(None)

        loop.call_soon(resolve)
        await future
        await anyio.sleep_forever()

    with caplog.at_level(logging.ERROR), pytest.raises(KeyboardInterrupt):
        interrupt.run(wait)
    assert caplog.records == []


def test_more_signals_change_nothing(number: signal.Signals) -> None:
    """The second one does not cancel the cleanup after the first."""
    cleaned_up = []

    async def wait() -> None:
        try:
            signal.raise_signal(number)
            await anyio.sleep_forever()
        finally:
            signal.raise_signal(number)
            await anyio.lowlevel.checkpoint()
            later = asyncio.get_running_loop().create_future()  # a turn later than what the signal has scheduled
            asyncio.get_running_loop().call_soon(later.set_result, None)
            await later
            cleaned_up.append(True)

    with pytest.raises(KeyboardInterrupt):
        interrupt.run(wait)
    assert cleaned_up == [True]


def test_a_signal_that_comes_just_before_the_event_loop_sleeps_wakes_it(number: signal.Signals) -> None:
    """Its C handler writes to a pipe of the loop: Python's handlers run only after what the loop sleeps in returns."""

    async def wakes() -> bool:
        pipe = signal.set_wakeup_fd(-1)
        signal.set_wakeup_fd(pipe)
        await anyio.lowlevel.checkpoint()
        return pipe != -1

    assert interrupt.run(wakes)


def test_a_signal_before_the_event_loop_runs(number: signal.Signals, monkeypatch: pytest.MonkeyPatch) -> None:
    """It ends the command before the function has begun."""
    run = anyio.run

    def interrupted(*arguments: object) -> object:
        signal.raise_signal(number)
        return run(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(anyio, "run", interrupted)
    with pytest.raises(KeyboardInterrupt):
        interrupt.run(anyio.sleep_forever)


def test_an_ignored_signal_stays_ignored() -> None:
    """nohup ignores SIGHUP."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with interrupt.handled_by(lambda number, frame: None):
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


async def test_a_stream_is_not_waited_for(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A cancellation ends the process at once, with one line; other errors pass through."""
    ended: list[int] = []

    async def fail() -> None:
        raise ValueError("not a stream")

    monkeypatch.setattr(os, "_exit", ended.append)
    with anyio.move_on_after(0):
        await interrupt.end_at_once(False, anyio.sleep_forever)
    assert ended == [130]
    assert capsys.readouterr().err.startswith("petfleet: interrupted; ")
    with pytest.raises(ValueError, match="not a stream"):
        await interrupt.end_at_once(False, fail)
