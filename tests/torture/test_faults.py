"""Every system call of every operation fails, in this process."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from petfleet._backends.files import backend, disk
from petfleet._backends.files.lock import UserLock
from petfleet._backends.files.reader import identity
from tests.torture import faults, means, parts
from tests.torture.failing import ERRNOS
from tests.torture.operations import OPERATIONS, Operation

EACH = pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    """Where the fleets of a trial are: in memory, where that is possible."""
    means.need("linux")
    with faults.quick_directory(tmp_path) as place:
        yield place


@EACH
def test_each_call_fails_with_each_errno(operation: Operation, root: Path) -> None:
    """The right error, the old or the new fleet whole, nothing left behind or held, and the next call works."""
    assert faults.singles(operation, root, ERRNOS) >= 3 * len(ERRNOS)


@EACH
def test_a_second_call_fails_after_the_first(operation: Operation, root: Path) -> None:
    """The same with a second fault anywhere behind the first one."""
    faults.pairs(operation, root, (errno.EIO, errno.ENOSPC))


def test_the_load_after_a_failed_call_fails_too(root: Path) -> None:
    """The second fault may come while the next call tidies up after the first."""
    (operation,) = (operation for operation in OPERATIONS if operation.name == "add")
    assert faults.pairs(operation, root, (errno.EIO, errno.ENOSPC), then=True) > 0


@EACH
def test_all_calls_fail_from_one_on(operation: Operation, root: Path) -> None:
    """A system that does not get well before the call has ended."""
    assert faults.singles(operation, root, [errno.EROFS], lasting=True) >= 3


@EACH
def test_small_pieces_and_interruptions_succeed(operation: Operation, root: Path) -> None:
    """Reads and writes that handle less than they are given, and an interrupted close()."""
    for most in (1, 7, 100):
        faults.shortened(operation, root, most)


@pytest.mark.parametrize("backend", faults.BACKENDS)
def test_the_error_reaches_the_awaiting_call(backend: str, root: Path) -> None:
    """On both event loops a failed call raises what it should, and does not hang."""
    with faults.event_loop(backend) as run:
        tried = sum(faults.singles(operation, root, [errno.EIO], step=10, run=run) for operation in OPERATIONS)
    assert tried >= len(OPERATIONS)


def test_a_round_of_the_torture(tmp_path: Path) -> None:
    """The first round of the fixed seed."""
    means.need(*faults.PART.means)
    counted = parts.first_rounds(faults.PART, tmp_path)
    assert counted["single faults"] >= len(ERRNOS)


def _nothing(*arguments: Any, **options: Any) -> None:
    """Stand for a line that was taken out."""


def _any_failure_means_no_fleet(path: str, most_bytes: int) -> disk.Stored | None:
    try:
        return _read(path, most_bytes)
    except OSError:
        return None


def _leave_temporaries(path: str) -> None:
    if not path.endswith(".tmp"):
        _remove(path)


def _all_may_fail(action: Callable[..., object], *arguments: str) -> bool:
    action(*arguments)
    return True


def _one_write(fd: int, data: bytes) -> None:
    os.write(fd, data[:7])


def _same_bytes_synced_again(commit: backend.FileCommit, lock: UserLock, data: bytes | None, *, confirmed: bool) -> str:
    if confirmed:
        return _write(commit, lock, data, confirmed=True)
    disk.sync_file(commit.path)
    return identity(disk.read(commit.path, 4096))


_read, _remove, _write = disk.read, disk.remove, backend.FileCommit._write
LEAKED: list[int] = []
WITHOUT: dict[str, tuple[object, str, Callable[..., Any]]] = {
    "the file's fsync": (disk, "_sync", _nothing),
    "the directory's sync": (disk.Directory, "sync", _nothing),
    "syncing what is above": (backend.FileCommit, "_sync_above", _nothing),
    "the error for other failures to read": (disk, "read", _any_failure_means_no_fleet),
    "removing temporaries": (disk, "remove", _leave_temporaries),
    "letting what comes too late fail": (backend, "best_effort", _all_may_fail),
    "the loop over short writes": (disk, "write_all", _one_write),
    "writing anew what may be lost": (backend.FileCommit, "_write", _same_bytes_synced_again),
    "file names in errors": (disk, "set_filename", _nothing),
    "closing what was opened": (disk, "close", lambda fd, path: LEAKED.append(fd)),
}


@pytest.mark.parametrize("without", WITHOUT)
def test_a_protection_that_is_taken_out_is_missed(without: str, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A trial fails."""
    monkeypatch.setattr(*WITHOUT[without])
    with pytest.raises(AssertionError):
        for name in ("create", "add", "load after a dead writer"):
            (operation,) = (operation for operation in OPERATIONS if operation.name == name)
            faults.shortened(operation, root, 7)
            faults.singles(operation, root, [errno.EIO])
    while LEAKED:
        os.close(LEAKED.pop())
