"""Modes and owners of a user's files, also while a writer is just setting them."""

from __future__ import annotations

import errno
import itertools
import os
import shutil
import stat
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from petfleet._backends.files import disk
from petfleet._cli.checks import leftovers, permissions
from petfleet._cli.checks.finding import Finding
from tests.cli.check_helpers import (
    PatchedModule,
    fail,
    found,
    kinds,
    put_files,
)
from tests.support.accounts import NOBODY
from tests.torture import means


@pytest.mark.parametrize("mode", [0o600, 0o700])
def test_a_mode_that_is_private_enough(root: Path, mode: int) -> None:
    """The owner may have more rights than needed."""
    put_files(root, "user").chmod(mode)
    assert found(root) == []


@pytest.mark.parametrize("mode", [0o644, 0o660, 0o601, 0o200, 0o400, 0o000])
@pytest.mark.parametrize("name", ["fleet.toml", "fleet.toml.lock"])
def test_a_mode_that_is_not_private(root: Path, name: str, mode: int) -> None:
    """The message has the mode, the expected one and a command; a repair leaves it."""
    path = put_files(root, "a b").with_name(name)
    path.chmod(mode)
    expected = Finding(
        "mode", str(path), f"mode {mode:04o}, expected 0600, the owner's alone: chmod 600 '{path}'", "a b"
    )
    findings = [one for one in found(root, repair=True) if one.kind != "unreadable"]  # root reads it all the same
    assert findings == [expected]
    assert stat.S_IMODE(path.stat().st_mode) == mode


def test_a_directory_that_others_may_enter(root: Path) -> None:
    """It is a finding like a file."""
    directory = put_files(root, "user").parent
    directory.chmod(0o755)
    message = f"mode 0755, expected 0700, the owner's alone: chmod 700 {directory}"
    assert found(root) == [Finding("mode", str(directory), message, "user")]


def test_a_file_of_another_account(root: Path) -> None:
    """The message has both uids and a command."""
    path = str(put_files(root, "user"))
    mine = os.geteuid()
    message = f"uid {mine}, expected the root's owner {mine + 1}: chown {mine + 1} {path}"
    assert list(permissions.check_permissions("user", path, permissions.FILE, mine + 1)) == [
        Finding("owner", path, message, "user")
    ]


def test_the_owner_of_the_root_counts(root: Path) -> None:
    """The files should belong to it, whichever account runs the check."""
    means.need("root")
    path = put_files(root, "user")
    os.chown(path, NOBODY, NOBODY)
    assert [(one.kind, one.path) for one in found(root)] == [("owner", str(path))]
    for other in (root, path.parent, path.with_name("fleet.toml.lock")):
        os.chown(other, NOBODY, NOBODY)
    assert found(root) == []


def test_a_mode_that_is_set_a_moment_later_is_no_finding(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A umask may take rights from a new file until its writer sets them."""
    path = put_files(root, "user").with_name("fleet.toml.lock")
    path.chmod(0o000)
    monkeypatch.setattr(permissions, "time", PatchedModule(time, sleep=lambda seconds: path.chmod(0o600)))
    assert found(root) == []


@pytest.mark.parametrize("name", ["", "fleet.toml.lock"], ids=["directory", "lock"])
def test_a_file_that_becomes_readable_is_no_finding(root: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such a umask closes a new file even to its owner; a file that goes is no finding either."""
    path = put_files(root, "user").parent / name
    closed = [fail(errno.EACCES)]
    for function, module in (("scandir", leftovers), ("open", disk)):
        call = getattr(os, function)

        def called(where: str, *arguments: Any, call: Callable[..., Any] = call) -> Any:
            refused = closed and where == str(path) and path.exists()
            return (closed[0] if refused else call)(where, *arguments)

        monkeypatch.setattr(module, "os", PatchedModule(os, **{function: called}))
    monkeypatch.setattr(permissions, "time", PatchedModule(time, sleep=lambda seconds: closed.clear()))
    assert found(root) == []
    closed.append(fail(errno.EACCES))
    monkeypatch.setattr(
        permissions, "time", PatchedModule(time, sleep=lambda seconds: shutil.rmtree(root / "user", True))
    )
    assert found(root) == []


def test_a_file_that_stays_unreadable_is_a_finding(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The number of tries is limited."""
    put_files(root, "user")
    monkeypatch.setattr(leftovers, "os", PatchedModule(os, scandir=fail(errno.EACCES)))
    monkeypatch.setattr(permissions, "_NEW", 3600.0)
    monkeypatch.setattr(permissions, "time", PatchedModule(time, sleep=lambda seconds: None))
    assert kinds(root) == ["unreadable"]


@pytest.mark.parametrize("error", [errno.ENOENT, errno.EACCES])
def test_only_a_missing_file_may_settle_without_a_status(error: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that has gone is no longer unreadable."""
    monkeypatch.setattr(permissions, "os", PatchedModule(os, lstat=fail(error)))
    assert permissions.may_settle("there") == (error == errno.ENOENT)


def test_a_mode_that_keeps_changing_is_no_finding(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is created again and again is tried a limited number of times."""
    path = put_files(root, "user").with_name("fleet.toml.lock")
    path.chmod(0o000)
    clock = itertools.count(1)
    monkeypatch.setattr(permissions, "time", PatchedModule(time, sleep=lambda seconds: None))
    monkeypatch.setattr(permissions, "os", PatchedModule(os, lstat=lambda name: _changed(path, next(clock))))
    assert list(permissions.check_permissions("user", str(path), permissions.FILE, os.geteuid())) == []
    assert next(clock) == permissions.MAX_TRIES + 1


def _changed(path: Path, number: int) -> Any:
    status = path.stat()
    return SimpleNamespace(
        st_mode=stat.S_IFREG, st_uid=status.st_uid, st_ino=status.st_ino, st_ctime_ns=number, st_ctime=time.time()
    )
