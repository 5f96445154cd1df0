"""What others do to a user's files without the lock, and what it means for the fleet."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from petfleet import PetFleet, dumps, loads
from petfleet._backends.files.backend import FileBackend
from petfleet._commit.change import Change, Kind
from tests.conftest import pet
from tests.support.commits import add, attempt

Pets = tuple[str, ...] | None
THEIRS: Final = "theirs"  # the pet that others add
OTHERS_FILE: Final = b'user_id = "other"\npets = []\n'


class Site:
    """The files of user u, and where others put what they take away."""

    def __init__(self, base: Path) -> None:
        self.root = base / "root"
        self.directory = self.root / "u"
        self.path = self.directory / "fleet.toml"
        self.lock = self.directory / "fleet.toml.lock"
        self.away = base / "away"
        self.copy = base / "copy"
        self.unfinished: list[tuple[int, bytes]] = []  # descriptors of files that someone has truncated

    def pets(self) -> Pets:
        """Return the names of the pets in the file; None if there is none."""
        return pets_in(self.path)


@dataclass(frozen=True, slots=True)
class Interference:
    """Something that others do.

    Attributes:
        name: what it is, for failures and figures.
        act: does it; False if it is impossible as things are.
        means: from the pets that were stored to those that are now.
        unreadable: whether it leaves a file that means no fleet.
    """

    name: str
    act: Callable[[Site], bool]
    means: Callable[[Pets], Pets]
    unreadable: bool = False


@dataclass(frozen=True, slots=True)
class Pair:
    """Something that others begin, and end later; ``rewrites`` if the file, else its directory is away meanwhile."""

    name: str
    begin: Callable[[Site], bool]
    end: Callable[[Site], bool]
    rewrites: bool = False


def pets_in(path: Path) -> Pets:
    """Return the names of the pets in a fleet file; None if there is none."""
    try:
        return tuple(handle.pet_name for handle in loads(path.read_bytes()).pets)
    except FileNotFoundError:
        return None


def edited(data: bytes | None) -> bytes:
    """Return what an editor makes of a file: the pet of others comes last."""
    fleet = PetFleet("u") if data is None else loads(data)
    return dumps(fleet.with_pet(pet(THEIRS))).encode()


# --- what is done ----------------------------------------------------------------------------------------------------


def _edit(site: Site, save: Callable[[Path, bytes], object]) -> bool:
    site.directory.mkdir(parents=True, exist_ok=True)
    save(site.path, edited(site.path.read_bytes() if site.path.exists() else None))
    return True


def edit_in_place(site: Site) -> bool:
    """Truncate the file and write it."""
    return _edit(site, Path.write_bytes)


def edit_by_rename(site: Site) -> bool:
    """Write another file and rename it."""

    def save(path: Path, data: bytes) -> None:
        path.with_name("saved").write_bytes(data)
        os.replace(path.with_name("saved"), path)

    return _edit(site, save)


def truncate(site: Site) -> bool:
    """Begin to write in place, and never finish."""
    if site.path.exists():
        site.path.write_bytes(b"")
    return site.path.exists()


def begin_rewriting(site: Site) -> bool:
    """Truncate the file as the old program does, before it writes the new content."""
    if not site.path.exists():
        return False
    data = site.path.read_bytes()
    site.unfinished.append((os.open(site.path, os.O_WRONLY | os.O_TRUNC), edited(data or None)))
    return True


def finish_rewriting(site: Site) -> bool:
    """Write that content into the file that was truncated, wherever it is now."""
    while site.unfinished:
        fd, data = site.unfinished.pop()
        os.write(fd, data)
        os.close(fd)
    return True


def unlink_fleet(site: Site) -> bool:
    """Remove the fleet file."""
    there = site.path.exists()
    site.path.unlink(missing_ok=True)
    return there


def unlink_lock(site: Site) -> bool:
    """Remove the lock file."""
    there = site.lock.exists()
    site.lock.unlink(missing_ok=True)
    return there


def split_the_lock(site: Site) -> bool:
    """Remove the lock file, and commit under a new one."""
    if not unlink_lock(site):
        return False
    change = Change(add(THEIRS), Kind.CREATE)
    assert attempt(FileBackend(str(site.root)), change)
    assert change.error is None, change.error
    return True


def remove_directory(site: Site) -> bool:
    """Remove the user's directory with all that is in it."""
    there = site.directory.exists()
    shutil.rmtree(site.directory, ignore_errors=True)
    return there


def move_directory_away(site: Site) -> bool:
    """Move the user's directory out of the root."""
    if site.directory.exists():
        site.directory.rename(site.away)
    return site.away.exists()


def move_directory_back(site: Site) -> bool:
    """Move it back, if nothing has taken its place."""
    if site.away.exists() and site.root.exists() and not site.directory.exists():
        site.away.rename(site.directory)
    return True


def replace_by_copy(site: Site) -> bool:
    """Put a copy of the user's directory in its place."""
    if site.directory.exists():
        shutil.copytree(site.directory, site.copy)
        site.directory.rename(site.away)
        site.copy.rename(site.directory)
    return site.away.exists()


def copy_back(site: Site) -> bool:
    """Move the user's directory away, and copy it back."""
    if move_directory_away(site):
        shutil.copytree(site.away, site.directory)
    return site.away.exists()


def replace_by_others(site: Site) -> bool:
    """Put another user's directory in the place of this user's."""
    if move_directory_away(site):
        site.directory.mkdir()
        site.path.write_bytes(OTHERS_FILE)
    return site.away.exists()


def rename_root(site: Site) -> bool:
    """Move the whole root away."""
    if site.root.exists():
        site.root.rename(site.away)
    return site.away.exists()


def rename_root_back(site: Site) -> bool:
    """Move it back, if nothing has taken its place."""
    if site.away.exists() and not site.root.exists():
        site.away.rename(site.root)
    return True


def renew_root(site: Site) -> bool:
    """Move the whole root away, and make it anew, empty."""
    if rename_root(site):
        site.root.mkdir()
    return site.away.exists()


# --- what it means ---------------------------------------------------------------------------------------------------


def _nothing(pets: Pets) -> Pets:
    return None


def _same(pets: Pets) -> Pets:
    return pets


def _with_theirs(pets: Pets) -> Pets:
    return (*(pets or ()), THEIRS)


INTERFERENCES: Final = (
    Interference("edited in place", edit_in_place, _with_theirs),
    Interference("edited by rename", edit_by_rename, _with_theirs),
    Interference("truncated", truncate, _same, unreadable=True),
    Interference("fleet file unlinked", unlink_fleet, _nothing),
    Interference("lock file unlinked", unlink_lock, _same),
    Interference("lock file unlinked, and another commit under a new one", split_the_lock, _with_theirs),
    Interference("directory removed", remove_directory, _nothing),
    Interference("directory moved away", move_directory_away, _nothing),
    Interference("directory replaced by a copy", replace_by_copy, _same),
    Interference("directory moved away and copied back", copy_back, _same),
    Interference("directory replaced by another user's", replace_by_others, _same, unreadable=True),
    Interference("root renamed", rename_root, _nothing),
    Interference("root renamed and made anew", renew_root, _nothing),
)

PAIRS: Final = (
    Pair("directory moved away and back", move_directory_away, move_directory_back),
    Pair("root renamed and back", rename_root, rename_root_back),
    Pair("rewritten in place", begin_rewriting, finish_rewriting, rewrites=True),
)
