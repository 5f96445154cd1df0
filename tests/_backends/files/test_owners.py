"""Modes and owners of what petfleet makes, whatever the umask and whichever account runs it."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from petfleet._backends.files import disk
from petfleet._backends.files.backend import FileBackend
from tests.support.accounts import NOBODY, as_nobody, owners
from tests.support.commits import add, commit, delete, leave_dead_writer, load
from tests.support.recording_os import RecordingOS, os_with, refuse
from tests.support.store_calls import entries
from tests.torture import means

UMASKS = [0o000, 0o022, 0o077, 0o177, 0o377, 0o777]


@pytest.fixture(params=UMASKS, ids=oct)
def _umask(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[None]:
    """Run with each umask, set after the test's directory was made, and with the usual one again afterwards."""
    before = os.umask(request.param)
    try:
        yield
    finally:
        os.umask(before)


def modes(root: Path) -> dict[str, int]:
    """Return the modes of everything below and including a directory."""
    return {str(path.relative_to(root)): stat.S_IMODE(path.stat().st_mode) for path in [root, *root.rglob("*")]}


@pytest.mark.usefixtures("_umask")
def test_modes_of_what_is_made(backend: FileBackend, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Directories are 0700 and files 0600, the temporary file from its first moment, whatever the umask."""
    seen: list[int] = []
    write_all = disk.write_all

    def look(fd: int, data: bytes) -> None:
        seen.append(stat.S_IMODE(os.fstat(fd).st_mode))
        write_all(fd, data)

    monkeypatch.setattr(disk, "write_all", look)
    root = path.parent.parent
    for change in (add("mira"), add("nova"), load, delete, add("otto")):
        commit(backend, change)
    assert modes(root) == {".": 0o700, "u": 0o700, "u/fleet.toml": 0o600, "u/fleet.toml.lock": 0o600}
    assert set(seen) == {0o600}


def test_a_mount_that_has_one_mode_for_all_files_is_good_enough(
    backend: FileBackend, system: RecordingOS, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some show 0777 for whatever is made, and refuse to change it: more rights than asked for stop no write."""

    def shown(fd: int) -> os.stat_result:
        status = os.fstat(fd)
        return os.stat_result([status.st_mode | 0o777, *status[1:]])

    monkeypatch.setattr(system, "fstat", shown)
    refuse(system, "chmod", "TEMPORARY", errno.EPERM)
    assert commit(backend, add("mira")) is not None


@pytest.mark.usefixtures("_umask")
@pytest.mark.parametrize("mode", [0o644, 0o640, 0o660, 0o400, 0o600])
def test_modes_of_what_is_there_stay(backend: FileBackend, path: Path, mode: int) -> None:
    """A fleet file, a lock file and directories that are there keep their modes."""
    root = path.parent.parent
    commit(backend, add("mira"))
    path.chmod(mode)
    path.with_name("fleet.toml.lock").chmod(0o666)
    path.parent.chmod(0o750)
    root.chmod(0o755)
    for change in (add("nova"), load, add("otto")):
        commit(backend, change)
    leave_dead_writer(path)
    commit(backend, load)
    assert modes(root) == {".": 0o755, "u": 0o750, "u/fleet.toml": mode, "u/fleet.toml.lock": 0o666}


# --- root on another account's fleets --------------------------------------------------------------------------------


def use_as_nobody(root: Path) -> None:
    """Have that account use user u's fleet in every way, with a backend of its own."""
    with as_nobody():
        backend = FileBackend(str(root))
        fleet = commit(backend, load)
        assert fleet is not None
        assert fleet.get("mira") is not None
        assert backend.peek("u") == fleet
        commit(backend, add("of nobody"))
        assert list(backend.users()) == ["u"]
        commit(backend, delete)
        assert entries(root) == []
        commit(backend, add("anew"))


@pytest.fixture
def home(public_directory: Path) -> Path:
    """A directory that belongs to another account."""
    means.need("linux", "root")
    home = public_directory / "home"
    home.mkdir(mode=0o700)
    os.chown(home, NOBODY, NOBODY)
    return home


@pytest.mark.parametrize("depth", [0, 1, 2])
def test_root_makes_everything(home: Path, depth: int) -> None:
    """What root makes below another account's directory, the root of the fleets included, is that account's."""
    root = home.joinpath(*["fleets", "a"][:depth])
    backend = FileBackend(str(root))
    commit(backend, add("mira"))
    assert owners(home) == {(NOBODY, NOBODY)}
    assert modes(root / "u") == {".": 0o700, "fleet.toml": 0o600, "fleet.toml.lock": 0o600}
    use_as_nobody(root)


def recover(backend: FileBackend, path: Path) -> None:
    """Die in the middle of a commit as root, with a temporary file that is still root's, and recover as root."""
    leave_dead_writer(path)
    commit(backend, load)


def make_anew(backend: FileBackend, path: Path) -> None:
    """Delete the fleet and make it again."""
    commit(backend, delete)
    commit(backend, add("mira"))


def lock_anew(backend: FileBackend, path: Path) -> None:
    """Have the lock file made again."""
    path.with_name("fleet.toml.lock").unlink()
    commit(backend, add("of root"))


WORK: dict[str, Callable[[FileBackend, Path], object]] = {
    "load": lambda backend, path: commit(backend, load),
    "peek": lambda backend, path: backend.peek("u"),
    "add": lambda backend, path: commit(backend, add("of root")),
    "recover": recover,
    "make anew": make_anew,
    "lock anew": lock_anew,
}


@pytest.mark.parametrize("work", WORK.values(), ids=WORK)
@pytest.mark.parametrize("mode", [0o600, 0o640])
def test_root_works_on_what_is_there(home: Path, work: Callable[[FileBackend, Path], object], mode: int) -> None:
    """Afterwards everything is still that account's, with the modes that it had, and usable."""
    path = home / "u" / "fleet.toml"
    backend = FileBackend(str(home))
    with as_nobody():
        commit(FileBackend(str(home)), add("mira"))
        path.chmod(mode)
    work(backend, path)
    assert owners(home) == {(NOBODY, NOBODY)}
    assert modes(path.parent) == {
        ".": 0o700,
        "fleet.toml": 0o600 if work is make_anew else mode,
        "fleet.toml.lock": 0o600,
    }
    use_as_nobody(home)


def test_what_a_dead_root_left_is_tidied_up_by_the_account(home: Path) -> None:
    """A temporary file that is still root's is in the account's own directory, so the account can remove it."""
    with as_nobody():
        commit(FileBackend(str(home)), add("mira"))
    leave_dead_writer(home / "u" / "fleet.toml")
    assert (0, 0) in owners(home)
    use_as_nobody(home)
    assert owners(home) == {(NOBODY, NOBODY)}


def test_these_tests_notice_a_file_that_stays_roots(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """These tests can fail: if root does not hand its files over, the account cannot use them."""
    monkeypatch.setattr(disk, "match_owner", lambda target, like: None)
    commit(FileBackend(str(home)), add("mira"))
    assert (0, 0) in owners(home)
    with pytest.raises(PermissionError):
        use_as_nobody(home)


@pytest.mark.parametrize("when", ["at once", "before it is given away"])
def test_a_link_put_where_root_has_just_made_a_directory_is_not_given_away(
    home: Path, when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An account cannot have root give it what its links lead to."""
    treasure = home.parent / "treasure"
    treasure.mkdir(mode=0o700)
    mkdir, geteuid = os.mkdir, os.geteuid
    made: list[str] = []

    def swap() -> None:
        os.rmdir(made[0])
        os.symlink(treasure, made.pop())

    def make(path: str, mode: int) -> None:
        mkdir(path, mode)
        made.append(path)
        if when == "at once":
            swap()

    def look() -> int:
        if made:
            swap()
        return geteuid()

    with monkeypatch.context() as patch:
        patch.setattr(disk, "os", os_with(mkdir=make, geteuid=look))
        with contextlib.suppress(OSError):
            commit(FileBackend(str(home)), add("mira"))
    assert (home / "u").is_symlink()
    assert owners(treasure) == {(0, 0)}
    assert modes(treasure)["."] == 0o700
    if when == "at once":
        assert entries(treasure) == []
