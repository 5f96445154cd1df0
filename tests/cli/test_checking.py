"""What a check finds in a root, what it does not find, and that it changes nothing."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import re
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from petfleet import PetFleet, dumps
from petfleet._backends.files import disk, reader
from petfleet._backends.files.lock import UserLock
from petfleet.cli.checks import content, directory, leftovers, permissions
from petfleet.cli.checks.directory import Finding, check
from petfleet.cli.checks.finding import command
from petfleet.cli.output import printable
from tests._backends.files.test_bad_files import directory_at
from tests._backends.files.test_owners import NOBODY, nobody
from tests._backends.files.test_places import ANYTHING
from tests._backends.files.test_refusing_system import public_directory as public_directory
from tests.cli.roots import TEMPORARY, Instead, fail, found, kinds, once, put, say_writing, whole
from tests.conftest import pet
from tests.support.bad_texts import BROKEN
from tests.support.recording_os import RecordingOS, refuse
from tests.torture import means

CLEARS_UP = "the next program to use the fleet clears up, or petfleet check --repair"


def test_a_healthy_root_has_an_empty_list_for_each_entry(root: Path) -> None:
    """What is not petfleet's is no finding: files in the root, other directories, foreign files beside a fleet."""
    for user_id in ("mira", "növa", "a b"):
        put(root, user_id)
    put(root, "old", lock=False)
    (root / "old" / "notes.txt").touch()
    (root / ".petfleet-check.0011223344556677.tmp").touch()
    (root / "lost+found").mkdir(mode=0o755)
    assert list(check(root, repair=False, lock_timeout=0)) == [[]] * 6
    assert list(check(str(root), repair=True, lock_timeout=0)) == [[]] * 6


def test_a_root_that_cannot_be_listed_is_an_error(root: Path) -> None:
    """There is nothing to check: no empty answer pretends that all is well."""
    with pytest.raises(FileNotFoundError):
        next(check(root, repair=False, lock_timeout=0))


@pytest.mark.parametrize(("data", "expected", "line", "column"), BROKEN.values(), ids=BROKEN)
def test_a_file_that_means_no_fleet(root: Path, data: bytes, expected: str, line: int | None, column: int) -> None:
    """The finding says where, what should be there and what to do."""
    path = put(root, "user", data)
    message = f"expected {printable(expected)}: mend it by hand, or petfleet check --repair sets it aside"
    assert found(root) == [Finding("unparsable", str(path), message, "user", line, column)]


def test_a_file_that_is_too_large(root: Path) -> None:
    """It is not even read."""
    os.truncate(put(root, "user"), 2**24 + 1)
    assert [(one.kind, one.message[:51]) for one in found(root)] == [
        ("unparsable", "expected at most 16777216 bytes, not 16777217: mend")
    ]


@pytest.mark.parametrize(("rest", "kind"), [(b"pets = []\n", "foreign-user-id"), (b"pets = oops\n", "unparsable")])
def test_a_file_of_another_user_is_never_set_aside(root: Path, rest: bytes, kind: str) -> None:
    """Whether it parses or not, the finding says so, and a repair leaves it as it is."""
    path = put(root, "user", b'user_id = "other"\n' + rest)
    before = path.read_bytes()
    for repair in (False, True):
        (finding,) = found(root, repair=repair)
        assert (finding.kind, finding.user_id, finding.repaired) == (kind, "user", None)
        assert "move it to the user whose it is, or away; petfleet check --repair leaves it alone" in finding.message
    assert path.read_bytes() == before
    assert ("expected a file of user 'user', found another's" in finding.message) == (kind == "unparsable")


@pytest.mark.parametrize("name", ["fleet.toml", "fleet.toml.lock"])
@pytest.mark.parametrize("make", [*ANYTHING.values(), directory_at], ids=[*ANYTHING, "directory"])
def test_what_is_no_file_is_neither_followed_nor_touched(root: Path, name: str, make: Callable[[Path], None]) -> None:
    """A link, a pipe, a device, a directory: it is told and left alone, with or without repair."""
    path = put(root, "user").with_name(name)
    path.unlink()
    make(path)
    before = whole(root.parent)
    for repair in (False, True):
        (finding,) = found(root, repair=repair)
        assert (finding.kind, finding.path, finding.repaired) == ("not-a-file", str(path), None)
        assert re.fullmatch(r"expected a regular file, not a [a-z ]+: move it away", finding.message)
    assert whole(root.parent) == before


@pytest.mark.parametrize(
    ("name", "target", "told"),
    [
        ("user", "elsewhere", True),
        ("user", "fleets/other", True),
        ("user", "empty", False),
        ("user", "nowhere", False),
        ("user", "fleets/user", False),
        ("user", "fleets/other/fleet.toml", False),
        ("not::valid", "elsewhere", False),
    ],
)
def test_a_link_in_the_place_of_a_directory_is_told_if_a_fleet_is_behind_it(
    root: Path, name: str, target: str, told: bool
) -> None:
    """Any other link is not ours; none is followed to be repaired."""
    put(root, "other")
    put(root.parent, "elsewhere", b"oops")
    (root.parent / "empty").mkdir()
    (root / name).symlink_to(root.parent / target)
    before = whole(root.parent)
    message = (
        f"a symbolic link to {root.parent / target}, which no store follows: put the directory itself in its place"
    )
    expected = [Finding("link", str(root / name), message, name)] if told else []
    assert found(root) == found(root, repair=True) == expected
    assert whole(root.parent) == before


def test_a_link_behind_which_one_may_not_look_is_told(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may well hide a fleet."""
    root.mkdir()
    (root / "user").symlink_to("closed")
    stat_ = os.stat
    behind = str(root / "user" / "fleet.toml")
    closed = fail(errno.EACCES)
    monkeypatch.setattr(directory, "os", Instead(os, stat=lambda path: closed() if path == behind else stat_(path)))
    assert found(root) == [
        Finding("unreadable", str(root / "user"), "Permission denied: check as the account that owns it", "user")
    ]


def test_a_fleet_whose_names_do_not_fit_together(root: Path) -> None:
    """An active pet that is not there and names that occur twice load, and are told."""
    pets = [pet(f"pet {number}\n") for number in range(7)]
    fleet = PetFleet("user", [*pets, *pets, pet("once")], "\x1b[31m")
    path = put(root, "user", dumps(fleet).encode())
    shown = ", ".join(rf"'pet {number}\n'" for number in range(5))
    assert found(root) == [
        Finding(
            "active-pet-missing",
            str(path),
            r"active_pet '\x1b[31m' is not in the fleet: switch to a pet that is",
            "user",
        ),
        Finding(
            "duplicate-name",
            str(path),
            f"more than one pet of the name {shown} and of 2 names more: every call means the first; "
            "rename or remove the others",
            "user",
        ),
    ]
    path.write_text(dumps(PetFleet("user", [pet("mira"), pet("mira")])))
    assert [one.message[:38] for one in found(root)] == ["more than one pet of the name 'mira': "]


# --- what dead writers left ------------------------------------------------------------------------------------------


def test_what_a_dead_writer_left(root: Path) -> None:
    """Its temporary file and its marker are told, with who it was; a directory of such a name is not ours."""
    path = put(root, "user")
    say_writing(path)
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
    """A power cut may keep the one and not the other: nobody writes without a lock file."""
    path = put(root, "user", lock=False)
    path.with_name(TEMPORARY).touch()
    assert [(one.kind, one.message) for one in found(root)] == [
        ("leftover", f"a temporary file that no living writer uses: {CLEARS_UP}")
    ]


@pytest.mark.parametrize("lock_timeout", [0.0, 0.02])
def test_a_writer_at_work_is_no_finding(root: Path, lock_timeout: float) -> None:
    """While the lock is held, what says "writing" and what is beside the fleet is in use."""
    path = put(root, "user")
    say_writing(path)
    path.with_name(TEMPORARY).touch()
    with contextlib.closing(UserLock(f"{path}.lock", create=False)) as lock:
        assert lock.try_acquire()
        assert found(root, lock_timeout=lock_timeout) == []
        assert found(root, repair=True, lock_timeout=lock_timeout) == []
    assert kinds(root) == ["dead-writer", "leftover"]


def test_a_writer_that_goes_on_to_its_next_commit_is_no_finding(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each commit's traces are told from those of the one before, so that the lock need not be waited for."""
    path = put(root, "user")
    say_writing(path)
    path.with_name(TEMPORARY).touch()
    with contextlib.closing(UserLock(f"{path}.lock", create=False)) as lock:
        assert lock.try_acquire()

        def commit(seconds: float) -> None:
            path.with_name(TEMPORARY).unlink(missing_ok=True)
            path.with_name(TEMPORARY.replace("aa", "bb")).touch()
            lock.mark_writing()

        monkeypatch.setattr(leftovers, "time", Instead(time, sleep=commit))
        assert found(root, lock_timeout=3600) == []


@pytest.mark.parametrize("goes", ["the fleet", "the directory"])
def test_a_deletion_between_two_looks_is_no_finding(root: Path, goes: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A commit and a deletion may have come after the look, and left no lock file that could be waited for."""
    path = put(root, "user")
    path.with_name(TEMPORARY).touch()

    def delete() -> None:
        shutil.rmtree(path.parent)
        if goes == "the fleet":
            path.parent.mkdir(mode=0o700)

    once(monkeypatch, leftovers, "_open", delete)
    assert found(root) == []


def test_a_lock_file_that_is_unlinked_meanwhile_is_not_trusted(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lock on an unlinked file excludes nobody: a writer holds the one that is at the path by now."""
    path = put(root, "user")
    path.with_name(TEMPORARY).touch()
    held: list[UserLock] = []

    def replace() -> None:
        path.with_name("fleet.toml.lock").unlink()
        held.append(UserLock(f"{path}.lock", create=True))
        assert held[0].try_acquire()

    once(monkeypatch, UserLock, "try_acquire", replace)
    assert found(root, lock_timeout=0.02) == []
    held[0].close()


def refuse_to_open(monkeypatch: pytest.MonkeyPatch, error: int, flags: int) -> None:
    """Refuse to open any lock file in that way."""
    open_ = os.open

    def opened(path: str, how: int, mode: int = 0o777) -> int:
        if path.endswith(".lock") and how & os.O_ACCMODE == flags:
            raise OSError(error, os.strerror(error), path)
        return open_(path, how, mode)

    monkeypatch.setattr(disk, "os", Instead(os, open=opened))


@pytest.mark.parametrize("error", [errno.EROFS, errno.EACCES])
def test_a_lock_file_that_is_only_to_be_read_tells_as_much(
    root: Path, error: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a read-only mount and for another account's files the lock is tried without writing."""
    path = put(root, "user")
    path.with_name(TEMPORARY).touch()
    refuse_to_open(monkeypatch, error, os.O_RDWR)
    assert [one.message for one in found(root)] == [f"a temporary file that no living writer uses: {CLEARS_UP}"]
    with contextlib.closing(UserLock(f"{path}.lock", create=False, writable=False)) as lock:
        assert lock.try_acquire()
        assert found(root, lock_timeout=0) == []


def test_a_lock_that_cannot_be_tried_leaves_a_perhaps(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What stays while it is watched may be a writer that the disk holds up."""
    path = put(root, "user")
    say_writing(path)
    path.with_name(TEMPORARY).touch()
    monkeypatch.setattr(leftovers, "_WATCHED", 0.01)
    monkeypatch.setattr(UserLock, "try_acquire", fail(errno.ENOLCK))
    tried = "(its lock could not be tried: No locks available): "
    one, two = found(root)
    assert one.message == f"perhaps a temporary file that no living writer uses {tried}{CLEARS_UP}"
    assert re.fullmatch(
        rf"perhaps a writer that died or could not sync, .+ {re.escape(tried + CLEARS_UP)}", two.message
    )


def test_what_goes_while_it_is_watched_is_no_finding(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a lock to try, the writer's own next step tells that it lives."""
    path = put(root, "user")
    path.with_name(TEMPORARY).touch()
    monkeypatch.setattr(UserLock, "try_acquire", fail(errno.ENOLCK))
    monkeypatch.setattr(leftovers, "time", Instead(time, sleep=lambda seconds: path.with_name(TEMPORARY).unlink()))
    assert found(root) == []


def test_a_lock_file_that_is_none_leaves_a_perhaps(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told itself, and why what is beside it could not be told for certain."""
    path = put(root, "user", lock=False)
    path.with_name("fleet.toml.lock").mkdir()
    path.with_name(TEMPORARY).touch()
    monkeypatch.setattr(leftovers, "_WATCHED", 0.0)
    lock, leftover = found(root)
    assert lock.kind == "not-a-file"
    assert "(its lock could not be tried: expected a regular file, not a directory): " in leftover.message


def test_what_is_read_of_a_dead_writer_can_be_printed(root: Path) -> None:
    """A lock file may hold anything."""
    path = put(root, "user")
    path.with_name("fleet.toml.lock").write_bytes(b"\npetfleet writing \x1b[31m\xff \n")
    (finding,) = found(root)
    assert finding.message.startswith("a writer that died or could not sync, \\x1b[31m\ufffd: ")


def test_a_file_that_the_old_program_is_rewriting_is_no_finding(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is read again for a moment, as by any reader."""
    path = put(root, "user")
    whole_file = path.read_bytes()
    path.write_bytes(b"")
    monkeypatch.setattr(reader, "time", Instead(time, sleep=lambda seconds: path.write_bytes(whole_file)))
    assert found(root) == []


# --- rights ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", [0o600, 0o700])
def test_a_mode_that_is_private_enough(root: Path, mode: int) -> None:
    """The owner may have more rights than are needed."""
    put(root, "user").chmod(mode)
    assert found(root) == []


@pytest.mark.parametrize("mode", [0o644, 0o660, 0o601, 0o200, 0o400, 0o000])
@pytest.mark.parametrize("name", ["fleet.toml", "fleet.toml.lock"])
def test_a_mode_that_is_not_the_owners_alone(root: Path, name: str, mode: int) -> None:
    """The message shows it, what it should be and the command for that; a repair leaves it."""
    path = put(root, "a b").with_name(name)
    path.chmod(mode)
    expected = Finding(
        "mode", str(path), f"mode {mode:04o}, expected 0600, the owner's alone: chmod 600 '{path}'", "a b"
    )
    findings = [one for one in found(root, repair=True) if one.kind != "unreadable"]  # root reads it all the same
    assert findings == [expected]
    assert stat.S_IMODE(path.stat().st_mode) == mode


def test_a_directory_that_others_may_enter(root: Path) -> None:
    """It is told as a file is."""
    directory = put(root, "user").parent
    directory.chmod(0o755)
    message = f"mode 0755, expected 0700, the owner's alone: chmod 700 {directory}"
    assert found(root) == [Finding("mode", str(directory), message, "user")]


def test_a_file_of_another_account(root: Path) -> None:
    """Whose it is and whose it should be are told as numbers, with the command."""
    path = str(put(root, "user"))
    mine = os.geteuid()
    message = f"uid {mine}, expected the root's owner {mine + 1}: chown {mine + 1} {path}"
    assert list(permissions.rights("user", path, permissions.FILE, mine + 1)) == [
        Finding("owner", path, message, "user")
    ]


def test_an_account_is_found_in_anothers_root(root: Path) -> None:
    """The root directory's owner is the one that counts, whoever checks."""
    means.need("root")
    path = put(root, "user")
    os.chown(path, NOBODY, NOBODY)
    assert [(one.kind, one.path) for one in found(root)] == [("owner", str(path))]
    for other in (root, path.parent, path.with_name("fleet.toml.lock")):
        os.chown(other, NOBODY, NOBODY)
    assert found(root) == []


def test_a_mode_that_is_set_a_moment_later_is_no_finding(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An umask may take the owner's rights from what was made just now, until its maker gives them."""
    path = put(root, "user").with_name("fleet.toml.lock")
    path.chmod(0o000)
    monkeypatch.setattr(permissions, "time", Instead(time, sleep=lambda seconds: path.chmod(0o600)))
    assert found(root) == []


@pytest.mark.parametrize("name", ["", "fleet.toml.lock"], ids=["directory", "lock"])
def test_what_may_be_read_a_moment_later_is_no_finding(root: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """For its own account, too, such an umask closes what was made just now; what goes meanwhile is as good."""
    path = put(root, "user").parent / name
    closed = [fail(errno.EACCES)]
    for function, module in (("scandir", leftovers), ("open", disk)):
        call = getattr(os, function)

        def called(where: str, *arguments: Any, call: Callable[..., Any] = call) -> Any:
            refused = closed and where == str(path) and path.exists()
            return (closed[0] if refused else call)(where, *arguments)

        monkeypatch.setattr(module, "os", Instead(os, **{function: called}))
    monkeypatch.setattr(permissions, "time", Instead(time, sleep=lambda seconds: closed.clear()))
    assert found(root) == []
    closed.append(fail(errno.EACCES))
    monkeypatch.setattr(permissions, "time", Instead(time, sleep=lambda seconds: shutil.rmtree(root / "user", True)))
    assert found(root) == []


def test_what_stays_unreadable_though_it_keeps_changing_is_told(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a bounded number of looks."""
    put(root, "user")
    monkeypatch.setattr(leftovers, "os", Instead(os, scandir=fail(errno.EACCES)))
    monkeypatch.setattr(permissions, "_NEW", 3600.0)
    monkeypatch.setattr(permissions, "time", Instead(time, sleep=lambda seconds: None))
    assert kinds(root) == ["unreadable"]


@pytest.mark.parametrize("error", [errno.ENOENT, errno.EACCES])
def test_what_cannot_even_be_looked_at_settles_only_if_it_has_gone(error: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """What has gone is not unreadable any more."""
    monkeypatch.setattr(permissions, "os", Instead(os, lstat=fail(error)))
    assert permissions.may_settle("there") == (error == errno.ENOENT)


def test_a_mode_that_does_not_come_to_rest_is_no_finding(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is made again and again is looked at a bounded number of times."""
    path = put(root, "user").with_name("fleet.toml.lock")
    path.chmod(0o000)
    clock = itertools.count(1)
    monkeypatch.setattr(permissions, "time", Instead(time, sleep=lambda seconds: None))
    monkeypatch.setattr(permissions, "os", Instead(os, lstat=lambda name: _changed(path, next(clock))))
    assert list(permissions.rights("user", str(path), permissions.FILE, os.geteuid())) == []
    assert next(clock) == permissions.MAX_LOOKS + 1


def _changed(path: Path, number: int) -> Any:
    status = path.stat()
    return SimpleNamespace(
        st_mode=stat.S_IFREG, st_uid=status.st_uid, st_ino=status.st_ino, st_ctime_ns=number, st_ctime=time.time()
    )


# --- what the system refuses -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (errno.EACCES, "Permission denied: check as the account that owns it"),
        (errno.EIO, "Input/output error: see what the system's log says of the disk"),
    ],
)
@pytest.mark.parametrize("name", ["fleet.toml", "fleet.toml.lock"])
def test_a_file_that_cannot_be_read(
    root: Path, system: RecordingOS, name: str, error: int, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is told, and the others are checked."""
    monkeypatch.setattr(permissions, "_NEW", 0.0)  # it will not settle
    path = put(root, "u").with_name(name)
    put(root, "v", b"oops")
    refuse(system, "open", f"u/{name}", error)
    assert sorted(found(root)) == sorted(
        [Finding("unreadable", str(path), message, "u"), *[one for one in found(root) if one.kind == "unparsable"]]
    )
    assert "unparsable" in kinds(root)


@pytest.mark.parametrize("at", [1, 2], ids=["at once", "under the lock"])
@pytest.mark.parametrize("error", [errno.EIO, errno.ENOENT, errno.ENOTDIR])
def test_a_directory_that_cannot_be_read(root: Path, at: int, error: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told, unless it has gone."""
    put(root, "user").with_name(TEMPORARY).touch()
    monkeypatch.setattr(permissions, "_NEW", 0.0)  # it will not settle
    looks = itertools.count(1)
    scandir = os.scandir

    def look(path: str) -> Any:
        return fail(error)() if next(looks) >= at else scandir(path)

    monkeypatch.setattr(leftovers, "os", Instead(os, scandir=look))
    told = [
        Finding(
            "unreadable", str(root / "user"), "Input/output error: see what the system's log says of the disk", "user"
        )
    ]
    assert found(root) == (told if error == errno.EIO else [])


def test_a_directory_that_is_closed_to_its_owner(public_directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told, with the way to open it; a disk's own lost+found is not."""
    monkeypatch.setattr(permissions, "_NEW", 0.0)  # it will not settle
    root = public_directory / "root"
    root.mkdir()
    for name in ("closed", "lost+found"):
        put(root, name).parent.chmod(0o000)
    if os.geteuid() == 0:
        for path in [root, *root.rglob("*")]:
            os.chown(path, NOBODY, NOBODY)
    with nobody() if os.geteuid() == 0 else contextlib.nullcontext():
        one, two = found(root, repair=True)
    (root / "lost+found").chmod(0o700)
    closed = root / "closed"
    assert one == Finding("unreadable", str(closed), "Permission denied: check as the account that owns it", "closed")
    assert two == Finding(
        "mode", str(closed), f"mode 0000, expected 0700, the owner's alone: chmod 700 {closed}", "closed"
    )


def test_a_directory_that_becomes_something_else_is_no_finding(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if it had gone."""
    path = put(root, "user")

    def replace() -> None:
        shutil.rmtree(path.parent)
        path.parent.touch()

    once(monkeypatch, content, "fleet", replace)
    assert found(root) == []


def test_users_that_go_while_the_root_is_looked_through_are_no_finding(root: Path) -> None:
    """Their names were already read."""
    for number in range(5):
        put(root, f"user-{number}")
    findings = check(root, repair=True, lock_timeout=0)
    assert next(findings) == []
    shutil.rmtree(root)
    assert [one for entry in findings for one in entry] == []


class Entry:
    """An entry of a directory whose kind the system does not tell."""

    name = "user"

    def __init__(self, root: Path) -> None:
        self.path = str(root / "user")

    def is_symlink(self) -> bool:
        raise OSError(errno.EIO, "Input/output error")


def listing(monkeypatch: pytest.MonkeyPatch, entries: Iterator[Any]) -> None:
    """Have these entries in the root."""

    @contextlib.contextmanager
    def scandir(path: str) -> Iterator[Iterator[Any]]:
        yield entries

    monkeypatch.setattr(directory, "os", Instead(os, scandir=scandir))


def test_an_entry_and_a_listing_that_break_off(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error of the disk is told of what it concerns, and the check ends only where there is no next entry."""
    root.mkdir()

    def broken() -> Iterator[Entry]:
        yield Entry(root)
        raise OSError(errno.EIO, "Input/output error")

    listing(monkeypatch, broken())
    message = "Input/output error: see what the system's log says of the disk"
    assert found(root) == [
        Finding("unreadable", str(root / "user"), message, None),
        Finding("unreadable", str(root), message, None),
    ]


def test_the_root_is_not_read_ahead(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many users there are, one at a time is held."""
    root.mkdir()
    listing(monkeypatch, (Entry(root) for _ in itertools.count()))
    assert len(list(itertools.islice(check(root, repair=False, lock_timeout=0), 3))) == 3


# --- names -----------------------------------------------------------------------------------------------------------

INVALID = [
    (b"a\x1b[31mb\n", "a user id must not contain control characters"),
    (b"a::b", "a user id must not contain '::' or end in ':', or two memory keys could be the same"),
    (b"\xff\xfe", "a user id must be encodable as UTF-8 (it holds a lone surrogate)"),
]


@pytest.mark.parametrize(("name", "rule"), INVALID)
def test_a_directory_that_no_store_takes(root: Path, name: bytes, rule: str) -> None:
    """The rule is told, and the path leads there; what is in it is not looked at, or repaired."""
    directory = os.fsencode(root) + b"/" + name
    os.makedirs(directory)
    Path(os.fsdecode(directory), "fleet.toml").write_text("oops")
    for repair in (False, True):
        (finding,) = found(root, repair=repair)
        assert finding == Finding(
            "invalid-name",
            os.fsdecode(directory),
            f"{rule}: no store takes it; rename it, or move it out of the root",
            None,
        )
    assert os.listdir(directory) == [b"fleet.toml"]


def test_a_root_of_an_odd_name(tmp_path: Path) -> None:
    """Messages can be printed, and the commands in them work, whatever bytes the path holds."""
    root = Path(os.fsdecode(os.fsencode(tmp_path) + b"/it's \xff\n"))
    path = put(root, "user")
    path.chmod(0o644)
    path.with_name(TEMPORARY).symlink_to("nowhere")
    mode = [one.message for one in found(root) if one.kind == "mode"]
    subprocess.run(["bash", "-c", mode[0].rpartition(": ")[2]], check=True)
    assert kinds(root) == ["leftover"]


def test_commands_quote_what_a_shell_would_read() -> None:
    """Plain words stay plain; what cannot be printed is escaped."""
    assert command("chmod", "600", "/a b/$x") == "chmod 600 '/a b/$x'"
    assert command("chmod", "\udcff'\\\n") == r"chmod $'\xff\x27\x5c\x0a'"


# --- beside others ---------------------------------------------------------------------------------------------------


def test_a_check_changes_nothing(root: Path) -> None:
    """Bytes, times, modes and names of a root full of findings stay, the lock files' included; none is made."""
    put(root, "healthy")
    put(root, "old", lock=False)
    put(root, "broken", b"oops").with_name(TEMPORARY).touch()
    put(root, "bare", b"oops", lock=False).with_name(TEMPORARY).touch()
    say_writing(put(root, "dead"))
    put(root, "foreign", b'user_id = "x"\npets = []\n').chmod(0o644)
    (root / "a::b").mkdir()
    (root / "link").symlink_to("healthy")
    put(root, "pipe").unlink()
    os.mkfifo(root / "pipe" / "fleet.toml")
    before = whole(root)
    expected = "dead-writer foreign-user-id invalid-name leftover leftover link mode not-a-file unparsable unparsable"
    assert kinds(root) == expected.split()
    assert whole(root) == before


WRITER = """
import os, sys
import anyio
from petfleet import FleetStore, PetFleet, PetHandle

root, name, umask = sys.argv[1:]
os.umask(int(umask))

async def play(store, task):
    for number in range(1_000_000):
        user = f"user-{(number + task) % 3}"
        pet = PetHandle(f"{name}-{task}", "friend", "pets/x.toml", number)
        await store.update(user, lambda fleet: fleet if fleet.get(pet.pet_name) else fleet.with_pet(pet))
        await store.update(user, lambda fleet: PetFleet(user, (), None))
        await store.delete(user)

async def main():
    async with FleetStore(root) as store, anyio.create_task_group() as group:
        for task in range(4):
            group.start_soon(play, store, task)
        await anyio.sleep(0)
        print("ready", flush=True)

anyio.run(main)
"""


@pytest.mark.parametrize("lock_timeout", [0.0, 1.0])
def test_a_root_under_heavy_writing_is_healthy(root: Path, lock_timeout: float) -> None:
    """Tasks of several processes make, change and delete the same fleets; each of many checks finds nothing."""
    root.mkdir()
    writers: list[subprocess.Popen[str]] = []
    try:
        # By such an umask root alone works beside others: a lock file made just now is closed to them for a moment.
        umasks = [0o022, 0o077, 0o777 if os.geteuid() == 0 else 0o027]
        for number, umask in enumerate(umasks):
            command = [sys.executable, "-c", WRITER, str(root), str(number), str(umask)]
            writers.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        for writer in writers:
            assert writer.stdout is not None
            assert writer.stdout.readline() == "ready\n"
        # Nothing acknowledges a look at a fleet just being written; so many looks cannot all have missed it.
        looks = 0
        for _ in range(300):
            assert found(root, lock_timeout=lock_timeout) == []
            looks += len(os.listdir(root))
        assert looks
        assert [writer.poll() for writer in writers] == [None] * 3
    finally:
        for writer in writers:
            writer.kill()
            writer.communicate()
