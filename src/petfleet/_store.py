"""The awaitable face of the store."""

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
from petfleet._commit.change import Kind
from petfleet._commit.group_commit import GroupCommit
from petfleet._commit.nesting import outermost, run_change
from petfleet._commit.statistics import FleetStoreStatistics
from petfleet._model.errors import FleetConflictError, FleetNotFoundError
from petfleet._model.fleet import PetFleet, PetHandle
from petfleet._model.names import check_pet_name, check_user_id
from petfleet._toml import encode
from petfleet._watch import Watch, Watching

_USERS_AT_ONCE: Final = 256


class _Missing:
    """The default of ``replacing``."""


_MISSING: Final = _Missing()


class FleetStore:
    """The fleets under one root directory, or in a bucket, for any number of tasks, threads, event loops and processes.

    What a call returned is on disk and survives a crash and a power cut. A call that fails with an error of petfleet or
    with an OSError changed nothing (:class:`~petfleet.UnconfirmedCommitError` alone says otherwise). A call that is
    cancelled either never happened or happened whole: ``load`` to see. Works on asyncio and trio, as it is or as an
    ``async with`` block.

    Not promised: anything about programs that write the files without taking the lock, and about file systems whose
    locks hold on one machine only (NFS, SMB, FUSE): one machine, one root.

    Args:
        root: the directory of all fleets, made absolute at once, created with the first fleet; or a
            :class:`~petfleet.Backend`, such as an :class:`~petfleet.ObjectBackend`, whose own documentation says what
            takes the place of the disk and of the lock there.
        lock_timeout: seconds that a call waits until its commit begins: for others that have the user's lock, for
            this process's own commits for that user, for a thread. 0 tries the lock once. A commit that has begun is
            waited for, however long the disk takes.
        threads: the most commits of different users at the same time; as many run as the disk has use for.

    Raises:
        TypeError: an argument is of the wrong type.
        ValueError: ``root`` is empty or a URL, ``lock_timeout`` is None or negative, ``threads`` less than 1.

    Every call that names a user may raise:
        InvalidNameError: the user id may not name a directory.
        FleetFormatError: the user's file is no fleet, or another user's.
        LockTimeoutError: the call's commit had not begun after ``lock_timeout`` seconds; the error says what it waited
            for.
        OSError: the operating system refused; its errno and file name say what.
    """

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
        """Wait for the commits under way and end the idle threads.

        May be called more than once. The store stays usable: the next call starts threads again. What is watched goes
        on being watched.
        """
        await self._group_commit.aclose()
        await self._watching.aclose()

    async def load(self, user_id: str) -> PetFleet:
        """Return the user's fleet, durable, under the lock; an empty one if there is none, creating nothing."""
        return await self._call(user_id, lambda stored: stored, Kind.READ)

    async def peek(self, user_id: str) -> PetFleet:
        """Return the user's fleet without the lock; an empty one if there is none.

        Waits for no lock (at most 0.1 s for a file that another program is just rewriting in place) and works on a
        read-only mount. What it returns is whole, but may be a write that is not durable yet. Raises no
        LockTimeoutError.
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
        """Write a whole fleet, and return it; there is a file afterwards even if it has no pets.

        Args:
            fleet: what to write, for the user whose id it holds.
            replacing: write only if the stored fleet still equals this one, decided under the lock. An empty one also
                matches a missing file.
            overwrite: replace whatever is there, even a file that cannot be parsed.

        Raises:
            FleetConflictError: there is a fleet already, or not the one given as ``replacing``.
            TypeError: both ``replacing`` and ``overwrite`` are given.
            ValueError: the fleet is too large, or ``replacing`` is another user's.
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
        """Append a pet, and return the fleet; if no pet is active, the new one becomes active.

        Raises:
            PetAlreadyInFleetError: the fleet has a pet of that name.
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
        """Take a pet out, and return the fleet; if it was active, the first remaining pet becomes active, else none.

        Raises:
            FleetNotFoundError: the user has no fleet.
            PetNotInFleetError: the fleet has no pet of that name.
        """
        return await self._change(user_id, lambda fleet: fleet.without_pet(pet_name))

    async def touch(self, user_id: str, pet_name: str | None = None, *, last_active: int | None = None) -> PetFleet:
        """Set when a pet was last active, and return the fleet.

        Args:
            user_id: whose fleet.
            pet_name: which pet; None for the active one (with none active, nothing changes).
            last_active: Unix time in whole seconds; None for the present, read when the call is made.

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
        """Apply a function to the stored fleet (an empty one if there is none), and return what it made of it.

        Args:
            user_id: whose fleet.
            change: a plain function from a fleet to the next one. It runs in a worker thread under the user's lock,
                without the caller's context variables, and may be called more than once: keep it short and pure. It
                must not call the store for the same user, which would wait for itself. Returning an equal fleet writes
                nothing, nor does an empty one where there was no file.

        Raises:
            TypeError: ``change`` returned no PetFleet.
            ValueError: it returned another user's fleet, or one too large to store.
            RuntimeError: in a call that ``change`` makes for the same user, as far as that can be known: by
                ``anyio.run``, a portal, a thread with its context. A thread without it gets a LockTimeoutError.
            BaseException: whatever ``change`` raises; StopIteration arrives as RuntimeError.
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
        """Remove the user's fleet durably, leaving nothing of the user but foreign files; True if there was one."""
        existed = False

        def change(stored: PetFleet | None) -> None:
            nonlocal existed
            existed = stored is not None

        await self._call(user_id, change, Kind.DELETE)
        return existed

    async def users(self) -> AsyncIterator[str]:
        """Iterate over the ids that have a fleet, in no order, without holding any lock."""
        ids = self._backend.users()
        try:
            while some := await self._group_commit.peeks.peek(lambda: list(islice(ids, _USERS_AT_ONCE))):
                for user_id in some:
                    yield user_id
        finally:
            try:
                ids.close()
            except ValueError:
                pass  # cancelled while a thread is in it: the generator ends with that thread's turn

    def watch(self, user_id: str) -> Watch:
        """Iterate over the user's fleet: as it is now, and again after every change, by whomever.

        Each fleet is what ``peek`` would return: whole, but perhaps not durable yet, and empty where there is no file.
        No two in a row are equal. Changes that follow one another closely may be shown as one, but the last one is
        always shown: typically after 20 to 50 ms, within about a second where the system tells of no changes (network
        file systems, its limits reached). The user, and the root too, may be missing, removed and made again meanwhile.

        An error says that the file cannot be read now, or means no fleet. It does not end the iteration: ask the same
        iterator again, and it waits for the next change. What a cancelled ``anext`` would have returned, the next one
        returns. The iteration ends with ``aclose()``, or when the iterator is dropped.

        A directory needs watchfiles (``pip install 'petfleet[watch]'``); a bucket is asked every ``poll_seconds``.

        Raises:
            ModuleNotFoundError: watchfiles is not installed, and needed.
            InvalidNameError: at this call, like the one above; all other errors by the iterator.
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
