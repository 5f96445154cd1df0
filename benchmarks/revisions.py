"""Another revision of petfleet, measured beside this one in the same run."""

from __future__ import annotations

import contextlib
import gc
import importlib
import io
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

_ROOT: Final = Path(__file__).parent.parent


class Revision(NamedTuple):
    """A revision whose source tree was exported.

    Attributes:
        name: its commit's short hash.
        source: the directory that its package is in.
    """

    name: str
    source: Path

    @property
    def peer(self) -> str:
        """Its name as a peer."""
        return f"petfleet, {self.name}"


class NoRevisionError(Exception):
    """Why a revision cannot be exported."""


@contextlib.contextmanager
def exported(name: str) -> Iterator[Revision]:
    """Export the sources of a git revision for as long as they are needed.

    Args:
        name: a hash, a tag or a branch.

    Raises:
        NoRevisionError: there is no such revision, or no repository here.
    """
    commit = _git("rev-parse", "--verify", "--short", f"{name}^{{commit}}").decode().strip()
    archive = _git("archive", "--format=tar", commit, "src")
    with tempfile.TemporaryDirectory(prefix="petfleet-bench-") as directory:
        with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
            if hasattr(tarfile, "data_filter"):  # not before Python 3.11.4; without it newer Pythons warn
                tar.extractall(directory, filter="data")
            else:
                tar.extractall(directory)  # an archive of our own
        yield Revision(commit, Path(directory) / "src")


def import_anew(source: Path | None) -> None:
    """Import petfleet again in this process, which must have no store; modules that others have imported stay theirs.

    Both revisions are imported so: modules shared with a forking parent do not cost the same as a process's own.

    Args:
        source: the directory that the package is in; None: wherever Python finds it.
    """
    for name in [name for name in sys.modules if name.partition(".")[0] == "petfleet"]:
        del sys.modules[name]
    if source is not None:
        sys.path.insert(0, str(source))
    petfleet = importlib.import_module("petfleet")
    assert petfleet.__file__ is not None
    found = Path(petfleet.__file__).parent.parent
    if source is not None and not found.samefile(source):
        raise RuntimeError(f"petfleet was imported from {found}, not from {source}")
    assert petfleet.FleetStore  # load the lazy names now
    gc.freeze()  # as what was imported before


def _git(*arguments: str) -> bytes:
    try:
        return subprocess.run(["git", "-C", str(_ROOT), *arguments], check=True, capture_output=True).stdout
    except FileNotFoundError:
        raise NoRevisionError("git is not installed") from None
    except subprocess.CalledProcessError as error:
        raise NoRevisionError(error.stderr.decode(errors="replace").strip()) from None
