"""Symbolic links in the place of a user's directory."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from petfleet._cli.checks import link
from petfleet._cli.checks.finding import Finding
from tests.cli.check_helpers import (
    PatchedModule,
    fail,
    found,
    put_files,
    snapshot,
)


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
def test_a_link_to_a_directory_with_a_fleet(root: Path, name: str, target: str, told: bool) -> None:
    """It is a finding, other links are not, and a repair follows none."""
    put_files(root, "other")
    put_files(root.parent, "elsewhere", b"oops")
    (root.parent / "empty").mkdir()
    (root / name).symlink_to(root.parent / target)
    before = snapshot(root.parent)
    message = (
        f"a symbolic link to {root.parent / target}, which no store follows: put the directory itself in its place"
    )
    expected = [Finding("link", str(root / name), message, name)] if told else []
    assert found(root) == found(root, repair=True) == expected
    assert snapshot(root.parent) == before


def test_a_link_to_a_closed_directory(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is a finding: there may be a fleet."""
    root.mkdir()
    (root / "user").symlink_to("closed")
    stat_ = os.stat
    behind = str(root / "user" / "fleet.toml")
    closed = fail(errno.EACCES)
    monkeypatch.setattr(link, "os", PatchedModule(os, stat=lambda path: closed() if path == behind else stat_(path)))
    assert found(root) == [
        Finding("unreadable", str(root / "user"), "Permission denied: check as the account that owns it", "user")
    ]
