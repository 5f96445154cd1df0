"""A store that refuses requests, or cannot be reached: nothing has changed, and the error says why."""

from __future__ import annotations

import pytest

from petfleet import (
    ObjectBackend,
)
from petfleet._commit.change import Change, Kind
from tests.support.commits import add, commit, load
from tests.support.object_requests import (
    AWAY,
    RecordedBackend,
    names,
    refused,
    unsent,
)


def test_a_refused_put_fails_the_writes_and_answers_the_loads(recorded: RecordedBackend, other: ObjectBackend) -> None:
    """Nothing was changed; what is answered is what is there now, not what was remembered."""
    recorded.add("mira")
    commit(other, add("nova"))
    recorded.puts = [refused, refused]
    changes = [Change(load, Kind.READ), Change(add("tom"), Kind.CREATE), Change(load, Kind.READ)]
    recorded.commit(*changes)
    assert [names(changes[0].result), names(changes[2].result)] == [["mira", "nova"]] * 2
    assert isinstance(changes[1].error, PermissionError)
    assert recorded.requests == ["put", "get", "put", "get"]
    assert names(other.peek("u")) == ["mira", "nova"]


def test_a_refused_put_after_a_look_needs_no_other(recorded: RecordedBackend) -> None:
    """What was read for this batch is what its loads are answered from."""
    recorded.puts = [refused]
    changes = [Change(add("tom"), Kind.CREATE), Change(load, Kind.READ)]
    recorded.commit(*changes)
    assert recorded.requests == ["get", "put"]
    assert (type(changes[0].error), changes[1].result, changes[1].error) == (PermissionError, None, None)


@pytest.mark.parametrize("when", ["at first", "after no connection"])
def test_a_store_that_cannot_be_read_fails_the_batch(
    recorded: RecordedBackend, other: ObjectBackend, when: str
) -> None:
    """The error is that of the reading, and nothing was changed."""
    if when == "at first":
        recorded.gets = [AWAY]
    else:
        recorded.puts = [unsent]
        recorded.gets = [None, AWAY, AWAY]
    change = Change(add("mira"), Kind.CREATE)
    if when == "at first":
        with pytest.raises(OSError, match="away"):
            recorded.commit(change)
    else:
        recorded.commit(change)
        assert change.error is not None
        assert str(change.error) == str(AWAY)
    assert "mira" not in (names(other.peek("u")) or [])


def test_without_a_connection_it_is_tried_again(recorded: RecordedBackend) -> None:
    """A gateway that has just come back is enough."""
    recorded.puts = [unsent, unsent]
    assert names(recorded.add("mira")) == ["mira"]
    assert recorded.requests == ["get", "put", "get", "put", "get", "put"]
