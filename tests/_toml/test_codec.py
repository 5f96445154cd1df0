"""What is written, to the letter; and what is said of every text that is no fleet."""

from __future__ import annotations

import sys
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
from tests.conftest import pet

MIRA = PetHandle("mira", "friend", "pets/mira.toml", 7)
HEAD = 'user_id = "ada"\n'
BLOCK = '\n[[pets]]\npet_name = "mira"\nrole = "friend"\nmanifest_path = "pets/mira.toml"\nlast_active = 7\n'
ONE = HEAD + BLOCK


def written(fleet: PetFleet) -> str:
    """Return what a commit writes, without the look at the whole that dumps and each commit take."""
    return encode.render_parts(fleet).text()


# --- writing ---------------------------------------------------------------------------------------------------------

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


def test_canonical() -> None:
    """Whatever layout a fleet was read in, it is written in ours."""
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


# --- what is written is parsed back ----------------------------------------------------------------------------------

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
    """Only a pet that carries no text, and what petfleet does not know at the top, make that necessary."""
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
    """What could not be written has no pieces to share, and the change is written whole."""
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


# --- reading ---------------------------------------------------------------------------------------------------------

BAD: dict[str, tuple[str | bytes, str, int | None, int | None]] = {
    "empty": ("", "the required field user_id", None, None),
    "no pets": (HEAD, "the required field pets", None, None),
    "no user": ("pets = []\n", "the required field user_id", None, None),
    "no user, one pet": (BLOCK, "the required field user_id", None, None),
    "user": ("pets = []\nuser_id = 5\n", "user_id to be a string, found 5", 2, None),
    "user is a table": ("pets = []\n[user_id]\n", "user_id to be a string, found {}", None, None),
    "active": ("#\n active_pet = 0.5\n" + ONE, "active_pet to be a string, found 0.5", 2, None),
    "pets": (HEAD + 'pets = "x"\n', "pets to be an array of tables, found 'x'", 2, None),
    "pets is a table": (HEAD + "[pets]\na = 1\n", "pets to be an array of tables, found {'a': 1}", 2, None),
    "pets of ints": (HEAD + "\npets = [1]\n", "a table for pet 1, found 1", 3, None),
    "no role": (ONE + BLOCK.replace('role = "friend"\n', ""), "the required field role of pet 2", 9, None),
    "nothing in a pet": (ONE + "[[pets]]\n[[pets]]\n", "the required field pet_name of pet 2", 8, None),
    "an inline pet": (HEAD + "pets = [{}]\n", "the required field pet_name of pet 1", None, None),
    "role": (ONE.replace('"friend"', "true"), "role of pet 1 to be a string, found True", 5, None),
    "last_active": (
        ONE + BLOCK.replace("= 7", "= 7.0"),
        "last_active of pet 2 to be an integer of 64 bits, found 7.0",
        13,
        None,
    ),
    "last_active is a bool": (
        ONE.replace("= 7", "= false"),
        "last_active of pet 1 to be an integer of 64 bits, found False",
        7,
        None,
    ),
    "a quoted key": (
        HEAD + BLOCK.replace("role =", '"role" =').replace('"friend"', "1"),
        "role of pet 1 to be a string, found 1",
        None,
        None,
    ),
    "64 bits": (
        ONE.replace("= 7", "= 9223372036854775808"),
        "a pet that can be stored (last_active 9223372036854775808 does not fit into 64 bits)",
        3,
        None,
    ),
    "64 bits in extra": (
        HEAD + "x = -9223372036854775809\npets = []\n",
        "a fleet that can be stored (extra['x'] -9223372036854775809 does not fit into 64 bits)",
        None,
        None,
    ),
    "too deep": (
        HEAD + "x = " + "[" * 70 + "]" * 70 + "\npets = []\n",
        "a fleet that can be stored (extra is nested more than 64 levels deep)",
        None,
        None,
    ),
    "a surrogate": (
        'user_id = "a\ud800"\npets = []\n',
        "a fleet that can be stored (user_id 'a\\ud800' holds a lone surrogate at position 1: UTF-8 cannot store it)",
        None,
        None,
    ),
    "a long value": (
        f'user_id = "ada"\npets = "{"x" * 1000}"\n',
        "pets to be an array of tables, found '" + "x" * 99,
        2,
        None,
    ),
    "no value": (HEAD + "pets = \n", "valid TOML (Invalid value)", 2, 8),
    "no value in a block": (ONE + BLOCK.replace("= 7", "= "), "valid TOML (Invalid value)", 13, 15),
    "a key twice": (ONE + "role = 'x'\n", "valid TOML (Cannot overwrite a value)", 8, 11),
    "the end": (HEAD + "pets = [", "valid TOML (Invalid value)", 2, 9),
    "the end of a line": (HEAD + "pets = []\nx = [1\n", "valid TOML (Unclosed array)", 4, 1),
    "a key alone": (ONE + "x\n", "valid TOML (Expected '=' after a key in a key/value pair)", 8, 2),
    "not UTF-8": (HEAD.encode() + b'pets = "\xff"\n', "UTF-8", 2, 9),
    "not UTF-8 at the start": (b"\xff\xfe", "UTF-8", 1, 1),
    "not UTF-8 at the end": ("user_id = 'é".encode()[:-1], "UTF-8", 1, 12),
    "two byte-order marks": ("\ufeff\ufeff" + ONE, "valid TOML (Invalid statement)", 1, 1),
}


@pytest.mark.parametrize(("text", "expected", "line", "column"), BAD.values(), ids=BAD)
def test_bad_texts(text: str | bytes, expected: str, line: int | None, column: int | None) -> None:
    """A text that is no fleet is refused with what should be there, and where."""
    with pytest.raises(FleetFormatError) as caught:
        loads(text)
    error = caught.value
    assert (error.expected, error.line, error.column, error.path) == (expected, line, column, None)


@pytest.mark.parametrize(
    "header",
    [
        "[[pets]]",
        "[[ pets ]]",
        '[["pets"]]',
        "[['pets']]  # mine",
        "[[pets]] # mine",
        "\t[[pets]]",
        "[[other]] #\n[[pets]]",
        '[["other"]]\n[[pets]]',
    ],
)
def test_lines_beside_other_headers(header: str) -> None:
    """However the headers are written, a line that is given is the right one."""
    with pytest.raises(FleetFormatError) as caught:
        loads(f'{HEAD}{header}\nrole = 5\npet_name = "a"\n{BLOCK}')
    assert caught.value.expected == "role of pet 1 to be a string, found 5"
    right = 3 + header.count("\n")
    assert caught.value.line in ((right,) if '"' not in header and "'" not in header else (right, None))


def test_an_integer_that_cannot_be_shown() -> None:
    """Within the digits that are read, a hexadecimal one may have more of them than the interpreter prints."""
    with pytest.raises(FleetFormatError) as caught:
        loads(f"user_id = 0x{'f' * 4000}\npets = []\n")
    assert caught.value.expected == "user_id to be a string, found a int beyond printing"


@pytest.mark.parametrize("value", ["0x" + "f" * 5000, "[0x" + "f" * 5000 + "]"])
@pytest.mark.parametrize("place", ["user_id = {}\npets = []", HEAD + "pets = {}", ONE + "x = {}"])
def test_integers_of_very_many_digits(place: str, value: str) -> None:
    """An integer too long to be printed is refused like any other wrong value."""
    with pytest.raises(FleetFormatError):
        loads(place.format(value))


def test_too_many_digits() -> None:
    """Decimal digits beyond what Python converts are refused with its reason."""
    allowed = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(1000)
    try:
        with pytest.raises(ValueError, match="digits") as reason:
            int("1" * 1001)
        with pytest.raises(FleetFormatError) as caught:
            loads(f"{HEAD}pets = []\nx = {'1' * 1001}\n")
    finally:
        sys.set_int_max_str_digits(allowed)
    assert caught.value.expected == f"valid TOML ({reason.value})"
    assert caught.value.line is None


def test_byte_order_mark() -> None:
    """One leading byte-order mark is read past, in text and in bytes."""
    assert loads("\ufeff" + ONE) == loads(("\ufeff" + ONE).encode()) == loads(ONE)


@pytest.mark.parametrize("text", [None, 5, ["x"], bytearray(b"x")])
def test_only_text_is_read(text: Any) -> None:
    """Anything else than text or bytes is a TypeError."""
    with pytest.raises(TypeError, match=rf"^loads takes str or bytes, not {type(text).__name__}$"):
        loads(text)


@pytest.mark.parametrize("text", ["#é\n" + ONE, ("#é\n" + ONE).encode()], ids=["str", "bytes"])
def test_too_large_to_read(text: str | bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """A text of more bytes than a file may have is refused unread, one that just fits is read."""
    size = len(ONE) + 4
    monkeypatch.setattr(limits, "MAX_BYTES", size)
    assert loads(text) == loads(ONE)
    monkeypatch.setattr(limits, "MAX_BYTES", size - 1)
    with pytest.raises(FleetFormatError, match=rf"^fleet text: expected at most {size - 1} bytes, not {size}$"):
        loads(text)


def test_the_size_limit() -> None:
    """A file may have 16 MiB."""
    assert limits.MAX_BYTES == 16 * 1024 * 1024


@pytest.mark.parametrize("text", [ONE, HEAD + "pets = []\n", "# mine\n\n" + ONE], ids=["block", "empty", "comment"])
def test_another_users_fleet(text: str) -> None:
    """With a user_id given, a fleet of another user is refused with both ids and the line."""
    assert loads(text, user_id="ada") == loads(text)
    with pytest.raises(FleetFormatError) as caught:
        loads(text, user_id="Ada")
    assert caught.value.expected == "user_id = 'Ada', found 'ada'"
    assert caught.value.line == (3 if text.startswith("#") else 1)


@pytest.mark.parametrize(
    ("data", "user_id"),
    [
        (ONE, "ada"),
        ("\ufeff" + ONE, "ada"),
        (HEAD, "ada"),
        (HEAD + "pets = 5\n", "ada"),
        (HEAD + "[[pets]]\nrole = \n", "ada"),
        (HEAD + "  [[pets\n", "ada"),
        (HEAD + "x = \n[[pets]]\n", "ada"),
        ("x = \n" + HEAD + "[[pets]]\n", None),
        (HEAD + "x = " + "[" * 101 + "]" * 101, "ada"),
        ("[[pets]]\n" + HEAD + "x", None),
        ("user_id = 5\npets = []\n", None),
        ("pets = []\n", None),
        ("<<<<<<<\n" + HEAD, None),
        ("", None),
        (b"\xff" + HEAD.encode(), None),
    ],
)
def test_user_id_in(data: str | bytes, user_id: str | None) -> None:
    """The user_id of a broken text is told wherever it stands in a part that can be read."""
    assert decode.user_id_in(data if isinstance(data, bytes) else data.encode()) == user_id
