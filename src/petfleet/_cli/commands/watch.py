"""`petfleet watch`: changes as they happen."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Final

import anyio
import anyio.to_thread

from petfleet import FleetFormatError, FleetStore, InvalidNameError, ObjectBackend, PetFleet
from petfleet._backends.protocol import Backend
from petfleet._cli import interrupt
from petfleet._cli.output import Printer, as_json, describe_error, moment, printable, report_error, summary
from petfleet._cli.roots import AnyBackend, map_concurrently, open_backend
from petfleet._cli.settings import Settings
from petfleet._model.names import FLEET_FILE, check_user_id

Found = PetFleet | Exception | None  # a user's fleet, or why it cannot be read; None: there is none and never was

_PAUSE: Final = 1.0  # seconds until the next check that the root is still the same directory
_BATCH: Final = 64  # users that are read before the first of them is shown


def watch(settings: Settings, user_id: str | None, interval: float | None) -> None:
    """Print each change of a user's fleet, or of all fleets, until interrupted.

    Args:
        settings: what the command was given.
        user_id: the user to watch; None for all.
        interval: seconds between two polls of a bucket; None for the backend's own.
    """
    if user_id is not None:
        check_user_id(user_id)
    backend = open_backend(settings, interval)
    if not settings.in_bucket:
        import watchfiles  # noqa: F401 - here, so that its absence is reported at once
    interrupt.run(_watch, settings, backend, user_id)


async def _watch(settings: Settings, backend: AnyBackend, user_id: str | None) -> None:
    printer = Printer()
    known: dict[str, Found] = {}
    reports = _all(backend, json=settings.json) if user_id is None else _one(backend, user_id)
    async for changed, found in reports:
        before = known.get(changed)
        if found is None or _same(found, before):
            continue  # not a user, or the same fleet was written again, as after a crash
        known[changed] = found
        if isinstance(found, Exception):
            why = describe_error(found)
            if settings.json:
                printer.line(as_json({"user_id": changed, "error": type(found).__name__, "message": why}))
            else:
                printer.line(f"{moment(time.time())}  {_line(changed, why)}", "red")
        elif settings.json:
            printer.line(as_json(found))
        else:
            what = _line(changed, describe(before, found)) if isinstance(before, PetFleet) else summary(found)
            printer.line(f"{moment(time.time())}  {what}")


def _same(one: PetFleet | Exception, other: Found) -> bool:
    if isinstance(one, Exception) and isinstance(other, Exception):
        return str(one) == str(other)
    return one == other


def _line(user_id: str, what: str) -> str:
    return f"{printable(user_id)}: {printable(what)}"


async def _one(backend: Backend, user_id: str) -> AsyncIterator[tuple[str, Found]]:
    fleets = FleetStore(backend).watch(user_id)
    while True:
        try:
            found: Found = await anext(fleets)
        except (FleetFormatError, OSError) as error:
            found = error  # until the next change
        yield user_id, found


async def _all(backend: AnyBackend, *, json: bool) -> AsyncIterator[tuple[str, Found]]:
    """Yield the users that change from now on.

    Not promised: each change. The system may drop some of many, and a user's first change has nothing to be compared
    with. ``store.watch`` always shows the last state of one user.
    """
    seen: set[str] = set()

    def read(user_id: str) -> Found:
        try:
            return backend.peek(user_id) or (PetFleet(user_id) if user_id in seen else None)
        except NotADirectoryError:
            return None  # a file in the root
        except (FleetFormatError, OSError) as error:
            return error

    def everyone() -> set[str]:
        return seen | set(backend.users())

    begun = False
    changes = _polled(backend, json=json) if isinstance(backend, ObjectBackend) else _notified(str(backend))
    async for users in changes:
        if users is None:
            users = await anyio.to_thread.run_sync(everyone) if begun else set()
            begun = True
        left = sorted(users)
        while left:
            some, left = left[:_BATCH], left[_BATCH:]
            fleets = await anyio.to_thread.run_sync(lambda some: list(map_concurrently(backend, read, some)), some)
            for user_id, found in zip(some, fleets, strict=True):
                if found is not None:
                    seen.add(user_id)
                yield user_id, found


async def _polled(backend: ObjectBackend, *, json: bool) -> AsyncGenerator[set[str], None]:
    """Yield the users whose objects have changed since the last listing. One listing is held in memory."""

    def listed() -> dict[str, object]:
        return {user_id: each.version for user_id, each in backend.listed()}

    before = await anyio.to_thread.run_sync(listed)
    answers = True
    while True:
        await anyio.sleep(backend.poll_seconds)
        try:
            now = await anyio.to_thread.run_sync(listed)
        except OSError as error:
            if answers:  # reported once: an outage lasts for many polls
                report_error(type(error).__name__, f"{describe_error(error)}: trying on", json=json)
            answers = False
            continue
        answers = True
        yield {user_id for user_id, _ in before.items() ^ now.items()}
        before = now


async def _notified(root: str) -> AsyncIterator[set[str] | None]:
    """Yield the users that the system reports as changed; None, for any user, when it begins to watch the root."""
    from watchfiles import awatch

    while True:
        watched = await anyio.to_thread.run_sync(_identity, root)
        if watched is None:
            await anyio.sleep(_PAUSE)  # it was moved away, and may come back
            continue
        try:
            yield None
            async for changes in awatch(  # pragma: no branch (it never ends)
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
        except FileNotFoundError:  # pragma: no cover (the root has gone since the check above)
            continue
        except Exception as error:
            # watchfiles raises groups, and errors of several classes where the system refuses.
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
    """Return the user of a changed path. A new directory counts: its fleet may exist before it is watched."""
    parts = os.path.relpath(path, root).split(os.sep)
    if len(parts) > 2 or parts[1:] not in ([], [FLEET_FILE]):
        return None
    try:
        return check_user_id(parts[0])
    except InvalidNameError:
        return None


def describe(before: PetFleet, after: PetFleet) -> str:
    """Return in a line how a fleet has changed."""
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
