"""Refuse calls that a change function makes for its own user: such a call would wait for itself."""

from __future__ import annotations

import contextvars
from collections.abc import Callable
from typing import Final, TypeVar

T = TypeVar("T")


class _Running:
    """A running change function of one user of one store."""

    __slots__ = ("outer", "store", "user_id")

    def __init__(self, store: object, user_id: str, outer: _Running | None) -> None:
        self.store: object | None = store
        self.user_id = user_id
        self.outer = outer  # the change function that made the call of this one


# A context variable, so that everything a change function starts inherits it: another event loop in its thread, tasks
# that it gives to another loop, threads that copy their starter's context.
_RUNNING: Final = contextvars.ContextVar[_Running | None]("petfleet-running-change", default=None)


def outermost() -> _Running | None:
    """Return the change function that makes this call, for :func:`run_change`; None if there is none."""
    return _RUNNING.get()


def run_change(change: Callable[[T], T], before: T, store: object, user_id: str, outer: _Running | None) -> T:
    """Run a change function without its caller's context variables, and return its result."""
    running = _Running(store, user_id, outer)
    context = contextvars.Context()
    context.run(_RUNNING.set, running)
    try:
        return context.run(change, before)
    finally:
        running.store = None  # a task that outlives it may call the store


def refuse_nested(store: object, user_id: str) -> None:
    """Raise RuntimeError if a change function for the same user makes this call."""
    running = _RUNNING.get()
    while running is not None:
        if running.store is store and running.user_id == user_id:
            raise RuntimeError(
                f"this call for user {user_id} comes from inside a change function for the same user, and would wait "
                "for itself: use the fleet that the function was given, or make the call after update has returned"
            )
        running = running.outer
