"""Texts that are expensive to parse are refused before parsing."""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Callable
from typing import Any, NoReturn

import pytest

from petfleet import FleetFormatError, PetFleet, PetHandle, dumps, loads
from petfleet._toml import decode, encode, limits

HEAD = 'user_id = "ada"\n'
BLOCK = '\n[[pets]]\npet_name = "a"\nrole = "r"\nmanifest_path = "m"\nlast_active = 7\n'
PLACES: dict[str, Callable[[str], str]] = {
    "no pets": lambda line: f"{HEAD}{line}\npets = []\n",
    "head": lambda line: f"{HEAD}{line}\n{BLOCK}",
    "block": lambda line: f"{HEAD}{BLOCK}{line}\n{BLOCK}",
}
each_place = pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)

NESTING, KEYS = "at most 100 levels of nesting", "keys of at most 100 parts"
NUMBERS = "numbers of at most 4300 digits"
MANY = 5000
DEAR: dict[str, tuple[str, str]] = {
    "arrays": ("x = " + "[" * MANY + "]" * MANY, NESTING),
    "101 arrays": ("x = " + "[" * 101 + "]" * 101, NESTING),
    "unclosed arrays": ("x = " + "[" * MANY, NESTING),
    "inline tables": ("x = " + "{a = " * MANY + "1" + "}" * MANY, NESTING),
    "both": ("x = " + "[{a=" * MANY, NESTING),
    "behind texts": ('x = [\'[\', "]", \']\', "\\"]]"' + ", [" * MANY, NESTING),
    "behind a multi-line text": ('x = \'\'\'\n]]]\'\'\'\ny = """\\"""]\n"""""\nz = ' + "[" * MANY, NESTING),
    "behind four quotes": ('x = ["""a"""", ' + "[" * MANY, NESTING),
    "behind four apostrophes": ("x = ['''a'''', " + "[" * MANY, NESTING),
    "behind a comment": ("# ]]] \" '''\nx = " + "[" * MANY, NESTING),
    "a key": (".".join("a" * MANY) + " = 1", KEYS),
    "101 parts": (".".join("a" * 101) + " = 1", KEYS),
    "quoted parts": (".".join(["'a'", '"a.\\""'] * MANY) + " = 1", KEYS),
    "blanks around dots": (" .\t".join(["a-b_1"] * MANY) + " = 1", KEYS),
    "a table": ("[" + ".".join("a" * MANY) + "]", KEYS),
    "an array of tables": ("[[" + ".".join("a" * MANY) + "]]", KEYS),
    "a key of an inline table": ("x = {b = 1, " + ".".join("a" * MANY) + " = 1}", KEYS),
    "unfinished": ("a." * MANY, KEYS),
    "an integer": ("x = -" + "1" * MANY, NUMBERS),
    "an integer in an array": ("x = [0,\n" + "1_2" * MANY + "]", NUMBERS),
    "a hexadecimal integer": ("x = 0x" + "aF" * MANY, NUMBERS),
    "a float": ("x = 1." + "0" * MANY, NUMBERS),
    "an exponent": ("x = 1e+" + "9" * MANY, NUMBERS),
    "a time": ("x = 1979-05-27T07:32:00." + "0" * MANY, NUMBERS),
}


def never_parse(text: str) -> NoReturn:
    pytest.fail(f"the parser was given {text[:50]!r}...")


@each_place
@pytest.mark.parametrize(("line", "expected"), DEAR.values(), ids=DEAR)
def test_refused_unparsed(
    place: Callable[[str], str], line: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Deep nesting and keys of very many parts never reach the parser, wherever in a text they stand."""
    text = place(line)
    before = text[: text.index(line)].count("\n") + 1

    def parse(part: str) -> dict[str, Any]:
        # The good parts of the text may be read.
        return never_parse(part) if line in part or len(part) > 500 else tomllib.loads(part)

    monkeypatch.setitem(sys.modules, "tomllib", type("Parser", (), {"loads": staticmethod(parse)}))
    with pytest.raises(FleetFormatError) as caught:
        loads(text)
    assert caught.value.expected == expected
    assert caught.value.line == before + line.count("\n")


@pytest.mark.parametrize(("line", "expected"), DEAR.values(), ids=DEAR)
def test_user_id_is_told_unparsed(line: str, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Looking for the user_id of a broken text does not parse such things either."""

    def parse(part: str) -> dict[str, Any]:
        return never_parse(part) if len(part) > 300 else tomllib.loads(part)

    monkeypatch.setitem(sys.modules, "tomllib", type("Parser", (), {"loads": staticmethod(parse)}))
    assert decode.user_id_in(PLACES["no pets"](line).encode()) in ("ada", None)


ALLOWED = {
    "64 arrays": "x = " + "[" * 64 + "]" * 64,
    "brackets in texts": f'x = [{"[" * MANY!r}, "{"{" * MANY}", \'\'\'\n{"[" * MANY}\'\'\', """\\"""{"[" * MANY}"""]',
    "brackets in a comment": "# " + "[" * MANY,
    "dots in texts": f"x = ['{'a.' * MANY}', \"{'a.' * MANY}\"]",
    "dots in a comment": "# " + "a." * MANY,
    "many arrays side by side": "x = [" + "[], " * MANY + "]",
    "many floats side by side": "x = [" + "1.5, " * MANY + "]",
    "a key of 63 parts": ".".join("a" * 63) + " = 1",
    "a long key": "a-" * MANY + " = 1",
    "a long quoted key": f"'{'a.' * MANY}' = 1",
    "a number of 4,300 digits": "x = 0." + "1" * 4298,
    "digits in a text": f'x = "{"1" * MANY}"',
    "an escaped end": 'x = "\\\\"\ny = "\\"' + "[" * MANY + '"',
}


@each_place
@pytest.mark.parametrize("line", ALLOWED.values(), ids=ALLOWED)
def test_texts_that_only_look_expensive_are_read(place: Callable[[str], str], line: str) -> None:
    """Brackets, dots and digits in texts and comments, and allowed numbers of them elsewhere."""
    assert isinstance(loads(place(line)), PetFleet)


HEAVY: dict[str, tuple[str, str]] = {
    "headers": ("[[a.b]]\n" * 510, "at most 1000 tables and arrays, not 10"),
    "empty arrays": ("x = [" + "[]," * 1010 + "]\n", "at most 1000 tables and arrays, not 10"),
    "inline tables": ("x = [" + "{a = 1}," * 1010 + "]\n", "at most 1000 tables and arrays, not 10"),
    "long headers": (("[[b." + ".".join("a" * 20) + "]]\n") * 49, "at most 1000 parts of dotted keys, not 1029"),
    "dotted keys": ("".join(f"'x.'.b.c.n{n} = 1\n" for n in range(252)), "at most 1000 parts of dotted keys, not 1008"),
    "integers": ("x = [" + "1," * 2100 + "]\n", "at most 2000 values below headers of 1 parts, not 21"),
    "keys": ("".join(f"n{n} = 1\n" for n in range(2100)), "at most 2000 values below headers of 1 parts, not 21"),
    "keys under a long header": (
        "[" + ".".join("a" * 50) + "]\n" + "".join(f"n{n} = 1\n" for n in range(600)),
        "at most 500 values below headers of 50 parts, not 60",
    ),
}
LIGHT = {
    "headers": "[[a.b]]\n" * 450,
    "arrays": "x = [" + "[]," * 990 + "]\n",
    "dotted keys": "".join(f"b.n{n} = 1\n" for n in range(490)),
    "floats": "x = [" + "1.5, " * 1900 + "]\n",
    "points": "".join(f"p{n} = [{n}.5, 2.5]\n" for n in range(700)),
    "brackets and dots in texts": f"x = '{'[a.b]=,' * 3000}'\n",
    "brackets and dots in comments": f"# {'[a.b]=,' * 3000}\n",
    "keys under a long header": "[" + ".".join("a" * 50) + "]\n" + "".join(f"n{n} = 1\n" for n in range(450)),
}


@pytest.fixture
def _low_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Limits that small texts reach."""
    monkeypatch.setattr(limits, "LIGHTEST_HEAVY", 1000)
    monkeypatch.setattr(limits, "_MAX_TABLES", 1000)
    monkeypatch.setattr(limits, "_MAX_PARTS", 1000)
    monkeypatch.setattr(limits, "_MAX_VALUES", 2000)
    monkeypatch.setattr(limits, "_MAX_STEPS", 25_000)


@pytest.mark.usefixtures("_low_limits")
@each_place
@pytest.mark.parametrize(("part", "expected"), HEAVY.values(), ids=HEAVY)
def test_too_many_to_be_parsed(
    place: Callable[[str], str], part: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tables, parts of keys and values by the million never reach the parser either, wherever in a text they stand."""
    text = place(part)

    def parse(text: str) -> dict[str, Any]:
        # The part before the first table may be looked at for the user_id.
        return never_parse(text) if len(text) > 300 else tomllib.loads(text)

    monkeypatch.setitem(sys.modules, "tomllib", type("Parser", (), {"loads": staticmethod(parse)}))
    with pytest.raises(FleetFormatError) as caught:
        loads(text)
    assert caught.value.expected.startswith(expected)
    assert decode.user_id_in(text.encode()) in ("ada", None)


@pytest.mark.usefixtures("_low_limits")
@pytest.mark.parametrize("place", [PLACES["head"], PLACES["block"]], ids=["head", "block"])
@pytest.mark.parametrize("part", LIGHT.values(), ids=LIGHT)
def test_many_that_can_be_parsed(place: Callable[[str], str], part: str) -> None:
    """Up to the limits all of them are read; characters in texts and comments do not count."""
    assert isinstance(loads(place(part)), PetFleet)


@pytest.mark.usefixtures("_low_limits")
@pytest.mark.parametrize("item", [[], {}], ids=["arrays", "tables"])
def test_many_light_pets_that_are_heavy_together(item: object) -> None:
    """A fleet that could not be read again is not written, even if each of its pets could be."""
    light = [PetHandle(f"pet-{n}", "r", "m", 1, {"x": [item] * 400}) for n in range(3)]
    assert loads(dumps(PetFleet("ada", light[:2]))) == PetFleet("ada", light[:2])
    dumps(PetFleet("ada", light[2:]))
    for write in (dumps, encode.render_parts):
        with pytest.raises(
            ValueError, match=r"^the fleet of user ada cannot be stored: .* at most 1000 tables"
        ) as caught:
            write(PetFleet("ada", light))
        assert not isinstance(caught.value, FleetFormatError)
    plain = PetFleet("ada", [PetHandle(f"pet-{n}", "r", "m", 1) for n in range(900)])
    assert loads(dumps(plain)) == plain


@pytest.mark.parametrize(("keys", "count"), [(1, 2000), (8, 6)])
def test_a_long_key_above_many_tables_is_not_written_with_each(
    monkeypatch: pytest.MonkeyPatch, keys: int, count: int
) -> None:
    """Rendered unknown tables may be as long as the square of the text read; rendering stops at the size of a file."""
    monkeypatch.setattr(limits, "MAX_BYTES", 100_000)
    written = 0
    write = encode._Bounded.write

    def counting(self: encode._Bounded, chunk: bytes) -> int:
        nonlocal written
        written += len(chunk)
        return write(self, chunk)

    monkeypatch.setattr(encode._Bounded, "write", counting)
    tables = "".join(f"n{n}.x = {{}}\n" for n in range(count))
    fleet = loads(f"{HEAD}pets = []\n" + "".join(f"[{'k' * 10_000}{number}]\n{tables}" for number in range(keys)))
    with pytest.raises(ValueError, match=r"^the fleet of user ada cannot be stored: its unknown tables take more than"):
        dumps(fleet)
    assert written < 120_000


def test_long_names_are_not_quoted_whole() -> None:
    """A message quotes no more than a few hundred characters of a file."""
    long = "k" * 100_000
    for line in (
        f"x.{long} = 9223372036854775808",
        f"[{long}]\n[{long}]",
        f"{long}.x = 1\n{long}.x.y = 2",
        f"[x.{long}]\ny = [18446744073709551616]",
    ):
        for place in PLACES.values():
            with pytest.raises(FleetFormatError) as caught:
                loads(place(line))
            assert len(str(caught.value)) < 500
    with pytest.raises(FleetFormatError) as caught:
        loads(f'user_id = "{long}"\npets = []\n', user_id="ada")
    assert len(str(caught.value)) < 300


LONG = 200_000
JUNK = {
    "quotes": '"' * LONG,
    "apostrophes": "'" * LONG,
    "triple quotes": 'x = """' + '\\"' * LONG,
    "pairs of quotes in a triple": 'x = """' + '""a' * LONG,
    "pairs of apostrophes in a triple": "x = '''" + "''a" * LONG,
    "backslashes": 'x = "' + "\\" * LONG,
    "one backslash at the end": 'x = """\\',
    "texts that never end": 'x = "\n' * (LONG // 4),
    "multi-line texts that never end": "x = '''a" + "'' '" * LONG,
    "number signs": "#" * LONG + '\n"',
    "closing brackets": "]" * LONG,
    "closed before they open": "]" * LONG + "[" * LONG,
    "blanks": "a" + " " * LONG,
    "blanks and dots": "a . " * LONG,
    "a long word": "a" * LONG,
    "minus signs": "-" * LONG,
    "digits": "x = " + "1" * LONG,
    "digits and lines": "x = " + "1_" * LONG,
    "lines": "\n" * LONG + "x",
    "headers": "[[pets]]\n" * 5000,
    "headers and lines": BLOCK[1:] + "\n[[pets]]\n" * 5000,
    "null": "\0" * LONG,
}


@pytest.mark.parametrize("junk", JUNK.values(), ids=JUNK)
@pytest.mark.parametrize("start", ["", HEAD, HEAD + BLOCK], ids=["alone", "head", "block"])
def test_junk(start: str, junk: str) -> None:
    """Long junk of any kind ends in the usual error, and within the time that any test has."""
    with pytest.raises(FleetFormatError):
        loads(start + junk)
    assert decode.user_id_in((start + junk).encode()) in ("ada", None)


DEEP = "{" + "{".join(".".join("a" * 99) + " = " for _ in range(50)) + "{}" + "}" * 50


@pytest.mark.parametrize("place", ["user_id = {}\npets = []", HEAD + "pets = {}", HEAD + "pets = [1, [{}]]"])
def test_dotted_keys_within_inline_tables(place: str) -> None:
    """Tables that are deep in few brackets end in the same error, also where they are shown in it."""
    with pytest.raises(FleetFormatError):
        loads(place.replace("{}", DEEP))
    for line in (f"x = {DEEP}", f"role2.x = {DEEP}"):
        for place_of in PLACES.values():
            with pytest.raises(FleetFormatError, match="nested more than 64 levels deep"):
                loads(place_of(line))


@each_place
def test_a_parser_that_gives_up(place: Callable[[str], str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Should the parser run out of stack all the same, that too is a text that is refused."""

    def give_up(text: str) -> NoReturn:
        raise RecursionError

    text = place("x = 1")
    monkeypatch.setattr(tomllib, "loads", give_up)
    with pytest.raises(FleetFormatError, match=r"^fleet text: expected less deeply nested TOML$"):
        loads(text)
    assert decode.user_id_in(text.encode()) is None


@pytest.mark.parametrize("opening", ['"', '"\\\\', "'", '"""', "'''"])
@pytest.mark.parametrize("length", [40, 3000])
def test_a_string_that_does_not_end_costs_no_more_than_its_length(opening: str, length: int) -> None:
    """A torn text is refused at once; a scan that backtracks would never end."""
    with pytest.raises(FleetFormatError):
        loads(f"user_id = {opening}" + "a" * length + "\n")
