"""Properties of any fleet and any text: round trips, and the agreement of both ways of reading."""

from __future__ import annotations

import pickle
import tomllib
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta, timezone
from typing import Any

import pytest
import tomli_w
from hypothesis import given, settings
from hypothesis import strategies as st

from petfleet import FleetFormatError, PetFleet, PetHandle, dumps, loads
from petfleet._model.extra import same
from petfleet._model.fleet import FLEET_KEYS, HANDLE_KEYS
from petfleet._toml import decode, encode, layout

# --- round trips -----------------------------------------------------------------------------------------------------

TEXTS = st.text(st.characters(exclude_categories=["Cs"])) | st.text("\"'\\#[]{}=., \n\r\t\x00\x7f\x85\u2028a")
INTEGERS = st.integers(-(2**63), 2**63 - 1)
OFFSETS = st.integers(-23 * 60 - 59, 23 * 60 + 59).map(lambda minutes: timezone(timedelta(minutes=minutes)))
PLAIN = st.one_of(
    TEXTS,
    INTEGERS,
    st.booleans(),
    st.floats(),
    st.datetimes(),
    st.datetimes(timezones=OFFSETS),
    st.dates(),
    st.times(),
)
VALUES: st.SearchStrategy[Any] = st.recursive(
    PLAIN,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(TEXTS, inner, max_size=4)
        | st.lists(st.dictionaries(TEXTS, inner, max_size=3), max_size=3)
    ),
    max_leaves=10,
)


def extras(known: frozenset[str]) -> st.SearchStrategy[dict[str, Any]]:
    return st.dictionaries(TEXTS.filter(lambda key: key not in known), VALUES, max_size=3)


HANDLES = st.builds(PetHandle, TEXTS, TEXTS, TEXTS, INTEGERS, extras(HANDLE_KEYS))
FLEETS = st.builds(PetFleet, TEXTS, st.lists(HANDLES, max_size=3), st.none() | TEXTS, extras(FLEET_KEYS))


def same_fleet(one: PetFleet, other: PetFleet) -> bool:
    """Whether both mean the same TOML (unlike ==, for which NaN is not NaN and 1 is True)."""
    return (
        (one.user_id, one.active_pet) == (other.user_id, other.active_pet)
        and len(one.pets) == len(other.pets)
        and all(
            (a.pet_name, a.role, a.manifest_path, a.last_active) == (b.pet_name, b.role, b.manifest_path, b.last_active)
            and same(a.extra, b.extra)
            for a, b in zip(one.pets, other.pets, strict=True)
        )
        and same(one.extra, other.extra)
    )


@settings(max_examples=100)
@given(FLEETS)
def test_round_trip(fleet: PetFleet) -> None:
    """Any fleet can be written, is read as itself by either way, and is then written the same again."""
    text = dumps(fleet)
    assert isinstance(tomllib.loads(text)["pets"], list)
    for back in (loads(text), loads(text.encode(), user_id=fleet.user_id), full(text)):
        assert isinstance(back, PetFleet)
        assert same_fleet(back, fleet)
        assert dumps(back) == text
    assert encode.render_parts(fleet).text() == dumps(fleet) == text


FEW = st.sampled_from(["a", "b", 'c"', "d\n", "é"])
NUMBERS = st.integers(0, 2) | INTEGERS
SMALL_EXTRAS: st.SearchStrategy[Mapping[str, Any]] = st.sampled_from(
    [{}, {}, {"x": 1}, {"x": True}, {"t": {"y": 1}}, {"x": 1, "t": [{"y": "\n"}]}]
)
SIMILAR = st.builds(
    PetFleet,
    FEW,
    st.lists(st.builds(PetHandle, FEW, FEW, FEW, NUMBERS, SMALL_EXTRAS), max_size=4),
    st.none() | FEW,
    SMALL_EXTRAS,
)


@st.composite
def changed(draw: st.DrawFn, fleet: PetFleet) -> PetFleet:
    """A fleet that shares parts with another one, as after changes, copies and pickling."""
    for _ in range(draw(st.integers(0, 3))):
        names = [handle.pet_name for handle in fleet.pets]
        name = draw(st.sampled_from(names)) if names else "none"
        match draw(st.sampled_from(["add", "touch", "rename", "remove", "clear", "switch", "pickle", "anew", "extra"])):
            case "add":
                fleet = PetFleet(fleet.user_id, [*fleet.pets, draw(HANDLES)], fleet.active_pet, fleet.extra)
            case "touch" if names:
                fleet = fleet.with_last_active(name, draw(INTEGERS))
            case "rename" if names and "new" not in names:
                fleet = fleet.with_replaced(name, replace(fleet.pet(name), pet_name="new"))
            case "remove" if names:
                fleet = fleet.without_pet(name)
            case "clear":
                fleet = replace(fleet, pets=())
            case "switch" if names:
                fleet = fleet.with_active(name)
            case "pickle":
                fleet = pickle.loads(pickle.dumps(fleet))
            case "anew":
                fleet = replace(fleet, pets=tuple(replace(handle) for handle in fleet.pets))
            case "extra":
                fleet = replace(fleet, extra=draw(SMALL_EXTRAS))
    return fleet


@settings(max_examples=200)
@given(SIMILAR | FLEETS, st.data())
def test_what_another_fleet_is_made_of_changes_nothing(before: PetFleet, data: st.DataObject) -> None:
    """Whatever two fleets share, the text is the same as without the other one, and means the fleet."""
    pieces = encode.render_parts(before)
    fleet = data.draw(SIMILAR | changed(before))
    with_help = encode.render_parts(fleet, (before, pieces))
    without = encode.render_parts(pickle.loads(pickle.dumps(fleet)))
    assert with_help == without == encode.render_parts(fleet)
    assert with_help.text() == dumps(fleet)
    assert same_fleet(loads(with_help.text()), fleet)
    assert (with_help == pieces) == (dumps(fleet) == dumps(before))


@given(TEXTS)
def test_string(text: str) -> None:
    """A text is quoted exactly as tomli_w quotes it."""
    assert f"x = {encode._string(text)}\n" == tomli_w.dumps({"x": text})


# --- both ways of reading agree --------------------------------------------------------------------------------------


def verdict(text: str) -> PetFleet | str:
    """Return the fleet that the text means, or the text of the error."""
    try:
        return loads(text)
    except FleetFormatError as error:
        return str(error)


def full(text: str) -> PetFleet | str:
    """Return the verdict of the full parser."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decode, "_parse_blocks", lambda source: None)
        return verdict(text)


def check_agreement(text: str) -> None:
    expected = full(text)
    layout.block_cache.clear()
    for memory in ("cold", "warm"):
        found = verdict(text)
        if isinstance(expected, str) or isinstance(found, str):
            assert found == expected, memory
        else:
            assert same_fleet(found, expected), memory


HEAD = 'user_id = "ada"\n'
FIELDS = 'pet_name = "a"\nrole = "r"\nmanifest_path = "m"\nlast_active = 7\n'
BLOCK = "\n[[pets]]\n" + FIELDS
ONE = HEAD + BLOCK

# Each turns red where the guard that it is named after is taken out of the fast path.
GUARDS = {
    "a table after a block": ONE + "[other]\nx = 1\n",
    "a header with blanks": ONE + "[[ pets ]]\n" + FIELDS,
    "an indented header": ONE + "  [[pets]]\n" + FIELDS,
    "a header with a comment": ONE + "[[pets]] # more\n" + FIELDS,
    "a header at the very start": BLOCK[1:] + 'user_id = "ada"\n' + BLOCK,
    "a table of a pet": ONE + "[pets.home]\nx = 1\n" + BLOCK,
    "tables of a pet": ONE + "[[pets.toys]]\nx = 1\n",
    "no pets at all": HEAD,
    "no pets beside another key": HEAD + "x = 1\n",
    "an empty list before a block": HEAD + "pets = []\n" + BLOCK,
    "an empty list with a comment": HEAD + "pets = [] # none\n" + BLOCK,
    "a dotted pets": HEAD + "pets.x = 1\n" + BLOCK,
    "a quoted pets": HEAD + '"pets" = []\n' + BLOCK,
    "a table of the same name": HEAD + "[pets]\n" + BLOCK,
    "no user": 'active_pet = "a"\n' + BLOCK,
    "a wrong user": "user_id = 5\n" + BLOCK,
    "a wrong active pet": HEAD + "active_pet = 5\n" + BLOCK,
    "a broken head": HEAD + "x = \n" + BLOCK,
    "a broken block": ONE + "x = \n" + BLOCK,
    "a missing field": HEAD + BLOCK.replace('role = "r"\n', "") + BLOCK,
    "a wrong field": HEAD + BLOCK.replace('"r"', "5"),
    "a field twice": ONE + "role = 'x'\n",
    "64 bits": HEAD + BLOCK.replace("7", "9999999999999999999"),
    "a surrogate": HEAD + BLOCK.replace('"r"', '"\ud800"'),
    "a surrogate in the head": 'user_id = "\ud800"\n' + BLOCK,
    "deep nesting in a block": ONE + "x = " + "[" * 5000,
    "deep nesting in the head": HEAD + "x = " + "[" * 5000 + BLOCK,
}
# These end the same way whichever guard is gone, and must in whatever code comes.
OTHERS = {
    "a header in a text": HEAD + f'x = """{BLOCK}"""\npets = []\n',
    "a header in a literal text": HEAD + BLOCK + f"x = '''{BLOCK}'''\n",
    "triple quotes in a comment": HEAD + '# """\n' + BLOCK + "# '''\n",
    "an empty text before a quote": HEAD + BLOCK.replace('"r"', '"""r"""'),
    "CRLF": ONE.replace("\n", "\r\n"),
    "CRLF before a header": (HEAD + "x = 1" + BLOCK).replace("\n[[", "\r\n[["),
    "CRLF in a block": ONE.replace("7\n", "7\r\n") + BLOCK,
    "CR alone": ONE.replace("7\n", "7\r") + BLOCK,
    "a header in an array": HEAD + 'x = [\n"",\n[[pets]]\n]\n' + BLOCK,
    "an array of arrays": ONE + "x = [\n[1]\n]\n",
    "a header in a comment": HEAD + "#\n#[[pets]]\n" + BLOCK,
    "nothing in a block": ONE + "[[pets]]\n[[pets]]\n" + FIELDS,
    "no line between": HEAD + BLOCK[1:] + BLOCK[1:] + BLOCK.rstrip(),
    "dotted keys": HEAD + "a.b = 1\n" + BLOCK + "c.d.e = 2\n" + BLOCK,
    "a table in the head": HEAD + "[a]\nb = 1\n" + BLOCK,
    "other line ends": HEAD + BLOCK.replace('"r"', '"\x85\u2028\u2029"') + "# \x0b\n",
    "every layout": HEAD + "x = 0x1F # y\n" + BLOCK + "x = {a = [1, {}]}\n\n# z\n" + BLOCK,
    "the end in a header": ONE + "\n[[pets]]",
}


@pytest.mark.parametrize("text", [*GUARDS.values(), *OTHERS.values()], ids=[*GUARDS, *OTHERS])
def test_agreement(text: str) -> None:
    """Reading block by block, with and without memory, gives the full parser's fleet or error, to the letter."""
    check_agreement(text)


SNIPPETS = st.sampled_from(
    [
        *[
            "[",
            "]",
            "[[pets]]",
            "\n[[pets]]\n",
            "\n [[pets]]\n",
            "[[ pets ]]",
            "[pets]",
            "[a]",
            "\n[[a]]\n",
            "pets = []\n",
        ],
        *['"', "'", '"""', "'''", "\r", "\r\n", "\n", "\n\n", "#", " ", "\t", "=", ",", ".", "{", "}", "\\", "\0"],
        *[
            "x = [\n",
            "x = '''\n",
            'x = """\n',
            "a.b = 1\n",
            "pets.x = 1\n",
            "\ufeff",
            "\x85",
            "\u2028",
            "\x0b",
            "-",
            "1",
        ],
        *['"\\u0041"', "user_id", "role", "last_active = 7\n", "true", "1979-05-27", FIELDS, BLOCK, HEAD, "\ud800"],
    ]
)
VALID = st.tuples(
    st.sampled_from([HEAD, HEAD + 'active_pet = "a"\n', HEAD + "x = [1]\n", "# x\n\n" + HEAD]),
    st.lists(st.sampled_from([BLOCK, BLOCK + "x = [\n1,\n]\n", BLOCK.replace('"r"', '"\\t"'), BLOCK[1:]]), max_size=3),
    st.sampled_from(["", "\n[t]\nx = 1\n", "\n[[t]]\nx = 1\n\n[[t]]\n", "pets = []\n", "x = '''\n'''\n"]),
).map(lambda parts: parts[0] + "".join(parts[1]) + parts[2])


@st.composite
def mutated(draw: st.DrawFn) -> str:
    """A valid text with a few lines moved, doubled or lost, and a few snippets put in anywhere."""
    lines = draw(VALID).splitlines(keepends=True)
    for _ in range(draw(st.integers(0, 3))):
        index = draw(st.integers(0, len(lines) - 1))
        match draw(st.sampled_from(["swap", "double", "lose"])):
            case "swap":
                lines[index - 1], lines[index] = lines[index], lines[index - 1]
            case "double":
                lines.insert(draw(st.integers(0, len(lines))), lines[index])
            case "lose" if len(lines) > 1:
                del lines[index]
    text = "".join(lines)
    for _ in range(draw(st.integers(0, 3))):
        index = draw(st.integers(0, len(text)))
        text = text[:index] + draw(SNIPPETS) + text[index + draw(st.integers(0, 1)) :]
    return text


@settings(max_examples=400)
@given(mutated())
def test_agreement_on_mutated_texts(text: str) -> None:
    """Both ways agree on texts that are nearly fleets."""
    check_agreement(text)


@settings(max_examples=200)
@given(st.lists(SNIPPETS, max_size=20).map("".join), st.sampled_from(["", HEAD, ONE]))
def test_agreement_on_token_soup(soup: str, start: str) -> None:
    """Both ways agree on random tokens, alone or after something good."""
    check_agreement(start + soup)


# --- and the fast way is taken ---------------------------------------------------------------------------------------

OWN_LAYOUT = {
    "a pet": ONE,
    "active": HEAD + 'active_pet = "a"\n' + BLOCK,
    "no pets": HEAD + "pets = []\n",
    "escapes": HEAD + BLOCK.replace('"r"', '"\\n"') + BLOCK,
    "extras": HEAD + "x = 1\n" + BLOCK + "y = [\n2,\n]\n" + BLOCK,
}


@pytest.mark.parametrize("text", OWN_LAYOUT.values(), ids=OWN_LAYOUT)
def test_own_layout_needs_no_full_parse(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A text in the layout that petfleet writes is read block by block."""
    expected = full(text)
    monkeypatch.setattr(decode, "_parse_document", lambda source: pytest.fail("the full parser was called"))
    assert loads(text) == expected


def test_a_changed_pet_costs_one_block(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a fleet seen before, only the block of the changed pet is parsed and only its text is made."""
    fleet = PetFleet("ada", [PetHandle(f"{number}\n", "r", "m", number) for number in range(20)])
    text = dumps(fleet)
    changed = fleet.with_last_active("7\n", 77)
    parsed: list[str] = []
    made: list[str] = []
    parse, make = tomllib.loads, encode._render_block

    def parsing(block: str) -> dict[str, Any]:
        parsed.append(block)
        return parse(block)

    def making(handle: PetHandle) -> str:
        made.append(handle.pet_name)
        return make(handle)

    monkeypatch.setattr(tomllib, "loads", parsing)
    monkeypatch.setattr(encode, "_render_block", making)
    assert loads(text) == fleet
    assert not parsed
    assert loads(dumps(changed)) == changed
    assert [block.splitlines()[0] for block in parsed] == ['pet_name = "7\\n"']
    assert made == ["7\n"]


def test_unknown_keys_are_not_shared() -> None:
    """Blocks with unknown keys stay out of the memory: their size is not known from their text."""
    layout.block_cache.clear()
    loads(ONE + "x = 1\n")
    assert len(layout.block_cache) == 0
    loads(ONE)
    assert len(layout.block_cache) == 1
