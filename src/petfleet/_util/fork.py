"""Hooks for objects with threads: they start clean in a forked child, and finish before the interpreter ends."""

from __future__ import annotations

import atexit
import os
import weakref
from typing import Protocol


class StartsClean(Protocol):
    """Something with threads of its own."""

    def start_clean(self) -> None:
        """Start as if nothing had been called yet."""


_alive: weakref.WeakSet[StartsClean] = weakref.WeakSet()


def start_clean_in_child(thing: StartsClean) -> None:
    """Call ``thing.start_clean()`` in each forked child, as long as ``thing`` lives."""
    _alive.add(thing)


def _after_fork_in_child() -> None:
    for thing in _alive:
        thing.start_clean()


if hasattr(os, "register_at_fork"):  # pragma: no branch (Windows has no fork)
    os.register_at_fork(after_in_child=_after_fork_in_child)


class Finishes(Protocol):
    """Something with daemon threads, which the interpreter stops at any point when it ends."""

    def finish(self) -> None:
        """Wait for work that must not be stopped half way."""


_finishing: weakref.WeakSet[Finishes] = weakref.WeakSet()


def finish_at_exit(thing: Finishes) -> None:
    """Call ``thing.finish()`` before the interpreter ends, if ``thing`` lives then."""
    _finishing.add(thing)


@atexit.register
def _finish_all() -> None:
    for thing in list(_finishing):
        thing.finish()
