"""What has threads: it begins anew in a forked child, which has none of them, and ends before the interpreter."""

from __future__ import annotations

import atexit
import os
import weakref
from typing import Protocol


class StartsClean(Protocol):
    """Something with threads of its own."""

    def start_clean(self) -> None:
        """Begin as if nothing had been called yet."""


_alive: weakref.WeakSet[StartsClean] = weakref.WeakSet()


def start_clean_in_child(thing: StartsClean) -> None:
    """Have a forked child begin anew with ``thing``, if it lives then."""
    _alive.add(thing)


def _after_fork_in_child() -> None:
    for thing in _alive:
        thing.start_clean()


if hasattr(os, "register_at_fork"):  # pragma: no branch (Windows has no fork)
    os.register_at_fork(after_in_child=_after_fork_in_child)


class Finishes(Protocol):
    """Something whose threads the end of the interpreter would stop wherever they are."""

    def finish(self) -> None:
        """Wait for what must not be stopped."""


_finishing: weakref.WeakSet[Finishes] = weakref.WeakSet()


def finish_at_exit(thing: Finishes) -> None:
    """Have the interpreter wait for ``thing``, if it lives then."""
    _finishing.add(thing)


@atexit.register
def _finish_all() -> None:
    for thing in list(_finishing):
        thing.finish()
