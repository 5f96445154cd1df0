"""The whole API goes as the model says, beside other programs, and the check of that can fail."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from petfleet import PetFleet, codec, disk, files, names, reading, store
from petfleet.changes import State
from tests.proof import means
from tests.proof.machine import PART, walk
from tests.proof.parts import quick


def test_the_api_goes_as_the_model_says(tmp_path: Path) -> None:
    """Random walks on asyncio and trio at once come out as the model has it, to the byte."""
    means.need(*PART.means)
    counted = quick(PART, tmp_path)
    assert counted["calls"] > 500, counted


def _remembered(self: reading.Reader, place: Any, stored: Any) -> State:
    known = self._known.get(place.user_id)
    return _STATE(self, place, stored) if known is None else known.state


def _first_stays_active(fleet: PetFleet, pet_name: str) -> PetFleet:
    without = _WITHOUT(fleet, pet_name)
    return PetFleet(without.user_id, without.pets, fleet.active_pet, without.extra)


_STATE: Final = reading.Reader._state
_WITHOUT: Final = PetFleet.without_pet
_FORGOTTEN: Final[dict[str, tuple[object, str, Callable[..., object]]]] = {
    "that others may have changed the file": (reading.Reader, "_state", _remembered),
    "that another user's broken file is no one else's to replace": (codec, "user_id_in", lambda data: None),
    "what dead writers leave": (disk, "sweep", lambda path: None),
    "what a deleted user leaves": (files.FileBackend, "_leave_nothing", lambda self, place, sync: None),
    "to compare before it replaces": (store, "_may_replace", lambda stored, old, user_id: True),
    "that a removed pet is not active": (PetFleet, "without_pet", _first_stays_active),
    "which names a user may have": (names, "_broken_rule", lambda user_id: None),
}


@pytest.mark.parametrize("forgotten", _FORGOTTEN.values(), ids=_FORGOTTEN)
def test_what_is_forgotten_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forgotten: tuple[object, str, Callable[..., object]]
) -> None:
    """A store that forgets one thing goes another way than the model before long."""
    monkeypatch.setattr(*forgotten)
    with pytest.raises(AssertionError):
        for seed in range(6):  # threads run as they like, so that no seed finds it every time
            walk(tmp_path, seed=seed, walks=60, steps=30)
