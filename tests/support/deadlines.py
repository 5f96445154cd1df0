"""Deadlines that also wait for a state: on a busy machine, milliseconds pass before anything happens."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import anyio
import pytest

from petfleet._commit.waiter import Waiter

SHORT: Final = 0.0625  # seconds; a lock_timeout that nothing else has


def time_is_up_when(monkeypatch: pytest.MonkeyPatch, state: Callable[[], object]) -> None:
    """From now on, the time of a call whose ``lock_timeout`` is SHORT is not over before ``state()`` is true."""
    wait = Waiter.wait

    async def wait_for_state(waiter: Waiter, seconds: float) -> bool:
        if seconds != SHORT:
            return await wait(waiter, seconds)
        end = anyio.current_time() + seconds
        while not waiter._woken and not (state() and anyio.current_time() >= end):  # noqa: ASYNC110 - no event tells it
            await anyio.sleep(0.001)
        return waiter._woken

    monkeypatch.setattr(Waiter, "wait", wait_for_state)
