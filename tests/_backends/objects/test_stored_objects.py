"""Objects that are no fleet: tombstones, foreign objects, and objects that are too large."""

from __future__ import annotations

from typing import Any

import pytest

from petfleet import (
    FleetFormatError,
    ObjectBackend,
    PetFleet,
    dumps,
    loads,
)
from petfleet._backends.objects.backend import TOMBSTONE, TOMBSTONE_BYTES, tombstone
from petfleet._backends.objects.bucket import ConflictError, Version
from petfleet._commit.change import Change, Kind
from tests.support.backends import ObjectStorage
from tests.support.commits import add, attempt, commit, delete, load
from tests.support.object_requests import (
    Put,
    RecordedBackend,
    before_it,
    names,
)


def test_a_deleted_fleet_leaves_an_object_that_says_so(
    recorded: RecordedBackend, object_storage: ObjectStorage
) -> None:
    """To every reader it is no fleet, and a new one takes its place."""
    recorded.add("mira")
    bucket = recorded.backend._bucket
    assert commit(recorded.backend, delete, Kind.DELETE) is None
    found = bucket.get("u/fleet.toml", 100)
    assert found is not None
    assert TOMBSTONE.fullmatch(found.data or b"")
    assert found.size == TOMBSTONE_BYTES
    late = object_storage.backend()
    assert late.peek("u") is None
    assert late.text("u") is None
    assert list(late.users()) == []
    assert commit(late, load, Kind.READ) is None
    assert commit(late, delete, Kind.DELETE) is None
    assert names(commit(late, add("nova"))) == ["nova"]
    assert list(recorded.backend.users()) == ["u"]


def test_no_two_deleted_fleets_are_alike(recorded: RecordedBackend) -> None:
    """A put that was to follow an earlier deletion, and comes late, is refused: ETags are of the content."""
    late: list[tuple[Any, ...]] = []

    def kept(put: Put, arguments: tuple[Any, ...]) -> Version:
        late.append(arguments)
        return put(*arguments)

    recorded.add("mira")
    commit(recorded.backend, delete, Kind.DELETE)
    recorded.puts = [kept]
    recorded.add("nova")
    commit(recorded.backend, delete, Kind.DELETE)
    with pytest.raises(ConflictError):
        recorded.backend._bucket.put(*late[0])


def test_a_tombstone_has_fewer_bytes_than_any_fleet() -> None:
    """So a listing distinguishes them."""
    shortest = b'user_id="a"\npets=[]'
    assert loads(shortest) == PetFleet("a")
    assert {len(tombstone()) for _ in range(100)} == {TOMBSTONE_BYTES}
    assert len(shortest) > TOMBSTONE_BYTES


def test_a_delete_does_not_drop_a_concurrent_commit(recorded: RecordedBackend, other: ObjectBackend) -> None:
    """It is decided on what is there when it happens."""
    recorded.add("mira")
    seen: list[list[str] | None] = []

    def notes(stored: PetFleet | None) -> None:
        seen.append(names(stored))

    recorded.puts = [before_it(other, "nova")]
    recorded.commit(Change(notes, Kind.DELETE))
    assert seen == [["mira"], ["mira", "nova"]]


def test_users_are_told_from_what_is_not_theirs(object_storage: ObjectStorage) -> None:
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
        object_storage.write(dumps(PetFleet(name)).encode(), name)
    object_storage.write(b"x" * (TOMBSTONE_BYTES + 1), "broken")
    object_storage.write(tombstone(), "deleted")
    object_storage.write(b"", "a::b")
    object_storage.write(b"", "deep/er")
    backend = object_storage.backend()
    backend._bucket.put("fleet.toml", b"", "", None)
    backend._bucket.put("u/other.toml", b"", "", None)
    on_skipped: list[tuple[str, str]] = []
    assert sorted(backend.users(lambda name, error: on_skipped.append((name, str(error))))) == sorted([*odd, "broken"])
    assert sorted(backend.users()) == sorted([*odd, "broken"])
    assert [name for name, _ in on_skipped] == ["a::b"]
    for name in odd:
        assert backend.peek(name) == PetFleet(name)


@pytest.mark.parametrize("data", [b"broken", b"", dumps(PetFleet("other")).encode()])
def test_an_object_that_is_no_fleet(object_storage: ObjectStorage, data: bytes) -> None:
    """Every reader says so and names it, and only a save that overwrites gets past it, if it is not another user's."""
    object_storage.write(data, "u")
    backend = object_storage.backend()
    for read in (backend.peek, backend.text, lambda user: backend.snapshot(user, None)):
        with pytest.raises(FleetFormatError) as raised:
            read("u")
        assert raised.value.path == object_storage.where("u")
    change = Change(lambda stored: PetFleet("u"), Kind.OVERWRITE)
    assert attempt(backend, change)
    assert (change.error is None) == (b"other" not in data)


def test_an_object_that_is_too_large_is_not_read(
    object_storage: ObjectStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is an error that tells the size, and what fits is not remembered for ever."""
    monkeypatch.setattr("petfleet._toml.limits.MAX_BYTES", 1000)
    object_storage.write(b"x" * 1001, "u")
    with pytest.raises(FleetFormatError, match="at most 1000 bytes, not 1001"):
        object_storage.backend().peek("u")


def test_the_text_is_what_the_object_holds(object_storage: ObjectStorage) -> None:
    """Byte for byte what a file would hold."""
    backend = object_storage.backend()
    assert backend.text("u") is None
    fleet = commit(backend, add("mira"))
    assert fleet is not None
    assert backend.text("u") == dumps(fleet)
    assert object_storage.read("u") == dumps(fleet).encode()
