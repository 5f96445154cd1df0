"""Watching objects: what a poll costs and returns, and how long the pauses between polls are."""

from __future__ import annotations

import threading
from contextlib import AsyncExitStack, aclosing
from typing import Any

import anyio
import anyio.to_thread
import pytest

from petfleet import (
    ObjectBackend,
)
from petfleet._util import runtime
from tests.conftest import Clock, wait_until
from tests.support.backends import ObjectStorage
from tests.support.commits import add, commit
from tests.support.gate import Gate
from tests.support.object_requests import (
    RecordedBackend,
    names,
)


def test_a_look_tells_what_has_changed(recorded: RecordedBackend, other: ObjectBackend) -> None:
    """One request each, and None where nothing has."""
    first = recorded.backend.snapshot("u", None)
    assert first is not None
    assert first.fleet is None
    assert recorded.backend.snapshot("u", first.fingerprint) is None
    commit(other, add("mira"))
    second = recorded.backend.snapshot("u", first.fingerprint)
    assert second is not None
    assert names(second.fleet) == ["mira"]
    recorded.requests.clear()
    assert recorded.backend.snapshot("u", second.fingerprint) is None
    assert recorded.requests == ["get"]


def test_waiting_for_notices_ends_with_the_time_or_a_signal(
    object_storage: ObjectStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody is ever named."""
    clock = Clock()
    monkeypatch.setattr(runtime, "sleep", clock.sleep)
    monkeypatch.setattr(runtime, "monotonic", clock.monotonic)

    class Stop:
        def is_set(self) -> bool:
            return clock.now > 1010

    told = object_storage.backend().notices(Stop())
    assert told.subscribe(["u"]) is False
    assert told.invalidate() is False
    assert told.wait(5) == set()
    assert 1005 <= clock.now < 1006
    assert told.wait(100) == set()
    assert 1010 < clock.now < 1011
    told.close()


async def test_many_watched_users_are_looked_at_side_by_side(
    object_storage: ObjectStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each look waits for the network: one after another, hundreds would take longer than the pause between two."""
    store = object_storage.store()
    gate, held, barriers = Gate(), list[str](), list[threading.Barrier]()
    look = store._backend.snapshot

    def met(user_id: str, seen: object) -> Any:
        if not barriers:  # the first turn, of those who had joined by then
            held.append(user_id)
            gate.hold()
        elif seen is None:
            barriers[0].wait(30)
        return look(user_id, seen)

    monkeypatch.setattr(store._backend, "snapshot", met)
    async with AsyncExitStack() as watches, anyio.create_task_group() as tasks:
        for number in range(12):
            watch = await watches.enter_async_context(aclosing(store.watch(f"u{number}")))
            tasks.start_soon(anext, watch)
            if not number:
                await anyio.to_thread.run_sync(gate.reached.wait)
        await anyio.to_thread.run_sync(wait_until, lambda: len(store._watching._users) == 12)
        assert held == ["u0"]
        barriers.append(threading.Barrier(11))
        gate.open()
