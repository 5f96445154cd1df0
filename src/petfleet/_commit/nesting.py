"""Change functions that call the store again for the same user: such a call would wait for itself."""

from __future__ import annotations

import contextvars
from collections.abc import Callable
from typing import Final, TypeVar

T = TypeVar("T")


class _Running:
    """A change function of one user of one store, while it runs."""

    __slots__ = ("outer", "store", "user_id")

    def __init__(self, store: object, user_id: str, outer: _Running | None) -> None:
        self.store: object | None = store
        self.user_id = user_id
        self.outer = outer  # the one whose call this one is


# What a change function starts inherits it by its context: another event loop in the thread, tasks that it has another
# loop run, threads that take their starter's context along.
_RUNNING: Final = contextvars.ContextVar[_Running | None]("petfleet-running-change", default=None)


def outermost() -> _Running | None:
    """Return the change function that this call is made in, for :func:`run_change`."""
    return _RUNNING.get()


def run_change(change: Callable[[T], T], before: T, store: object, user_id: str, outer: _Running | None) -> T:
    """Return what a change function makes of a fleet; it runs without its caller's context variables."""
    running = _Running(store, user_id, outer)
    context = contextvars.Context()
    context.run(_RUNNING.set, running)
    try:
        return context.run(change, before)
    finally:
        running.store = None  # a task that it has left behind may call


def refuse_nested(store: object, user_id: str) -> None:
    """Raise RuntimeError in a call that the change function of a call for the same user waits for."""
    running = _RUNNING.get()
    while running is not None:
        if running.store is store and running.user_id == user_id:
            raise RuntimeError(
                f"this call for user {user_id} comes from inside a change function for the same user, and would wait "
                "for itself: use the fleet that the function was given, or make the call after update has returned"
            )
        running = running.outer
