"""A file system that is really full refuses a call, and nothing is lost."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from petfleet._backends.files import disk
from tests.torture import full_disk, means
from tests.torture.full_disk import Ballast

KINDS = pytest.mark.parametrize("kind", ["tmpfs", "ext4"])


@KINDS
def test_a_disk_without_room(tmp_path: Path, kind: str) -> None:
    """The error is the system's, the old fleet stands, and all goes on when there is room again."""
    means.need("loop", "ext4")
    with full_disk.small_file_system(kind, tmp_path) as place:
        refused = full_disk.fill_up(place, Ballast.leave_blocks)
    assert refused["write TEMPORARY"] > 0
    assert refused["write u/fleet.toml.lock"] > 0


@KINDS
def test_a_disk_without_inodes(tmp_path: Path, kind: str) -> None:
    """The same where there is room, but not for one more file."""
    means.need("loop", "ext4")
    with full_disk.small_file_system(kind, tmp_path) as place:
        refused = full_disk.fill_up(place, Ballast.leave_inodes)
    assert refused["open TEMPORARY"] > 0
    assert refused["open u/fleet.toml.lock"] > 0
    assert refused["mkdir u"] > 0


def test_half_a_file_is_missed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The torture notices: a write that took less than it was given, and was not looked at."""
    means.need("loop", "ext4")

    def write_some(fd: int, data: bytes) -> None:
        os.write(fd, data)

    monkeypatch.setattr(disk, "write_all", write_some)
    with full_disk.small_file_system("tmpfs", tmp_path) as place, pytest.raises(AssertionError):
        full_disk.fill_up(place, Ballast.leave_blocks)
