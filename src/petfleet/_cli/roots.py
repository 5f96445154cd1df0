"""Access to the fleets under a command's root: which backend it is, who has a fleet, and several reads in parallel."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple, TypeAlias, TypeVar

from petfleet import PetFleet, fleet_path
from petfleet._backends.files.backend import FileBackend
from petfleet._backends.objects.backend import ObjectBackend
from petfleet._cli.settings import Settings

AnyBackend: TypeAlias = FileBackend | ObjectBackend
_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


class Stored(NamedTuple):
    """A user's fleet (None: there is none), and when it was last written, as Unix time (None: unknown)."""

    fleet: PetFleet | None
    changed: float | None


def open_backend(settings: Settings, interval: float | None = None) -> AnyBackend:
    """Return the backend for a command's root.

    Args:
        settings: what the command was given.
        interval: seconds between two polls for a watched user of a bucket; None for the backend's own.

    Raises:
        ModuleNotFoundError: the root is a bucket, and obstore is not installed.
        ValueError: the root is a URL of another kind, or the environment has a wrong value for the bucket.
    """
    if settings.in_bucket:
        return ObjectBackend(settings.root) if interval is None else ObjectBackend(settings.root, poll_seconds=interval)
    return FileBackend(settings.root)


def read_fleet(backend: AnyBackend, user_id: str) -> Stored:
    """Return a user's fleet without waiting for writers; it raises what ``peek`` raises."""
    if isinstance(backend, FileBackend):
        return Stored(backend.peek(user_id), _changed(str(backend), user_id))
    found, state = backend.stored(user_id)
    return Stored(state.readable(), None if found is None else found.modified)


def count_entries(backend: AnyBackend) -> int | None:
    """Return how many entries a root directory has; None for a bucket, where a count costs as much as a listing."""
    if isinstance(backend, ObjectBackend):
        return None
    with os.scandir(str(backend)) as entries:
        return sum(1 for _ in entries)


def map_concurrently(
    backend: AnyBackend, function: Callable[[_Item], _Result], items: Iterable[_Item]
) -> Generator[_Result, None, None]:
    """Yield the function's result for each item, in order. For a bucket, many calls run in parallel.

    Memory is bounded: it holds only as many results as there are parallel calls.
    """
    if backend.snapshots_at_once == 1:
        yield from map(function, items)
        return
    waiting: deque[Future[_Result]] = deque()
    with ThreadPoolExecutor(backend.snapshots_at_once, "petfleet-map") as threads:
        try:
            for item in items:
                waiting.append(threads.submit(function, item))
                if len(waiting) == backend.snapshots_at_once:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def _changed(root: str, user_id: str) -> float | None:
    try:
        return os.stat(fleet_path(user_id, root)).st_mtime
    except FileNotFoundError:
        return None
