"""The verdict on what killed children leave: exactly what their reports allow."""

from __future__ import annotations

from math import inf

import pytest

from petfleet import FleetStore, PetFleet
from tests.conftest import pet
from tests.torture.kill_tasks import COUNTER, DELETED, SHARED, Known, Step, Task
from tests.torture.kill_verdict import Life, Span, judge

Done = tuple[Step, float, float]


async def _call(store: FleetStore) -> None:
    raise NotImplementedError


def does(
    begin: float,
    end: float,
    *,
    own: PetFleet | None = None,
    shared: tuple[str, ...] = (),
    counted: int = 0,
    adds: str | None = None,
    deletes: bool = False,
) -> Done:
    """A call, begun and ended then, that leads to that."""
    return Step("call", _call, Known(own, dict.fromkeys(shared, 1), counted), adds, deletes), begin, end


def judged(lived: list[list[Done]], **after: PetFleet | None) -> None:
    """Judge what is stored after such lives of tasks, by user; before, nothing was."""
    fleets = dict.fromkeys(("own", SHARED, DELETED)) | after
    lives = [
        Life(Task(str(number), 0, "own", None), [step for step, *_ in its], [Span(*times) for _, *times in its])
        for number, its in enumerate(lived)
    ]
    judge(dict.fromkeys(fleets), fleets, lives)


def fleet(*names: str) -> PetFleet:
    """A fleet of pets with these names."""
    return PetFleet("u", [pet(name, 1) for name in names])


@pytest.mark.parametrize("end", [2, inf], ids=["acknowledged", "under way"])
def test_a_call_has_happened_once_or_if_it_was_under_way_perhaps_not(end: float) -> None:
    """Of a task's own user, of its pets in the shared fleet, and of the counter."""
    after = {"own": fleet("mira"), "shared": fleet("0.1")}
    lived = [[does(1, end, own=fleet("mira"), shared=("0.1",))]]
    judged(lived, **after)
    for missing in after:
        if end == inf:
            judged(lived, **{**after, missing: None})
        else:
            with pytest.raises(AssertionError, match="and not one of"):
                judged(lived, **{**after, missing: None})
    counted = [[does(1, 2, counted=1), does(3, end, counted=2)]]
    for number in range(5):
        stored = PetFleet("u", [pet(COUNTER, number)])
        if number in ({1, 2} if end == inf else {2}):
            judged(counted, shared=stored)
        else:
            with pytest.raises(AssertionError, match="is counted"):
                judged(counted, shared=stored)


@pytest.mark.parametrize(
    ("lived", "possible"),
    [
        pytest.param([[does(1, 2, adds="a")]], ["a"], id="added"),
        pytest.param([[does(1, inf, adds="a")]], ["", "a"], id="adding"),
        pytest.param([[does(1, 2, adds="a"), does(3, 4, deletes=True)]], [""], id="then deleted"),
        pytest.param([[does(1, 2, adds="a"), does(3, inf, deletes=True)]], ["", "a"], id="then deleting"),
        pytest.param([[does(1, 2, deletes=True), does(3, 4, adds="a")]], ["a"], id="deleted before"),
        pytest.param([[does(1, 3, adds="a")], [does(2, 4, deletes=True)]], ["", "a"], id="at the same time"),
        pytest.param(
            [[does(1, 2, adds="a"), does(3, 4, adds="b")], [does(0, inf, deletes=True)]],
            ["", "b", "ab"],  # what deleted the later pet has deleted the earlier one too
            id="two added while deleting",
        ),
        pytest.param(
            [[does(1, 2, adds="a")], [does(1, 2, deletes=True)], [does(3, inf, deletes=True)]],
            ["", "a"],
            id="deleted twice",
        ),
    ],
)
def test_what_any_task_deletes_is_what_some_order_of_the_calls_leads_to(
    lived: list[list[Done]], possible: list[str]
) -> None:
    """Calls that did not overlap have happened in their order."""
    for names in ("", "a", "b", "ab"):
        if names in possible:
            judged(lived, **{DELETED: fleet(*names)})
        else:
            with pytest.raises(AssertionError, match=r"no one added|no order"):
                judged(lived, **{DELETED: fleet(*names)})


def test_what_was_there_before_is_there_after() -> None:
    """The pets of earlier tasks in the shared fleet are no one's to change."""
    before = {SHARED: fleet("early"), DELETED: None}
    judge(before, before, [])
    with pytest.raises(AssertionError, match="earlier pets"):
        judge(before, {SHARED: None, DELETED: None}, [])
