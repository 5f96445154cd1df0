"""A check of a whole root: all entries, what the system refuses, and programs that change the root meanwhile."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from petfleet._cli.checks import content, directory, leftovers, permissions
from petfleet._cli.checks.directory import check
from petfleet._cli.checks.finding import Finding, command
from tests.cli.check_helpers import (
    TEMPORARY,
    PatchedModule,
    fail,
    found,
    kinds,
    mark_writing,
    put_files,
    snapshot,
)
from tests.support.accounts import NOBODY, as_nobody
from tests.support.commits import once_before
from tests.support.recording_os import RecordingOS, refuse


def test_a_healthy_root_has_an_empty_list_for_each_entry(root: Path) -> None:
    """Other programs' files and directories are no findings."""
    for user_id in ("mira", "növa", "a b"):
        put_files(root, user_id)
    put_files(root, "old", lock=False)
    (root / "old" / "notes.txt").touch()
    (root / ".petfleet-check.0011223344556677.tmp").touch()
    (root / "lost+found").mkdir(mode=0o755)
    assert list(check(root, repair=False, lock_timeout=0)) == [[]] * 6
    assert list(check(str(root), repair=True, lock_timeout=0)) == [[]] * 6


def test_a_root_that_cannot_be_listed_is_an_error(root: Path) -> None:
    """An empty result would claim that nothing is wrong."""
    with pytest.raises(FileNotFoundError):
        next(check(root, repair=False, lock_timeout=0))


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
    """It is a finding, and the others are checked."""
    monkeypatch.setattr(permissions, "_NEW", 0.0)  # it will not settle
    path = put_files(root, "u").with_name(name)
    put_files(root, "v", b"oops")
    refuse(system, "open", f"u/{name}", error)
    assert sorted(found(root)) == sorted(
        [Finding("unreadable", str(path), message, "u"), *[one for one in found(root) if one.kind == "unparsable"]]
    )
    assert "unparsable" in kinds(root)


@pytest.mark.parametrize("at", [1, 2], ids=["at once", "under the lock"])
@pytest.mark.parametrize("error", [errno.EIO, errno.ENOENT, errno.ENOTDIR])
def test_a_directory_that_cannot_be_read(root: Path, at: int, error: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is a finding, unless it has gone."""
    put_files(root, "user").with_name(TEMPORARY).touch()
    monkeypatch.setattr(permissions, "_NEW", 0.0)  # it will not settle
    looks = itertools.count(1)
    scandir = os.scandir

    def look(path: str) -> Any:
        return fail(error)() if next(looks) >= at else scandir(path)

    monkeypatch.setattr(leftovers, "os", PatchedModule(os, scandir=look))
    told = [
        Finding(
            "unreadable", str(root / "user"), "Input/output error: see what the system's log says of the disk", "user"
        )
    ]
    assert found(root) == (told if error == errno.EIO else [])


def test_a_directory_that_is_closed_to_its_owner(public_directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is a finding with a command that opens it; the lost+found of a disk is not."""
    monkeypatch.setattr(permissions, "_NEW", 0.0)  # it will not settle
    root = public_directory / "root"
    root.mkdir()
    for name in ("closed", "lost+found"):
        put_files(root, name).parent.chmod(0o000)
    if os.geteuid() == 0:
        for path in [root, *root.rglob("*")]:
            os.chown(path, NOBODY, NOBODY)
    with as_nobody() if os.geteuid() == 0 else contextlib.nullcontext():
        one, two = found(root, repair=True)
    (root / "lost+found").chmod(0o700)
    closed = root / "closed"
    assert one == Finding("unreadable", str(closed), "Permission denied: check as the account that owns it", "closed")
    assert two == Finding(
        "mode", str(closed), f"mode 0000, expected 0700, the owner's alone: chmod 700 {closed}", "closed"
    )


def test_a_directory_replaced_by_a_file_is_no_finding(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It counts as deleted."""
    path = put_files(root, "user")

    def replace() -> None:
        shutil.rmtree(path.parent)
        path.parent.touch()

    once_before(monkeypatch, content, "check_file", replace)
    assert found(root) == []


def test_users_deleted_during_the_check_are_no_finding(root: Path) -> None:
    """The system had already listed their names."""
    for number in range(5):
        put_files(root, f"user-{number}")
    findings = check(root, repair=True, lock_timeout=0)
    assert next(findings) == []
    shutil.rmtree(root)
    assert [one for entry in findings for one in entry] == []


class UnknownEntry:
    """An entry of a directory whose kind the system does not tell."""

    name = "user"

    def __init__(self, root: Path) -> None:
        self.path = str(root / "user")

    def is_symlink(self) -> bool:
        raise OSError(errno.EIO, "Input/output error")


def replace_listing(monkeypatch: pytest.MonkeyPatch, entries: Iterator[Any]) -> None:
    """Have the root list these entries."""

    @contextlib.contextmanager
    def scandir(path: str) -> Iterator[Iterator[Any]]:
        yield entries

    monkeypatch.setattr(directory, "os", PatchedModule(os, scandir=scandir))


def test_an_entry_and_a_listing_that_fail(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error of the disk is a finding; the check goes on as long as there is a next entry."""
    root.mkdir()

    def broken() -> Iterator[UnknownEntry]:
        yield UnknownEntry(root)
        raise OSError(errno.EIO, "Input/output error")

    replace_listing(monkeypatch, broken())
    message = "Input/output error: see what the system's log says of the disk"
    assert found(root) == [
        Finding("unreadable", str(root / "user"), message, None),
        Finding("unreadable", str(root), message, None),
    ]


def test_the_root_is_not_read_ahead(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The check holds one user at a time, however many there are."""
    root.mkdir()
    replace_listing(monkeypatch, (UnknownEntry(root) for _ in itertools.count()))
    assert len(list(itertools.islice(check(root, repair=False, lock_timeout=0), 3))) == 3


INVALID = [
    (b"a\x1b[31mb\n", "a user id must not contain control characters"),
    (b"a::b", "a user id must not contain '::' or end in ':', or two memory keys could be the same"),
    (b"\xff\xfe", "a user id must be encodable as UTF-8 (it holds a lone surrogate)"),
]


@pytest.mark.parametrize(("name", "rule"), INVALID)
def test_a_directory_whose_name_is_no_user_id(root: Path, name: bytes, rule: str) -> None:
    """The finding names the rule and the path; the content is neither checked nor repaired."""
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


def test_a_root_with_an_odd_name(tmp_path: Path) -> None:
    """Messages are printable, and the commands in them work, whatever bytes the path holds."""
    root = Path(os.fsdecode(os.fsencode(tmp_path) + b"/it's \xff\n"))
    path = put_files(root, "user")
    path.chmod(0o644)
    path.with_name(TEMPORARY).symlink_to("nowhere")
    mode = [one.message for one in found(root) if one.kind == "mode"]
    subprocess.run(["bash", "-c", mode[0].rpartition(": ")[2]], check=True)
    assert kinds(root) == ["leftover"]


def test_commands_are_quoted_for_a_shell() -> None:
    """Plain words stay plain, and unprintable characters are escaped."""
    assert command("chmod", "600", "/a b/$x") == "chmod 600 '/a b/$x'"
    assert command("chmod", "\udcff'\\\n") == r"chmod $'\xff\x27\x5c\x0a'"


def test_a_check_changes_nothing(root: Path) -> None:
    """Bytes, times, modes and names stay the same, also those of lock files, and no file is added."""
    put_files(root, "healthy")
    put_files(root, "old", lock=False)
    put_files(root, "broken", b"oops").with_name(TEMPORARY).touch()
    put_files(root, "bare", b"oops", lock=False).with_name(TEMPORARY).touch()
    mark_writing(put_files(root, "dead"))
    put_files(root, "foreign", b'user_id = "x"\npets = []\n').chmod(0o644)
    (root / "a::b").mkdir()
    (root / "link").symlink_to("healthy")
    put_files(root, "pipe").unlink()
    os.mkfifo(root / "pipe" / "fleet.toml")
    before = snapshot(root)
    expected = "dead-writer foreign-user-id invalid-name leftover leftover link mode not-a-file unparsable unparsable"
    assert kinds(root) == expected.split()
    assert snapshot(root) == before


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
def test_a_root_with_many_writers_is_healthy(root: Path, lock_timeout: float) -> None:
    """Several processes create, change and delete the same fleets; no check finds anything."""
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
