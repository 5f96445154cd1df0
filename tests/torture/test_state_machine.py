"""The whole API agrees with the model, beside other programs; the walks notice a missing protection."""

from __future__ import annotations

import re
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
from tests.support.backends import MemoryStorage
from tests.support.seaweedfs import SeaweedFS
from tests.torture import means, model, network, walks
from tests.torture.layouts import LAYOUTS
from tests.torture.machine import ANY_USER, Machine, Made, rule, take, walk
from tests.torture.machine_files import FileMachine
from tests.torture.machine_objects import ObjectMachine
from tests.torture.model import Fleet, Pet
from tests.torture.parts import first_rounds


def test_the_api_goes_as_the_model_says(tmp_path: Path) -> None:
    """Random walks on asyncio and trio at once agree with the model, to the byte."""
    means.need(*walks.PART.means)
    assert first_rounds(walks.PART, tmp_path)["walks"] >= 40


def test_the_api_goes_as_the_model_says_on_objects() -> None:
    """Walks over objects do too, whatever becomes of requests on their way."""
    assert walk(walks.in_memory(), seed=1, walks=40, steps=30)["walks"] >= 40


def test_the_api_goes_as_the_model_says_on_a_real_store(seaweedfs: SeaweedFS) -> None:
    """A few walks do too on a real store, where versions may come back."""
    assert walk(walks.on_object_store(seaweedfs), seed=0, walks=10, steps=30)["walks"] >= 10


def _remembered(self: reader.Reader, paths: Any, stored: Any) -> State:
    known = self._known.get(paths.user_id)
    return _STATE(self, paths, stored) if known is None else known.state


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
_MIRA: Final = Pet("mira", "friend", "pets/mira.toml", 1)
_KIRA: Final = Pet("kira", "friend", "pets/kira.toml", 2)
_ONE: Final = Fleet((_MIRA,), "mira")
_TWO: Final = Fleet((_MIRA, _KIRA), "kira")
_BROKEN_OF_ANOTHER: Final = "user_id = 'someone-else'\n[[pets]"


# Each of these takes fixed steps that fail without one protection; a random walk may miss that.


def _edited_between_calls(machine: Machine) -> None:
    machine.call(0, "u", model.Overwrite(_ONE))
    machine.edit("u", _TWO, next(iter(LAYOUTS)), True)
    machine.call(0, "u", model.Load())


def _over_anothers_broken_file(machine: Machine) -> None:
    machine.corrupt("u", _BROKEN_OF_ANOTHER, True)
    machine.call(0, "u", model.Overwrite(_ONE))


def _saved_twice(machine: Machine) -> None:
    machine.call(0, "u", model.Save(_ONE))
    machine.call(1, "u", model.Save(_TWO))


def _active_removed(machine: Machine) -> None:
    machine.call(0, "u", model.Overwrite(_TWO))
    machine.call(0, "u", model.Remove("kira"))


def _forbidden_name(machine: Machine) -> None:
    machine.refuse(0, "a::b", model.Load(), _MIRA)


def _behind_a_dead_writer(machine: FileMachine) -> None:
    machine.call(0, "u", model.Overwrite(_ONE))
    machine.die_writing("u")
    machine.call(1, "u", model.Load())


def _deleted(machine: Machine) -> None:
    machine.call(0, "u", model.Overwrite(_ONE))
    machine.call(0, "u", model.Delete())


def _stores_that_meet(machine: ObjectMachine) -> None:
    machine.call(0, "u", model.Overwrite(Fleet()))
    machine.meet(0, "u", model.Add(_MIRA), model.Add(_KIRA), None)


def _answer_lost(machine: ObjectMachine) -> None:
    machine.suffer(0, "u", model.Add(_MIRA), [network.lost_answer], 0)


_Forgotten = tuple[object, str, Callable[..., object], Callable[[Any], None]]
_OF_FILES: Final[dict[str, _Forgotten]] = {
    "that others may have changed the file": (reader.Reader, "_state", _remembered, _edited_between_calls),
    "that another user's broken file is no one else's to replace": (
        *(decode, "user_id_in", lambda data: None),
        _over_anothers_broken_file,
    ),
    "to compare before it replaces": (_store, "_may_replace", lambda stored, old, user_id: True, _saved_twice),
    "that a removed pet is not active": (PetFleet, "without_pet", _first_stays_active, _active_removed),
    "which names a user may have": (names, "_broken_rule", lambda user_id: None, _forbidden_name),
    "what dead writers leave": (disk, "sweep", lambda path: None, _behind_a_dead_writer),
    "what a deleted user leaves": (files.FileCommit, "_leave_nothing", lambda self, sync: None, _deleted),
}
_OF_OBJECTS: Final[dict[str, _Forgotten]] = {
    "that others may have changed the object": (
        *(objects.ObjectBackend, "_read", _remembered_object),
        _edited_between_calls,
    ),
    "to replace only what is known": (bucket.Bucket, "put", _whatever_is_there, _stores_that_meet),
    "what may have happened": (lineage, "happened", lambda commit, before, now: False, _answer_lost),
}


@pytest.mark.parametrize("forgotten", _OF_FILES.values(), ids=_OF_FILES)
def test_what_is_forgotten_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forgotten: _Forgotten) -> None:
    """A store without one protection disagrees with the model."""
    _see(monkeypatch, forgotten, walks.on_files(tmp_path))


@pytest.mark.parametrize("forgotten", _OF_OBJECTS.values(), ids=_OF_OBJECTS)
def test_what_is_forgotten_of_objects_is_seen(monkeypatch: pytest.MonkeyPatch, forgotten: _Forgotten) -> None:
    """The same over objects."""
    _see(monkeypatch, forgotten, walks.in_memory())


def _see(monkeypatch: pytest.MonkeyPatch, forgotten: _Forgotten, made: Made) -> None:
    owner, name, without, steps = forgotten
    take(made, steps)  # as petfleet is, the same steps go as the model says
    monkeypatch.setattr(owner, name, without)
    with pytest.raises(AssertionError):
        take(made, steps)


class _GoesWrongOnce(ObjectMachine):
    """Fails in its first walk only."""

    gone_wrong = False

    @rule(user=ANY_USER)
    def go_wrong(self, user: str) -> None:
        """Fail, but not when the walk is repeated."""
        first, _GoesWrongOnce.gone_wrong = not _GoesWrongOnce.gone_wrong, True
        assert not first, f"the walk of {user} went wrong"


def test_a_failure_that_does_not_happen_again_is_a_failure() -> None:
    """It is raised as it was, with the steps that led to it and the seed."""
    with pytest.raises(AssertionError, match="went wrong") as failed:
        walk(lambda loops, counted: _GoesWrongOnce(MemoryStorage(), loops, counted), seed=0, walks=40, steps=30)
    steps, seed = failed.value.__notes__
    assert re.search(r"^the steps of this walk:\n(.+\n)*go_wrong\(user='.*'\)$", steps)
    assert seed == "40 walks of 30 steps, seed 0"
