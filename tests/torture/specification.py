"""The model as the checker of histories asks it."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

from tests.torture import linear, model
from tests.torture.model import (
    Add,
    Append,
    Call,
    Fleet,
    Load,
    Misuse,
    Overwrite,
    Peek,
    Replace,
    Reply,
    Save,
    State,
    Touch,
)


class _Specification:
    """See :class:`tests.torture.linear.Specification`."""

    step = staticmethod(model.step)

    @staticmethod
    def never_changes(call: Call, reply: Reply) -> bool:
        """Return whether a call that replies so leaves every user as it is."""
        return isinstance(call, (Load, Peek, Misuse)) or isinstance(reply, str) or reply is False

    @staticmethod
    def carried(call: Call) -> frozenset[Any]:
        """Return the marks that the call may bring into a fleet."""
        match call:
            case Add(pet):
                return _marks(Fleet((pet,)))
            case Append(name, stamp):
                return _marks(Fleet((model.stamped(name, stamp),)))
            case Touch(_, seconds):
                return frozenset([seconds])
            case Save(fleet) | Replace(fleet) | Overwrite(fleet):
                return _marks(fleet)
            case _:
                return frozenset()

    @staticmethod
    def held(state: State) -> frozenset[Any]:
        """Return the marks of a fleet: each pet's time, and each word of its role."""
        return _marks(state) if isinstance(state, Fleet) else frozenset()

    @staticmethod
    def shown(reply: Reply) -> frozenset[Any]:
        """Return the marks that a reply shows."""
        return _marks(reply) if isinstance(reply, Fleet) else frozenset()

    @staticmethod
    def distance(reply: Reply, expected: Reply) -> int:
        """Return how far one reply is from another: fewer changes apart means less."""
        if isinstance(reply, Fleet) and isinstance(expected, Fleet):
            return _distance(_pieces(reply), _pieces(expected))
        return 0 if reply == expected else 1_000_000


@lru_cache(10_000)
def _marks(fleet: Fleet) -> frozenset[Any]:
    return frozenset(
        mark for pet in fleet.pets for mark in (pet.last_active, *((pet.name, word) for word in pet.role.split()))
    )


def _distance(ours: tuple[Any, ...], theirs: tuple[Any, ...]) -> int:
    same = 0  # of the same pieces in another order, those count less that begin alike
    for one, other in zip(ours, theirs, strict=False):
        if one != other:
            break
        same += 1
    return 2 * len(set(ours) ^ set(theirs)) + len(ours) + len(theirs) - 2 * same


@lru_cache(10_000)
def _pieces(fleet: Fleet) -> tuple[Any, ...]:
    """What the calls change, piece by piece."""
    pieces: list[Any] = []
    for pet in fleet.pets:
        pieces += [pet.name, (pet.name, pet.path, pet.last_active, pet.extra)]
        pieces += [(pet.name, word) for word in pet.role.split()]
    return (*pieces, ("active", fleet.active), fleet.extra)


SPECIFICATION: Final[linear.Specification[State, Call, Reply]] = _Specification()
