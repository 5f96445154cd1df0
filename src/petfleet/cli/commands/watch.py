"""`petfleet watch`: changes as they happen."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Final

import anyio
import anyio.to_thread

from petfleet import FleetFormatError, FleetStore, InvalidNameError, ObjectBackend, PetFleet
from petfleet._backends.files.paths import FLEET_FILE
from petfleet._backends.protocol import Backend
from petfleet._model.names import check_user_id
from petfleet.cli.output import Printer, as_json, describe_error, moment, printable, say, summary
from petfleet.cli.roots import AnyBackend, map_concurrently, opened
from petfleet.cli.settings import Settings

Look = PetFleet | Exception | None  # what is found of a user; None: nothing, and never was

_PAUSE: Final = 1.0  # seconds between two looks at which directory the root is
_AT_ONCE: Final = 64  # users that are looked at before the first of them is shown


def follow(settings: Settings, user_id: str | None, interval: float | None) -> None:
    """Print each change of a user's fleet, or of all, until interrupted.

    Args:
        interval: seconds between two looks into a bucket; None for the backend's own.
    """
    if user_id is not None:
        check_user_id(user_id)
    place = opened(settings, interval)
    if not settings.in_bucket:
        import watchfiles  # noqa: F401 - here, so that it is said at once if it is missing
    anyio.run(_follow, settings, place, user_id)


async def _follow(settings: Settings, place: AnyBackend, user_id: str | None) -> None:
    printer = Printer()
    known: dict[str, Look] = {}
    looks = _all(place) if user_id is None else _one(place, user_id)
    async for changed, look in looks:
        before = known.get(changed)
        if look is None or _same(look, before):
            continue  # no user, or written anew, as after a crash
        known[changed] = look
        if isinstance(look, Exception):
            why = describe_error(look)
            if settings.json:
                printer.line(as_json({"user_id": changed, "error": type(look).__name__, "message": why}))
            else:
                printer.line(f"{moment(time.time())}  {_line(changed, why)}", "red")
        elif settings.json:
            printer.line(as_json(look))
        else:
            what = _line(changed, describe(before, look)) if isinstance(before, PetFleet) else summary(look)
            printer.line(f"{moment(time.time())}  {what}")


def _same(one: PetFleet | Exception, other: Look) -> bool:
    if isinstance(one, Exception) and isinstance(other, Exception):
        return str(one) == str(other)
    return one == other


def _line(user_id: str, what: str) -> str:
    return f"{printable(user_id)}: {printable(what)}"


async def _one(backend: Backend, user_id: str) -> AsyncIterator[tuple[str, Look]]:
    looks = FleetStore(backend).watch(user_id)
    while True:
        try:
            look: Look = await anext(looks)
        except (FleetFormatError, OSError) as error:
            look = error  # the next change ends it
        yield user_id, look


async def _all(place: AnyBackend) -> AsyncIterator[tuple[str, Look]]:
    """Yield who changes, from now on.

    Not promised: each change. A flood may drop some, and of a user nothing is known before the first one; what
    ``store.watch`` shows of one user is always the last state.
    """
    seen: set[str] = set()

    def look(user_id: str) -> Look:
        try:
            return place.peek(user_id) or (PetFleet(user_id) if user_id in seen else None)
        except NotADirectoryError:
            return None  # a file in the root
        except (FleetFormatError, OSError) as error:
            return error

    def everyone() -> set[str]:
        return seen | set(place.users())

    begun = False
    async for users in _polled(place) if isinstance(place, ObjectBackend) else _told(str(place)):
        if users is None:
            users = await anyio.to_thread.run_sync(everyone) if begun else set()
            begun = True
        left = sorted(users)
        while left:
            some, left = left[:_AT_ONCE], left[_AT_ONCE:]
            found = await anyio.to_thread.run_sync(lambda some: list(map_concurrently(place, look, some)), some)
            for user_id, fleet in zip(some, found, strict=True):
                if fleet is not None:
                    seen.add(user_id)
                yield user_id, fleet


async def _polled(place: ObjectBackend) -> AsyncGenerator[set[str], None]:
    """Yield the users whose objects are others than at the last listing; one listing is held in memory."""

    def listed() -> dict[str, object]:
        return {user_id: each.version for user_id, each in place.listed()}

    before = await anyio.to_thread.run_sync(listed)
    answers = True
    while True:
        await anyio.sleep(place.poll_seconds)
        try:
            now = await anyio.to_thread.run_sync(listed)
        except OSError as error:
            if answers:  # said once: an outage lasts for many tries
                say(type(error).__name__, f"{describe_error(error)}: trying on")
            answers = False
            continue
        answers = True
        yield {user_id for user_id, _ in before.items() ^ now.items()}
        before = now


async def _told(root: str) -> AsyncIterator[set[str] | None]:
    """Yield the users of whom something is told; None for any of them, when another root begins to be watched."""
    from watchfiles import awatch

    while True:
        watched = await anyio.to_thread.run_sync(_identity, root)
        if watched is None:
            await anyio.sleep(_PAUSE)  # it was moved away; perhaps it comes back
            continue
        try:
            yield None
            async for changes in awatch(  # pragma: no branch (it goes on for ever)
                root,
                watch_filter=None,
                debounce=200,
                step=20,
                rust_timeout=int(1000 * _PAUSE),
                yield_on_timeout=True,
                ignore_permission_denied=True,
            ):
                yield {name for _, path in changes if (name := _user_of(root, path))}
                if await anyio.to_thread.run_sync(_identity, root) != watched:
                    break
        except FileNotFoundError:  # pragma: no cover (gone in the instant since it was looked at)
            continue
        except Exception as error:
            # watchfiles raises groups, and the system's refusals as errors of several kinds.
            raise OSError(
                f"changes in {root} are not told ({error!r}): see that its names are UTF-8 and that the limits "
                "fs.inotify.max_user_watches and max_user_instances allow it, or watch single users, who need neither"
            ) from error


def _identity(root: str) -> tuple[int, int] | None:
    try:
        status = os.stat(root)
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino


def _user_of(root: str, path: str) -> str | None:
    """Return whose fleet a changed path may concern: a new directory may hold its fleet before it is watched."""
    parts = os.path.relpath(path, root).split(os.sep)
    if len(parts) > 2 or parts[1:] not in ([], [FLEET_FILE]):
        return None
    try:
        return check_user_id(parts[0])
    except InvalidNameError:
        return None


def describe(before: PetFleet, after: PetFleet) -> str:
    """Return what became of a fleet, in a line."""
    old = {pet.pet_name: pet for pet in before.pets}
    new = {pet.pet_name: pet for pet in after.pets}
    parts = [f"+ {name}" for name in new if name not in old]
    parts += [f"- {name}" for name in old if name not in new]
    for name, pet in new.items():
        if name in old and pet != old[name]:
            touched = pet == before.with_last_active(name, pet.last_active).pet(name)
            parts.append(f"{name} touched" if touched else f"{name} changed")
    if after.active_pet != before.active_pet:
        parts.append("none is active" if after.active_pet is None else f"{after.active_pet} is active")
    return ", ".join(parts) or "changed"
