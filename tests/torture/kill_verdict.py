"""Whether what is stored agrees with what the tasks of killed children had reported.

Exact: a call that was acknowledged has happened once; one that was under way has happened once, or not at all.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

from petfleet import PetFleet
from tests.torture.fork_server import Death, Plan
from tests.torture.kill_tasks import COUNTER, DELETED, SHARED, Known, Step, Task, at_first, steps

Fleets = Mapping[str, PetFleet | None]  # by user


class Span(NamedTuple):
    """The times between which a call happened; the end is infinity if it may not have happened."""

    begin: float
    end: float


@dataclass(frozen=True, slots=True)
class Life:
    """The calls that a task has begun, and when."""

    task: Task
    calls: list[Step]
    spans: list[Span]

    @property
    def acknowledged(self) -> int:
        """How many of the calls have returned: all but the one during which it died, if there was one."""
        return sum(span.end < math.inf for span in self.spans)

    @property
    def possible(self) -> tuple[Known, Known]:
        """What is known without and with the call during which it died."""
        known = [at_first(self.task), *(step.after for step in self.calls)]
        return known[self.acknowledged], known[-1]

    def __str__(self) -> str:
        last = [f"  {step.text}" for step in self.calls[-12:]]
        ends = "the last of them acknowledged" if self.acknowledged == len(self.calls) else "the last not acknowledged"
        return "\n".join([f"{self.task}: {len(self.calls)} calls, {ends}:", *last])


def lives(plan: Plan, death: Death) -> list[Life]:
    """Return what the tasks of a dead child have done, from its reports."""
    spans: list[list[Span]] = [[] for _ in plan.tasks]
    for number, step, sign, when in death.reports:
        its = spans[number]
        if sign == "+":
            its.append(Span(when, math.inf))
        else:
            its[step] = Span(its[step].begin, when)
    return [Life(task, list(islice(steps(task), len(its))), its) for task, its in zip(plan.tasks, spans, strict=True)]


def judge(before: Fleets, after: Fleets, lived: list[Life]) -> None:
    """Raise AssertionError unless the stored fleets follow from those before the group, and from its reports."""
    for life in lived:
        _judge_own(after[life.task.user_id], life)
    _judge_shared(before[SHARED], after[SHARED], lived)
    _judge_deleted(before[DELETED], after[DELETED], lived)


def _judge_own(stored: PetFleet | None, life: Life) -> None:
    possible = {known.own for known in life.possible}
    assert stored in possible, f"{stored} is stored, and not one of {possible} after {life}"


def _judge_shared(before: PetFleet | None, after: PetFleet | None, lived: list[Life]) -> None:
    pets = _pets(after)
    counted = pets.pop(COUNTER, 0) - _pets(before).get(COUNTER, 0)
    least, most = (sum(life.possible[index].counted for life in lived) for index in (0, 1))
    assert least <= counted <= most, f"{counted} is counted, and neither {least} nor up to {most}"
    for life in lived:
        own = {name: pets.pop(name) for name in list(pets) if name.startswith(f"{life.task.name}.")}
        possible = [known.shared for known in life.possible]
        assert own in possible, f"{own} of its pets are in the shared fleet, and not one of {possible} after {life}"
    others = {name: when for name, when in _pets(before).items() if name != COUNTER}
    assert pets == others, f"{pets} of earlier pets are left of {others}"


def _judge_deleted(before: PetFleet | None, after: PetFleet | None, lived: list[Life]) -> None:
    """The last deletion decides: pets added before it are gone, pets added after it are there."""
    adds = dict.fromkeys(_pets(before), Span(0, 0))
    deletions = []
    for life in lived:
        for step, span in zip(life.calls, life.spans, strict=True):
            if step.adds is not None:
                adds[step.adds] = span
            if step.deletes:
                deletions.append(span)
    pets = _pets(after)
    assert pets.keys() <= adds.keys(), f"no one added {pets.keys() - adds.keys()}"
    there = [adds[name] for name in pets]
    gone = [span for name, span in adds.items() if name not in pets and span.end < math.inf]
    done = [span for span in deletions if span.end < math.inf]
    possible = (not gone and not done) or any(
        _in_this_order([*gone, *done, last], [last, *there]) for last in deletions
    )
    assert possible, f"{pets} are stored: no order of the additions {adds} and deletions {deletions} leads to that"


def _in_this_order(earlier: Iterable[Span], later: Iterable[Span]) -> bool:
    """Return whether all of ``earlier`` may have happened before all of ``later``."""
    return max(span.begin for span in earlier) <= min(span.end for span in later)


def _pets(fleet: PetFleet | None) -> dict[str, int]:
    return {} if fleet is None else {pet.pet_name: pet.last_active for pet in fleet.pets}
