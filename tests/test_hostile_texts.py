"""Texts that are cheap to write and dear to parse are refused before they are parsed."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from typing import Any, NoReturn

import pytest

from petfleet import FleetFormatError, PetFleet, codec, loads

HEAD = 'user_id = "ada"\n'
BLOCK = '\n[[pets]]\npet_name = "a"\nrole = "r"\nmanifest_path = "m"\nlast_active = 7\n'
PLACES: dict[str, Callable[[str], str]] = {
    "no pets": lambda line: f"{HEAD}{line}\npets = []\n",
    "head": lambda line: f"{HEAD}{line}\n{BLOCK}",
    "block": lambda line: f"{HEAD}{BLOCK}{line}\n{BLOCK}",
}
each_place = pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)

NESTING, KEYS = "at most 100 levels of nesting", "keys of at most 100 parts"
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
        return never_parse(part) if "a.a" in part or len(part) > 500 else tomllib.loads(part)

    monkeypatch.setattr(codec, "tomllib", type("Parser", (), {"loads": staticmethod(parse)}))
    with pytest.raises(FleetFormatError) as caught:
        loads(text)
    assert caught.value.expected == expected
    assert caught.value.line == before + line.count("\n")


@pytest.mark.parametrize(("line", "expected"), DEAR.values(), ids=DEAR)
def test_user_id_is_told_unparsed(line: str, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Looking for the user_id of a broken text does not parse such things either."""

    def parse(part: str) -> dict[str, Any]:
        return never_parse(part) if len(part) > 300 else tomllib.loads(part)

    monkeypatch.setattr(codec, "tomllib", type("Parser", (), {"loads": staticmethod(parse)}))
    assert codec.user_id_in(PLACES["no pets"](line).encode()) in ("ada", None)


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
    "an escaped end": 'x = "\\\\"\ny = "\\"' + "[" * MANY + '"',
}


@each_place
@pytest.mark.parametrize("line", ALLOWED.values(), ids=ALLOWED)
def test_only_what_is_dear_is_refused(place: Callable[[str], str], line: str) -> None:
    """What only looks dear is read."""
    assert isinstance(loads(place(line)), PetFleet)


LONG = 200_000
JUNK = {
    "quotes": '"' * LONG,
    "apostrophes": "'" * LONG,
    "triple quotes": 'x = """' + '\\"' * LONG,
    "pairs of quotes in a triple": 'x = """' + '""a' * LONG,
    "pairs of apostrophes in a triple": "x = '''" + "''a" * LONG,
    "backslashes": 'x = "' + "\\" * LONG,
    "one backslash at the end": 'x = """\\',
    "texts that never end": 'x = "\n' * LONG,
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
    assert codec.user_id_in((start + junk).encode()) in ("ada", None)


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
    assert codec.user_id_in(text.encode()) is None
