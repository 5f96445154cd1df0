"""Whatever a file holds, it is read or refused, within bounds, and never overwritten."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from petfleet._toml import decode
from tests.torture import hostile, hostile_texts, hostile_weights, means, parts
from tests.torture.hostile import PART


def test_a_round_of_hostile_input(tmp_path: Path) -> None:
    """One round of everything hostile."""
    means.need(*PART.means)
    counted = parts.first_rounds(PART, tmp_path)
    assert counted["files read"] + counted["files refused"] == hostile.FILES
    assert counted["files that no call overwrote"] == hostile.KEPT_FILES


@pytest.mark.parametrize("number", range(0, 20, 5))
def test_cut_off_at_every_byte(number: int) -> None:
    """Real files are read or refused wherever they end."""
    data = min(hostile_texts.samples()[number : number + 5], key=lambda data: abs(len(data) - 300))
    outcomes = {hostile_texts.check_read(data[:size]) for size in range(len(data) + 1)}
    assert outcomes == {True, False}


LARGE = 2**22
DEAREST = {
    "a decimal number": LARGE,
    "deep tables": LARGE,
    "long dotted keys under a long header": LARGE,
    "keys of 20,000 parts": LARGE,
    "another user": LARGE,
    "values under a long key": 3 * 2**19,
}


@pytest.mark.parametrize(("name", "size"), DEAREST.items(), ids=DEAREST)
def test_within_limits(name: str, size: int) -> None:
    """What would take minutes or gigabytes is read or refused within the limits."""
    means.need(*PART.means)
    assert hostile_weights.read_within_limits(name, size)


# --- the harness can fail --------------------------------------------------------------------------------------------

# Closer to what is needed, so that it takes no longer than it must.
LIMITS = """
from petfleet._model import extra
from petfleet._toml import limits
from tests.torture import hostile_weights
hostile_weights.SECONDS, hostile_weights.SECONDS_A_MEBIBYTE = 2, 1
hostile_weights.MEMORY, hostile_weights.MEMORY_A_BYTE = 2**27, 80
"""
UNBOUNDED = {
    "memory of a long number": ("a decimal number", LARGE, "import re; limits._LONG_NUMBER = re.compile('(?!)')"),
    "notes on keys of many parts": ("long headers", 2**19, "limits.check_weight = lambda source: None"),
    "the square of a long key": ("values under a long key", 2**20, "extra._Where = str.format"),
}


@pytest.mark.parametrize(("name", "size", "sabotage"), UNBOUNDED.values(), ids=UNBOUNDED)
def test_a_reader_without_its_bounds_is_stopped(name: str, size: int, sabotage: str) -> None:
    """A bound taken out of the reader is told by the limit that the child runs into."""
    means.need(*PART.means)
    assert hostile_weights.read_within_limits(name, size, sabotage=LIMITS)
    with pytest.raises(AssertionError, match=r"exit code (1\n(.|\n)*MemoryError|-24|-9)"):
        hostile_weights.read_within_limits(name, size, sabotage=LIMITS + sabotage)


def test_an_escaping_error_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error that is no FleetFormatError fails the check, with the bytes that it came of."""
    monkeypatch.setattr(decode, "_decode", lambda data: data.decode())
    with pytest.raises(AssertionError, match=r"UnicodeDecodeError\(.* came of b'\\xff'"):
        hostile_texts.check_read(b"\xff")


def test_an_overwritten_file_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that overwrites another user's file is caught at it."""
    monkeypatch.setattr(decode, "user_id_in", lambda data: "user")
    with pytest.raises(AssertionError, match=r"^save overwrite speaks of None where there is b"):
        hostile_texts.check_kept(random.Random(0), tmp_path / "root", 50)
