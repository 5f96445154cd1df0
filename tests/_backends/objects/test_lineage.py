"""Which commits made an object: what its note says, and what it says of a commit whose answer was lost."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from petfleet._backends.objects.lineage import _MAX_COMMITS, Lineage, Writer, followed, happened

A, B, C = Writer(), Writer(), Writer()
ID = "0123456789ab-1"


def crowd(before: Lineage | None, writers: int) -> Lineage:
    """Return the lineage after one commit of each of so many new writers."""
    for _ in range(writers):
        before = followed(before, Writer().next_commit())
    assert before is not None
    return before


def test_each_commit_has_an_id_of_its_own() -> None:
    """So does each writer."""
    assert len({writer.next_commit() for writer in (Writer(), Writer()) for _ in range(1000)}) == 2000


def test_a_note_is_read_back() -> None:
    """What an object's metadata say is what was put there, and short enough for every store."""
    line = crowd(None, 3 * _MAX_COMMITS)
    assert Lineage.of(line.note()) == line
    assert len(line.commits) == _MAX_COMMITS
    assert len(line.note()) < 1024
    assert line.note().isascii()


@pytest.mark.parametrize(
    "note",
    [
        *(None, "", "x", ID, f"{ID} x", f"{ID}  {ID}", f"{ID} {ID.upper()}", f"0123456789ab-0 {ID}"),
        " ".join([ID] * (_MAX_COMMITS + 2)),
    ],
)
def test_other_notes_mean_nothing(note: str | None) -> None:
    """What someone else has put into the metadata is no lineage."""
    assert Lineage.of(note) is None


def test_a_writer_is_there_once() -> None:
    """Only the newest commit of each writer is kept, the latest first: the writer's earlier ones are decided."""
    first, other, second = A.next_commit(), B.next_commit(), A.next_commit()
    line = followed(followed(followed(None, first), other), second)
    assert line == Lineage(first, (second, other))


def test_what_was_lost_and_has_happened() -> None:
    """It is found behind any number of commits of a few other writers."""
    before = crowd(None, 2)
    lost = A.next_commit()
    now = followed(before, lost)
    assert happened(lost, before, now) is True
    for _ in range(1000):
        now = followed(now, B.next_commit())
    assert happened(lost, before, now) is True
    assert happened(lost, before, crowd(now, _MAX_COMMITS - 2)) is True


def test_what_was_lost_and_has_not_happened() -> None:
    """Another commit has the place that it would have had."""
    before = crowd(None, 2)
    lost = A.next_commit()
    now = crowd(before, 1)
    assert happened(lost, before, now) is False
    assert happened(lost, None, now) is False
    assert happened(lost, before, before) is False


def test_a_first_commit_that_was_lost() -> None:
    """The commit that made the object is known even after many writers: it is the origin."""
    lost = A.next_commit()
    assert happened(lost, None, crowd(followed(None, lost), 2 * _MAX_COMMITS)) is True
    assert happened(lost, None, crowd(None, 1)) is False


def test_what_cannot_be_told() -> None:
    """A foreign writer in between, no note at all, or too many writers leave it open."""
    before = crowd(None, 1)
    lost = A.next_commit()
    assert happened(lost, before, None) is None
    assert happened(lost, None, None) is None
    assert happened(lost, before, crowd(None, 2)) is None
    mine = followed(None, B.next_commit())
    assert happened(lost, mine, followed(None, B.next_commit())) is None  # the same writer, on what a foreign one left
    assert happened(lost, before, crowd(followed(before, lost), _MAX_COMMITS)) is None
    assert happened(lost, before, crowd(before, _MAX_COMMITS)) is None
    assert happened(lost, None, crowd(None, _MAX_COMMITS)) is None


def test_a_crowd_does_not_matter_if_what_was_replaced_is_still_told() -> None:
    """The commit would stand before the one that it was to follow."""
    before = crowd(None, _MAX_COMMITS)
    lost = A.next_commit()
    assert happened(lost, before, crowd(before, _MAX_COMMITS - 1)) is False


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), max_size=30), st.integers(0, 60))
def test_never_a_false_answer(steps: list[tuple[int, bool]], crowded: int) -> None:
    """Whatever others do before and after, an answer that is given is right."""
    writers = [Writer() for _ in range(6)]
    line: Lineage | None = None
    for writer, happens in steps:
        before, lost = line, writers[writer].next_commit()
        if happens:
            line = followed(line, lost)
        now = crowd(line, crowded + (not happens))
        assert happened(lost, before, now) in (happens, None)
        assert happened(lost, before, now) is not None or crowded >= _MAX_COMMITS - 7


def test_traces_that_are_missing_leave_it_open() -> None:
    """What was there when the commit was tried is gone: the last writer had read before that."""
    first, second = A.next_commit(), A.next_commit()
    old = followed(None, first)
    before = followed(old, second)
    lost = A.next_commit()
    assert happened(lost, before, followed(old, B.next_commit())) is None
    before = followed(old, C.next_commit())
    assert happened(lost, before, followed(old, B.next_commit())) is None


def test_a_crowd_does_not_matter_if_any_of_what_was_replaced_is_still_told() -> None:
    """Though the last one's writer has written since."""
    before = followed(crowd(None, _MAX_COMMITS), B.next_commit())
    lost = A.next_commit()
    assert happened(lost, before, followed(before, B.next_commit())) is False
