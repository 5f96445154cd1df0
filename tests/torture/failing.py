"""An operating system whose n-th call fails, put under petfleet in this process."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple
from unittest import mock

from petfleet._backends.files import backend, disk, lock, reader
from tests.support.commits import LOCK
from tests.support.recording_os import RecordingOS
from tests.torture.ledger import Ledger
from tests.torture.next_writer import Warned, heard

ERRNOS: Final = (errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EMFILE, errno.EROFS)
_ON_DESCRIPTORS: Final = {"close", "read", "write", "lseek", "fsync", "flock", "unlock", "fstat"}
_ON_PATHS: Final = {
    *("open", "stat", "lstat", "listdir", "scandir", "readdir"),
    *("replace", "unlink", "mkdir", "rmdir", "chmod", "chown"),
}
_NOT_OF_THE_SYSTEM: Final = {"fspath", "getpid", "geteuid", "major", "minor"}
# These are no faults: they answer whether something exists, and an interrupted call is made again.
_NO_FAULTS: Final = (errno.ENOENT, errno.EEXIST, errno.ENOTEMPTY, errno.EINTR)


class Fault(NamedTuple):
    """A call that failed."""

    name: str
    path: str
    errno: int

    def __str__(self) -> str:
        return f"{self.name} {self.path} -> {errno.errorcode[self.errno]}"


class FailingOS(RecordingOS):
    """Calls through to ``os``, but fails where it was planned.

    Attributes:
        calls: what was changed or synced since it was last planned.
        failed: the calls that failed since then, planned or not.
        hits: how many of them were planned.
        syncs: whether fsync is really made, which takes its time.
        unknown: the calls that are neither known to reach the system nor known not to.
        ledger: what of all that was ever done is synced.
    """

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.syncs = False
        self.failed: list[Fault] = []
        self.hits = 0
        self.unknown: set[str] = set()
        self.ledger = Ledger()
        self._plan: Mapping[int, int] = {}
        self._lasting = False
        self._most = 0
        self._made = 0
        self._start = f"{root}{os.sep}"

    def __getattr__(self, name: str) -> Any:
        value = super().__getattr__(name)
        setattr(self, name, value)  # made once: it is all a matter of speed here
        return value

    @contextmanager
    def plan(self, errnos: Mapping[int, int], *, lasting: bool = False, short: int = 0) -> Iterator[None]:
        """Fail calls for a while.

        Args:
            errnos: what they fail with, by the number of the call from now on, beginning with 1.
            lasting: whether, from the first of them on, all calls fail.
            short: how many bytes a read or a write handles at most, while each close() is interrupted; 0 for all.
        """
        self._plan, self._lasting, self._most, self._made, self.hits = errnos, lasting, short, 0, 0
        self.calls.clear()
        self.failed.clear()
        try:
            yield
        finally:
            self._plan, self._most = {}, 0

    def perform(self, name: str, path: str, value: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        """Make one call, or fail it as the system would."""
        if name not in _ON_DESCRIPTORS | _ON_PATHS:
            if name not in _NOT_OF_THE_SYSTEM:
                self.unknown.add(name)
            return value(*arguments, **options)
        self._made += 1
        planned = self._planned()
        if self._most and name == "close":
            planned = errno.EINTR
        if self._most and name in ("read", "write"):
            fd, what = arguments
            arguments = (fd, min(what, self._most) if name == "read" else what[: self._most])
        result = None
        try:
            if planned is not None:
                self.hits += 1
                named = [arguments[0]] if name in _ON_PATHS else []
                raise OSError(planned, os.strerror(planned), *named)
            if self.syncs or name != "fsync":
                result = value(*arguments, **options)
        except OSError as error:
            if name == "close":
                value(*arguments)  # a failing close() closes all the same
            number = error.errno or 0
            if number not in _NO_FAULTS:
                self.failed.append(Fault(name, path, number))
                self.ledger.failed(name, path, number)
            raise
        self.ledger.done(name, path)
        return _Entries(result, self, path, arguments[0]) if name == "scandir" else result

    def flock(self, fd: int, operation: int) -> None:
        """Take or release a lock, through this."""
        self.perform("unlock" if operation == fcntl.LOCK_UN else "flock", LOCK, flock, fd, operation)

    def _planned(self) -> int | None:
        if self._lasting:
            return next((error for number, error in self._plan.items() if number <= self._made), None)
        return self._plan.get(self._made)

    def short(self, path: str) -> str:
        """Return the path under root; above it the number of steps up, since each of those directories is synced."""
        if path.startswith(self._start):
            short = path[len(self._start) :]
            return "TEMPORARY" if short.endswith(".tmp") else short
        return _steps_above(path, self._start)

    _short = short


@cache
def _steps_above(path: str, start: str) -> str:
    return os.path.relpath(path, start)


flock: Final = fcntl.flock  # the real one


class _Entries:
    """What ``scandir`` returns; each step of it is a call."""

    def __init__(self, entries: Any, system: FailingOS, path: str, directory: str) -> None:
        self._entries = entries
        self._system = system
        self._path = path
        self._directory = directory

    def __enter__(self) -> _Entries:
        return self

    def __exit__(self, *error: object) -> None:
        self._entries.close()

    def __iter__(self) -> _Entries:
        return self

    def __next__(self) -> os.DirEntry[str]:
        entry: os.DirEntry[str] = self._system.perform("readdir", self._path, self._next, self._directory)
        return entry

    def _next(self, directory: str) -> os.DirEntry[str]:
        return next(self._entries)


@contextmanager
def under_petfleet(system: FailingOS) -> Iterator[Warned]:
    """Put that system under petfleet for a while, and give what is logged meanwhile."""
    logger = logging.getLogger("petfleet")
    propagate = logger.propagate
    logger.propagate = False
    try:
        with (
            heard() as warned,
            mock.patch.object(disk, "os", system),
            mock.patch.object(lock, "os", system),
            mock.patch.object(backend, "os", system),
            mock.patch.object(reader, "os", system),
            mock.patch.object(fcntl, "flock", system.flock),
        ):
            yield warned
    finally:
        logger.propagate = propagate
