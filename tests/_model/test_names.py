"""Which user ids and pet names are taken, in paths and in memory keys."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from petfleet import InvalidNameError, PetFleet, dumps, fleet_path, loads, per_pet_memory_key, shared_memory_key
from petfleet._model import names

CALLS: list[Callable[[str], object]] = [
    lambda user_id: fleet_path(user_id, "root"),
    shared_memory_key,
    lambda user_id: per_pet_memory_key(user_id, "mira"),
]
each_call = pytest.mark.parametrize("call", CALLS, ids=["fleet_path", "shared_memory_key", "per_pet_memory_key"])

COLONS = "a user id must not contain '::' or end in ':', or two memory keys could be the same"
CONTROL = "a user id must not contain control characters"
REFUSED = {
    "": "a user id must not be empty",
    ".": "a user id must not be '.' or '..'",
    "..": "a user id must not be '.' or '..'",
    "/": "a user id must not contain '/'",
    "../ada": "a user id must not contain '/'",
    "a/": "a user id must not contain '/'",
    "a\0b": CONTROL,
    "\x1f": CONTROL,
    "a\n": CONTROL,
    "\x7f": CONTROL,
    "\x80": CONTROL,
    "\x9f": CONTROL,
    "a::b": COLONS,
    "::": COLONS,
    ":": COLONS,
    "a:": COLONS,
    "\ud800": "a user id must be encodable as UTF-8 (it holds a lone surrogate)",
    "a" * 256: "a user id must have at most 255 bytes of UTF-8, not 256",
    "é" * 128: "a user id must have at most 255 bytes of UTF-8, not 256",
}
WINDOWS_CHARACTERS = 'a user id must not contain any of " * : < > ? \\ | on Windows'
WINDOWS_ENDING = "a user id must not end in a dot or a space on Windows"
WINDOWS_DEVICE = "a user id must not be a reserved device name on Windows"
REFUSED_ON_WINDOWS = {
    **{f"a{character}b": WINDOWS_CHARACTERS for character in '<>:"\\|?*'},
    "a.": WINDOWS_ENDING,
    "a ": WINDOWS_ENDING,
    "con": WINDOWS_DEVICE,
    "PRN": WINDOWS_DEVICE,
    "aux.txt": WINDOWS_DEVICE,
    "nul .toml": WINDOWS_DEVICE,
    "Com1": WINDOWS_DEVICE,
    "lpt9": WINDOWS_DEVICE,
    "COM\u00b2": WINDOWS_DEVICE,
    "conin$": WINDOWS_DEVICE,
    "CONOUT$": WINDOWS_DEVICE,
}
TAKEN = [
    "ada",
    "123456789012345678",
    "@alice:example.org",
    ":a",
    "a:b:c",
    "...",
    " ",
    "-rf",
    "~",
    "o'dd \"u\\ser..id",
    "Оля-🐈",
    "\xa0",
    "\u2028",
    "a" * 255,
    "é" * 127 + "a",
]
TAKEN_ON_WINDOWS = ["ada", "console", "com0", "com10", "a.con", ".con", "conin", " con", "..a"]


@each_call
@pytest.mark.parametrize(("user_id", "rule"), REFUSED.items(), ids=map(ascii, REFUSED))
def test_refused_user_ids(call: Callable[[str], object], user_id: str, rule: str) -> None:
    """A user id that breaks a rule is refused with the rule, in a path as in both memory keys."""
    with pytest.raises(InvalidNameError) as caught:
        call(user_id)
    assert (caught.value.name, caught.value.rule) == (user_id, rule)


@each_call
@pytest.mark.parametrize("user_id", [*TAKEN, *REFUSED_ON_WINDOWS], ids=ascii)
def test_taken_user_ids(call: Callable[[str], object], user_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Any other text is accepted unchanged, including names that only Windows reserves."""
    monkeypatch.setattr(names, "_WINDOWS", False)
    assert user_id in str(call(user_id))


@pytest.mark.parametrize(("user_id", "rule"), REFUSED_ON_WINDOWS.items(), ids=map(ascii, REFUSED_ON_WINDOWS))
def test_refused_on_windows(user_id: str, rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """On Windows its reserved characters, endings and device names are refused too."""
    monkeypatch.setattr(names, "_WINDOWS", True)
    with pytest.raises(InvalidNameError) as caught:
        shared_memory_key(user_id)
    assert caught.value.rule == rule


@pytest.mark.parametrize("user_id", TAKEN_ON_WINDOWS)
def test_taken_on_windows(user_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that only resembles a reserved one is taken on Windows."""
    monkeypatch.setattr(names, "_WINDOWS", True)
    assert shared_memory_key(user_id) == f"shared::{user_id}"


@each_call
def test_a_user_id_of_another_type(call: Callable[[object], object]) -> None:
    """A user id that is no text is a TypeError that says how to make it one."""
    with pytest.raises(TypeError, match=r"^user_id must be str, not int: use str\(123\)$"):
        call(123)
    with pytest.raises(TypeError, match=r"^user_id must be str, not bytes$"):
        call(b"ada")


def test_the_rules_belong_to_the_store() -> None:
    """A fleet and its text may be of any user, as the old program wrote them."""
    for user_id in REFUSED.keys() - {"\ud800"}:
        assert loads(dumps(PetFleet(user_id))).user_id == user_id


def test_fleet_path() -> None:
    """The path is <root>/<user_id>/fleet.toml, whatever kind of path the root is."""
    assert fleet_path("ada", "data/fleets") == Path("data", "fleets", "ada", "fleet.toml")
    assert fleet_path("ada", Path("data")) == Path("data", "ada", "fleet.toml")
    assert os.path.relpath(fleet_path("...", "data"), "data") == os.path.join("...", "fleet.toml")


def test_memory_keys() -> None:
    """The two keys equal those of the old program."""
    assert shared_memory_key("ada") == "shared::ada"
    assert per_pet_memory_key("ada", "mira") == "pet::ada::mira"
    assert per_pet_memory_key("ada", "") == "pet::ada::"


def test_pet_names_in_keys() -> None:
    """A pet name in a key is any text that UTF-8 can hold, and nothing else."""
    assert per_pet_memory_key("ada", "a/b::\n") == "pet::ada::a/b::\n"
    with pytest.raises(TypeError, match=r"^pet_name must be str, not int: use str\(5\)$"):
        per_pet_memory_key("ada", 5)  # type: ignore[arg-type]  # what is tested
    with pytest.raises(ValueError, match=r"^pet_name 'x\\udfff' holds a lone surrogate at position 1: UTF-8"):
        per_pet_memory_key("ada", "x\udfff")


def taken(user_id: str) -> bool:
    try:
        shared_memory_key(user_id)
    except InvalidNameError:
        return False
    return True


@given(st.text(":ab") | st.text(), st.text(":ab") | st.text())
def test_a_key_tells_its_pair(user_id: str, pet_name: str) -> None:
    """User id and pet name can be told from their key, so no two pairs share one."""
    assume(taken(user_id))
    kind, user_and_pet = per_pet_memory_key(user_id, pet_name).split("::", 1)
    assert kind == "pet"
    assert user_and_pet.split("::", 1) == [user_id, pet_name]


def test_no_two_short_pairs_share_a_key() -> None:
    """All pairs of up to four colons and letters have keys of their own."""
    texts = ["".join(letters) for size in range(5) for letters in itertools.product(":a", repeat=size)]
    pairs = list(itertools.product(filter(taken, texts), texts))
    keys = {per_pet_memory_key(*pair) for pair in pairs} | {shared_memory_key(user_id) for user_id, _ in pairs}
    assert len(keys) == len(pairs) + len({user_id for user_id, _ in pairs})
    assert len(pairs) > 200
