"""FleetStore, the awaitable interface."""

from __future__ import annotations

import inspect
import os
import time
from collections.abc import AsyncIterator, Callable
from itertools import islice
from types import TracebackType
from typing import Any, Final, overload

from petfleet._backends.protocol import Backend
from petfleet._backends.resolve import resolve_backend
from petfleet._commit import FleetStoreStatistics, GroupCommit, Kind, outermost, run_change
from petfleet._model.errors import FleetConflictError, FleetNotFoundError
from petfleet._model.fleet import PetFleet, PetHandle
from petfleet._model.names import check_pet_name, check_user_id
from petfleet._toml import encode
from petfleet._watch import Watch, Watching

_USERS_AT_ONCE: Final = 256


class _Missing:
    """The type of the default of ``replacing``."""


_MISSING: Final = _Missing()


class FleetStore:
    """The fleets under one root directory, or in a bucket, for any number of tasks, threads, event loops and processes.

    When a call returns, its change is on disk and survives a crash and a power cut. A call that raises an error of
    petfleet or an OSError changed nothing; only :class:`~petfleet.UnconfirmedCommitError` leaves open whether it did. A
    cancelled call took full effect or none; ``load`` tells which. Works on asyncio and trio, with or without ``async
    with``.

    Not promised: anything about programs that write the files without taking the lock, or about file systems where
    locks of other machines do not count (NFS, SMB, FUSE). Use one root from one machine.

    Args:
        root: the directory of all fleets; it is made absolute now, and created with the first fleet. Or a
            :class:`~petfleet.Backend`, such as :class:`~petfleet.ObjectBackend`; its documentation says what takes the
            place of the disk and of the lock.
        lock_timeout: how many seconds a call waits until its commit begins: for another process that has the user's
            lock, for this process's own commits for that user, or for a thread. 0 tries the lock once. The time does
            not limit a commit that has begun, however slow the disk is.
        threads: the maximum number of commits (of different users) at the same time. The store uses only as many in
            parallel as the disk can use.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: ``root`` is empty or a URL, ``lock_timeout`` is None or negative, or ``threads`` is less than 1.

    Every call that names a user may raise:
        InvalidNameError: the user id cannot be the name of a directory.
        FleetFormatError: the user's file is not a fleet, or holds another user's.
        LockTimeoutError: the commit had not begun after ``lock_timeout`` seconds; the error says what it waited for.
        OSError: the operating system reported an error; its errno and file name tell which.
    """

    __module__ = "petfleet"

    def __init__(
        self, root: str | os.PathLike[str] | Backend, *, lock_timeout: float = 10.0, threads: int = 32
    ) -> None:
        backend = resolve_backend(root)
        if lock_timeout is None or not lock_timeout >= 0:
            raise ValueError(f"lock_timeout must be a number of seconds, 0 or more, not {lock_timeout!r}")
        if isinstance(threads, bool) or not isinstance(threads, int):
            raise TypeError(f"threads must be int, not {type(threads).__name__}")
        if threads < 1:
            raise ValueError(f"threads must be 1 or more, not {threads}")
        self._backend = backend
        self._group_commit = GroupCommit(backend, lock_timeout, threads)
        self._watching = Watching(backend)

    def __repr__(self) -> str:
        return f"FleetStore({str(self._backend)!r})"

    async def __aenter__(self) -> FleetStore:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Wait for the commits that are under way, and end the idle threads.

        May be called more than once. The store stays usable: the next call starts threads again. Watches go on.

        Not promised: that calls which wait for another process have ended.
        """
        await self._group_commit.aclose()
        await self._watching.aclose()

    async def load(self, user_id: str) -> PetFleet:
        """Return the user's fleet, read under the lock and durable.

        If there is none, return an empty fleet and create nothing.
        """
        return await self._call(user_id, lambda stored: stored, Kind.READ)

    async def peek(self, user_id: str) -> PetFleet:
        """Return the user's fleet without taking the lock; an empty one if there is none.

        It does not wait for the lock and raises no LockTimeoutError, but waits at most 0.1 s for a file that another
        program is rewriting in place. It works on a read-only mount.

        Not promised: that the fleet is durable yet. It is never half of a write.
        """
        check_user_id(user_id)
        return await self._group_commit.peeks.peek(lambda: self._backend.peek(user_id)) or PetFleet(user_id)

    @overload
    async def save(self, fleet: PetFleet) -> PetFleet: ...
    @overload
    async def save(self, fleet: PetFleet, *, replacing: PetFleet) -> PetFleet: ...
    @overload
    async def save(self, fleet: PetFleet, *, overwrite: bool) -> PetFleet: ...
    async def save(
        self, fleet: PetFleet, *, replacing: PetFleet | _Missing = _MISSING, overwrite: bool = False
    ) -> PetFleet:
        """Write a whole fleet, and return it. Without options, only if there is none yet.

        Afterwards there is a file, even if the fleet has no pets.

        Args:
            fleet: what to write, for the user in its ``user_id``.
            replacing: write only if the stored fleet still equals this one, compared under the lock. An empty fleet
                also equals a missing file.
            overwrite: replace whatever is there, even a file that cannot be parsed.

        Raises:
            FleetConflictError: there is a fleet already, or it does not equal ``replacing``.
            TypeError: both ``replacing`` and ``overwrite`` are given.
            ValueError: the fleet is too large, or ``replacing`` is another user's fleet.
        """
        _check_fleet(fleet, "fleet")
        if isinstance(replacing, _Missing):
            old = None
        elif overwrite:
            raise TypeError("save takes replacing or overwrite, not both")
        else:
            old = _check_fleet(replacing, "replacing")
            if old.user_id != fleet.user_id:
                raise ValueError(f"replacing is the fleet of user {old.user_id}, not of {fleet.user_id}")

        def change(stored: PetFleet | None) -> PetFleet:
            if not overwrite and not _may_replace(stored, old, fleet.user_id):
                raise FleetConflictError(fleet.user_id, stored)
            return fleet

        return await self._call(fleet.user_id, change, Kind.OVERWRITE if overwrite else Kind.CREATE)

    async def add(self, user_id: str, handle: PetHandle) -> PetFleet:
        """Append a pet, and return the fleet. If no pet is active, the new one becomes active.

        Creates the fleet if there is none.

        Raises:
            PetAlreadyInFleetError: the fleet already has a pet of that name.
            InvalidNameError: the pet's name is empty.
        """
        if type(handle) is not PetHandle:
            raise TypeError(f"handle must be a PetHandle, not {type(handle).__name__}")
        check_pet_name(handle.pet_name)
        return await self._call(user_id, lambda stored: (stored or PetFleet(user_id)).with_pet(handle), Kind.CREATE)

    async def switch(self, user_id: str, pet_name: str) -> PetFleet:
        """Make a pet the active one, and return the fleet.

        Raises:
            FleetNotFoundError: the user has no fleet.
            PetNotInFleetError: the fleet has no pet of that name.
        """
        return await self._change(user_id, lambda fleet: fleet.with_active(pet_name))

    async def remove(self, user_id: str, pet_name: str) -> PetFleet:
        """Remove a pet, and return the fleet. If it was active, the first of the other pets becomes active, if any.

        The file remains, even without pets.
        Raises:
            FleetNotFoundError: the user has no fleet.
            PetNotInFleetError: the fleet has no pet of that name.
        """
        return await self._change(user_id, lambda fleet: fleet.without_pet(pet_name))

    async def touch(self, user_id: str, pet_name: str | None = None, *, last_active: int | None = None) -> PetFleet:
        """Set when a pet was last active, and return the fleet.

        Args:
            user_id: the user.
            pet_name: the pet; None means the active one. If no pet is active, nothing changes.
            last_active: Unix time in whole seconds; None means the time of this call.

        Raises:
            FleetNotFoundError: the user has no fleet.
            PetNotInFleetError: the fleet has no pet of that name.
        """
        seconds = int(time.time()) if last_active is None else last_active

        def change(fleet: PetFleet) -> PetFleet:
            name = fleet.active_pet if pet_name is None else pet_name
            return fleet if name is None else fleet.with_last_active(name, seconds)

        return await self._change(user_id, change)

    async def update(self, user_id: str, change: Callable[[PetFleet], PetFleet]) -> PetFleet:
        """Apply a function to the stored fleet (an empty one if there is none), and return the resulting fleet.

        Args:
            user_id: the user.
            change: a plain function that takes a fleet and returns the next one. It runs in a worker thread under the
                user's lock, without the caller's context variables, and may be called more than once: keep it short and
                pure. It must not call the store for the same user: such a call would wait for itself. If it returns an
                equal fleet, or an empty one where there is no file, nothing is written.

        Raises:
            TypeError: ``change`` returned something other than a PetFleet.
            ValueError: it returned another user's fleet, or one that is too large to store.
            RuntimeError: inside ``change``, in a call that it makes for the same user by ``anyio.run``, by a portal, or
                in a thread with its context. In a thread without its context, such a call raises LockTimeoutError.
            BaseException: whatever ``change`` raises; a StopIteration becomes a RuntimeError.
        """
        if not callable(change):
            raise TypeError(f"change must be a function from PetFleet to PetFleet, not {type(change).__name__}")

        outer = outermost()

        def checked(stored: PetFleet | None) -> PetFleet | None:
            before = PetFleet(check_user_id(user_id)) if stored is None else stored
            try:
                after = run_change(change, before, self._group_commit, user_id, outer)
            except StopIteration as error:
                raise RuntimeError("change raised StopIteration") from error
            _check_result(after, user_id)
            return None if stored is None and encode.dumps(after) == encode.dumps(before) else after

        return await self._call(user_id, checked, Kind.CREATE)

    async def delete(self, user_id: str) -> bool:
        """Remove the user's fleet durably, and return whether there was one.

        Nothing of the user remains, except files of other programs.
        """
        existed = False

        def change(stored: PetFleet | None) -> None:
            nonlocal existed
            existed = stored is not None

        await self._call(user_id, change, Kind.DELETE)
        return existed

    async def users(self) -> AsyncIterator[str]:
        """Iterate over the ids of all users that have a fleet, without taking any lock.

        Not promised: any order, and whether a fleet is included that is created or deleted meanwhile.

        Raises:
            OSError: the root cannot be listed.
        """
        ids = self._backend.users()
        try:
            while some := await self._group_commit.peeks.peek(lambda: list(islice(ids, _USERS_AT_ONCE))):
                for user_id in some:
                    yield user_id
        finally:
            try:
                ids.close()
            except ValueError:
                pass  # cancelled while a thread runs it: the generator ends when that thread is done with it

    def watch(self, user_id: str) -> Watch:
        """Return an iterator over the user's fleet: as it is now, and again after every change by any program.

        Each fleet is what ``peek`` would return: whole, but perhaps not durable yet, and empty if there is no file. Two
        in a row are never equal. The last change is always returned: typically after 20 to 50 ms, or within about a
        second where the system reports no changes (network file systems, or its limits are reached). The user's
        directory and the root may be missing, and may be removed and created again.

        An error means that the file cannot be read now or is not a fleet. It does not end the iteration: the next
        ``anext`` waits for the next change. A cancelled ``anext`` loses nothing: the next one returns the same fleet.
        The iteration ends with ``aclose()``, or when the iterator is dropped.

        A directory needs watchfiles (``pip install 'petfleet[watch]'``); a bucket is polled every ``poll_seconds``.

        Not promised: every intermediate state. Changes in quick succession may be returned as one.

        Raises:
            ModuleNotFoundError: watchfiles is needed, but not installed.
            InvalidNameError: the user id cannot be the name of a directory. The iterator raises all other errors.
        """
        return self._watching.watch(check_user_id(user_id))

    def statistics(self) -> FleetStoreStatistics:
        """Return what this store has done in this process so far."""
        return self._group_commit.statistics()

    async def _call(self, user_id: str, change: Callable[[PetFleet | None], PetFleet | None], kind: Kind) -> PetFleet:
        user_id = check_user_id(user_id)
        return await self._group_commit.call(user_id, change, kind) or PetFleet(user_id)

    async def _change(self, user_id: str, change: Callable[[PetFleet], PetFleet]) -> PetFleet:
        def existing(stored: PetFleet | None) -> PetFleet:
            if stored is None:
                raise FleetNotFoundError(user_id)
            return change(stored)

        return await self._call(user_id, existing, Kind.CHANGE)


def _check_fleet(fleet: PetFleet, what: str) -> PetFleet:
    if type(fleet) is not PetFleet:
        raise TypeError(f"{what} must be a PetFleet, not {type(fleet).__name__}")
    return fleet


def _may_replace(stored: PetFleet | None, old: PetFleet | None, user_id: str) -> bool:
    if old is None:
        return stored is None
    return encode.dumps(stored or PetFleet(user_id)) == encode.dumps(old)


def _check_result(result: Any, user_id: str) -> None:
    if type(result) is not PetFleet:
        hint = ""
        if inspect.isawaitable(result):
            hint = ": did you pass an async def?"
            if inspect.iscoroutine(result):
                result.close()
        raise TypeError(f"change must return a PetFleet, not {type(result).__name__}{hint}")
    if result.user_id != user_id:
        raise ValueError(f"change returned the fleet of user {result.user_id}, not of {user_id}")
