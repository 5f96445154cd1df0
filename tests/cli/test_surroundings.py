"""Where a root is, what can be found out about that place, and what is said where it cannot."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from petfleet._backends.files import disk
from petfleet._backends.files.lock import UserLock
from petfleet.cli.checks import file_system
from petfleet.cli.checks.file_system import look_around
from tests.cli.roots import Instead, fail
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
def place(root: Path) -> Path:
    """A directory whose name the system shows with escapes."""
    place = root / "my disk\\\n"
    place.mkdir(parents=True)
    return place


def mounted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, place: Path, file_system: str) -> None:
    """Have a file system of that type mounted there."""
    shown = str(place).replace("\\", r"\134").replace(" ", r"\040").replace("\n", r"\012")
    file = tmp_path / "mountinfo"
    file.write_text(LINES.replace("ROOT", shown).replace("TYPE", file_system))
    monkeypatch.setattr("petfleet.cli.checks.file_system._MOUNTS", str(file))


def test_a_good_place(root: Path) -> None:
    """Locks exclude, directories sync, a commit takes its time, and nothing is left behind or warned of."""
    root.mkdir()
    around = look_around(root)
    assert (around.locks, around.directory_sync) == (True, True)
    assert around.fsync_seconds is not None
    assert around.fsync_seconds > 0
    assert os.listdir(root) == []


def test_where_the_tests_run(root: Path) -> None:
    """Linux tells of every place where it is mounted."""
    means.need("linux")
    root.mkdir()
    around = look_around(root)
    assert around.mount_point is not None
    assert os.path.ismount(around.mount_point)
    assert around.file_system


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
def test_what_is_known_of_a_file_system(
    place: Path, tmp_path: Path, file_system: str, warning: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last mount on the nearest directory above counts, and is followed by what is to be known of its type."""
    mounted(monkeypatch, tmp_path, place, file_system)
    (place / "fleets").mkdir()
    (tmp_path / "link").symlink_to(place / "fleets")
    around = look_around(tmp_path / "link")
    assert (around.file_system, around.mount_point) == (file_system, str(place))
    assert around.warnings == ([f"{file_system}: {warning}"] if warning else [])


def test_the_root_of_all_is_above_everything(
    root: Path, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A directory whose name only begins like a mount point's is not on that."""
    mounted(monkeypatch, tmp_path, place, "nfs")
    assert look_around(root)[:2] == look_around(f"{place}y")[:2] == ("ext4", "/")
    assert look_around(place)[:2] == ("nfs", str(place))
    assert file_system._mount("/") == ("ext4", "/")


def test_elsewhere_nothing_is_known_of_mounts(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only Linux has that file; the rest is tried all the same."""
    root.mkdir()
    monkeypatch.setattr(file_system, "_MOUNTS", str(root / "nothing"))
    around = look_around(root)
    assert (around.file_system, around.mount_point, around.locks, around.warnings) == (None, None, True, [])


@pytest.mark.parametrize("error", [errno.ENOLCK, errno.EINVAL, errno.ENOSYS])
def test_locks_that_are_refused(root: Path, error: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rest is tried all the same."""
    root.mkdir()
    monkeypatch.setattr(UserLock, "try_acquire", fail(error))
    around = look_around(root)
    assert (around.locks, around.directory_sync) == (False, True)
    assert around.fsync_seconds
    assert around.warnings == [f"locks are refused ({os.strerror(error)}): no store works here"]
    assert os.listdir(root) == []


@pytest.mark.parametrize("answer", [True, False])
def test_locks_that_do_not_exclude(root: Path, answer: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two that are granted at once are as bad as none that is."""
    root.mkdir()
    monkeypatch.setattr(UserLock, "try_acquire", lambda self: answer)
    around = look_around(root)
    assert around.locks is False
    assert around.warnings == ["locks do not exclude one another: changes will be lost; use another file system"]


def test_a_directory_that_cannot_be_synced(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no time of a commit then."""
    root.mkdir()
    monkeypatch.setattr(disk, "sync_directory", fail(errno.EINVAL))
    around = look_around(root)
    assert (around.locks, around.directory_sync, around.fsync_seconds) == (True, False, None)
    assert around.warnings == [
        "directories cannot be synced (Invalid argument): no commit can be confirmed; use another file system"
    ]
    assert os.listdir(root) == []


@pytest.mark.parametrize("name", ["no\nthing", "file"])
def test_a_root_that_is_not_there(root: Path, name: str) -> None:
    """Nothing is made, and the warning can be printed."""
    root.mkdir()
    (root / "file").touch()
    around = look_around(root / name)
    assert (around.locks, around.directory_sync, around.fsync_seconds) == (None, None, None)
    reason = "Not a directory" if name == "file" else "No such file or directory"
    shown = f"{root}/{name}".replace("\n", r"\n")
    assert around.warnings == [f"{shown} cannot be written to ({reason}): what was not tried is unknown"]
    assert os.listdir(root) == ["file"]


@pytest.mark.parametrize("call", ["open", "fsync", "write", "replace"])
@pytest.mark.parametrize("error", [errno.EROFS, errno.ENOSPC])
def test_a_root_that_cannot_be_written_to(root: Path, call: str, error: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is refused, no file is left behind."""
    root.mkdir()
    monkeypatch.setattr(disk, "os", Instead(os, **{call: fail(error)}))
    around = look_around(root)
    assert around.fsync_seconds is None
    assert around.warnings == [f"{root} cannot be written to ({os.strerror(error)}): what was not tried is unknown"]
    assert os.listdir(root) == []


def test_a_probe_that_is_interrupted_leaves_nothing_behind(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even by the one who is tired of waiting."""
    root.mkdir()
    rounds: list[None] = []

    def interrupt(source: str, target: str) -> None:
        rounds.append(None)
        if len(rounds) == 3:
            raise KeyboardInterrupt
        os.replace(source, target)

    monkeypatch.setattr(disk, "rename", interrupt)
    with pytest.raises(KeyboardInterrupt):
        look_around(root)
    assert os.listdir(root) == []


def test_a_probe_that_cannot_be_removed_is_told(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the name that it has."""
    root.mkdir()
    monkeypatch.setattr(disk, "remove", fail(errno.EPERM))
    around = look_around(root)
    (name,) = os.listdir(root)
    assert around.warnings == [f"{root / name} is left behind (Operation not permitted): remove it"]


def test_the_probe_is_private_and_no_user(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While it is there, it is a file of the owner's alone, that no store takes for a fleet."""
    root.mkdir()
    seen: list[tuple[str, int]] = []
    sync: Callable[[str], None] = disk.sync_directory

    def look(path: str) -> None:
        seen.extend((entry.name, entry.stat().st_mode) for entry in os.scandir(path))
        sync(path)

    monkeypatch.setattr(disk, "sync_directory", look)
    look_around(root)
    names: Any = {name for name, _ in seen}
    assert all(name.startswith(".petfleet-check.") and len(name) == 36 for name in names)
    assert {mode for _, mode in seen} == {0o100600}
