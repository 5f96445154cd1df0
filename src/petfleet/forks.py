"""What has threads, and begins anew in a forked child, which has none of them."""

from __future__ import annotations

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
