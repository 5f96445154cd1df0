"""What a check finds out about the file system of a root, and how it reports what it cannot find out."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from petfleet._backends.files import disk
from petfleet._backends.files.lock import UserLock
from petfleet._cli.checks import file_system
from petfleet._cli.checks.file_system import probe
from tests.cli.check_helpers import PatchedModule, fail
from tests.torture import means

LINES = """\
21 20 0:21 / /proc rw - proc proc rw

half a line
22 20 0:30 / ROOT rw - tmpfs tmpfs rw
23 20 0:31 / ROOT rw - TYPE made\\040up rw
24 20 0:32 / ROOT/below rw - ramfs none rw
25 20 0:33 / ROOTx rw - ramfs none rw
20 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
"""


@pytest.fixture
def mount(root: Path) -> Path:
    """A directory whose name the system escapes in its list of mounts."""
    mount = root / "my disk\\\n"
    mount.mkdir(parents=True)
    return mount


def list_mount(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, mount: Path, file_system: str) -> None:
    """Have the list of mounts show a file system of that type there."""
    shown = str(mount).replace("\\", r"\134").replace(" ", r"\040").replace("\n", r"\012")
    file = tmp_path / "mountinfo"
    file.write_text(LINES.replace("ROOT", shown).replace("TYPE", file_system))
    monkeypatch.setattr("petfleet._cli.checks.file_system._MOUNTS", str(file))


def test_a_good_file_system(root: Path) -> None:
    """Locks exclude, directories sync, a commit takes time, and nothing is left behind."""
    root.mkdir()
    found = probe(root)
    assert (found.locks, found.directory_sync) == (True, True)
    assert found.fsync_seconds is not None
    assert found.fsync_seconds > 0
    assert os.listdir(root) == []


def test_the_mount_point_of_the_tests(root: Path) -> None:
    """Linux lists the mount point of every path."""
    means.need("linux")
    root.mkdir()
    found = probe(root)
    if found.mount_point is None:
        pytest.skip("this is a chroot in which the file system is not mounted")
    assert os.path.ismount(found.mount_point)
    assert found.file_system


MACHINE = "locks may hold on one machine only: one machine, one root"


CUT = "nothing survives a power cut; use a disk for what is to last"


LAYER = "a container's own layer goes with the container; mount a directory for the root"


TYPES = {
    **dict.fromkeys(["nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "ceph", "9p", "glusterfs"], MACHINE),
    **dict.fromkeys(["fuse", "fuseblk", "fuse.sshfs", "virtiofs"], MACHINE),
    **dict.fromkeys(["tmpfs", "ramfs"], CUT),
    "overlay": LAYER,
    **dict.fromkeys(["ext4", "xfs", "btrfs", "zfs", "nfsx", "fusectl"]),
}


@pytest.mark.parametrize(("file_system", "warning"), TYPES.items(), ids=TYPES)
def test_the_type_and_its_warning(
    mount: Path, tmp_path: Path, file_system: str, warning: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last mount at the nearest mount point counts, and some types have a warning."""
    list_mount(monkeypatch, tmp_path, mount, file_system)
    (mount / "fleets").mkdir()
    (tmp_path / "link").symlink_to(mount / "fleets")
    found = probe(tmp_path / "link")
    assert (found.file_system, found.mount_point) == (file_system, str(mount))
    assert found.warnings == ([f"{file_system}: {warning}"] if warning else [])


def test_the_root_directory_is_a_mount_point(
    root: Path, mount: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A path that only starts with the same letters as a mount point is not below it."""
    list_mount(monkeypatch, tmp_path, mount, "nfs")
    assert probe(root)[:2] == probe(f"{mount}y")[:2] == ("ext4", "/")
    assert probe(mount)[:2] == ("nfs", str(mount))
    assert file_system._mount("/") == ("ext4", "/")


def test_a_mount_point_outside_a_chroot(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not listed; the device number finds another mount point of the same file system."""
    root.mkdir()
    device = root.stat().st_dev
    there = f"{os.major(device)}:{os.minor(device)}"
    file = tmp_path / "mountinfo"
    monkeypatch.setattr(file_system, "_MOUNTS", str(file))
    file.write_text(f"23 20 0:999 / /elsewhere rw - nfs none rw\n24 20 {there} / /its\\040own rw - xfs none rw\n")
    assert probe(root)[:2] == ("xfs", "/its own")
    assert probe(root / "nothing")[:2] == (None, None)
    file.write_text("23 20 0:999 / /elsewhere rw - nfs none rw\n")
    assert probe(root)[:2] == (None, None)


def test_a_system_without_a_list_of_mounts(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only Linux has that list; everything else is tried."""
    root.mkdir()
    monkeypatch.setattr(file_system, "_MOUNTS", str(root / "nothing"))
    found = probe(root)
    assert (found.file_system, found.mount_point, found.locks, found.warnings) == (None, None, True, [])


@pytest.mark.parametrize("error", [errno.ENOLCK, errno.EINVAL, errno.ENOSYS])
def test_locks_that_are_refused(root: Path, error: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything else is tried."""
    root.mkdir()
    monkeypatch.setattr(UserLock, "try_acquire", fail(error))
    found = probe(root)
    assert (found.locks, found.directory_sync) == (False, True)
    assert found.fsync_seconds
    assert found.warnings == [f"locks are refused ({os.strerror(error)}): no store works here"]
    assert os.listdir(root) == []


@pytest.mark.parametrize("answer", [True, False])
def test_locks_that_do_not_exclude(root: Path, answer: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two locks granted at once are as bad as none."""
    root.mkdir()
    monkeypatch.setattr(UserLock, "try_acquire", lambda self: answer)
    found = probe(root)
    assert found.locks is False
    assert found.warnings == ["locks do not exclude one another: changes will be lost; use another file system"]


def test_a_directory_that_cannot_be_synced(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then the time of a commit is unknown."""
    root.mkdir()
    monkeypatch.setattr(disk, "sync_directory", fail(errno.EINVAL))
    found = probe(root)
    assert (found.locks, found.directory_sync, found.fsync_seconds) == (True, False, None)
    assert found.warnings == [
        "directories cannot be synced (Invalid argument): no commit can be confirmed; use another file system"
    ]
    assert os.listdir(root) == []


@pytest.mark.parametrize("name", ["no\nthing", "file"])
def test_a_missing_root(root: Path, name: str) -> None:
    """Nothing is created, and the warning is printable."""
    root.mkdir()
    (root / "file").touch()
    found = probe(root / name)
    assert (found.locks, found.directory_sync, found.fsync_seconds) == (None, None, None)
    reason = "Not a directory" if name == "file" else "No such file or directory"
    shown = f"{root}/{name}".replace("\n", r"\n")
    assert found.warnings == [f"{shown} cannot be written to ({reason}): what was not tried is unknown"]
    assert os.listdir(root) == ["file"]


@pytest.mark.parametrize("call", ["open", "fsync", "write", "replace"])
@pytest.mark.parametrize("error", [errno.EROFS, errno.ENOSPC])
def test_a_root_that_cannot_be_written_to(root: Path, call: str, error: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever call is refused, no file is left behind."""
    root.mkdir()
    monkeypatch.setattr(disk, "os", PatchedModule(os, **{call: fail(error)}))
    found = probe(root)
    assert found.fsync_seconds is None
    assert found.warnings == [f"{root} cannot be written to ({os.strerror(error)}): what was not tried is unknown"]
    assert os.listdir(root) == []


def test_a_probe_that_is_interrupted_leaves_nothing_behind(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C removes the private files too."""
    root.mkdir()
    rounds: list[None] = []

    def interrupt(source: str, target: str) -> None:
        rounds.append(None)
        if len(rounds) == 3:
            raise KeyboardInterrupt
        os.replace(source, target)

    monkeypatch.setattr(disk, "rename", interrupt)
    with pytest.raises(KeyboardInterrupt):
        probe(root)
    assert os.listdir(root) == []


def test_a_probe_that_cannot_be_removed_is_a_warning(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The warning names the file."""
    root.mkdir()
    monkeypatch.setattr(disk, "remove", fail(errno.EPERM))
    found = probe(root)
    (name,) = os.listdir(root)
    assert found.warnings == [f"{root / name} is left behind (Operation not permitted): remove it"]


def test_the_probe_is_private_and_no_user(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only its owner can read it, and no store takes it for a fleet."""
    root.mkdir()
    seen: list[tuple[str, int]] = []
    sync: Callable[[str], None] = disk.sync_directory

    def look(path: str) -> None:
        seen.extend((entry.name, entry.stat().st_mode) for entry in os.scandir(path))
        sync(path)

    monkeypatch.setattr(disk, "sync_directory", look)
    probe(root)
    names: Any = {name for name, _ in seen}
    assert all(name.startswith(".petfleet-check.") and len(name) == 36 for name in names)
    assert {mode for _, mode in seen} == {0o100600}
