"""A fleet file that is not a fleet, belongs to another user, or has inconsistent names."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from petfleet import PetFleet, dumps
from petfleet._cli.checks.finding import Finding
from petfleet._cli.output import printable
from tests.cli.check_helpers import (
    found,
    put_files,
    snapshot,
)
from tests.conftest import pet
from tests.support.bad_texts import BROKEN
from tests.support.irregular import MAKERS


@pytest.mark.parametrize(("data", "expected", "line", "column"), BROKEN.values(), ids=BROKEN)
def test_a_file_that_is_no_fleet(root: Path, data: bytes, expected: str, line: int | None, column: int) -> None:
    """The finding says where it is wrong, what was expected, and what to do."""
    path = put_files(root, "user", data)
    message = f"expected {printable(expected)}: mend it by hand, or petfleet check --repair sets it aside"
    assert found(root) == [Finding("unparsable", str(path), message, "user", line, column)]


def test_a_file_that_is_too_large(root: Path) -> None:
    """It is not read."""
    os.truncate(put_files(root, "user"), 2**24 + 1)
    assert [(one.kind, one.message[:51]) for one in found(root)] == [
        ("unparsable", "expected at most 16777216 bytes, not 16777217: mend")
    ]


@pytest.mark.parametrize(("rest", "kind"), [(b"pets = []\n", "foreign-user-id"), (b"pets = oops\n", "unparsable")])
def test_a_file_of_another_user_is_never_set_aside(root: Path, rest: bytes, kind: str) -> None:
    """Whether it can be parsed or not, it is a finding, and a repair leaves it as it is."""
    path = put_files(root, "user", b'user_id = "other"\n' + rest)
    before = path.read_bytes()
    for repair in (False, True):
        (finding,) = found(root, repair=repair)
        assert (finding.kind, finding.user_id, finding.repaired) == (kind, "user", None)
        assert "move it to the user whose it is, or away; petfleet check --repair leaves it alone" in finding.message
    assert path.read_bytes() == before
    assert ("expected a file of user 'user', found another's" in finding.message) == (kind == "unparsable")


@pytest.mark.parametrize("name", ["fleet.toml", "fleet.toml.lock"])
@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_links_pipes_and_devices_are_left_alone(root: Path, name: str, make: Callable[[Path], None]) -> None:
    """A link, pipe, device or directory is a finding, and stays as it is with and without repair."""
    path = put_files(root, "user").with_name(name)
    path.unlink()
    make(path)
    before = snapshot(root.parent)
    for repair in (False, True):
        (finding,) = found(root, repair=repair)
        assert (finding.kind, finding.path, finding.repaired) == ("not-a-file", str(path), None)
        assert re.fullmatch(r"expected a regular file, not a [a-z ]+: move it away", finding.message)
    assert snapshot(root.parent) == before


def test_a_fleet_with_inconsistent_names(root: Path) -> None:
    """It loads, and a missing active pet and duplicate names are findings."""
    pets = [pet(f"pet {number}\n") for number in range(7)]
    fleet = PetFleet("user", [*pets, *pets, pet("once")], "\x1b[31m")
    path = put_files(root, "user", dumps(fleet).encode())
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
