"""Helpers for tests of checks: roots with files in them, and what a check finds there."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from petfleet import PetFleet, dumps
from petfleet._backends.files.lock import UserLock
from petfleet._cli.checks.directory import check
from petfleet._cli.checks.finding import KINDS, Finding
from tests.conftest import pet

TEMPORARY = ".fleet.toml.00112233445566aa.tmp"
LONG_AGO = 1_700_000_000  # a reader waits for the end of a write that began just now


def found(root: Path, *, repair: bool = False, lock_timeout: float = 5.0) -> list[Finding]:
    """Return what a check of a root finds, after a check that all of it is printable."""
    return printable_findings(check(root, repair=repair, lock_timeout=lock_timeout))


def printable_findings(entries: Iterable[list[Finding]]) -> list[Finding]:
    """Return all findings, after a check that they are printable."""
    findings = [finding for entry in entries for finding in entry]
    for finding in findings:
        assert finding.kind in KINDS
        assert finding.message.isprintable()
        assert (finding.repaired or "").isprintable()
    return findings


def kinds(root: Path, **options: Any) -> list[str]:
    """Return the kinds of all findings, sorted."""
    return sorted(finding.kind for finding in found(root, **options))


def put_files(root: Path, user_id: str, data: bytes | None = None, *, lock: bool = True) -> Path:
    """Write a user's fleet file as petfleet leaves it: a fleet of one pet, or these bytes. Return its path."""
    path = root / user_id / "fleet.toml"
    path.parent.mkdir(parents=True)
    path.parent.chmod(0o700)
    path.write_bytes(dumps(PetFleet(user_id, [pet("mira")], "mira")).encode() if data is None else data)
    path.chmod(0o600)
    os.utime(path, (LONG_AGO, LONG_AGO))
    if lock:
        UserLock(f"{path}.lock", create=True).close()
    return path


def mark_writing(path: Path) -> None:
    """Leave the lock file as a dead writer leaves it."""
    lock = UserLock(f"{path}.lock", create=True)
    lock.mark_writing()
    lock.close()


def snapshot(root: Path) -> dict[str, tuple[object, ...]]:
    """Return the status of everything under a root, and the bytes of its regular files."""
    seen: dict[str, tuple[object, ...]] = {}
    for path in [root, *sorted(root.rglob("*"))]:
        status = path.lstat()
        data = path.read_bytes() if path.is_file() and not path.is_symlink() else None
        seen[os.fsencode(path).decode("latin-1")] = (
            status.st_ino,
            status.st_mode,
            status.st_mtime_ns,
            status.st_ctime_ns,
            data,
        )
    return seen


class PatchedModule:
    """A module with some functions replaced."""

    def __init__(self, module: Any, **functions: object) -> None:
        self._module = module
        self.__dict__.update(functions)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)


def fail(error: int) -> Callable[..., Any]:
    """Return a function that raises that error of the system."""

    def refused(*arguments: object, **options: object) -> object:
        raise OSError(error, os.strerror(error))

    return refused
