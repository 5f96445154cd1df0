"""One commit to an object: what it asks of the store, and what it makes of answers that are lost, late or refusals."""

from __future__ import annotations

import errno
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, aclosing
from typing import Any
from unittest import mock

import anyio
import anyio.to_thread
import pytest

from petfleet import (
    FleetFormatError,
    LockTimeoutError,
    ObjectBackend,
    PetAlreadyInFleetError,
    PetFleet,
    UnconfirmedCommitError,
    dumps,
    loads,
)
from petfleet._backends.objects.backend import TOMBSTONE, TOMBSTONE_BYTES, tombstone
from petfleet._backends.objects.bucket import Bucket, ConflictError, Found, UnansweredError, UnsentError, Version
from petfleet._backends.objects.lineage import _MAX_COMMITS, Lineage, Writer
from petfleet._backends.protocol import OvertakenError
from petfleet._commit.change import Change, Kind, carry_out
from petfleet._util import runtime
from tests.conftest import Clock, pet, wait_until
from tests.support.backends import MemoryHome, ObjectHome
from tests.support.children import in_fork
from tests.support.commits import add, attempt, commit, delete, load
from tests.support.deadlines import SHORT, time_is_up_when
from tests.support.gate import Gate

Put = Callable[..., Version]


class Pauses(Clock):
    """A clock on which each pause takes a tenth of a second."""

    def __init__(self) -> None:
        super().__init__()
        self.made: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.made.append(seconds)
        super().sleep(0.1)


class Watched:
    """A backend whose requests are noted, and meet what a test prepares: one fault a put, or a get."""

    def __init__(self, backend: ObjectBackend, monkeypatch: pytest.MonkeyPatch) -> None:
        self.backend = backend
        self.requests: list[str] = []
        self.puts: list[Callable[[Put, tuple[Any, ...]], Version]] = []
        self.gets: list[Exception | None] = []
        self.pauses: list[float] = []
        bucket = backend._bucket
        put, get = bucket.put, bucket.get

        def noted_put(*arguments: Any) -> Version:
            self.requests.append("put")
            return self.puts.pop(0)(put, arguments) if self.puts else put(*arguments)

        def noted_get(*arguments: Any) -> Found | None:
            self.requests.append("get")
            if self.gets and (error := self.gets.pop(0)) is not None:
                raise error
            return get(*arguments)

        monkeypatch.setattr(bucket, "put", noted_put)
        monkeypatch.setattr(bucket, "get", noted_get)

    def commit(self, *changes: Change, seconds: float = 1.0) -> None:
        """Commit changes of user u in one batch; for so long a put whose answer was lost is looked up."""
        self.requests.clear()
        clock = Pauses()
        self.pauses = clock.made
        self.backend._settle_seconds = seconds
        with (
            mock.patch.object(runtime, "monotonic", clock.monotonic),
            mock.patch.object(runtime, "sleep", clock.sleep),
        ):
            assert attempt(self.backend, *changes)

    def add(self, name: str, seconds: float = 1.0) -> PetFleet | None:
        """Add a pet as :meth:`commit` does, and return the fleet or raise the error."""
        change = Change(add(name), Kind.CREATE)
        self.commit(change, seconds=seconds)
        if change.error is not None:
            raise change.error
        return change.result


AWAY = OSError(errno.EIO, "away", "s3://...")
LOST = UnansweredError(errno.EIO, "the answer was lost", "s3://...")


def answer_lost(put: Put, arguments: tuple[Any, ...]) -> Version:
    """The store did it, and no one hears of it."""
    put(*arguments)
    raise LOST


def request_lost(put: Put, arguments: tuple[Any, ...]) -> Version:
    """It never came to the store, and no one can tell."""
    raise LOST


def refused(put: Put, arguments: tuple[Any, ...]) -> Version:
    """The store does not allow it."""
    raise PermissionError(errno.EACCES, "not allowed", "s3://...")


def unsent(put: Put, arguments: tuple[Any, ...]) -> Version:
    """There was no connection."""
    raise UnsentError(errno.EIO, "no connection", "s3://...")


def done_twice(put: Put, arguments: tuple[Any, ...]) -> Version:
    """A proxy repeats the request: the answer is that of the second try."""
    put(*arguments)
    return put(*arguments)


@pytest.fixture
def watched(object_home: ObjectHome, monkeypatch: pytest.MonkeyPatch) -> Watched:
    return Watched(object_home.backend(), monkeypatch)


@pytest.fixture
def other(object_home: ObjectHome) -> ObjectBackend:
    """Someone else, by the other gateway."""
    return object_home.backend(gateway=1)


def before_it(backend: ObjectBackend, name: str) -> Callable[[Put, tuple[Any, ...]], Version]:
    """Return what lets someone else add a pet just before the put."""

    def overtaken(put: Put, arguments: tuple[Any, ...]) -> Version:
        commit(backend, add(name))
        return put(*arguments)

    return overtaken


def names(fleet: PetFleet | None) -> list[str] | None:
    return None if fleet is None else [handle.pet_name for handle in fleet.pets]


# --- what it costs ---------------------------------------------------------------------------------------------------


def test_the_last_writer_needs_one_put_and_no_get(watched: Watched) -> None:
    """Only the first commit has to look."""
    watched.add("mira")
    assert watched.requests == ["get", "put"]
    watched.add("nova")
    assert watched.requests == ["put"]


@pytest.mark.parametrize("change", [load, lambda stored: stored.with_pet(pet("mira"))], ids=["load", "taken name"])
def test_what_rests_on_memory_alone_is_revalidated(
    watched: Watched, other: ObjectBackend, change: Callable[[PetFleet | None], PetFleet | None]
) -> None:
    """An answer without a put costs one get, and is that of what is there now."""
    watched.add("mira")
    first = Change(change, Kind.CHANGE)
    watched.commit(first)
    assert watched.requests == ["get"]
    commit(other, delete, Kind.DELETE)
    commit(other, add("nova"))
    second = Change(change, Kind.CHANGE)
    watched.commit(second)
    assert names(second.result) == (["nova"] if change is load else ["nova", "mira"])
    assert second.error is None
    if change is load:
        assert watched.requests == ["get"]
        assert names(first.result) == ["mira"]
    else:
        assert watched.requests == ["get", "put"]
        assert isinstance(first.error, PetAlreadyInFleetError)


def test_a_fleet_that_there_is_not_is_looked_for_each_time(watched: Watched, other: ObjectBackend) -> None:
    """That there is none is known for the one answer only."""
    assert commit(watched.backend, load, Kind.READ) is None
    assert commit(watched.backend, load, Kind.READ) is None
    commit(other, add("mira"))
    assert names(commit(watched.backend, load, Kind.READ)) == ["mira"]
    assert names(watched.backend.peek("u")) == ["mira"]


# --- conflicts -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("there", [True, False])
def test_on_a_conflict_the_same_changes_are_applied_to_what_is_there_now(
    watched: Watched, other: ObjectBackend, there: bool
) -> None:
    """Nothing of either is lost, of a new object as of an old one."""
    if there:
        watched.add("mira")
    watched.puts = [before_it(other, "nova"), before_it(other, "tom")]
    first = ["mira"] if there else []
    assert names(watched.add("ada")) == [*first, "nova", "tom", "ada"]
    assert watched.requests == [*([] if there else ["get"]), "put", "get", "put", "get", "put"]
    assert names(other.peek("u")) == [*first, "nova", "tom", "ada"]


def test_on_a_conflict_the_try_is_over(watched: Watched, other: ObjectBackend) -> None:
    """Nothing of it has happened; when to try again is not for the backend to say."""
    watched.puts = [before_it(other, "nova")]
    turn = watched.backend.begin("u", create=True)
    assert turn.try_turn()
    with pytest.raises(OvertakenError):
        carry_out([Change(add("mira"), Kind.CREATE)], turn, lambda phase: None)
    turn.close()
    assert watched.requests == ["get", "put", "get"]
    assert names(other.peek("u")) == ["nova"]


def test_an_answer_from_memory_that_others_have_overtaken_is_found_out(watched: Watched, other: ObjectBackend) -> None:
    """A deletion of nothing rests on memory, too: if there is something by now, it is tried anew."""
    assert commit(watched.backend, delete, Kind.DELETE) is None
    commit(other, add("mira"))
    turn = watched.backend.begin("u", create=False)
    assert turn.try_turn()
    with pytest.raises(OvertakenError):
        carry_out([Change(delete, Kind.DELETE)], turn, lambda phase: None)
    turn.close()
    assert commit(watched.backend, delete, Kind.DELETE) is None
    assert other.peek("u") is None


def test_nothing_is_asked_before_the_calls_are_taken(watched: Watched) -> None:
    """What arrives later must not be answered by it; and calls that were all withdrawn cost nothing."""
    turn = watched.backend.begin("u", create=True)
    assert turn.try_turn()
    turn.close()
    assert watched.requests == []


async def test_calls_that_others_are_always_ahead_of_time_out(
    object_home: ObjectHome, other: ObjectBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error names the object's URL, and nothing was changed."""
    store = object_home.store(lock_timeout=SHORT)
    time_is_up_when(monkeypatch, lambda: store.statistics().lock_waits)
    watched = Watched(store._backend, monkeypatch)  # type: ignore[arg-type] # it is one
    numbers: Iterator[int] = iter(range(1_000_000))

    def always(put: Put, arguments: tuple[Any, ...]) -> Version:
        watched.puts.append(always)
        return before_it(other, f"p{next(numbers)}")(put, arguments)

    watched.puts = [always]
    with pytest.raises(LockTimeoutError) as raised:
        await store.add("u", pet("mira"))
    assert raised.value.path == object_home.where("u")
    assert raised.value.holder is None
    assert "since others were first each time" in str(raised.value)
    watched.puts = []
    assert "mira" not in names(await store.peek("u"))  # type: ignore[operator] # there is a fleet
    assert store.statistics().lock_waits == 1


# --- answers that are lost -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("there", [True, False])
@pytest.mark.parametrize("fault", [answer_lost, done_twice])
def test_what_has_happened_is_found_out(watched: Watched, fault: Any, there: bool) -> None:
    """No call reports that its own first try was in its way, and no change is applied twice."""
    if there:
        watched.add("mira")
    watched.puts = [fault]
    assert names(watched.add("nova")) == (["mira", "nova"] if there else ["nova"])
    assert watched.requests[-2:] == ["put", "get"]
    assert watched.requests.count("put") == 1
    assert names(watched.add("tom")) == (["mira", "nova", "tom"] if there else ["nova", "tom"])


@pytest.mark.parametrize("there", [True, False])
def test_a_put_that_was_repeated_on_its_way_is_looked_up_until_it_can_be_read(watched: Watched, there: bool) -> None:
    """The refusal is that of the second try: that nothing can be read for a moment makes no error of it."""
    if there:
        watched.add("mira")
    watched.puts = [done_twice]
    watched.gets = [*([] if there else [None]), AWAY]
    assert names(watched.add("nova")) == (["mira", "nova"] if there else ["nova"])
    watched.puts = [done_twice]
    watched.gets = [AWAY] * 10
    with pytest.raises(UnconfirmedCommitError) as raised:
        watched.add("tom", seconds=0.35)
    assert raised.value.__cause__ is AWAY


def test_stores_that_share_a_backend_take_turns_at_a_user(watched: Watched) -> None:
    """An object tells only the newest commit of each writer: of two at once, one could not find what it has done."""
    watched.add("mira")

    def meanwhile(put: Put, arguments: tuple[Any, ...]) -> Version:
        assert not attempt(watched.backend, Change(add("tom"), Kind.CREATE))
        others = watched.backend.begin("other", create=True)
        assert others.try_turn()
        others.close()
        return put(*arguments)

    watched.puts = [meanwhile]
    assert names(watched.add("nova")) == ["mira", "nova"]
    assert names(watched.add("tom")) == ["mira", "nova", "tom"]


def test_a_turn_is_waited_for_until_it_is_given_back(watched: Watched) -> None:
    """Each of those who wait has it for itself."""
    ours = watched.backend.begin("u", create=True)
    assert ours.try_turn()
    had: list[bool] = []

    def wait() -> None:
        turn = watched.backend.begin("u", create=True)
        assert not turn.try_turn()
        came.release()
        turn.wait_turn()
        had.append(watched.backend.begin("u", create=True).try_turn())
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


def test_one_that_was_refused_gives_back_no_turn_of_others(watched: Watched) -> None:
    """Closing it leaves the turn with those who have it."""
    ours, theirs = (watched.backend.begin("u", create=True) for _ in range(2))
    assert ours.try_turn()
    assert not theirs.try_turn()
    theirs.close()
    assert not watched.backend.begin("u", create=True).try_turn()
    ours.close()


def test_what_has_happened_is_found_out_behind_commits_of_others(watched: Watched, other: ObjectBackend) -> None:
    """The answer is the fleet right after the call's own change, and the next commit starts from what is there now."""
    watched.add("mira")

    def lost_and_followed(put: Put, arguments: tuple[Any, ...]) -> Version:
        put(*arguments)
        for number in range(100):
            commit(other, add(f"p{number}"))
        raise LOST

    watched.puts = [lost_and_followed]
    assert names(watched.add("nova")) == ["mira", "nova"]
    assert names(watched.add("tom")) == ["mira", "nova", *(f"p{number}" for number in range(100)), "tom"]
    assert watched.requests == ["put"]


@pytest.mark.parametrize("there", [True, False])
def test_what_has_not_happened_is_put_again_with_the_same_id(watched: Watched, there: bool) -> None:
    """As long as the object is what it was, the first try may still happen: of the two at most one can."""
    if there:
        watched.add("mira")
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

    watched.puts = [held_up, then]
    assert names(watched.add("nova")) == (["mira", "nova"] if there else ["nova"])
    assert watched.requests[-3:] == ["put", "get", "put"]


def test_a_put_that_comes_late_is_the_one_that_counts(watched: Watched) -> None:
    """If the first try arrives before the second one, that one is refused, and the first is found."""
    watched.add("mira")
    tried: list[tuple[Any, ...]] = []

    def held_up(put: Put, arguments: tuple[Any, ...]) -> Version:
        tried.append(arguments)
        raise LOST

    def overtaken_by_it(put: Put, arguments: tuple[Any, ...]) -> Version:
        put(*tried[0])
        return put(*arguments)

    watched.puts = [held_up, overtaken_by_it]
    assert names(watched.add("nova")) == ["mira", "nova"]
    assert watched.requests == ["put", "get", "put", "get"]
    assert names(watched.backend.peek("u")) == ["mira", "nova"]


def test_what_can_not_happen_any_more_is_done_anew(watched: Watched, other: ObjectBackend) -> None:
    """Someone else has moved the object on: the lost try is refused whenever it comes."""
    watched.add("mira")
    tried: list[tuple[Any, ...]] = []

    def lost_before_another(put: Put, arguments: tuple[Any, ...]) -> Version:
        tried.append(arguments)
        commit(other, add("nova"))
        raise LOST

    watched.puts = [lost_before_another]
    assert names(watched.add("tom")) == ["mira", "nova", "tom"]
    with pytest.raises(ConflictError):
        watched.backend._bucket.put(*tried[0])


@pytest.mark.parametrize("foreign", ["overwritten", "removed", "first"])
def test_what_cannot_be_decided_says_so(watched: Watched, object_home: ObjectHome, foreign: str) -> None:
    """Someone who keeps no lineage came in between: whether the change happened before that, no one can tell."""
    if foreign != "first":
        watched.add("mira")

    def and_foreign(put: Put, arguments: tuple[Any, ...]) -> Version:
        put(*arguments)
        if foreign == "removed":
            object_home.remove("u")
        else:
            object_home.write(dumps(PetFleet("u", [pet("ada")], "ada")).encode(), "u")
        raise LOST

    watched.puts = [and_foreign]
    with pytest.raises(UnconfirmedCommitError) as raised:
        watched.add("nova")
    assert raised.value.path == object_home.where("u")
    assert raised.value.__cause__ is LOST
    assert names(watched.add("tom")) == (["tom"] if foreign == "removed" else ["ada", "tom"])


def test_what_is_not_decided_in_time_says_so(watched: Watched, caplog: pytest.LogCaptureFixture) -> None:
    """The store stays away: after the deadline every call of the batch is told, loads too."""
    watched.add("mira")
    watched.puts = [request_lost] + [unsent, request_lost, refused] * 10
    watched.gets = [OSError(errno.EIO, "away"), None] * 20
    changes = [Change(load, Kind.READ), Change(add("nova"), Kind.CREATE), Change(load, Kind.READ)]
    with caplog.at_level(logging.WARNING):
        watched.commit(*changes, seconds=0.55)
    assert [type(change.error) for change in changes] == [UnconfirmedCommitError] * 3
    assert len(watched.pauses) == 6
    assert watched.requests == ["put", "get"] * 7
    assert "checking whether it was written" in caplog.text
    watched.puts.clear()
    watched.gets.clear()
    assert names(watched.add("tom")) == ["mira", "tom"]
    assert watched.requests == ["get", "put"]


def test_the_pauses_before_a_lost_put_is_looked_up_again_are_random_and_grow(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those who met once must not meet again and again."""
    drawn: list[tuple[float, float]] = []

    def uniform(low: float, high: float) -> float:
        drawn.append((low, high))
        return high

    watched.add("mira")
    monkeypatch.setattr("random.uniform", uniform)
    watched.puts = [request_lost] * 10
    assert names(watched.add("nova", seconds=10.0)) == ["mira", "nova"]
    assert watched.pauses == [0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.5, 0.5]
    assert drawn == [(0, pause) for pause in watched.pauses]


def test_a_lost_put_is_looked_up_for_ten_seconds(object_home: ObjectHome) -> None:
    """Whatever the lock_timeout of the stores: that is how long calls wait for their turn."""
    assert object_home.backend()._settle_seconds == 10


def test_a_foreign_object_that_is_in_the_way_is_a_conflict(watched: Watched, object_home: ObjectHome) -> None:
    """Where the store has refused the only try, nothing is in doubt, whoever wrote what is there."""
    watched.add("mira")
    object_home.write(dumps(PetFleet("u", [pet("ada")], "ada")).encode(), "u")
    assert names(watched.add("nova")) == ["ada", "nova"]


def test_a_crowd_of_writers_leaves_it_open(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    """So many have written since that the own commit may have been dropped from the object's note."""
    watched.add("mira")

    def and_a_crowd(put: Put, arguments: tuple[Any, ...]) -> Version:
        version = put(*arguments)
        ids = tuple(Writer().next_commit() for _ in range(_MAX_COMMITS))
        origin = Lineage.of(arguments[2])
        assert origin is not None
        put(arguments[0], arguments[1] + b"\n", Lineage(origin.origin, ids).note(), version)
        raise LOST

    watched.puts = [and_a_crowd]
    with pytest.raises(UnconfirmedCommitError):
        watched.add("nova")


@pytest.mark.parametrize("tags", ["of the content", "of each write"])
def test_etags_that_come_back(tags: str, object_home: ObjectHome, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where equal bytes have equal ETags, a lost answer may be judged wrongly: docs/scaling.md tells of this limit."""
    home = object_home if tags == "of the content" else MemoryHome()
    watched = Watched(home.backend(), monkeypatch)
    second, third = home.backend(), home.backend()
    watched.add("mira")
    assert names(commit(third, load, Kind.READ)) == ["mira"]

    def lost_and_undone(put: Put, arguments: tuple[Any, ...]) -> Version:
        put(*arguments)
        commit(second, lambda stored: stored and stored.without_pet("nova"))
        commit(third, add("tom"))  # from memory: the condition holds where the ETag has come back
        raise LOST

    watched.puts = [lost_and_undone]
    assert names(watched.add("nova")) == (["mira", "tom", "nova"] if tags == "of the content" else ["mira", "nova"])
    assert names(third.peek("u")) == (["mira", "tom", "nova"] if tags == "of the content" else ["mira", "tom"])


# --- refusals --------------------------------------------------------------------------------------------------------


def test_a_refused_put_fails_the_writes_and_answers_the_loads(watched: Watched, other: ObjectBackend) -> None:
    """Nothing was changed; what is answered is what is there now, not what was remembered."""
    watched.add("mira")
    commit(other, add("nova"))
    watched.puts = [refused, refused]
    changes = [Change(load, Kind.READ), Change(add("tom"), Kind.CREATE), Change(load, Kind.READ)]
    watched.commit(*changes)
    assert [names(changes[0].result), names(changes[2].result)] == [["mira", "nova"]] * 2
    assert isinstance(changes[1].error, PermissionError)
    assert watched.requests == ["put", "get", "put", "get"]
    assert names(other.peek("u")) == ["mira", "nova"]


def test_a_refused_put_after_a_look_needs_no_other(watched: Watched) -> None:
    """What was read for this batch is what its loads are answered from."""
    watched.puts = [refused]
    changes = [Change(add("tom"), Kind.CREATE), Change(load, Kind.READ)]
    watched.commit(*changes)
    assert watched.requests == ["get", "put"]
    assert (type(changes[0].error), changes[1].result, changes[1].error) == (PermissionError, None, None)


@pytest.mark.parametrize("when", ["at first", "after no connection"])
def test_a_store_that_cannot_be_read_fails_the_batch(watched: Watched, other: ObjectBackend, when: str) -> None:
    """The error is that of the reading, and nothing was changed."""
    if when == "at first":
        watched.gets = [AWAY]
    else:
        watched.puts = [unsent]
        watched.gets = [None, AWAY, AWAY]
    change = Change(add("mira"), Kind.CREATE)
    if when == "at first":
        with pytest.raises(OSError, match="away"):
            watched.commit(change)
    else:
        watched.commit(change)
        assert change.error is not None
        assert str(change.error) == str(AWAY)
    assert "mira" not in (names(other.peek("u")) or [])


def test_without_a_connection_it_is_tried_again(watched: Watched) -> None:
    """A gateway that has just come back is enough."""
    watched.puts = [unsent, unsent]
    assert names(watched.add("mira")) == ["mira"]
    assert watched.requests == ["get", "put", "get", "put", "get", "put"]


# --- what is there ---------------------------------------------------------------------------------------------------


def test_a_deleted_fleet_leaves_an_object_that_says_so(watched: Watched, object_home: ObjectHome) -> None:
    """To every reader it is no fleet, and a new one takes its place."""
    watched.add("mira")
    bucket = watched.backend._bucket
    assert commit(watched.backend, delete, Kind.DELETE) is None
    found = bucket.get("u/fleet.toml", 100)
    assert found is not None
    assert TOMBSTONE.fullmatch(found.data or b"")
    assert found.size == TOMBSTONE_BYTES
    late = object_home.backend()
    assert late.peek("u") is None
    assert late.text("u") is None
    assert list(late.users()) == []
    assert commit(late, load, Kind.READ) is None
    assert commit(late, delete, Kind.DELETE) is None
    assert names(commit(late, add("nova"))) == ["nova"]
    assert list(watched.backend.users()) == ["u"]


def test_no_two_deleted_fleets_are_alike(watched: Watched) -> None:
    """A put that was to follow an earlier deletion, and comes late, is refused: ETags are of the content."""
    late: list[tuple[Any, ...]] = []

    def kept(put: Put, arguments: tuple[Any, ...]) -> Version:
        late.append(arguments)
        return put(*arguments)

    watched.add("mira")
    commit(watched.backend, delete, Kind.DELETE)
    watched.puts = [kept]
    watched.add("nova")
    commit(watched.backend, delete, Kind.DELETE)
    with pytest.raises(ConflictError):
        watched.backend._bucket.put(*late[0])


def test_a_tombstone_has_fewer_bytes_than_any_fleet() -> None:
    """So the listing tells them apart."""
    shortest = b'user_id="a"\npets=[]'
    assert loads(shortest) == PetFleet("a")
    assert {len(tombstone()) for _ in range(100)} == {TOMBSTONE_BYTES}
    assert len(shortest) > TOMBSTONE_BYTES


def test_a_delete_does_not_drop_a_concurrent_commit(watched: Watched, other: ObjectBackend) -> None:
    """It is decided on what is there when it happens."""
    watched.add("mira")
    seen: list[list[str] | None] = []

    def notes(stored: PetFleet | None) -> None:
        seen.append(names(stored))

    watched.puts = [before_it(other, "nova")]
    watched.commit(Change(notes, Kind.DELETE))
    assert seen == [["mira"], ["mira", "nova"]]


def test_users_are_told_from_what_is_not_theirs(object_home: ObjectHome) -> None:
    """Only names that can be users', right under the prefix, with a fleet: odd names and a tombstone's size too."""
    odd = [
        "a b",
        "ä",
        "100%",
        "%41",
        "a+b",
        "#?x",
        "😀",
        "a:b",
        "x&y=1",
        "~t",
        "*",
        "'q\"",
        "<>",
        "e\u0301",
        "é",
        "...",
    ]
    for name in odd:
        object_home.write(dumps(PetFleet(name)).encode(), name)
    object_home.write(b"x" * (TOMBSTONE_BYTES + 1), "broken")
    object_home.write(tombstone(), "deleted")
    object_home.write(b"", "a::b")
    object_home.write(b"", "deep/er")
    backend = object_home.backend()
    backend._bucket.put("fleet.toml", b"", "", None)
    backend._bucket.put("u/other.toml", b"", "", None)
    on_skipped: list[tuple[str, str]] = []
    assert sorted(backend.users(lambda name, error: on_skipped.append((name, str(error))))) == sorted([*odd, "broken"])
    assert sorted(backend.users()) == sorted([*odd, "broken"])
    assert [name for name, _ in on_skipped] == ["a::b"]
    for name in odd:
        assert backend.peek(name) == PetFleet(name)


@pytest.mark.parametrize("data", [b"broken", b"", dumps(PetFleet("other")).encode()])
def test_an_object_that_is_no_fleet(object_home: ObjectHome, data: bytes) -> None:
    """Every reader says so and names it, and only a save that overwrites gets past it, if it is not another user's."""
    object_home.write(data, "u")
    backend = object_home.backend()
    for read in (backend.peek, backend.text, lambda user: backend.snapshot(user, None)):
        with pytest.raises(FleetFormatError) as raised:
            read("u")
        assert raised.value.path == object_home.where("u")
    change = Change(lambda stored: PetFleet("u"), Kind.OVERWRITE)
    assert attempt(backend, change)
    assert (change.error is None) == (b"other" not in data)


def test_an_object_that_is_too_large_is_not_read(object_home: ObjectHome, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is an error that tells the size, and what fits is not remembered for ever."""
    monkeypatch.setattr("petfleet._toml.limits.MAX_BYTES", 1000)
    object_home.write(b"x" * 1001, "u")
    with pytest.raises(FleetFormatError, match="at most 1000 bytes, not 1001"):
        object_home.backend().peek("u")


def test_the_text_is_what_the_object_holds(object_home: ObjectHome) -> None:
    """Byte for byte what a file would hold."""
    backend = object_home.backend()
    assert backend.text("u") is None
    fleet = commit(backend, add("mira"))
    assert fleet is not None
    assert backend.text("u") == dumps(fleet)
    assert object_home.read("u") == dumps(fleet).encode()


def test_a_look_tells_what_has_changed(watched: Watched, other: ObjectBackend) -> None:
    """One request each, and None where nothing has."""
    first = watched.backend.snapshot("u", None)
    assert first is not None
    assert first.fleet is None
    assert watched.backend.snapshot("u", first.fingerprint) is None
    commit(other, add("mira"))
    second = watched.backend.snapshot("u", first.fingerprint)
    assert second is not None
    assert names(second.fleet) == ["mira"]
    watched.requests.clear()
    assert watched.backend.snapshot("u", second.fingerprint) is None
    assert watched.requests == ["get"]


def test_waiting_for_notices_ends_with_the_time_or_a_signal(
    object_home: ObjectHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody is ever named."""
    clock = Clock()
    monkeypatch.setattr(runtime, "sleep", clock.sleep)
    monkeypatch.setattr(runtime, "monotonic", clock.monotonic)

    class Stop:
        def is_set(self) -> bool:
            return clock.now > 1010

    told = object_home.backend().notices(Stop())
    assert told.subscribe(["u"]) is False
    assert told.invalidate() is False
    assert told.wait(5) == set()
    assert 1005 <= clock.now < 1006
    assert told.wait(100) == set()
    assert 1010 < clock.now < 1011
    told.close()


async def test_many_watched_users_are_looked_at_side_by_side(
    object_home: ObjectHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each look waits for the network: one after another, hundreds would take longer than the pause between two."""
    store = object_home.store()
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


# --- as a whole ------------------------------------------------------------------------------------------------------


def test_names_itself(object_home: ObjectHome) -> None:
    """A store shows its URL."""
    backend = object_home.backend()
    assert str(backend) == object_home.url
    assert repr(backend) == f"ObjectBackend({object_home.url!r})"
    assert repr(object_home.store()) == f"FleetStore({object_home.url!r})"


@pytest.mark.parametrize("seconds", [0, -1, float("nan")])
def test_the_pause_between_polls_is_some_time(seconds: float) -> None:
    """Without one the store would be asked without end."""
    with pytest.raises(ValueError, match="poll_seconds must be a number of seconds above 0, not "):
        ObjectBackend("s3://bucket/prefix", poll_seconds=seconds)


def test_a_forked_child_is_told_at_once(object_home: ObjectHome) -> None:
    """The threads of obstore are the parent's: the child would wait for ever."""
    backend = object_home.backend()
    commit(backend, add("mira"))
    mine = backend._writer

    def child() -> None:
        assert backend._writer is not mine
        for call in (backend.peek, backend.text, lambda user: list(backend.users())):
            with pytest.raises(OSError, match="start processes by spawn") as raised:
                call("u")
            assert raised.value.errno == errno.ENOTSUP
        with pytest.raises(OSError, match="start processes by spawn"):
            commit(backend, load)

    assert in_fork(child) == 0
    assert names(backend.peek("u")) == ["mira"]


def test_the_bucket_is_what_is_patched() -> None:
    """The tests above reach the requests that are made."""
    assert {"put", "get", "list"} <= set(vars(Bucket))
