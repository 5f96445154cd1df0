"""System calls of a real process fail, or are interrupted, by strace."""

from __future__ import annotations

import errno
import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.mutate import copy_package, import_from, sources
from tests.torture import faults, means, traced

# The calls of Linux that open, lock, change or sync a file. Which others a process makes, such as mmap or ioctl, is up
# to its libc and its interpreter, and changes nothing that is stored.
CHANGING = {
    *("open", "openat", "openat2", "creat", "flock"),
    *("write", "pwrite64", "writev", "pwritev", "pwritev2", "sendfile", "splice", "copy_file_range", "fallocate"),
    *("truncate", "ftruncate", "fsync", "fdatasync", "sync_file_range", "syncfs", "sync"),
    *("rename", "renameat", "renameat2", "unlink", "unlinkat", "mkdir", "mkdirat", "rmdir"),
    *("link", "linkat", "symlink", "symlinkat", "mknod", "mknodat"),
    *("chmod", "fchmod", "fchmodat", "fchmodat2", "chown", "lchown", "fchown", "fchownat"),
    *("utime", "utimes", "utimensat", "futimesat"),
    *("setxattr", "lsetxattr", "fsetxattr", "removexattr", "lremovexattr", "fremovexattr"),
}
# These prepare another account's files and remove trials.
OF_THE_TRIALS = {"chmod", "unlinkat"}


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    """Where the trials are: in memory, where that is possible."""
    means.need("linux", "strace")
    with faults.quick_directory(tmp_path) as place:
        place.mkdir()
        yield place


def test_each_call_of_a_real_process_fails(directory: Path) -> None:
    """As in the same process: the right error, the old or the new fleet whole, and the next call works."""
    assert traced.sweep(directory, errno.ENOSPC, ["add"]) > 0


def test_no_kind_of_call_is_left_out(directory: Path) -> None:
    """Each kind of call by which petfleet opens, locks, changes or syncs a file is made to fail."""
    known = set(itertools.chain.from_iterable(traced.KINDS.values()))
    assert (traced.calls_made(directory) & CHANGING) - known <= OF_THE_TRIALS


def test_interrupted_calls_are_made_again(directory: Path) -> None:
    """A signal that comes in the middle of a call fails nothing."""
    assert traced.interrupt(directory) > 0


@pytest.mark.parametrize(
    ("old", "new"),
    [
        pytest.param("except FileNotFoundError:", "except OSError:", id="only no such file means no fleet"),
        pytest.param("error.filename = path", "pass", id="the file's name in an error"),
    ],
)
def test_a_protection_that_is_taken_out_is_missed(
    directory: Path, tmp_path: Path, old: str, new: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A trial fails."""
    _take_out(tmp_path, "def read(", old, new, monkeypatch)
    with pytest.raises(AssertionError, match="then"):
        traced.sweep(directory, errno.EIO, ["load"])


def test_an_interruption_that_fails_a_call_is_missed(
    directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So does one with interruptions."""
    _take_out(tmp_path, "def retry_eintr(", "pass", "raise", monkeypatch)
    with pytest.raises(AssertionError, match="Interrupted"):
        traced.interrupt(directory, ["users"])


def _take_out(place: Path, function: str, old: str, new: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the traced process import a petfleet in whose disk.py, from that function on, a line is another."""
    disk = copy_package(sources(), place / "src") / "_backends" / "files" / "disk.py"
    before, function, after = disk.read_text(encoding="utf-8").partition(function)
    assert old in after
    disk.write_text(before + function + after.replace(old, new, 1), encoding="utf-8")
    import_from(place / "src", monkeypatch)
