"""Puts whose answers are lost or late: each is looked up until its outcome is known."""

from __future__ import annotations

import errno
import logging
from typing import Any

import pytest

from petfleet import (
    ObjectBackend,
    PetFleet,
    UnconfirmedCommitError,
    dumps,
)
from petfleet._backends.objects.bucket import ConflictError, Version
from petfleet._backends.objects.lineage import _MAX_COMMITS, Lineage, Writer
from petfleet._commit.change import Change, Kind
from tests.conftest import pet
from tests.support.backends import MemoryStorage, ObjectStorage
from tests.support.commits import add, commit, load
from tests.support.object_requests import (
    AWAY,
    LOST,
    Put,
    RecordedBackend,
    answer_lost,
    done_twice,
    names,
    refused,
    request_lost,
    unsent,
)


@pytest.mark.parametrize("there", [True, False])
@pytest.mark.parametrize("fault", [answer_lost, done_twice])
def test_what_has_happened_is_found_out(recorded: RecordedBackend, fault: Any, there: bool) -> None:
    """No call reports that its own first try was in its way, and no change is applied twice."""
    if there:
        recorded.add("mira")
    recorded.puts = [fault]
    assert names(recorded.add("nova")) == (["mira", "nova"] if there else ["nova"])
    assert recorded.requests[-2:] == ["put", "get"]
    assert recorded.requests.count("put") == 1
    assert names(recorded.add("tom")) == (["mira", "nova", "tom"] if there else ["nova", "tom"])


@pytest.mark.parametrize("there", [True, False])
def test_a_put_that_was_repeated_on_its_way_is_looked_up_until_it_can_be_read(
    recorded: RecordedBackend, there: bool
) -> None:
    """The refusal is that of the second try: that nothing can be read for a moment makes no error of it."""
    if there:
        recorded.add("mira")
    recorded.puts = [done_twice]
    recorded.gets = [*([] if there else [None]), AWAY]
    assert names(recorded.add("nova")) == (["mira", "nova"] if there else ["nova"])
    recorded.puts = [done_twice]
    recorded.gets = [AWAY] * 10
    with pytest.raises(UnconfirmedCommitError) as raised:
        recorded.add("tom", seconds=0.35)
    assert raised.value.__cause__ is AWAY


def test_what_has_happened_is_found_out_behind_commits_of_others(
    recorded: RecordedBackend, other: ObjectBackend
) -> None:
    """The answer is the fleet right after the call's own change, and the next commit starts from what is there now."""
    recorded.add("mira")

    def lost_and_followed(put: Put, arguments: tuple[Any, ...]) -> Version:
        put(*arguments)
        for number in range(100):
            commit(other, add(f"p{number}"))
        raise LOST

    recorded.puts = [lost_and_followed]
    assert names(recorded.add("nova")) == ["mira", "nova"]
    assert names(recorded.add("tom")) == ["mira", "nova", *(f"p{number}" for number in range(100)), "tom"]
    assert recorded.requests == ["put"]


@pytest.mark.parametrize("there", [True, False])
def test_what_has_not_happened_is_put_again_with_the_same_id(recorded: RecordedBackend, there: bool) -> None:
    """As long as the object is unchanged, the first try may still happen: at most one of the two can."""
    if there:
        recorded.add("mira")
    tried: list[tuple[Any, ...]] = []

    def held_up(put: Put, arguments: tuple[Any, ...]) -> Version:
        tried.append(arguments)
        raise LOST

    def then(put: Put, arguments: tuple[Any, ...]) -> Version:
        assert arguments == tried[0]
        version = put(*arguments)
        with pytest.raises(ConflictError):
            put(*tried[0])  # the first one arrives
        return version

    recorded.puts = [held_up, then]
    assert names(recorded.add("nova")) == (["mira", "nova"] if there else ["nova"])
    assert recorded.requests[-3:] == ["put", "get", "put"]


def test_a_put_that_comes_late_is_the_one_that_counts(recorded: RecordedBackend) -> None:
    """If the first try arrives before the second one, that one is refused, and the first is found."""
    recorded.add("mira")
    tried: list[tuple[Any, ...]] = []

    def held_up(put: Put, arguments: tuple[Any, ...]) -> Version:
        tried.append(arguments)
        raise LOST

    def overtaken_by_it(put: Put, arguments: tuple[Any, ...]) -> Version:
        put(*tried[0])
        return put(*arguments)

    recorded.puts = [held_up, overtaken_by_it]
    assert names(recorded.add("nova")) == ["mira", "nova"]
    assert recorded.requests == ["put", "get", "put", "get"]
    assert names(recorded.backend.peek("u")) == ["mira", "nova"]


def test_what_can_not_happen_any_more_is_done_anew(recorded: RecordedBackend, other: ObjectBackend) -> None:
    """Someone else has moved the object on: the lost try is refused whenever it comes."""
    recorded.add("mira")
    tried: list[tuple[Any, ...]] = []

    def lost_before_another(put: Put, arguments: tuple[Any, ...]) -> Version:
        tried.append(arguments)
        commit(other, add("nova"))
        raise LOST

    recorded.puts = [lost_before_another]
    assert names(recorded.add("tom")) == ["mira", "nova", "tom"]
    with pytest.raises(ConflictError):
        recorded.backend._bucket.put(*tried[0])


@pytest.mark.parametrize("foreign", ["overwritten", "removed", "first"])
def test_what_cannot_be_decided_says_so(recorded: RecordedBackend, object_storage: ObjectStorage, foreign: str) -> None:
    """A writer without a lineage came in between: nothing tells whether the change happened before that."""
    if foreign != "first":
        recorded.add("mira")

    def and_foreign(put: Put, arguments: tuple[Any, ...]) -> Version:
        put(*arguments)
        if foreign == "removed":
            object_storage.remove("u")
        else:
            object_storage.write(dumps(PetFleet("u", [pet("ada")], "ada")).encode(), "u")
        raise LOST

    recorded.puts = [and_foreign]
    with pytest.raises(UnconfirmedCommitError) as raised:
        recorded.add("nova")
    assert raised.value.path == object_storage.where("u")
    assert raised.value.__cause__ is LOST
    assert names(recorded.add("tom")) == (["tom"] if foreign == "removed" else ["ada", "tom"])


def test_what_is_not_decided_in_time_says_so(recorded: RecordedBackend, caplog: pytest.LogCaptureFixture) -> None:
    """The store stays unreachable: after the deadline every call of the batch fails, loads too."""
    recorded.add("mira")
    recorded.puts = [request_lost] + [unsent, request_lost, refused] * 10
    recorded.gets = [OSError(errno.EIO, "away"), None] * 20
    changes = [Change(load, Kind.READ), Change(add("nova"), Kind.CREATE), Change(load, Kind.READ)]
    with caplog.at_level(logging.WARNING):
        recorded.commit(*changes, seconds=0.55)
    assert [type(change.error) for change in changes] == [UnconfirmedCommitError] * 3
    assert len(recorded.pauses) == 6
    assert recorded.requests == ["put", "get"] * 7
    assert "checking whether it was written" in caplog.text
    recorded.puts.clear()
    recorded.gets.clear()
    assert names(recorded.add("tom")) == ["mira", "tom"]
    assert recorded.requests == ["get", "put"]


def test_the_pauses_before_a_lost_put_is_looked_up_again_are_random_and_grow(
    recorded: RecordedBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Writers that collided once must not collide again and again."""
    drawn: list[tuple[float, float]] = []

    def uniform(low: float, high: float) -> float:
        drawn.append((low, high))
        return high

    recorded.add("mira")
    monkeypatch.setattr("random.uniform", uniform)
    recorded.puts = [request_lost] * 10
    assert names(recorded.add("nova", seconds=10.0)) == ["mira", "nova"]
    assert recorded.pauses == [0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.5, 0.5]
    assert drawn == [(0, pause) for pause in recorded.pauses]


def test_a_lost_put_is_looked_up_for_ten_seconds(object_storage: ObjectStorage) -> None:
    """Whatever the lock_timeout of the stores: that is how long calls wait for their turn."""
    assert object_storage.backend()._settle_seconds == 10


def test_a_foreign_object_that_is_in_the_way_is_a_conflict(
    recorded: RecordedBackend, object_storage: ObjectStorage
) -> None:
    """If the store has refused the only try, nothing is in doubt, whichever program wrote the object."""
    recorded.add("mira")
    object_storage.write(dumps(PetFleet("u", [pet("ada")], "ada")).encode(), "u")
    assert names(recorded.add("nova")) == ["ada", "nova"]


def test_a_crowd_of_writers_leaves_it_open(recorded: RecordedBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    """So many have written since that the own commit may have been dropped from the object's note."""
    recorded.add("mira")

    def and_a_crowd(put: Put, arguments: tuple[Any, ...]) -> Version:
        version = put(*arguments)
        ids = tuple(Writer().next_commit() for _ in range(_MAX_COMMITS))
        origin = Lineage.of(arguments[2])
        assert origin is not None
        put(arguments[0], arguments[1] + b"\n", Lineage(origin.origin, ids).note(), version)
        raise LOST

    recorded.puts = [and_a_crowd]
    with pytest.raises(UnconfirmedCommitError):
        recorded.add("nova")


@pytest.mark.parametrize("tags", ["of the content", "of each write"])
def test_etags_that_come_back(tags: str, object_storage: ObjectStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    """If equal bytes have equal ETags, a lost answer may be judged wrongly: docs/scaling.md describes this limit."""
    storage = object_storage if tags == "of the content" else MemoryStorage()
    recorded = RecordedBackend(storage.backend(), monkeypatch)
    second, third = storage.backend(), storage.backend()
    recorded.add("mira")
    assert names(commit(third, load, Kind.READ)) == ["mira"]

    def lost_and_undone(put: Put, arguments: tuple[Any, ...]) -> Version:
        put(*arguments)
        commit(second, lambda stored: stored and stored.without_pet("nova"))
        commit(third, add("tom"))  # from memory: the condition holds where the ETag has come back
        raise LOST

    recorded.puts = [lost_and_undone]
    assert names(recorded.add("nova")) == (["mira", "tom", "nova"] if tags == "of the content" else ["mira", "nova"])
    assert names(third.peek("u")) == (["mira", "tom", "nova"] if tags == "of the content" else ["mira", "tom"])
