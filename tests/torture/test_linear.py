"""The checker of histories itself: what it must accept, and what it must not."""

from __future__ import annotations

import itertools
import random
from typing import Final

import pytest

from tests.torture import linear, model
from tests.torture.linear import GaveUpError, NotLinearizableError, Operation
from tests.torture.model import (
    Add,
    Append,
    Call,
    Delete,
    Fleet,
    Load,
    Overwrite,
    Remove,
    Reply,
    State,
    Switch,
    Touch,
    stamped,
)
from tests.torture.specification import SPECIFICATION

A: Final = stamped("a", 1)
B: Final = stamped("b", 2)
_ONE: Final = Fleet((A,), "a")
_BOTH: Final = Fleet((A, B), "a")
_ONCE: Final = Fleet((A._replace(role="1 5"),), "a")
_TWICE: Final = Fleet((A._replace(role="1 5 5"),), "a")

History = list[Operation[Call, Reply]]


def call(call: Call, invoked: int, returned: int | None = None, reply: Reply = "") -> Operation[Call, Reply]:
    """A call that returned at a time, or (None) whose outcome is unknown."""
    return Operation(call, invoked, None if returned is None else (returned, reply))


LINEARIZABLE: Final[dict[str, History]] = {
    "nothing at all": [],
    "one after another": [call(Add(A), 0, 1, _ONE), call(Add(B), 2, 3, _BOTH), call(Load(), 4, 5, _BOTH)],
    "in the other order while they overlap": [call(Add(B), 0, 9, _BOTH), call(Add(A), 1, 8, _ONE)],
    "a load that began before the change, and shows it": [call(Load(), 0, 9, _ONE), call(Add(A), 1, 8, _ONE)],
    "a load that ended after the change, and does not show it": [call(Add(A), 0, 8, _ONE), call(Load(), 1, 9, Fleet())],
    "an error that is right for a moment": [
        call(Add(A), 0, 1, _ONE),
        call(Remove("a"), 2, 9, Fleet()),
        call(Add(A), 3, 4, "PetAlreadyInFleetError"),
    ],
    "an unknown outcome that happened": [call(Add(A), 0), call(Load(), 1, 2, _ONE)],
    "an unknown outcome that did not": [call(Add(A), 0), call(Load(), 1, 2, Fleet())],
    "an unknown outcome that happened late": [
        call(Add(A), 0),
        call(Load(), 1, 2, Fleet()),
        call(Load(), 3, 4, _ONE),
    ],
    "an unknown outcome that nothing shows, and that let another call succeed": [
        call(Add(A), 0),
        call(Delete(), 1, 2, True),
        call(Load(), 3, 4, Fleet()),
    ],
    "several unknown outcomes in the one order that will do": [
        call(Add(A), 0),
        call(Append("a", 5), 0),
        call(Switch("a"), 0),
        call(Overwrite(Fleet()), 0),
        call(Load(), 1, 2, _ONCE),
        call(Load(), 3, 4, Fleet()),
    ],
}

NOT_LINEARIZABLE: Final[dict[str, History]] = {
    "a lost update": [call(Add(A), 0, 9, _ONE), call(Add(B), 0, 9, Fleet((B,), "b")), call(Load(), 10, 11, _ONE)],
    "two that both were first": [call(Add(A), 0, 9, _ONE), call(Add(B), 0, 9, Fleet((B,), "b"))],
    "a stale load": [call(Add(A), 0, 1, _ONE), call(Load(), 2, 3, Fleet())],
    "a change that was seen and is gone": [call(Add(A), 0), call(Load(), 1, 2, _ONE), call(Load(), 3, 4, Fleet())],
    "a reply from the future": [call(Load(), 0, 1, _ONE), call(Add(A), 2, 3, _ONE)],
    "an unknown outcome from the future": [call(Load(), 0, 1, _ONE), call(Add(A), 2)],
    "an unknown outcome twice": [
        call(Add(A), 0, 1, _ONE),
        call(Append("a", 5), 2),
        call(Load(), 3, 4, _ONCE),
        call(Load(), 5, 6, _TWICE),
    ],
    "a reply twice": [call(Add(A), 0, 1, _ONE), call(Append("a", 5), 2, 3, _ONCE), call(Load(), 5, 6, _TWICE)],
    "an error without a cause": [call(Add(A), 0, 1, _ONE), call(Switch("a"), 2, 3, "PetNotInFleetError")],
    "an error that no one knows": [call(Load(), 0, 1, "OSError")],
    "success where there is nothing": [call(Delete(), 0, 1, True)],
    "an effect in spite of an error": [
        call(Add(A), 0, 1, _ONE),
        call(Add(A), 2, 3, "PetAlreadyInFleetError"),
        call(Load(), 4, 5, Fleet((A, A), "a")),
    ],
    "what was never written": [call(Load(), 0, 1, _ONE)],
}


@pytest.mark.parametrize("history", LINEARIZABLE.values(), ids=LINEARIZABLE)
def test_accepts(history: History) -> None:
    """A history with an order that explains it is accepted."""
    linear.check(history, SPECIFICATION, None)


@pytest.mark.parametrize("history", NOT_LINEARIZABLE.values(), ids=NOT_LINEARIZABLE)
def test_rejects(history: History) -> None:
    """A history without one is not."""
    with pytest.raises(NotLinearizableError):
        linear.check(history, SPECIFICATION, None)


def test_a_rejection_says_what_does_not_fit() -> None:
    """What is shown: how far there is an order, what the state is then, and what may not come next."""
    with pytest.raises(NotLinearizableError) as raised:
        linear.check(NOT_LINEARIZABLE["a stale load"], SPECIFICATION, None)
    told = str(raised.value)
    assert "1 of 2 operations" in told
    assert f"They lead to\n  {_ONE}" in told
    assert f"#1 2..3 {Load()} -> {Fleet()}\n    would reply {_ONE}" in told


def test_giving_up_is_no_acceptance() -> None:
    """A search that takes too many steps raises an error of its own."""
    history = [call(Touch("a", n), 0) for n in range(20)]
    history += [call(Add(A), 0, 1, _ONE), call(Load(), 2, 3, _BOTH)]
    with pytest.raises(GaveUpError, match="not everything was tried"):
        linear.check(history, SPECIFICATION, None, most_steps=100)


def test_agrees_with_trying_everything() -> None:
    """On thousands of small histories, many of them wrong, it says what trying all orders says."""
    rng = random.Random(0)
    verdicts = []
    for _ in range(1500):
        history = _history(rng)
        expected = _is_linearizable(history)
        verdicts.append(expected)
        try:
            linear.check(history, SPECIFICATION, None)
        except NotLinearizableError:
            assert not expected, history
        else:
            assert expected, history
    assert set(verdicts) == {True, False}


def _history(rng: random.Random) -> History:
    """Calls that took effect in some order, whose replies may have got mixed up afterwards."""
    state: State = None
    history: History = []
    for at in range(0, 10 * rng.randrange(2, 7), 10):
        pet = stamped(rng.choice("ab"), rng.randrange(3))
        calls: list[Call] = [Load(), Add(pet), Remove(pet.name), Touch(None, at), Append(pet.name, at)]
        made = rng.choice([*calls, Overwrite(_ONE), Delete()])
        after, reply = model.step(state, made)
        happens = rng.random() < 0.9
        state = after if happens else state
        known = happens and rng.random() < 0.7
        invoked, returned = at - rng.randrange(25), at + rng.randrange(25)
        history.append(call(made, invoked, returned, reply) if known else call(made, invoked))
    if rng.random() < 0.5:
        one, other = rng.sample(range(len(history)), 2)
        reply = (history[other].returned or (0, Fleet()))[1]
        history[one] = call(history[one].call, history[one].invoked, history[one].invoked + 5, reply)
    return history


def _is_linearizable(history: History) -> bool:
    """Try all orders of all choices of those that happened."""
    known = {one for one in range(len(history)) if history[one].returned is not None}
    unknown = [one for one in range(len(history)) if one not in known]
    for size in range(len(unknown) + 1):
        for happened in itertools.combinations(unknown, size):
            if any(_explains([history[n] for n in order]) for order in itertools.permutations([*known, *happened])):
                return True
    return False


def _explains(order: History) -> bool:
    state: State = None
    for place, one in enumerate(order):
        if any(later.returned is not None and later.returned[0] < one.invoked for later in order[place + 1 :]):
            return False
        state, reply = model.step(state, one.call)
        if one.returned is not None and reply != one.returned[1]:
            return False
    return True
