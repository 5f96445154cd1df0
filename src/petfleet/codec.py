"""A fleet as TOML text, and back."""

from __future__ import annotations

import re
import tomllib
from typing import Any, Final

import tomli_w

from petfleet.errors import FleetFormatError
from petfleet.extra import same
from petfleet.fleet import FLEET_KEYS, HANDLE_KEYS, PetFleet, PetHandle
from petfleet.memory import Memory

MOST_BYTES: Final = 16 * 1024 * 1024
_MOST_NESTING = 100  # brackets within brackets, and parts of one dotted key: both cost the parser dearly

# The text of one pet, and the handle that it means. It cannot be stale: whole texts are compared. Pets with unknown
# keys stay out of it. In the other direction, a handle carries its own text.
_handles: Memory[str, PetHandle] = Memory(8192, 2 * 1024 * 1024)

_BLOCK_START = "\n[[pets]]\n"
_PLAIN = r'[^"\\\x00-\x1f\x7f]*'  # what stands in a TOML string as it is
_STRING = f'"({_PLAIN})"'
_PLAIN_TEXT = re.compile(_PLAIN)
_PLAIN_BLOCK = re.compile(
    rf"pet_name = {_STRING}\nrole = {_STRING}\nmanifest_path = {_STRING}\nlast_active = (0|-?[1-9][0-9]{{0,18}})\n?"
)
_PLAIN_HEAD = re.compile(rf"user_id = {_STRING}\n(?:active_pet = {_STRING}\n)?(pets = \[\]\n)?")
_BRACKET_LINE = re.compile(r"^[ \t]*\[", re.MULTILINE)


def dumps(fleet: PetFleet) -> str:
    """Return the TOML text of ``fleet``: exactly what ``save`` writes.

    ``sha256(dumps(fleet).encode())`` is a fleet's ETag. The text was parsed back and means the same fleet.

    Raises:
        TypeError: ``fleet`` is no PetFleet.
        ValueError: the text would be larger than a fleet file may be (16 MiB).
    """
    if type(fleet) is not PetFleet:
        raise TypeError(f"dumps takes a PetFleet, not {type(fleet).__name__}")
    text = written(fleet)
    confirm(text, fleet)
    return text


def written(fleet: PetFleet) -> str:
    """Return what :func:`dumps` returns, with each new piece parsed back by itself; ValueError as there."""
    text, checked = _render(fleet)
    if not checked:
        confirm(text, fleet)
    elif len(text) > MOST_BYTES // 4:  # a character has at most four bytes
        _check_size(text, fleet)
    return text


def confirm(text: str, fleet: PetFleet) -> None:
    """Parse a written text back; ValueError if it does not mean ``fleet``."""
    _check_size(text, fleet)
    try:
        same_fleet = _same_fleet(loads(text), fleet)
    except FleetFormatError as error:
        raise ValueError(f"the fleet of user {fleet.user_id} cannot be stored: {error}") from error
    if not same_fleet:
        raise ValueError(f"the fleet of user {fleet.user_id} cannot be stored: its TOML text reads back differently")


def _check_size(text: str, fleet: PetFleet) -> None:
    size = len(text.encode())
    if size > MOST_BYTES:
        raise ValueError(
            f"the fleet of user {fleet.user_id} cannot be stored: {size} bytes of TOML, {MOST_BYTES} are allowed"
        )


def loads(text: str | bytes, *, user_id: str | None = None) -> PetFleet:
    """Return the fleet that a TOML text means.

    Args:
        text: the content of a fleet file; bytes are UTF-8. One leading byte-order mark is allowed.
        user_id: the user_id that the text must hold, or None for any.

    Raises:
        FleetFormatError: the text is no fleet, or another user's; its ``path`` is None.
        TypeError: ``text`` is neither str nor bytes.
    """
    source = _decode(text)
    fleet = _parse_blocks(source)
    if fleet is None:
        fleet = _parse_document(source)
    if user_id is not None and fleet.user_id != user_id:
        raise FleetFormatError(
            None, f"user_id = {user_id!r}, found {fleet.user_id!r}", _Lines(source).of("user_id"), None
        )
    return fleet


def user_id_in(data: bytes) -> str | None:
    """Return the user_id that a broken fleet text holds, as far as it can be told; None if it cannot."""
    try:
        source = _decode(data)
    except FleetFormatError:
        return None
    first_table = _BRACKET_LINE.search(source)
    for part in (source, source[: first_table.start()] if first_table else ""):
        try:
            found = _toml(_Lines(part)).get("user_id")
        except FleetFormatError:
            continue
        return found if isinstance(found, str) else None
    return None


# --- writing ---------------------------------------------------------------------------------------------------------


def _render(fleet: PetFleet) -> tuple[str, bool]:
    """Return the text, and whether each piece of it is known to read back as it should."""
    head = f"user_id = {_string(fleet.user_id)}\n"
    if fleet.active_pet is not None:
        head += f"active_pet = {_string(fleet.active_pet)}\n"
    plain = _PLAIN_HEAD.fullmatch(head)
    checked = plain is not None and plain.group(1, 2) == (fleet.user_id, fleet.active_pet) and not fleet.extra
    parts = [head]
    tables: list[str] = []
    for key, value in fleet.extra.items():
        piece = tomli_w.dumps({key: value})
        # A key is never written with a leading bracket, so this is a table or an array of tables.
        (tables if piece.startswith("[") else parts).append(piece)
    for handle in fleet.pets:
        block: str | None = getattr(handle, "_block", None)
        if block is None:
            block = _render_block(handle)
            checked = _note_block(handle, block) and checked
        parts.append(_BLOCK_START)
        parts.append(block)
    if not fleet.pets:
        parts.append("pets = []\n")
    for piece in tables:
        parts.append("\n")
        parts.append(piece)
    return "".join(parts), checked


def _note_block(handle: PetHandle, block: str) -> bool:
    """Have the handle carry its text, if that reads back as it should."""
    back = _parse_block(block)
    if back is None or not _same_handle(back, handle):
        return False
    object.__setattr__(handle, "_block", block)  # no part of the value, so being frozen does not matter
    return True


def _render_block(handle: PetHandle) -> str:
    block = (
        f"pet_name = {_string(handle.pet_name)}\n"
        f"role = {_string(handle.role)}\n"
        f"manifest_path = {_string(handle.manifest_path)}\n"
        f"last_active = {handle.last_active}\n"
    )
    for key, value in handle.extra.items():
        # Within an array that is not one of tables only, tomli_w writes every value inline: no [table] may follow a
        # pet's own keys, or it would belong to the document. The array around it is cut off again.
        inline = tomli_w.dumps({"x": [value, 0]}, indent=0)
        block += tomli_w.dumps({key: 0})[: -len("0\n")] + inline[len("x = [\n") : -len(",\n0,\n]\n")] + "\n"
    return block


def _string(value: str) -> str:
    # tomli_w looks at each character in turn, which made it half of the time of a commit.
    if _PLAIN_TEXT.fullmatch(value):
        return f'"{value}"'
    return tomli_w.dumps({"x": value})[len("x = ") : -len("\n")]


def _same_fleet(one: PetFleet, other: PetFleet) -> bool:
    return (
        one.user_id == other.user_id
        and one.active_pet == other.active_pet
        and len(one.pets) == len(other.pets)
        and all(map(_same_handle, one.pets, other.pets))
        and same(one.extra, other.extra)
    )


def _same_handle(one: PetHandle, other: PetHandle) -> bool:
    # Not ==, which sees no difference between the extras 1 and True, and one between NaN and NaN.
    return one is other or (
        one.pet_name == other.pet_name
        and one.role == other.role
        and one.manifest_path == other.manifest_path
        and one.last_active == other.last_active
        and same(one.extra, other.extra)
    )


# --- reading ---------------------------------------------------------------------------------------------------------


def _decode(text: str | bytes) -> str:
    if isinstance(text, bytes):
        size = len(text)
        data = text
        try:
            text = data.decode()
        except UnicodeDecodeError as error:
            line = data.count(b"\n", 0, error.start) + 1
            column = error.start - data.rfind(b"\n", 0, error.start)
            raise FleetFormatError(None, "UTF-8", line, column) from None
    elif isinstance(text, str):
        size = len(text) if text.isascii() else len(text.encode(errors="surrogatepass"))
    else:
        raise TypeError(f"loads takes str or bytes, not {type(text).__name__}")
    if size > MOST_BYTES:
        raise FleetFormatError(None, f"at most {MOST_BYTES} bytes, not {size}")
    return text.removeprefix("\ufeff")


def _parse_blocks(source: str) -> PetFleet | None:
    """Parse a text in the layout that petfleet writes, block by block; None where only the full parser can tell.

    None, too, for whatever is wrong with the text, so that the full parser says where. A multi-line string or array
    that a block's start stands in is torn by the split, and its first piece cannot be parsed.
    """
    head, *blocks = source.split(_BLOCK_START)
    pets = []
    for block in blocks:
        handle = _handles.get(block)
        if handle is None:
            handle = _parse_block(block)
            if handle is None:
                return None
        pets.append(handle)
    return _parse_head(head, pets)


def _parse_block(block: str) -> PetHandle | None:
    try:
        plain = _PLAIN_BLOCK.fullmatch(block)
        if plain is not None:
            pet_name, role, manifest_path, last_active = plain.groups()
            handle = PetHandle(pet_name, role, manifest_path, int(last_active))
            if block.endswith("\n"):
                object.__setattr__(handle, "_block", block)  # exactly what would be written for it
        else:
            if _BRACKET_LINE.search(block):
                return None  # a table of the document, not of this pet
            fields = _toml(_Lines(block))
            handle = PetHandle(extra=_unknown(fields, HANDLE_KEYS), **_known(fields, HANDLE_KEYS))
    # Of the full parser's errors none is lost: it now reads the whole text and raises its own.
    except (TypeError, ValueError, RecursionError):
        return None
    if not handle.extra:
        _handles.put(block, handle, len(block))
    return handle


def _parse_head(head: str, pets: list[PetHandle]) -> PetFleet | None:
    plain = _PLAIN_HEAD.fullmatch(head)
    try:
        if plain is not None:
            user_id, active_pet, no_pets = plain.groups()
            return None if bool(no_pets) == bool(pets) else PetFleet(user_id, pets, active_pet)
        if not pets:
            return None
        fields = _toml(_Lines(head))
        if "pets" in fields:
            return None
        return PetFleet(fields["user_id"], pets, fields.get("active_pet"), _unknown(fields, FLEET_KEYS))
    except (KeyError, TypeError, ValueError, RecursionError):  # as above
        return None


def _known(fields: dict[str, Any], known: frozenset[str]) -> dict[str, Any]:
    return {key: value for key, value in fields.items() if key in known}


def _unknown(fields: dict[str, Any], known: frozenset[str]) -> dict[str, Any]:
    return {key: value for key, value in fields.items() if key not in known}


def _parse_document(source: str) -> PetFleet:
    lines = _Lines(source)
    document = _toml(lines)
    user_id = _field(document, "user_id", str, lines)
    active_pet = _field(document, "active_pet", str, lines) if "active_pet" in document else None
    tables = _field(document, "pets", list, lines)
    pets = [_parse_pet(table, lines, index) for index, table in enumerate(tables)]
    try:
        return PetFleet(user_id, pets, active_pet, _unknown(document, FLEET_KEYS))
    except (TypeError, ValueError) as error:
        raise FleetFormatError(None, f"a fleet that can be stored ({error})") from error


def _parse_pet(table: object, lines: _Lines, index: int) -> PetHandle:
    if not isinstance(table, dict):
        raise FleetFormatError(None, f"a table for pet {index + 1}, found {_shown(table)}", lines.of("pets"))
    try:
        return PetHandle(
            _field(table, "pet_name", str, lines, index),
            _field(table, "role", str, lines, index),
            _field(table, "manifest_path", str, lines, index),
            _field(table, "last_active", int, lines, index),
            _unknown(table, HANDLE_KEYS),
        )
    except FleetFormatError:
        raise
    except (TypeError, ValueError) as error:
        raise FleetFormatError(None, f"a pet that can be stored ({error})", lines.of_pet(index)) from error


_TYPE_NAMES = {str: "a string", int: "an integer of 64 bits", list: "an array of tables"}


def _field(table: dict[str, Any], name: str, kind: type, lines: _Lines, index: int | None = None) -> Any:
    owner = "" if index is None else f" of pet {index + 1}"
    if name not in table:
        line = None if index is None else lines.of_pet(index)
        raise FleetFormatError(None, f"the required field {name}{owner}", line)
    value = table[name]
    if type(value) is not kind:
        line = lines.of(name) if index is None else lines.of(name, index)
        raise FleetFormatError(None, f"{name}{owner} to be {_TYPE_NAMES[kind]}, found {_shown(value)}", line)
    return value


def _shown(value: object) -> str:
    try:
        return f"{value!r:.100}"
    except (RecursionError, ValueError):  # deep nesting, or an integer of thousands of digits
        return f"a {type(value).__name__} beyond printing"


_AT = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")


def _toml(lines: _Lines) -> dict[str, Any]:
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
            raise FleetFormatError(None, f"valid TOML ({reason})") from None
        if at[1] is None:
            line, column = source.count("\n") + 1, len(source) - source.rfind("\n")
        else:
            line, column = int(at[1]), int(at[2])
        raise FleetFormatError(None, f"valid TOML ({reason[: at.start()]})", line, column) from None


# Strings and comments, as TOML delimits them. An unterminated one runs to where it must have ended, so that no text
# makes this scan twice; the parser refuses it anyway.
_OPAQUE = re.compile(
    r'"""(?:[^"\\]++|\\.|"(?!""))*+(?:"{3,5}|\\?\Z)'
    r"|'''(?:[^']++|'(?!''))*+(?:'{3,5}|\Z)"
    r'|"(?:[^"\\\n]++|\\[^\n])*+"?'
    r"|'[^'\n]*+'?"
    r"|#[^\n]*+",
    re.DOTALL,
)
_LONG_KEY = re.compile(
    r'(?<![A-Za-z0-9_"-])(?:(?:[A-Za-z0-9_-]++|"")[ \t]*+\.[ \t]*+){%d}' % _MOST_NESTING  # noqa: UP031 - braces
)
_BRACKET = re.compile(r"[][{}]")


def _check_nesting(lines: _Lines) -> None:
    """Refuse what is cheap to write and dear to parse: deep nesting, and keys of very many parts."""
    level = 0
    for bracket in _BRACKET.finditer(lines.skeleton):
        level += 1 if bracket[0] in "[{" else -1
        if level > _MOST_NESTING:
            line = lines.skeleton.count("\n", 0, bracket.start()) + 1
            raise FleetFormatError(None, f"at most {_MOST_NESTING} levels of nesting", line)
    long_key = _LONG_KEY.search(lines.skeleton)
    if long_key is not None:
        line = lines.skeleton.count("\n", 0, long_key.start()) + 1
        raise FleetFormatError(None, f"keys of at most {_MOST_NESTING} parts", line)


class _Lines:
    """Where in a text things stand, as far as a look at its lines can tell."""

    def __init__(self, source: str) -> None:
        self.source = source
        # The same lines with the strings emptied and the comments gone.
        self.skeleton = _OPAQUE.sub(
            lambda opaque: ("" if opaque[0][0] == "#" else '""') + "\n" * opaque[0].count("\n"), source
        )

    def of_pet(self, index: int) -> int | None:
        """Return the line of the header of the pet at ``index``."""
        lines = ["".join(line.split()) for line in self._lines()]
        if '[[""]]' in lines:
            return None  # a quoted header may be one of them
        headers = [number for number, line in enumerate(lines, 1) if line == "[[pets]]"]
        return headers[index] if index < len(headers) else None

    def of(self, name: str, index: int | None = None) -> int | None:
        """Return the line that sets ``name`` at the top, or in the pet at ``index``."""
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
