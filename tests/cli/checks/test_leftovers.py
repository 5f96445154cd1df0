"""What dead writers left, as opposed to what a writer at work is using."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import time
from pathlib import Path

import pytest

from petfleet._backends.files import disk, reader
from petfleet._backends.files.lock import UserLock
from petfleet._cli.checks import leftovers
from petfleet._cli.checks.finding import Finding
from tests.cli.check_helpers import (
    TEMPORARY,
    PatchedModule,
    fail,
    found,
    kinds,
    mark_writing,
    put_files,
)
from tests.support.commits import once_before

CLEARS_UP = "the next program to use the fleet clears up, or petfleet check --repair"


def test_what_a_dead_writer_left(root: Path) -> None:
    """Its temporary file and its marker are findings; a directory with such a name is not."""
    path = put_files(root, "user")
    mark_writing(path)
    path.with_name(TEMPORARY).write_text("half a wri")
    path.with_name(TEMPORARY.replace("aa", "bb")).symlink_to("nowhere")
    path.with_name(TEMPORARY.replace("aa", "cc")).mkdir()
    path.with_name(f"{TEMPORARY}x").touch()
    one, two, three = found(root)
    assert one == Finding(
        "leftover",
        str(path.with_name(TEMPORARY)),
        f"a temporary file that no living writer uses: {CLEARS_UP}",
        "user",
    )
    assert (two.kind, two.path) == ("leftover", str(path.with_name(TEMPORARY.replace("aa", "bb"))))
    assert (three.kind, three.path) == ("dead-writer", f"{path}.lock")
    assert re.fullmatch(
        rf"a writer that died or could not sync, pid {os.getpid()} on .+ since [\d.]+: {CLEARS_UP}", three.message
    )


def test_a_temporary_file_without_a_lock_file(root: Path) -> None:
    """It is a finding: nobody writes without a lock file, and a power cut may keep only one of them."""
    path = put_files(root, "user", lock=False)
    path.with_name(TEMPORARY).touch()
    assert [(one.kind, one.message) for one in found(root)] == [
        ("leftover", f"a temporary file that no living writer uses: {CLEARS_UP}")
    ]


@pytest.mark.parametrize("lock_timeout", [0.0, 0.02])
def test_a_writer_at_work_is_no_finding(root: Path, lock_timeout: float) -> None:
    """While the lock is held, the marker and the temporary file are in use."""
    path = put_files(root, "user")
    mark_writing(path)
    path.with_name(TEMPORARY).touch()
    with contextlib.closing(UserLock(f"{path}.lock", create=False)) as lock:
        assert lock.try_acquire()
        assert found(root, lock_timeout=lock_timeout) == []
        assert found(root, repair=True, lock_timeout=lock_timeout) == []
    assert kinds(root) == ["dead-writer", "leftover"]


def test_a_writer_that_goes_on_to_its_next_commit_is_no_finding(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each commit has its own names and times, so the check need not wait for the lock."""
    path = put_files(root, "user")
    mark_writing(path)
    path.with_name(TEMPORARY).touch()
    with contextlib.closing(UserLock(f"{path}.lock", create=False)) as lock:
        assert lock.try_acquire()

        def commit(seconds: float) -> None:
            path.with_name(TEMPORARY).unlink(missing_ok=True)
            path.with_name(TEMPORARY.replace("aa", "bb")).touch()
            lock.mark_writing()

        monkeypatch.setattr(leftovers, "time", PatchedModule(time, sleep=commit))
        assert found(root, lock_timeout=3600) == []


@pytest.mark.parametrize("goes", ["the fleet", "the directory"])
def test_a_deletion_during_the_check_is_no_finding(root: Path, goes: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a commit and a deletion there is no lock file to wait for."""
    path = put_files(root, "user")
    path.with_name(TEMPORARY).touch()

    def delete() -> None:
        shutil.rmtree(path.parent)
        if goes == "the fleet":
            path.parent.mkdir(mode=0o700)

    once_before(monkeypatch, leftovers, "_open", delete)
    assert found(root) == []


def test_an_unlinked_lock_file_is_not_trusted(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lock on it excludes nobody: a writer holds the new file at the path."""
    path = put_files(root, "user")
    path.with_name(TEMPORARY).touch()
    held: list[UserLock] = []

    def replace() -> None:
        path.with_name("fleet.toml.lock").unlink()
        held.append(UserLock(f"{path}.lock", create=True))
        assert held[0].try_acquire()

    once_before(monkeypatch, UserLock, "try_acquire", replace)
    assert found(root, lock_timeout=0.02) == []
    held[0].close()


def refuse_to_open(monkeypatch: pytest.MonkeyPatch, error: int, flags: int) -> None:
    """Refuse to open lock files with these flags."""
    open_ = os.open

    def opened(path: str, how: int, mode: int = 0o777) -> int:
        if path.endswith(".lock") and how & os.O_ACCMODE == flags:
            raise OSError(error, os.strerror(error), path)
        return open_(path, how, mode)

    monkeypatch.setattr(disk, "os", PatchedModule(os, open=opened))


@pytest.mark.parametrize("error", [errno.EROFS, errno.EACCES])
def test_a_read_only_lock_file_is_enough(root: Path, error: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a read-only mount, or for another account, the lock is tried without writing."""
    path = put_files(root, "user")
    path.with_name(TEMPORARY).touch()
    refuse_to_open(monkeypatch, error, os.O_RDWR)
    assert [one.message for one in found(root)] == [f"a temporary file that no living writer uses: {CLEARS_UP}"]
    with contextlib.closing(UserLock(f"{path}.lock", create=False, writable=False)) as lock:
        assert lock.try_acquire()
        assert found(root, lock_timeout=0) == []


def test_without_a_lock_a_leftover_is_uncertain(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that stays unchanged may belong to a writer whose disk is slow."""
    path = put_files(root, "user")
    mark_writing(path)
    path.with_name(TEMPORARY).touch()
    monkeypatch.setattr(leftovers, "_STAY", 0.01)
    monkeypatch.setattr(UserLock, "try_acquire", fail(errno.ENOLCK))
    tried = "(its lock could not be tried: No locks available): "
    one, two = found(root)
    assert one.message == f"perhaps a temporary file that no living writer uses {tried}{CLEARS_UP}"
    assert re.fullmatch(
        rf"perhaps a writer that died or could not sync, .+ {re.escape(tried + CLEARS_UP)}", two.message
    )


def test_without_a_lock_a_change_shows_a_writer(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that changes meanwhile is no finding."""
    path = put_files(root, "user")
    path.with_name(TEMPORARY).touch()
    monkeypatch.setattr(UserLock, "try_acquire", fail(errno.ENOLCK))
    monkeypatch.setattr(
        leftovers, "time", PatchedModule(time, sleep=lambda seconds: path.with_name(TEMPORARY).unlink())
    )
    assert found(root) == []


def test_with_an_invalid_lock_file_a_leftover_is_uncertain(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lock file is a finding too, and the reason is given."""
    path = put_files(root, "user", lock=False)
    path.with_name("fleet.toml.lock").mkdir()
    path.with_name(TEMPORARY).touch()
    monkeypatch.setattr(leftovers, "_STAY", 0.0)
    lock, leftover = found(root)
    assert lock.kind == "not-a-file"
    assert "(its lock could not be tried: expected a regular file, not a directory): " in leftover.message


def test_the_name_of_a_dead_writer_is_printable(root: Path) -> None:
    """A lock file may hold any bytes."""
    path = put_files(root, "user")
    path.with_name("fleet.toml.lock").write_bytes(b"\npetfleet writing \x1b[31m\xff \n")
    (finding,) = found(root)
    assert finding.message.startswith("a writer that died or could not sync, \\x1b[31m\ufffd: ")


def test_a_file_that_the_old_program_is_rewriting_is_no_finding(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The check reads it again for a moment, like every reader."""
    path = put_files(root, "user")
    whole_file = path.read_bytes()
    path.write_bytes(b"")
    monkeypatch.setattr(reader, "time", PatchedModule(time, sleep=lambda seconds: path.write_bytes(whole_file)))
    assert found(root) == []
