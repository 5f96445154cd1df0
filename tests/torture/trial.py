"""One operation on a system that fails, and a check of every promise."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final, cast

from petfleet import FleetStore, LockTimeoutError, PetFleet, UnconfirmedCommitError
from petfleet._backends.files.backend import FileBackend
from petfleet._backends.files.disk import read, retry_eintr
from petfleet._backends.files.lock import UserLock, lock_timeout_error
from petfleet._backends.files.reader import identity
from petfleet._commit import waiter
from petfleet._commit.change import Change, Kind
from tests.conftest import pet
from tests.support.backends import is_free
from tests.support.commits import FLEET, LOCK, attempt, marker
from tests.torture.failing import FailingOS, under_petfleet
from tests.torture.ledger import BEYOND_US
from tests.torture.operations import Operation, load, nothing, text

waiter.load()  # else the first store of each child would do it, by calls that are counted and fail

_TOO_LATE: Final = {("unlock", LOCK), ("close", LOCK)}  # what comes of the lock fails no call
_REMOVING: Final = {("unlink", "TEMPORARY"), ("listdir", "u")}


class _AtOnce:
    """Takes the place of a store's batching: calls are carried out where they are made."""

    def __init__(self, backend: FileBackend) -> None:
        self._backend = backend
        self.peeks = self

    async def call(
        self, user_id: str, apply: Callable[[PetFleet | None], PetFleet | None], kind: Kind
    ) -> PetFleet | None:
        change = Change(apply, kind)
        if not attempt(self._backend, change, user_id=user_id):
            raise lock_timeout_error(self._backend.turn_path(user_id), 0.0)
        if change.error is not None:
            raise change.error
        return change.result

    async def peek(self, read: Callable[[], object]) -> object:
        return read()

    async def aclose(self) -> None:
        pass


def _files(store: FleetStore) -> FileBackend:
    assert isinstance(store._backend, FileBackend)
    return store._backend


def at_once(root: Path) -> FleetStore:
    """Return a store whose calls need no event loop and no threads: for speed, and for one order of system calls."""
    store = FleetStore(root)
    store._group_commit = cast(Any, _AtOnce(_files(store)))
    return store


def finish(call: Awaitable[object]) -> object:
    """Return the result of a call of such a store."""
    try:
        cast(Coroutine[Any, Any, object], call).send(None)
    except StopIteration as end:
        return end.value
    raise AssertionError("it waits")


class Trial:
    """An operation in a directory of its own, which is removed afterwards; a context manager.

    The steps: :meth:`attempt`, maybe more than once, then :meth:`settle`.

    Attributes:
        system: what the store's calls go through.
        now: the fleet that is stored.
        failed: whether the last call failed.
        run: runs a call of the store, and returns its result.
        may_leak: whether descriptors may stay open.
    """

    def __init__(self, operation: Operation, root: Path, run: Callable[[Awaitable[object]], object] = finish) -> None:
        self.operation = operation
        self.root = root
        self.system = FailingOS(root)
        self.now = operation.before
        self.failed = False
        self.run = run
        self.may_leak = False
        self._store = at_once(root) if run is finish else FleetStore(root)
        self._tried: list[str] = []
        self._directory = f"{root}/u"
        self._fleet = f"{root}/{FLEET}"
        self._lock = f"{root}/{LOCK}"
        self._installed = ExitStack()

    def __enter__(self) -> Trial:
        self._log = self._installed.enter_context(under_petfleet(self.system))
        self.operation.prepare(self.root, self.system.ledger)
        if self.operation.warm:
            self.run(self._store.load("u"))
        self._tidy = not self._temporaries()
        self._descriptors = descriptors()
        return self

    def __exit__(self, *error: object) -> None:
        self._installed.close()
        self.run(self._store.aclose())
        shutil.rmtree(self.root, ignore_errors=True)

    def attempt(self, operation: Operation, plan: Mapping[int, int], *, lasting: bool = False, short: int = 0) -> None:
        """Make a call on a system that fails as planned, and check the outcome.

        Raises:
            AssertionError: not what is promised.
        """
        result, error = None, None
        self._log.messages.clear()
        with self.system.plan(plan, lasting=lasting, short=short):
            try:
                result = self.run(operation.call(self._store))
            except Exception as raised:  # noqa: BLE001 - which one is what is checked
                error = raised
        self.failed = error is not None
        self._tried.append(f"{operation.name}: {', '.join(map(str, self.system.failed)) or 'no fault'}; {error!r}")
        try:
            self._check(operation, result, error)
        except AssertionError as wrong:
            raise AssertionError(self._story(str(wrong))) from error

    def again(self) -> Operation:
        """Return the load that should find what there is now."""
        return load("load", self.now)

    def settle(self, settled: set[object]) -> None:
        """Check that on a system that works all goes on, and that nothing was left behind.

        Args:
            settled: the states for which that was checked; many faults lead to the same few.
        """
        state = self._state()
        if state in settled:
            return
        settled.add(state)
        self.attempt(self.again(), {})
        late = pet("late")
        now = PetFleet("u", [late], "late") if self.now is None else self.now.with_pet(late)
        self.attempt(Operation("add", nothing, self.now, lambda store: store.add("u", late), now, now), {})
        names = sorted(retry_eintr(os.listdir, self._directory))
        assert names == ["fleet.toml", "fleet.toml.lock"], self._story(f"there are {names}")
        left = marker(self.root / FLEET)
        assert left == "clean", self._story(f"the marker is {left}")

    def _state(self) -> object:
        """All that the next call may depend on, on disk and in the store's memory."""
        try:
            lock = UserLock(self._lock, create=False)
        except FileNotFoundError:
            mark = None
        else:
            found = lock.marker()
            lock.close()
            mark = found and (found.state, found.note == identity(read(self._fleet, 4096)))
        backend = _files(self._store)
        known = backend._reader._known.get("u")
        ledger = self.system.ledger
        return (
            *(self.operation.name, self.now, mark, len(self._temporaries()), os.path.exists(self._directory)),
            *(frozenset(ledger.names), frozenset(ledger.data), frozenset(ledger.tainted)),
            *(known and known.data, backend._swept.get("u"), backend._anchored is None),
        )

    # --- what is promised --------------------------------------------------------------------------------------------

    def _check(self, operation: Operation, result: object, error: Exception | None) -> None:
        assert not self.system.unknown, f"calls of the system that are not known here: {self.system.unknown}"
        stored = self._stored()
        if error is None:
            assert result == operation.result or self._left_out(operation, result), f"it returned {result!r}"
            assert stored == text(operation.after), f"it succeeded and left {stored!r}"
            self._check_success(operation)
        else:
            self._check_error(operation, error, stored)
        self.now = operation.before if stored == text(operation.before) else operation.after
        self._check_temporaries(operation.durable and error is None)
        assert self._lock_is_free(), "the lock is held"
        leaked = descriptors() - self._descriptors
        assert not leaked or self.may_leak, f"descriptors are left: {leaked}"

    def _check_success(self, operation: Operation) -> None:
        missing = self.system.ledger.missing(present=operation.after is not None)
        assert not operation.durable or not missing, f"it succeeded with {missing} not synced"
        told = {
            fault.path
            for fault in self.system.failed
            if any(os.strerror(fault.errno) in message for message in self._log.messages)
            or (fault.path.startswith("..") and fault.errno in BEYOND_US)
            or (fault.name, fault.errno) == ("flock", errno.EACCES)  # the lock was tried for again
        }
        # Of two in a row on one file, like a failed sync and then a failed close, the last one is told.
        silent = [fault for fault in self.system.failed if fault.path not in told]
        assert not silent, f"no one was told of {', '.join(map(str, silent))}"

    def _left_out(self, operation: Operation, result: object) -> bool:
        """Whether the users are without the one whom we were forbidden to look at."""
        return operation.name == "users" and result == [] and self.system.failed[0].errno == errno.EACCES

    def _check_error(self, operation: Operation, error: Exception, stored: bytes | None) -> None:
        faults = self.system.failed
        assert not all((fault.name, fault.path) in _TOO_LATE for fault in faults), "it was done and yet failed"
        if isinstance(error, UnconfirmedCommitError):
            assert operation.after != operation.before, "nothing was to be committed"
            assert stored == text(operation.after), f"it was said to be unconfirmed and left {stored!r}"
            assert error.path == self._fleet, f"unconfirmed is {error.path}"
            error = cast(Exception, error.__cause__)
        else:
            assert stored == text(operation.before), f"it failed and left {stored!r}"
        assert isinstance(error, OSError), f"the error is {error!r}"
        if isinstance(error, LockTimeoutError):
            # As filelock has it: some file systems say this of a lock that is held.
            refused = any((fault.name, fault.errno) == ("flock", errno.EACCES) for fault in faults)
            assert refused, "no one holds the lock"
        else:
            assert isinstance(error.filename, str), f"the error's file name is {error.filename!r}"
            where = self.system.short(error.filename)
            fits = any(fault.errno == error.errno and where in fault.path.split(" -> ") for fault in faults)
            assert fits, f"the error is another: {error!r} of {where}"

    def _check_temporaries(self, tidy: bool) -> None:
        was_tidy, self._tidy = self._tidy, not self._temporaries()
        hindered = any((fault.name, fault.path) in _REMOVING for fault in self.system.failed)
        assert self._tidy or hindered or not (was_tidy or tidy), f"there is {self._temporaries()}"

    def _stored(self) -> bytes | None:
        try:
            with open(self._fleet, "rb") as file:
                return file.read()
        except FileNotFoundError:
            return None

    def _temporaries(self) -> list[str]:
        try:
            return [name for name in retry_eintr(os.listdir, self._directory) if name.endswith(".tmp")]
        except FileNotFoundError:
            return []

    def _lock_is_free(self) -> bool:
        try:
            return is_free(Path(self._lock))
        except FileNotFoundError:
            return True

    def _story(self, end: str) -> str:
        return "\nthen ".join([*self._tried, end])


def descriptors() -> set[str]:
    """Return the open descriptors of this process."""
    return set(retry_eintr(os.listdir, "/proc/self/fd"))
