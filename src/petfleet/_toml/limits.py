"""Limits on expensive TOML, and line look-up for errors."""

from __future__ import annotations

import re
from typing import Any, Final

from petfleet._model.errors import FleetFormatError

MAX_BYTES: Final = 16 * 1024 * 1024  # of a fleet file
_MAX_NESTING: Final = 100  # levels of brackets, and parts of one dotted key: the parser is slow with both
_MAX_TABLES: Final = 600_000  # tables and arrays: the parser keeps up to a kilobyte for each
_MAX_PARTS: Final = 100_000  # of all dotted keys together: for each part, the parser also keeps all parts before it
_MAX_VALUES: Final = 4_000_000  # each takes up to 4 us
_MAX_STEPS: Final = 16_000_000  # for each value, the parser walks all parts of the header above it
LIGHTEST_HEAVY: Final = 200_000  # characters; a shorter text cannot exceed any of these limits
_MAX_DIGITS: Final = 4300  # of a number, the limit of int(); the parser's regular expression takes 140 bytes a digit
_LONGEST_REASON: Final = 300

_AT = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")
# Strings and comments, as TOML delimits them. An unterminated string is taken to end at the last possible place, so
# that no text is scanned twice; the parser refuses it anyway. Three hazards: a group that repeats without a bound takes
# 60 bytes of memory for each repetition; a possessive group matches wrongly before Python 3.11.5; and characters that
# repeat in a group take exponential time in an unterminated string, unless they repeat possessively.
# The first pattern: a comment, a short string on one line, or the start of any other string.
_OPAQUE = re.compile(r"""#[^\n]*+|"(?:[^"\\\n]++|\\[^\n]){1,1000}"|""(?!")|'[^'\n]++'|''(?!')|("{3}|'{3}|"|')""")
_BODIES = {
    '"""': (re.compile(r'(?:[^"\\]++|\\.|"(?!"")){1,1000}', re.DOTALL), re.compile(r'"{3,5}|\\?\Z')),
    "'''": (re.compile(r"(?:[^']++|'(?!'')){1,1000}"), re.compile(r"'{3,5}|\Z")),
    '"': (re.compile(r'(?:[^"\\\n]++|\\[^\n]){1,1000}'), re.compile('"?')),
    "'": (re.compile(r"[^'\n]+"), re.compile("'?")),
}
# All parts of a dotted key but the last, or the first hundred of them, and the character that follows.
_PART = r'[A-Za-z0-9_"-]'
_DOTTED = re.compile(
    rf"(?<!{_PART})((?:{_PART}++[ \t]*+\.[ \t]*+){{1,{_MAX_NESTING}}}){_PART}*+[ \t]*+([]=]?)",
)
_LONG_NUMBER = re.compile(r"(?<![\w.:+-])[+-]?[0-9][\w.:+-]{%d}" % _MAX_DIGITS)  # noqa: UP031 - braces
_BRACKET = re.compile(r"[][{}]")


def parse(lines: Lines) -> dict[str, Any]:
    """Parse a text as plain TOML; FleetFormatError, with the place, for every error of the parser."""
    import tomllib  # here, since it would add an eighth to importing petfleet, and most fleets are read without it

    _check_nesting(lines)
    source = lines.source
    try:
        return tomllib.loads(source)
    except RecursionError:
        raise FleetFormatError(None, "less deeply nested TOML") from None
    except ValueError as error:  # TOMLDecodeError, or int() refusing thousands of digits
        reason = str(error)
        at = _AT.search(reason)
        if at is None:
            raise FleetFormatError(None, f"valid TOML ({brief(reason)})") from None
        if at[1] is None:
            line, column = source.count("\n") + 1, len(source) - source.rfind("\n")
        else:
            line, column = int(at[1]), int(at[2])
        raise FleetFormatError(None, f"valid TOML ({brief(reason[: at.start()])})", line, column) from None


def _check_nesting(lines: Lines) -> None:
    """Refuse short texts that are expensive to parse: deep nesting, keys of many parts, numbers of many digits."""
    level = 0
    for bracket in _BRACKET.finditer(lines.skeleton):
        level += 1 if bracket[0] in "[{" else -1
        if level > _MAX_NESTING:
            raise FleetFormatError(None, f"at most {_MAX_NESTING} levels of nesting", lines.at(bracket))
    for key in _DOTTED.finditer(lines.skeleton):
        if key[1].count(".") >= _MAX_NESTING:
            raise FleetFormatError(None, f"keys of at most {_MAX_NESTING} parts", lines.at(key))
    number = _LONG_NUMBER.search(lines.skeleton)
    if number is not None:
        raise FleetFormatError(None, f"numbers of at most {_MAX_DIGITS} digits", lines.at(number))


def check_weight(source: str) -> None:
    """Refuse texts with so many tables, keys or values that the parser would take minutes or gigabytes."""
    if len(source) < LIGHTEST_HEAVY:
        return
    tables, values = source.count("[") + source.count("{"), source.count("=") + source.count(",")
    if tables <= _MAX_TABLES and 2 * source.count(".") <= _MAX_PARTS and values <= _MAX_STEPS // _MAX_NESTING:
        return  # even if none of them is inside a string or comment
    skeleton = Lines(source).skeleton
    tables, parts, deepest = skeleton.count("[") + skeleton.count("{"), 0, 1
    for key in _DOTTED.finditer(skeleton):
        length = key[1].count(".") + 1
        # Two parts may be a number at the end of an array; a hundred parts are a key that may go on.
        if key[2] == "=" or (key[2] and length > 2) or length > _MAX_NESTING:
            parts += length
        if key[2] == "]":
            deepest = max(deepest, length)
    if tables > _MAX_TABLES:
        raise FleetFormatError(None, f"at most {_MAX_TABLES} tables and arrays, not {tables}")
    if parts > _MAX_PARTS:
        raise FleetFormatError(None, f"at most {_MAX_PARTS} parts of dotted keys, not {parts}")
    values = skeleton.count("=") + skeleton.count(",")
    most = min(_MAX_VALUES, _MAX_STEPS // deepest)
    if values > most:
        raise FleetFormatError(None, f"at most {most} values below headers of {deepest} parts, not {values}")


def _skeleton_of(source: str) -> str:
    parts: list[str] = []
    at = 0
    while opaque := _OPAQUE.search(source, at):
        parts.append(source[at : opaque.start()])
        at = opaque.end()
        if opaque[1] is not None:
            at = _end_of_string(source, at, opaque[1])
        if opaque[0][0] != "#":
            parts.append('""' + "\n" * source.count("\n", opaque.end(), at))
    parts.append(source[at:])
    return "".join(parts)


def _end_of_string(source: str, at: int, quotes: str) -> int:
    body, closing = _BODIES[quotes]
    while more := body.match(source, at):
        at = more.end()
    closed = closing.match(source, at)
    assert closed is not None  # every pattern also matches the empty text, or the end
    return closed.end()


def brief(reason: object) -> str:
    """Return the reason for an error, shortened if it quotes a very long name."""
    text = str(reason)
    return text if len(text) <= _LONGEST_REASON else f"{text[:_LONGEST_REASON]}..."


class Lines:
    """Finds the line of a name or a pet in a text. It looks only at the lines, so it may find none."""

    def __init__(self, source: str) -> None:
        self.source = source
        # The same lines with empty strings and without comments.
        self.skeleton = _skeleton_of(source)

    def at(self, found: re.Match[str]) -> int:
        """Return the line of a match in the skeleton."""
        return self.skeleton.count("\n", 0, found.start()) + 1

    def of_pet(self, index: int) -> int | None:
        """Return the line of the header of the pet at ``index``; None if unknown."""
        lines = ["".join(line.split()) for line in self._lines()]
        if '[[""]]' in lines:
            return None  # a quoted header may be a pet's
        headers = [number for number, line in enumerate(lines, 1) if line == "[[pets]]"]
        return headers[index] if index < len(headers) else None

    def of(self, name: str, index: int | None = None) -> int | None:
        """Return the line that sets ``name`` at the top level, or in the pet at ``index``; None if unknown."""
        first = 0 if index is None else self.of_pet(index)
        if first is None:
            return None
        for number, line in enumerate(self._lines()[first:], first + 1):
            if line.startswith("[") and (index is not None or name != "pets"):
                return None
            if line.strip("[]").partition("=")[0].strip() == name:
                return number
        return None

    def _lines(self) -> list[str]:
        return [line.strip() for line in self.skeleton.split("\n")]
