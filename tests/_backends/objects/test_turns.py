"""Turns at a user's object: stores that share a backend have them one after another."""

from __future__ import annotations

import threading
from typing import Any

from petfleet._backends.objects.bucket import Version
from petfleet._commit.change import Change, Kind
from tests.support.commits import add, attempt
from tests.support.object_requests import (
    Put,
    RecordedBackend,
    names,
)


def test_nothing_is_asked_before_the_calls_are_taken(recorded: RecordedBackend) -> None:
    """What arrives later must not be answered by it; and calls that were all withdrawn cost nothing."""
    turn = recorded.backend.begin("u", create=True)
    assert turn.try_turn()
    turn.close()
    assert recorded.requests == []


def test_stores_that_share_a_backend_take_turns_at_a_user(recorded: RecordedBackend) -> None:
    """An object names only the newest commit of each writer: of two at once, one could not be looked up."""
    recorded.add("mira")

    def meanwhile(put: Put, arguments: tuple[Any, ...]) -> Version:
        assert not attempt(recorded.backend, Change(add("tom"), Kind.CREATE))
        others = recorded.backend.begin("other", create=True)
        assert others.try_turn()
        others.close()
        return put(*arguments)

    recorded.puts = [meanwhile]
    assert names(recorded.add("nova")) == ["mira", "nova"]
    assert names(recorded.add("tom")) == ["mira", "nova", "tom"]


def test_a_turn_is_waited_for_until_it_is_given_back(recorded: RecordedBackend) -> None:
    """Each waiting thread has the turn alone."""
    ours = recorded.backend.begin("u", create=True)
    assert ours.try_turn()
    had: list[bool] = []

    def wait() -> None:
        turn = recorded.backend.begin("u", create=True)
        assert not turn.try_turn()
        came.release()
        turn.wait_turn()
        had.append(recorded.backend.begin("u", create=True).try_turn())
        turn.close()

    came = threading.Semaphore(0)
    waiting = [threading.Thread(target=wait) for _ in range(3)]
    for thread in waiting:
        thread.start()
    for _ in waiting:
        assert came.acquire(timeout=30)
    assert had == []
    ours.close()
    for thread in waiting:
        thread.join()
    assert had == [False] * 3
    assert ours.try_turn()
    ours.close()


def test_one_that_was_refused_gives_back_no_turn_of_others(recorded: RecordedBackend) -> None:
    """Closing it does not take the turn from its owner."""
    ours, theirs = (recorded.backend.begin("u", create=True) for _ in range(2))
    assert ours.try_turn()
    assert not theirs.try_turn()
    theirs.close()
    assert not recorded.backend.begin("u", create=True).try_turn()
    ours.close()
