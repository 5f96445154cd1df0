"""The two values: checked when made, immutable, hashable, copied by every usual means."""

from __future__ import annotations

import copy
import dataclasses
import enum
import json
import os
import pickle
import types
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from pathlib import PurePosixPath
from typing import Any

import pytest

from petfleet import PetFleet, PetHandle, dumps
from tests.conftest import pet

NESTED = {"a": {"list": [1, [2.5, {"deep": True}]]}, "when": datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC)}
HANDLE = PetHandle("mira", "friend", "pets/mira.toml", 7, NESTED)
FLEET = PetFleet("ada", [HANDLE, pet("nova")], "nova", {"version": 2, "x": {"y": ["z"]}})
VALUES: list[PetHandle | PetFleet] = [HANDLE, FLEET]
FIELDS = [(value, field.name) for value in VALUES for field in dataclasses.fields(value)]
PLACES: list[Callable[[Any], Any]] = [
    lambda extra: pet("mira", extra=extra),
    lambda extra: PetFleet("ada", extra=extra),
]
each_value = pytest.mark.parametrize("value", VALUES, ids=["handle", "fleet"])
each_place = pytest.mark.parametrize("place", PLACES, ids=["handle", "fleet"])


class Named(enum.StrEnum):
    MIRA = "mira"


class Whole(int):
    pass


class Fraction(float):
    pass


class Bytes(os.PathLike[bytes]):
    def __fspath__(self) -> bytes:
        return b"pets"


# --- immutable, and copied by every usual means ---------------------------------------------------------------------


@pytest.mark.parametrize(("value", "name"), FIELDS)
def test_fields_cannot_be_set(value: PetHandle | PetFleet, name: str) -> None:
    """No field can be set or deleted, and there is no room for other attributes."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(value, name, getattr(value, name))
    with pytest.raises(dataclasses.FrozenInstanceError):
        delattr(value, name)
    assert not hasattr(value, "__dict__")


MUTATIONS: list[Callable[[Any], object]] = [
    lambda extra: extra.__setitem__("a", 1),
    lambda extra: extra.__delitem__("a"),
    lambda extra: extra.__ior__({"a": 1}),
    lambda extra: extra.clear(),
    lambda extra: extra.pop("a"),
    lambda extra: extra.popitem(),
    lambda extra: extra.setdefault("new", 1),
    lambda extra: extra.update(a=1),
]


@pytest.mark.parametrize("mutate", MUTATIONS)
@pytest.mark.parametrize("extra", [HANDLE.extra, HANDLE.extra["a"], pet("a").extra], ids=["top", "inner", "empty"])
def test_extra_cannot_be_changed(extra: dict[str, Any], mutate: Callable[[Any], object]) -> None:
    """No mutator of a dict works on extra, at any level; the error says the way out."""
    before = dict(extra)
    with pytest.raises(TypeError, match=r"^extra is immutable: build a new value from dict\(extra\)$"):
        mutate(extra)
    assert extra == before


def test_a_place_in_an_extra_is_written_out_for_errors_only() -> None:
    """A key of megabytes is not copied for each of the values below it."""
    written: list[str] = []

    class Key(str):
        __slots__ = ()

        def __repr__(self) -> str:
            written.append(self)
            return "long"

    below = {"a": [1, 1.5, "\xe9", {"b": True}], "c": date(2000, 1, 1)}
    assert pet("mira", extra={Key("k"): below}).extra == {"k": below | {"a": (1, 1.5, "\xe9", {"b": True})}}
    assert written == []
    with pytest.raises(TypeError, match=r"^extra\[long\]\['a'\]\[1\] must be a TOML value"):
        pet("mira", extra={Key("k"): {"a": [0, None]}})
    assert written == ["k"]


@each_place
def test_extra_is_a_frozen_copy(place: Callable[[Any], Any]) -> None:
    """Extra is a copy of its source; lists become tuples, and the order of keys stays."""
    inner: dict[str, list[int]] = {"list": [1]}
    source: dict[str, object] = {"z": inner, "a": [inner], "m": ()}
    extra = place(types.MappingProxyType(source)).extra
    inner["list"].append(2)
    source["new"] = 1
    assert extra == {"z": {"list": (1,)}, "a": ({"list": (1,)},), "m": ()}
    assert list(extra) == ["z", "a", "m"]
    assert place(extra).extra is extra


@each_value
def test_pickles_and_copies(value: PetHandle | PetFleet) -> None:
    """A value comes back from pickle and copy equal, written before or not, and still immutable at every level."""
    dumps(FLEET)
    twins = [pickle.loads(pickle.dumps(value, protocol)) for protocol in range(pickle.HIGHEST_PROTOCOL + 1)]
    for twin in [*twins, copy.copy(value), copy.deepcopy(value), dataclasses.replace(value)]:
        assert twin == value
        assert hash(twin) == hash(value)
        assert repr(twin) == repr(value)
        for extra in (twin.extra, twin.extra.get("a", twin.extra)):
            assert type(extra) is type(value.extra)


@each_value
def test_copies_share_extra(value: PetHandle | PetFleet) -> None:
    """Copy and deepcopy of an immutable value share its extra, whole or in part."""
    assert copy.copy(value).extra is copy.deepcopy(value).extra is value.extra
    assert copy.copy(value.extra) is copy.deepcopy(value.extra) is value.extra


def test_replace() -> None:
    """dataclasses.replace sets one field, keeps the others, and checks the new value."""
    assert dataclasses.replace(HANDLE, role="guide") == PetHandle("mira", "guide", "pets/mira.toml", 7, NESTED)
    assert dataclasses.replace(FLEET, pets=(HANDLE,)).pets == (HANDLE,)
    with pytest.raises(TypeError, match=r"^last_active must be int, not bool$"):
        dataclasses.replace(HANDLE, last_active=True)


def test_asdict() -> None:
    """asdict gives the fields, extra as a dict."""
    assert dataclasses.asdict(pet("nova", extra={"a": [{"b": 1}]})) == {
        "pet_name": "nova",
        "role": "friend",
        "manifest_path": "pets/nova.toml",
        "last_active": 1_700_000_000,
        "extra": {"a": ({"b": 1},)},
    }
    assert dataclasses.asdict(FLEET)["pets"][1] == dataclasses.asdict(pet("nova"))


def test_json() -> None:
    """extra goes into JSON like any dict, tuples as lists."""
    assert json.loads(json.dumps(FLEET.extra)) == {"version": 2, "x": {"y": ["z"]}}
    assert json.loads(json.dumps(dataclasses.asdict(FLEET.pets[1])))["pet_name"] == "nova"


@each_place
def test_hash_leaves_extra_out(place: Callable[[Any], Any]) -> None:
    """Values that differ in extra alone are not equal but have the same hash; any other difference shows in it."""
    plain, other = place({}), place({"a": [1]})
    assert plain != other
    assert hash(plain) == hash(other)
    for field in dataclasses.fields(plain):
        if field.name != "extra":
            changed = dataclasses.replace(
                plain, **{field.name: {"last_active": 1, "pets": [HANDLE]}.get(field.name, "other")}
            )
            assert changed != plain
            assert hash(changed) != hash(plain)


def test_defaults() -> None:
    """Only the user id must be given for a fleet; nothing is active in it, and extra is empty."""
    assert PetFleet("ada") == PetFleet("ada", (), None, {})
    assert PetFleet("ada", iter([HANDLE])).pets == (HANDLE,)
    assert pet("mira") == PetHandle("mira", role="friend", manifest_path="pets/mira.toml", last_active=1_700_000_000)


# --- refused values -------------------------------------------------------------------------------------------------

GOOD: dict[str, Any] = {"pet_name": "mira", "role": "friend", "manifest_path": "pets/mira.toml", "last_active": 7}
SURROGATE = r"holds a lone surrogate at position 1: UTF-8 cannot store it"
WRONG_FIELDS: list[tuple[str, object, type[Exception], str]] = [
    ("pet_name", 123, TypeError, "pet_name must be str, not int: use str(123)"),
    ("pet_name", None, TypeError, "pet_name must be str, not NoneType"),
    ("role", True, TypeError, "role must be str, not bool: use str(True)"),
    ("role", b"friend", TypeError, "role must be str, not bytes"),
    ("manifest_path", 5, TypeError, "manifest_path must be str, not int: use str(5)"),
    ("manifest_path", Bytes(), TypeError, "manifest_path must be str, not bytes"),
    ("last_active", "7", TypeError, "last_active must be int, not str"),
    ("last_active", True, TypeError, "last_active must be int, not bool"),
    ("last_active", 7.0, TypeError, "last_active must be int, not float: use int(...)"),
    ("last_active", None, TypeError, "last_active must be int, not NoneType"),
    ("last_active", 2**63, ValueError, "last_active 9223372036854775808 does not fit into 64 bits"),
    ("last_active", -(2**63) - 1, ValueError, "last_active -9223372036854775809 does not fit into 64 bits"),
    ("pet_name", "m\ud800", ValueError, rf"pet_name 'm\ud800' {SURROGATE}"),
    ("role", "m\udfff", ValueError, rf"role 'm\udfff' {SURROGATE}"),
    ("manifest_path", "m\udc80", ValueError, rf"manifest_path 'm\udc80' {SURROGATE}"),
    ("extra", None, TypeError, "extra must be a mapping, not NoneType"),
    ("extra", [("a", 1)], TypeError, "extra must be a mapping, not list"),
]
WRONG_FLEETS: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"user_id": 123}, TypeError, "user_id must be str, not int: use str(123)"),
    ({"user_id": "a\ud800"}, ValueError, rf"user_id 'a\ud800' {SURROGATE}"),
    ({"active_pet": 5}, TypeError, "active_pet must be str, not int: use str(5)"),
    ({"active_pet": "a\ud800"}, ValueError, rf"active_pet 'a\ud800' {SURROGATE}"),
    ({"pets": ["mira"]}, TypeError, "pets must hold PetHandle objects, not str"),
    ({"pets": [HANDLE, None]}, TypeError, "pets must hold PetHandle objects, not NoneType"),
    ({"extra": 5}, TypeError, "extra must be a mapping, not int"),
]


@pytest.mark.parametrize(("name", "value", "error", "text"), WRONG_FIELDS)
def test_wrong_handles(name: str, value: object, error: type[Exception], text: str) -> None:
    """A field of the wrong type or an impossible value is refused with its name and the way out."""
    with pytest.raises(error) as caught:
        PetHandle(**{**GOOD, name: value})
    assert str(caught.value) == text


@pytest.mark.parametrize(("fields", "error", "text"), WRONG_FLEETS)
def test_wrong_fleets(fields: dict[str, Any], error: type[Exception], text: str) -> None:
    """The same for a fleet."""
    with pytest.raises(error) as caught:
        PetFleet(**{"user_id": "ada", **fields})
    assert str(caught.value) == text


def test_an_integer_of_very_many_digits() -> None:
    """An integer too long to be printed is refused as one that does not fit."""
    with pytest.raises(ValueError, match=r"^last_active .*does not fit into 64 bits$"):
        pet("mira", 1 << 100_000)


def test_limits_of_64_bits() -> None:
    """The largest and the smallest integer of 64 bits are taken."""
    assert [pet("a", seconds).last_active for seconds in (2**63 - 1, -(2**63), 0)] == [2**63 - 1, -(2**63), 0]


def test_subclasses_become_plain() -> None:
    """Subclasses of str, int, float, date and datetime are kept as the plain values that a file gives back."""

    class Moment(datetime):
        pass

    class Day(date):
        pass

    handle = PetHandle(
        Named.MIRA,
        Named.MIRA,
        Named.MIRA,
        Whole(7),
        {Named.MIRA: [Whole(1), Fraction(0.5), Named.MIRA, Moment(2024, 1, 2), Day(2024, 1, 2)]},
    )
    assert handle == PetHandle(
        "mira", "mira", "mira", 7, {"mira": [1, 0.5, "mira", datetime(2024, 1, 2), date(2024, 1, 2)]}
    )
    plain = [handle.pet_name, handle.role, handle.manifest_path, handle.last_active, *handle.extra]
    assert [type(value) for value in plain] == [str, str, str, int, str]
    assert [type(value) for value in handle.extra["mira"]] == [int, float, str, datetime, date]


@pytest.mark.parametrize("path", ["https://x//y/", "dir/", "./a", "a//b", "", "C:\\pets\\mira.toml", "../../x"])
def test_manifest_path_is_kept_exactly(path: str) -> None:
    """The text of a manifest path stays as it is."""
    assert PetHandle("mira", "friend", path, 7).manifest_path == path


def test_manifest_path_takes_path_objects() -> None:
    """A path object becomes its text."""
    assert PetHandle("mira", "friend", PurePosixPath("pets") / "mira.toml", 7).manifest_path == "pets/mira.toml"


# --- extra -----------------------------------------------------------------------------------------------------------

TOML = "must be a TOML value (str, int, float, bool, datetime, date, time, list or mapping), not"
WRONG_EXTRAS: list[tuple[Any, type[Exception], str]] = [
    ({"a": None}, TypeError, f"extra['a'] {TOML} NoneType"),
    ({"a": {"b": [1, {2}]}}, TypeError, f"extra['a']['b'][1] {TOML} set"),
    ({"a": b""}, TypeError, f"extra['a'] {TOML} bytes"),
    ({"a": timedelta(1)}, TypeError, f"extra['a'] {TOML} timedelta"),
    ({1: "a"}, TypeError, "a key of extra must be str, not int: use str(1)"),
    ({"a": [{None: 1}]}, TypeError, "a key of extra['a'][0] must be str, not NoneType"),
    ({"a": 2**63}, ValueError, "extra['a'] 9223372036854775808 does not fit into 64 bits"),
    ({"a": ["x\ud800"]}, ValueError, rf"extra['a'][0] 'x\ud800' {SURROGATE}"),
    ({"x\ud800": 1}, ValueError, rf"a key of extra 'x\ud800' {SURROGATE}"),
    (
        {"a": time(1, 2, tzinfo=UTC)},
        ValueError,
        "extra['a'] is a time with an offset, which TOML cannot hold: use a datetime",
    ),
    (
        {"a": datetime(2024, 1, 2, tzinfo=timezone(timedelta(hours=1, seconds=30)))},
        ValueError,
        "extra['a'] has an offset of 1:00:30: TOML holds whole minutes only",
    ),
]


@each_place
@pytest.mark.parametrize(("extra", "error", "text"), WRONG_EXTRAS)
def test_wrong_extras(place: Callable[[Any], Any], extra: object, error: type[Exception], text: str) -> None:
    """Values that TOML cannot hold are refused by the constructor; the error names their place."""
    with pytest.raises(error) as caught:
        place(extra)
    assert str(caught.value) == text


@pytest.mark.parametrize("name", ["pet_name", "role", "manifest_path", "last_active", "user_id", "pets", "active_pet"])
def test_own_keys_are_refused(name: str) -> None:
    """The extra of a value holds none of its own fields at its top, frozen before or not; deeper, any key may stand."""
    refusing, taking = PLACES if name in GOOD else reversed(PLACES)
    for extra in ({name: "x"}, taking({name: "x"}).extra):
        with pytest.raises(ValueError, match=rf"^extra must not hold '{name}': it is a field of its own$"):
            refusing(extra)
    assert refusing({"a": {name: "x"}}).extra == {"a": {name: "x"}}


@each_place
@pytest.mark.parametrize("kind", ["lists", "tables", "both"])
def test_depth(place: Callable[[Any], Any], kind: str) -> None:
    """64 levels of tables and lists, extra being the first, can be held and written; one more is refused."""

    def nested(levels: int) -> Any:
        value: Any = 1
        for level in range(levels):
            value = [value] if kind == "lists" or (kind == "both" and level % 2) else {"a": value}
        return {"x": value}

    deepest = place(nested(63))
    assert dumps(deepest if isinstance(deepest, PetFleet) else PetFleet("ada", [deepest]))
    for levels in (64, 5000):
        with pytest.raises(ValueError, match=r"^extra is nested more than 64 levels deep$"):
            place(nested(levels))


def test_offsets() -> None:
    """Of a time zone only its offset at that moment is kept, as a file gives it back."""

    class Zone(tzinfo):
        def utcoffset(self, moment: datetime | None) -> timedelta:
            return timedelta(hours=-3, minutes=-30)

        def dst(self, moment: datetime | None) -> None:
            return None

        def tzname(self, moment: datetime | None) -> str:
            return "Newfoundland"

    moment = pet("mira", extra={"a": datetime(2024, 1, 2, fold=1, tzinfo=Zone())}).extra["a"]
    assert type(moment.tzinfo) is timezone
    assert moment.isoformat() == "2024-01-02T00:00:00-03:30"
    assert moment.fold == 0
