"""The calls of many tasks and processes have an order that explains them, and the check of that can fail."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tests.support.seaweedfs import Weed
from tests.torture import means, objects, sabotage
from tests.torture.histories import PART, check, play
from tests.torture.linear import GaveUpError, NotLinearizableError
from tests.torture.model import Delete, Load
from tests.torture.parts import quick
from tests.torture.records import Invoked, Recorder, Returned, read


def test_histories_are_linearizable(tmp_path: Path) -> None:
    """Calls of three processes on asyncio and trio, cancelled, out of time and killed ones among them."""
    means.need(*PART.means)
    counted = quick(PART, tmp_path)
    assert all(counted[name] for name in ("kills", "calls out of time", "calls of unknown outcome")), counted


def test_histories_on_objects_are_linearizable(weed: Weed, tmp_path: Path) -> None:
    """So are those through two gateways, whose answers are lost, come late, or come twice."""
    counted = objects.play(weed, "6", tmp_path)
    assert all(counted[name] for name in ("kills", "calls out of time", "calls of unknown outcome")), counted


@pytest.mark.parametrize("name", sabotage.OF_FILES)
def test_a_missing_protection_is_seen(tmp_path: Path, name: str) -> None:
    """Where a protection is taken out of the processes, some history soon has no order."""
    means.need(*PART.means)
    with pytest.raises((NotLinearizableError, GaveUpError)):
        for number in range(10):
            place = tmp_path / str(number)
            place.mkdir()
            play(f"sabotage {number}", place, 1, sabotage=name)
            check(place / "0", Counter(), most_steps=1000)


@pytest.mark.parametrize("name", sabotage.OF_OBJECTS)
def test_a_missing_protection_of_objects_is_seen(weed: Weed, tmp_path: Path, name: str) -> None:
    """So it is there."""
    there = objects.through_gateways(weed)
    with pytest.raises((NotLinearizableError, GaveUpError)):
        for number in range(10):
            place = tmp_path / str(number)
            place.mkdir()
            play(f"sabotage {number}", place, 1, there._replace(url=f"{there.url}/{number}"), name)
            check(place / "0", Counter(), there._replace(url=f"{there.url}/{number}"), most_steps=1000)


def test_records_are_read_up_to_where_the_writer_died(tmp_path: Path) -> None:
    """Cut anywhere, a file of records still tells what was written before."""
    path = tmp_path / "records"
    recorder = Recorder(path)
    number = recorder.invoked("u", Load())
    whole = path.stat().st_size
    recorder.returned(number, "FleetFormatError")
    recorder.invoked("u", Delete())
    first, second, third = read(path)
    assert isinstance(first, Invoked)
    assert first.call == Load()
    assert isinstance(second, Returned)
    assert (second.number, second.reply) == (first.number, "FleetFormatError")
    assert first.at <= second.at <= third.at
    data = path.read_bytes()
    for end in range(len(data)):
        path.write_bytes(data[:end])
        assert list(read(path)) == [first, second, third][: len(list(read(path)))]
        assert (next(read(path), None) == first) == (end >= whole)
