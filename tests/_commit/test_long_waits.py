"""When a long wait for a lock is logged."""

from __future__ import annotations

import logging

import anyio
import pytest

from petfleet._commit.group_commit import GroupCommit
from tests.conftest import until
from tests.support.fake_backend import FakeBackend, load
from tests.support.gate import Gate
from tests.support.trial_pool import WorkClock

pytestmark = pytest.mark.anyio


async def wait(seconds: float, store: GroupCommit, backend: FakeBackend, clock: WorkClock, users: str) -> None:
    """Let a call of each user, named by one letter, wait for so long."""
    backend.waited.clear()
    backend.turns = {user_id: Gate() for user_id in users}
    async with anyio.create_task_group() as group:
        for user_id in users:
            group.start_soon(load, store, user_id)
        await until(lambda: len(backend.waited) == len(users))
        clock.now += seconds
        for user_id in users:
            backend.give_back(user_id)


async def test_one_warning_in_ten_seconds_names_a_user_with_a_long_wait(
    clock: WorkClock, caplog: pytest.LogCaptureFixture
) -> None:
    """However many users have waited for more than a second meanwhile."""
    backend = FakeBackend()
    store = GroupCommit(backend, 3600, 4)
    with caplog.at_level(logging.WARNING, "petfleet"):
        await wait(1.5, store, backend, clock, "a")
        await wait(1.5, store, backend, clock, "bcd")
        clock.now += 10
        await wait(1.5, store, backend, clock, "e")
    assert caplog.messages == [f"waited 1.5 s for the lock of user {user_id}" for user_id in "ae"]


async def test_a_wait_of_a_second_is_not_logged(clock: WorkClock, caplog: pytest.LogCaptureFixture) -> None:
    """Short waits are normal."""
    backend = FakeBackend()
    store = GroupCommit(backend, 3600, 4)
    with caplog.at_level(logging.WARNING, "petfleet"):
        await wait(1.0, store, backend, clock, "a")
    assert caplog.messages == []
    assert store.statistics().lock_wait_seconds == 1.0
