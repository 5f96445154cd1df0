"""What petfleet writes, to the letter."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, time, timedelta, timezone
from hashlib import sha256
from typing import Any

import pytest
import tomli_w

from petfleet import FleetFormatError, PetFleet, PetHandle, dumps, loads
from petfleet._backends.state import State
from petfleet._commit.change import Change, Kind, apply
from petfleet._toml import decode, encode, limits
from tests._toml.texts import BLOCK, HEAD, MIRA, ONE
from tests.conftest import pet


def written(fleet: PetFleet) -> str:
    """Return the text that a commit writes, without the final check of dumps and commits."""
    return encode.render_parts(fleet).text()


# --- the layout

LONG = [{"colour": "x" * 60, "name": "y" * 60}, {}]
INLINE = {
    "text": 'a "b" \\ \n\t\x00\x7fé🐈',
    "numbers": [1, -2.5, True, float("inf"), 1e300],
    "table": {"odd key": {"": [], "b": {}}},
    "tables": [{"a": 1}, {"b": [{"c": 2}]}],
    "odd.key": datetime(2024, 1, 2, 3, 4, 5, 600, tzinfo=timezone(timedelta(hours=-3))),
    "when": [date(2024, 1, 2), time(3, 4, 5), datetime(2024, 1, 2, 3, 4)],
}
INLINE_TEXT = """\
text = "a \\"b\\" \\\\ \\n\t\\u0000\\u007fé🐈"
numbers = [
1,
-2.5,
true,
inf,
1e+300,
]
table = { "odd key" = { "" = [], b = {} } }
tables = [
{ a = 1 },
{ b = [
{ c = 2 },
] },
]
"odd.key" = 2024-01-02 03:04:05.000600-03:00
when = [
2024-01-02,
03:04:05,
2024-01-02 03:04:00,
]
"""
LAYOUTS: dict[str, tuple[PetFleet, str]] = {
    "no pets": (PetFleet("ada"), HEAD + "pets = []\n"),
    "no pets, active": (PetFleet("ada", (), "ghost"), HEAD + 'active_pet = "ghost"\npets = []\n'),
    "one pet": (PetFleet("ada", [MIRA]), ONE),
    "active": (
        PetFleet("ada", [MIRA, pet("nova", -1, role="")], "mira"),
        HEAD
        + 'active_pet = "mira"\n'
        + BLOCK
        + '\n[[pets]]\npet_name = "nova"\nrole = ""\nmanifest_path = "pets/nova.toml"\nlast_active = -1\n',
    ),
    "escapes": (
        PetFleet('a"\\', (), "\r\n\x1b\t\u2028"),
        'user_id = "a\\"\\\\"\nactive_pet = "\\r\\n\\u001b\t\u2028"\npets = []\n',
    ),
    "plain extras": (
        PetFleet("ada", [MIRA], "mira", {"version": 2, "list": [1, [2]], "short": [{"a": 1}]}),
        HEAD
        + 'active_pet = "mira"\nversion = 2\nlist = [\n    1,\n    [\n        2,\n    ],\n]\n'
        + "short = [\n    { a = 1 },\n]\n"
        + BLOCK,
    ),
    "plain extras, no pets": (PetFleet("ada", extra={"version": 2}), HEAD + "version = 2\npets = []\n"),
    "tables last": (
        PetFleet("ada", [MIRA], None, {"t": {"a": {"b": 1}}, "version": 2, "e": {}}),
        HEAD + "version = 2\n" + BLOCK + "\n[t.a]\nb = 1\n\n[e]\n",
    ),
    "tables last, no pets": (PetFleet("ada", extra={"t": {"a": 1}}), HEAD + "pets = []\n\n[t]\na = 1\n"),
    "arrays of tables last": (
        PetFleet("ada", [MIRA], None, {"log": LONG, "z": "z"}),
        HEAD + 'z = "z"\n' + BLOCK + f'\n[[log]]\ncolour = "{"x" * 60}"\nname = "{"y" * 60}"\n\n[[log]]\n',
    ),
    "a pet's extras inline": (
        PetFleet("ada", [PetHandle("mira", "friend", "pets/mira.toml", 7, INLINE), MIRA]),
        ONE + INLINE_TEXT + BLOCK,
    ),
}


@pytest.mark.parametrize(("fleet", "text"), LAYOUTS.values(), ids=LAYOUTS)
def test_layout(fleet: PetFleet, text: str) -> None:
    """A fleet is written in this layout to the letter, reads back as itself, and then is written the same again."""
    assert dumps(fleet) == text
    for content in (text, text.encode()):
        assert loads(content) == fleet
        assert dumps(loads(content)) == text
    assert dumps(fleet) == text


@pytest.mark.parametrize("value", [float("nan"), [{"x": float("nan")}]], ids=["plain", "nested"])
def test_not_a_number(value: object) -> None:
    """NaN is written and read back like any other value, though it is not equal to itself."""
    in_pet = PetFleet("ada", [MIRA, PetHandle("nova", "friend", "pets", 1, {"x": value})])
    for fleet in (in_pet, PetFleet("ada", [MIRA], extra={"x": value})):
        text = dumps(fleet)
        assert text.count("= nan") == 1
        assert dumps(loads(text)) == text == written(fleet)


def test_every_layout_is_written_in_ours() -> None:
    """The layout of the text that was read does not matter."""
    assert dumps(loads(ONE.rstrip())) == ONE
    assert dumps(loads(HEAD + BLOCK[1:] + BLOCK)) == ONE + BLOCK
    assert dumps(loads(ONE.replace("= 7", "= 0x07 # seven"))) == ONE
    inline = "pets = [{pet_name='mira', role='friend', manifest_path='pets/mira.toml', last_active=7}]"
    assert dumps(loads(f"{inline}\nuser_id = 'ada'")) == ONE


def test_etag() -> None:
    """The documented ETag of a fleet is the hash of its text, and differs where the text does."""
    assert sha256(dumps(loads(ONE)).encode()).digest() == sha256(ONE.encode()).digest()
    assert dumps(PetFleet("ada", extra={"x": 1})) != dumps(PetFleet("ada", extra={"x": True}))


def test_only_fleets_are_written() -> None:
    """Anything else than a fleet is a TypeError."""
    with pytest.raises(TypeError, match=r"^dumps takes a PetFleet, not PetHandle$"):
        dumps(MIRA)  # type: ignore[arg-type]  # what is tested


@pytest.mark.parametrize("write", [dumps, written], ids=["dumps", "written"])
def test_too_large_to_write(write: Callable[[PetFleet], object], monkeypatch: pytest.MonkeyPatch) -> None:
    """A fleet whose text has more bytes than a file may have is refused, one that just fits is written."""
    fleet = PetFleet("ada", [pet("é" * 100)])
    size = len(dumps(fleet).encode())
    monkeypatch.setattr(limits, "MAX_BYTES", size)
    assert write(fleet)
    monkeypatch.setattr(limits, "MAX_BYTES", size - 1)
    with pytest.raises(ValueError, match=rf"^the fleet of user ada cannot be stored: .*{size} bytes"):
        write(fleet)


# --- what is written is parsed back

WRONG_BLOCKS = {
    "another name": "mira->nora",
    "another time": "7->8",
    "no TOML": 'role = "->role = ',
    "another table": "last_active = 7->last_active = 7\n[x]",
    "one more pet": "last_active = 7->last_active = 7\n" + BLOCK,
    "an unknown key": "last_active = 7->last_active = 7\nx = 1",
}
ODD = PetHandle("mira", "friend", "pets/mira.toml", 7, {"odd": [1]})


@pytest.mark.parametrize("write", [dumps, written], ids=["dumps", "written"])
@pytest.mark.parametrize("handle", [MIRA, ODD], ids=["plain", "extra"])
@pytest.mark.parametrize("wrong", WRONG_BLOCKS.values(), ids=WRONG_BLOCKS)
def test_a_wrong_block_is_not_written(
    write: Callable[[PetFleet], object], handle: PetHandle, wrong: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Should the writer ever write a pet wrongly, the call fails instead."""
    good = encode._render_block
    old, _, new = wrong.partition("->")
    for render in ("_render_block", "_quoted"):
        monkeypatch.setattr(encode, render, lambda handle: good(handle).replace(old, new))
    with pytest.raises(ValueError, match=r"^the fleet of user ada cannot be stored: ") as caught:
        write(PetFleet("ada", [PetHandle("nova", "friend", "pets", 1), unwritten(handle)]))
    assert not isinstance(caught.value, FleetFormatError)


def unwritten(handle: PetHandle) -> PetHandle:
    """Return an equal handle that has never been written."""
    return PetHandle(handle.pet_name, handle.role, handle.manifest_path, handle.last_active, handle.extra)


@pytest.mark.parametrize("write", [dumps, written], ids=["dumps", "written"])
@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ('"x" = 1\n', {"x": True}),
        ('"x" = 1.0\n', {"x": 1}),
        ('"x" = 0.0\n', {"x": -0.0}),
        ('"x" = [2]\n', {"x": [2, 3]}),
        ('"y" = 1\n', {"x": 1}),
        ('[x]\n"b" = 1\n', {"x": {"a": 1}}),
        ('"x" = \n', {"x": 1}),
        ("", {"x": 1}),
    ],
)
def test_a_wrong_extra_is_not_written(
    write: Callable[[PetFleet], object], wrong: str, right: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Should tomli_w ever write an unknown key wrongly, the call fails instead."""
    monkeypatch.setattr(tomli_w, "dump", lambda _, file: file.write(wrong.encode()))
    with pytest.raises(ValueError, match=r"^the fleet of user ada cannot be stored: "):
        write(PetFleet("ada", extra=right))


@pytest.mark.parametrize("write", [dumps, written], ids=["dumps", "written"])
@pytest.mark.parametrize("fleet", [PetFleet("a\n"), PetFleet("ada", (), "b\n")], ids=["user_id", "active_pet"])
def test_a_wrong_string_is_not_written(
    write: Callable[[PetFleet], object], fleet: PetFleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Should a name ever be written wrongly, the call fails instead."""
    good = encode._string
    monkeypatch.setattr(encode, "_string", lambda value: good(value.strip()))
    with pytest.raises(ValueError, match=r"reads back differently$"):
        write(fleet)


def test_a_wrong_text_is_not_returned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even where each piece was checked, dumps returns only a text that means the fleet as a whole."""
    good = encode._render(PetFleet("ada", [MIRA]), None)
    monkeypatch.setattr(encode, "_render", lambda fleet, before: good)
    assert dumps(PetFleet("ada", [MIRA])) == ONE
    for fleet in (PetFleet("ada", [MIRA, MIRA]), PetFleet("ada"), PetFleet("eve", [MIRA])):
        with pytest.raises(ValueError, match=r"cannot be stored: its TOML text reads back differently$"):
            dumps(fleet)


EXTRA = PetFleet("ada", [MIRA], None, {"x": 1})
WRONG_TEXTS = {
    "another user": (PetFleet("ada", [MIRA]), 'user_id = "ada"->user_id = "eve"'),
    "another active pet": (PetFleet("ada", [MIRA], "mira"), 'active_pet = "mira"->active_pet = "nova"'),
    "an active pet too many": (PetFleet("ada", [MIRA]), 'ada"\n->ada"\nactive_pet = "mira"\n'),
    "no active pet": (PetFleet("ada", [MIRA], "mira"), 'active_pet = "mira"\n->'),
    "no list of no pets": (PetFleet("ada"), "pets = []\n->"),
    "a list of no pets too many": (PetFleet("ada", [MIRA]), 'ada"\n->ada"\npets = []\n'),
    "another pet": (PetFleet("ada", [MIRA]), "mira->nora"),
    "no pet": (PetFleet("ada", [MIRA, MIRA]), BLOCK + "->"),
    "pets in another order": (
        PetFleet("ada", [MIRA, pet("b")]),
        'pet_name = "mira"->pet_name = "x"|pet_name = "b"->pet_name = "mira"|pet_name = "x"->pet_name = "b"',
    ),
    "a table at the end": (PetFleet("ada", [MIRA]), "= 7\n->= 7\n\n[t]\n"),
    "a key of the pet at the end": (PetFleet("ada", [MIRA]), "= 7\n->= 7\nx = 1\n"),
    "a key in the head": (PetFleet("ada", [MIRA]), 'ada"\n->ada"\nx = 1\n'),
    "no key in the head": (EXTRA, "x = 1\n->"),
    "another key in the head": (EXTRA, "x = 1->x = 2"),
}


@pytest.mark.parametrize("carried", [True, False], ids=["written before", "never written"])
@pytest.mark.parametrize(("fleet", "wrong"), WRONG_TEXTS.values(), ids=WRONG_TEXTS)
def test_each_wrong_text_is_noticed(fleet: PetFleet, wrong: str, carried: bool) -> None:
    """A whole text that means another fleet is refused, whether or not its pets carry their own texts."""
    fleet = PetFleet(fleet.user_id, map(unwritten, fleet.pets), fleet.active_pet, fleet.extra)
    text = dumps(PetFleet(fleet.user_id, map(unwritten, fleet.pets), fleet.active_pet, fleet.extra))
    if carried:
        dumps(fleet)
    encode.confirm(text, fleet)
    for change in wrong.split("|"):
        old, _, new = change.partition("->")
        assert old in text
        text = text.replace(old, new, 1)
    with pytest.raises(ValueError, match=r"^the fleet of user ada cannot be stored: "):
        encode.confirm(text, fleet)


def test_a_text_of_pieces_that_were_checked_is_not_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only a pet without a cached text, or an unknown key at the top, make parsing necessary."""
    fleet = PetFleet("ada", [MIRA, pet("b"), PetHandle("c\n", "r", "m", 1, {"x": 1})], "mira")
    text = dumps(fleet)
    parsed: list[str] = []
    read = decode.loads

    def noted(text: str) -> PetFleet:
        parsed.append(text)
        return read(text)

    monkeypatch.setattr(encode, "loads", noted)
    for whole in (fleet, PetFleet("ada"), PetFleet("ada", [], "mira")):
        assert dumps(whole)
    assert parsed == []
    encode.confirm(text, PetFleet("ada", map(unwritten, fleet.pets), "mira"))
    assert parsed == [text]
    assert dumps(EXTRA) == parsed[-1]


@pytest.mark.parametrize(
    "fleet",
    [
        PetFleet("bob", [MIRA], "mira"),
        PetFleet("ada", [MIRA], "b"),
        PetFleet("ada", [MIRA]),
        PetFleet("ada", [], "mira"),
        PetFleet("ada", [MIRA], "mira", {"x": 1}),
    ],
)
def test_the_head_of_another_fleet_is_not_taken_over(fleet: PetFleet) -> None:
    """Whatever stands in the head and differs, the head is made anew."""
    before = PetFleet("ada", [MIRA], "mira")
    # User ids and names of the same objects, as those of one store's fleets are.
    fleet = PetFleet(
        before.user_id if fleet.user_id == "ada" else fleet.user_id,
        fleet.pets,
        before.active_pet if fleet.active_pet == "mira" else fleet.active_pet,
        fleet.extra or before.extra,
    )
    assert encode.render_parts(fleet, (before, encode.render_parts(before))).text() == dumps(fleet)


def test_a_text_is_written_again_only_for_what_is_new(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fleet's head is made anew only where it differs, and a pet's text only if the pet carries none."""
    before = PetFleet("ada", [unwritten(MIRA), pet("b")], "mira", {"x": 1})
    pieces = encode.render_parts(before)
    heads: list[PetFleet] = []
    render = encode._render_head

    def noted(fleet: PetFleet) -> tuple[str, str, bool]:
        heads.append(fleet)
        return render(fleet)

    monkeypatch.setattr(encode, "_render_head", noted)
    same_head = before.with_last_active("b", 5)
    assert encode.render_parts(same_head, (before, pieces)).head == pieces.head
    assert heads == []
    for other in (before.with_active("b"), PetFleet("eve", before.pets, "mira", before.extra)):
        assert encode.render_parts(other, (before, pieces)).head != pieces.head
        assert heads.pop() is other


def test_a_change_of_a_fleet_too_large_to_write_may_make_it_small_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fleet that could not be written has no parts to share, so the changed one is rendered anew."""
    small = PetFleet("ada", [MIRA])
    large = PetFleet(small.user_id, [MIRA, pet("é" * 100)], None, small.extra)
    monkeypatch.setattr(limits, "MAX_BYTES", len(dumps(large).encode()) - 1)
    change = Change(lambda fleet: fleet and fleet.without_pet("é" * 100), Kind.CHANGE)
    before = State(large)
    after, first = apply([change], before)
    assert (change.error, change.result) == (None, small)
    assert first == 0
    assert after.parts is not None
    assert after.parts.text() == ONE


def test_a_change_makes_only_what_it_changed_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """The head of the fleet before is that of the fleet after it, as long as they share it."""
    before = State(PetFleet("ada", [MIRA], None, {"x": 1}))
    assert before.parts is not None
    monkeypatch.setattr(encode, "_render_head", lambda fleet: pytest.fail("the head was made anew"))
    change = Change(lambda fleet: fleet and fleet.with_last_active("mira", 8), Kind.CHANGE)
    after, _ = apply([change], before)
    assert change.error is None
    assert after.fleet == PetFleet("ada", [PetHandle("mira", "friend", "pets/mira.toml", 8)], None, {"x": 1})
