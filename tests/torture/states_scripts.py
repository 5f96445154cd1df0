"""The scripts that are recorded: those of the suite, and random ones."""

from __future__ import annotations

import random
from typing import Final

from tests.torture.states_child import Step

_PETS: Final = "abc"
_CALLS: Final = ("load", "add", "add", "switch", "remove", "touch", "overwrite", "delete")


def one(user: str, call: str, name: str = "") -> Step:
    """Return the step of one call."""
    return ["calls", [[user, call, name]]]


_CREATE: Final = one("u", "add", "mira")
_ADD: Final = one("u", "add", "otto")
_LOAD: Final = one("u", "load")
_DELETE: Final = one("u", "delete")
_EMPTY: Final[Step] = ["emptied lock", "u"]
_OLD: Final[Step] = ["old program", "u", ["mira", "otto"]]

SCRIPTS: Final[dict[str, list[Step]]] = {
    "first creation": [_CREATE, _LOAD],
    "creation of a second user": [_CREATE, one("v", "add", "otto"), one("u", "switch", "mira")],
    "changes": [_CREATE, _ADD, one("u", "switch", "otto"), one("u", "touch", "mira"), one("u", "remove", "mira")],
    "overwriting": [_CREATE, one("u", "overwrite", "otto"), _LOAD],
    "several sectors": [_CREATE, *(one("u", "add", name) for name in _PETS)],
    "the last pet": [_CREATE, one("u", "remove", "mira"), _LOAD, _DELETE],
    "calls that change nothing": [_LOAD, _CREATE, _CREATE, one("u", "switch", "mira"), one("u", "remove", "none")],
    "deleting": [_CREATE, _DELETE, _LOAD],
    "deleting one of two": [_CREATE, one("v", "add", "otto"), _DELETE, one("v", "load")],
    "deleting nothing": [_DELETE, _CREATE, _DELETE, _DELETE],
    "creating again": [_CREATE, _DELETE, _ADD, _LOAD],
    "creating again by another process": [_CREATE, _DELETE, ["restart"], _ADD],
    "creating again without a root": [_CREATE, _DELETE, ["root removed"], _ADD],
    "creating again in another root": [_CREATE, _DELETE, ["root replaced"], _ADD],
    "batch": [_CREATE, ["calls", [["u", "add", name] for name in _PETS]], _LOAD],
    "batch that deletes": [_CREATE, ["calls", [["u", "add", "a"], ["u", "delete", ""]]], _LOAD],
    "batch that creates again": [_CREATE, ["calls", [["u", "delete", ""], ["u", "add", "a"]]], _DELETE],
    "old fleet, loaded": [_OLD, _LOAD],
    "old fleet, changed": [_OLD, one("u", "switch", "otto"), _LOAD],
    "old fleet, deleted": [_OLD, _DELETE],
    "old fleet beside ours": [one("v", "add", "a"), _OLD, _LOAD, _ADD],
    "old program writes over ours": [_CREATE, _OLD, _LOAD, one("u", "add", "nika")],
    "emptied lock": [_CREATE, _EMPTY, _LOAD, _ADD, _EMPTY, _DELETE],
    # The creation syncs the root's ancestors too, however many these are, before its last write.
    **{f"creation, dying at {at}": [["dying", ["u", "add", "mira"], at], _LOAD, _ADD] for at in range(1, 15)},
    **{f"change, dying at {at}": [_CREATE, ["dying", ["u", "add", "otto"], at], _LOAD] for at in range(1, 8)},
    **{f"deletion, dying at {at}": [_CREATE, ["dying", ["u", "delete", ""], at], _LOAD, _ADD] for at in range(1, 9)},
    **{f"deletion, dying at {at}, again": [_CREATE, ["dying", ["u", "delete", ""], at], _DELETE] for at in range(1, 9)},
    **{
        f"change, dying at {at}, no marker": [_CREATE, ["dying", ["u", "add", "otto"], at], _EMPTY, _LOAD]
        for at in range(1, 8)
    },
    **{
        f"deletion, dying at {at}, no marker": [_CREATE, ["dying", ["u", "delete", ""], at], _EMPTY, _LOAD]
        for at in range(1, 6)
    },
}


def random_steps(rng: random.Random) -> list[Step]:
    """Return a few steps for one user, or for two."""
    users = "u" if rng.random() < 0.7 else "uv"
    return [_random_step(rng, users) for _ in range(rng.randint(2, 7 if users == "u" else 4))]


def random_recovery(rng: random.Random) -> list[Step]:
    """Return what may be done after a crash: by one process, or by one that dies and another one."""
    dying = [["dying", _random_call(rng, "u"), rng.randint(1, 10)]] if rng.random() < 0.3 else []
    return [
        *dying,
        rng.choice([_LOAD, _DELETE, one("u", "add", "new"), one("u", "overwrite", "new")]),
        *_random_rest(rng),
    ]


def _random_rest(rng: random.Random) -> list[Step]:
    return [["calls", [_random_call(rng, "u")]] for _ in range(rng.randint(0, 2))]


def _random_step(rng: random.Random, users: str) -> Step:
    user = rng.choice(users)
    match rng.choices(["one", "several", "dying", "old program", "emptied lock", "restart"], [12, 3, 3, 1, 1, 1])[0]:
        case "one":
            return ["calls", [_random_call(rng, users)]]
        case "several":
            return ["calls", [_random_call(rng, users) for _ in range(rng.randint(2, 4))]]
        case "dying":
            return ["dying", _random_call(rng, users), rng.randint(1, 16)]
        case "old program":
            return ["old program", user, rng.sample(_PETS, rng.randint(0, 3))]
        case "emptied lock":
            return ["emptied lock", user]
        case _:
            return ["restart"]


def _random_call(rng: random.Random, users: str) -> list[str]:
    return [rng.choice(users), rng.choice(_CALLS), rng.choice(_PETS)]
