"""Where a command's fleets live: a directory or a bucket; and who is there, one after another or several at once."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple, TypeAlias, TypeVar

from petfleet import PetFleet, fleet_path
from petfleet._backends.files.backend import FileBackend
from petfleet._backends.objects.backend import ObjectBackend
from petfleet.cli.settings import Settings

AnyBackend: TypeAlias = FileBackend | ObjectBackend
_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


class Seen(NamedTuple):
    """A user's fleet (None: there is none), and when its file or object was last written, if that can be told."""

    fleet: PetFleet | None
    changed: float | None


def opened(settings: Settings, interval: float | None = None) -> AnyBackend:
    """Return the backend for the root that a command was told.

    Args:
        interval: seconds between two looks at a watched user of a bucket; None for the backend's own.

    Raises:
        ModuleNotFoundError: it is a bucket, and obstore is not installed.
        ValueError: it is a URL of another kind, or what the environment says of the bucket is wrong.
    """
    if settings.in_bucket:
        return ObjectBackend(settings.root) if interval is None else ObjectBackend(settings.root, poll_seconds=interval)
    return FileBackend(settings.root)


def look(place: AnyBackend, user_id: str) -> Seen:
    """Return a user's fleet without waiting for writers; its errors are those of ``peek``."""
    if isinstance(place, FileBackend):
        return Seen(place.peek(user_id), _changed(str(place), user_id))
    found, state = place.stored(user_id)
    return Seen(state.readable(), None if found is None else found.modified)


def map_concurrently(
    place: AnyBackend, function: Callable[[_Item], _Result], items: Iterable[_Item]
) -> Generator[_Result, None, None]:
    """Yield what the function returns for each item, in their order; of a bucket, many requests are under way at once.

    Not more of them than that are held, however many the items are.
    """
    if place.snapshots_at_once == 1:
        yield from map(function, items)
        return
    waiting: deque[Future[_Result]] = deque()
    with ThreadPoolExecutor(place.snapshots_at_once, "petfleet-several") as threads:
        try:
            for item in items:
                waiting.append(threads.submit(function, item))
                if len(waiting) == place.snapshots_at_once:
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
