"""What a commit to an object asks of the store, and what it does when others commit first."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from petfleet import (
    LockTimeoutError,
    ObjectBackend,
    PetAlreadyInFleetError,
    PetFleet,
)
from petfleet._backends.objects.bucket import Version
from petfleet._backends.protocol import OvertakenError
from petfleet._commit.change import Change, Kind, carry_out
from tests.conftest import pet
from tests.support.backends import ObjectStorage
from tests.support.commits import add, commit, delete, load
from tests.support.deadlines import SHORT, time_is_up_when
from tests.support.object_requests import (
    Put,
    RecordedBackend,
    before_it,
    names,
)


def test_the_last_writer_needs_one_put_and_no_get(recorded: RecordedBackend) -> None:
    """Only the first commit has to look."""
    recorded.add("mira")
    assert recorded.requests == ["get", "put"]
    recorded.add("nova")
    assert recorded.requests == ["put"]


@pytest.mark.parametrize("change", [load, lambda stored: stored.with_pet(pet("mira"))], ids=["load", "taken name"])
def test_what_rests_on_memory_alone_is_revalidated(
    recorded: RecordedBackend, other: ObjectBackend, change: Callable[[PetFleet | None], PetFleet | None]
) -> None:
    """An answer without a put costs one get, and comes from what is there now."""
    recorded.add("mira")
    first = Change(change, Kind.CHANGE)
    recorded.commit(first)
    assert recorded.requests == ["get"]
    commit(other, delete, Kind.DELETE)
    commit(other, add("nova"))
    second = Change(change, Kind.CHANGE)
    recorded.commit(second)
    assert names(second.result) == (["nova"] if change is load else ["nova", "mira"])
    assert second.error is None
    if change is load:
        assert recorded.requests == ["get"]
        assert names(first.result) == ["mira"]
    else:
        assert recorded.requests == ["get", "put"]
        assert isinstance(first.error, PetAlreadyInFleetError)


def test_a_fleet_that_there_is_not_is_looked_for_each_time(recorded: RecordedBackend, other: ObjectBackend) -> None:
    """That there is no fleet is not remembered."""
    assert commit(recorded.backend, load, Kind.READ) is None
    assert commit(recorded.backend, load, Kind.READ) is None
    commit(other, add("mira"))
    assert names(commit(recorded.backend, load, Kind.READ)) == ["mira"]
    assert names(recorded.backend.peek("u")) == ["mira"]


@pytest.mark.parametrize("there", [True, False])
def test_on_a_conflict_the_same_changes_are_applied_to_what_is_there_now(
    recorded: RecordedBackend, other: ObjectBackend, there: bool
) -> None:
    """Nothing of either is lost, of a new object as of an old one."""
    if there:
        recorded.add("mira")
    recorded.puts = [before_it(other, "nova"), before_it(other, "tom")]
    first = ["mira"] if there else []
    assert names(recorded.add("ada")) == [*first, "nova", "tom", "ada"]
    assert recorded.requests == [*([] if there else ["get"]), "put", "get", "put", "get", "put"]
    assert names(other.peek("u")) == [*first, "nova", "tom", "ada"]


def test_on_a_conflict_the_try_is_over(recorded: RecordedBackend, other: ObjectBackend) -> None:
    """Nothing of it has happened; when to try again is not for the backend to say."""
    recorded.puts = [before_it(other, "nova")]
    turn = recorded.backend.begin("u", create=True)
    assert turn.try_turn()
    with pytest.raises(OvertakenError):
        carry_out([Change(add("mira"), Kind.CREATE)], turn, lambda phase: None)
    turn.close()
    assert recorded.requests == ["get", "put", "get"]
    assert names(other.peek("u")) == ["nova"]


def test_an_answer_from_memory_that_others_have_overtaken_is_found_out(
    recorded: RecordedBackend, other: ObjectBackend
) -> None:
    """A deletion of nothing rests on memory, too: if there is something by now, it is tried anew."""
    assert commit(recorded.backend, delete, Kind.DELETE) is None
    commit(other, add("mira"))
    turn = recorded.backend.begin("u", create=False)
    assert turn.try_turn()
    with pytest.raises(OvertakenError):
        carry_out([Change(delete, Kind.DELETE)], turn, lambda phase: None)
    turn.close()
    assert commit(recorded.backend, delete, Kind.DELETE) is None
    assert other.peek("u") is None


async def test_calls_that_others_are_always_ahead_of_time_out(
    object_storage: ObjectStorage, other: ObjectBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error names the object's URL, and nothing was changed."""
    store = object_storage.store(lock_timeout=SHORT)
    time_is_up_when(monkeypatch, lambda: store.statistics().lock_waits)
    recorded = RecordedBackend(store._backend, monkeypatch)  # type: ignore[arg-type] # it is one
    numbers: Iterator[int] = iter(range(1_000_000))

    def always(put: Put, arguments: tuple[Any, ...]) -> Version:
        recorded.puts.append(always)
        return before_it(other, f"p{next(numbers)}")(put, arguments)

    recorded.puts = [always]
    with pytest.raises(LockTimeoutError) as raised:
        await store.add("u", pet("mira"))
    assert raised.value.path == object_storage.where("u")
    assert raised.value.holder is None
    assert "since others were first each time" in str(raised.value)
    recorded.puts = []
    assert "mira" not in names(await store.peek("u"))  # type: ignore[operator] # there is a fleet
    assert store.statistics().lock_waits == 1
