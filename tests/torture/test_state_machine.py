"""The whole API goes as the model says, beside other programs, and the check of that can fail."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from petfleet import PetFleet, _store
from petfleet._backends.files import backend as files
from petfleet._backends.files import disk, reader
from petfleet._backends.objects import backend as objects
from petfleet._backends.objects import bucket, lineage
from petfleet._backends.state import State
from petfleet._model import names
from petfleet._toml import decode
from tests.support.seaweedfs import Weed
from tests.torture import means, walks
from tests.torture.machine import Made, walk
from tests.torture.parts import quick


def test_the_api_goes_as_the_model_says(tmp_path: Path) -> None:
    """Random walks on asyncio and trio at once come out as the model has it, to the byte."""
    means.need(*walks.PART.means)
    counted = quick(walks.PART, tmp_path)
    assert counted["calls"] > 500, counted


def test_the_api_goes_as_the_model_says_on_objects() -> None:
    """So they do over objects, whatever becomes of requests on their way."""
    counted = walk(walks.in_memory(), seed=1, walks=40, steps=30)
    assert counted["calls"] > 500, counted
    assert counted["troubles"] > 50, counted


def test_the_api_goes_as_the_model_says_on_a_real_store(weed: Weed) -> None:
    """So do fewer of them where versions may come back."""
    counted = walk(walks.on_weed(weed), seed=0, walks=10, steps=30)
    assert counted["calls"] > 50, counted


def _remembered(self: reader.Reader, place: Any, stored: Any) -> State:
    known = self._known.get(place.user_id)
    return _STATE(self, place, stored) if known is None else known.state


def _remembered_object(self: objects.ObjectBackend, user_id: str, seen: Any) -> Any:
    return _READ(self, user_id, None) if seen is None else seen


def _first_stays_active(fleet: PetFleet, pet_name: str) -> PetFleet:
    without = _WITHOUT(fleet, pet_name)
    return PetFleet(without.user_id, without.pets, fleet.active_pet, without.extra)


def _whatever_is_there(self: bucket.Bucket, key: str, data: bytes, note: str, replacing: Any) -> Any:
    found = self.get(key, 0)
    return _PUT(self, key, data, note, None if found is None else found.version)


_STATE: Final = reader.Reader._state
_READ: Final = objects.ObjectBackend._read
_PUT: Final = bucket.Bucket.put
_WITHOUT: Final = PetFleet.without_pet
_Forgotten = tuple[object, str, Callable[..., object]]
_OF_FILES: Final[dict[str, _Forgotten]] = {
    "that others may have changed the file": (reader.Reader, "_state", _remembered),
    "that another user's broken file is no one else's to replace": (decode, "user_id_in", lambda data: None),
    "to compare before it replaces": (_store, "_may_replace", lambda stored, old, user_id: True),
    "that a removed pet is not active": (PetFleet, "without_pet", _first_stays_active),
    "which names a user may have": (names, "_broken_rule", lambda user_id: None),
    "what dead writers leave": (disk, "sweep", lambda path: None),
    "what a deleted user leaves": (files.FileCommit, "_leave_nothing", lambda self, sync: None),
}
_OF_OBJECTS: Final[dict[str, _Forgotten]] = {
    "that others may have changed the object": (objects.ObjectBackend, "_read", _remembered_object),
    "to replace only what is known": (bucket.Bucket, "put", _whatever_is_there),
    "what may have happened": (lineage, "happened", lambda commit, before, now: False),
}


@pytest.mark.parametrize("forgotten", _OF_FILES.values(), ids=_OF_FILES)
def test_what_is_forgotten_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forgotten: _Forgotten) -> None:
    """A store that forgets one thing goes another way than the model before long."""
    _see(monkeypatch, forgotten, walks.on_files(tmp_path))


@pytest.mark.parametrize("forgotten", _OF_OBJECTS.values(), ids=_OF_OBJECTS)
def test_what_is_forgotten_of_objects_is_seen(monkeypatch: pytest.MonkeyPatch, forgotten: _Forgotten) -> None:
    """So does one over objects."""
    _see(monkeypatch, forgotten, walks.in_memory())


def _see(monkeypatch: pytest.MonkeyPatch, forgotten: _Forgotten, made: Made) -> None:
    monkeypatch.setattr(*forgotten)
    with pytest.raises(AssertionError):
        for seed in range(6):  # threads run as they like, so that no seed finds it every time
            walk(made, seed=seed, walks=60, steps=30)
