"""Reading: a fleet from its TOML text."""

from __future__ import annotations

import re
from typing import Any, cast

from petfleet._model.errors import FleetFormatError
from petfleet._model.fleet import FLEET_KEYS, HANDLE_KEYS, PetFleet, PetHandle
from petfleet._toml import limits
from petfleet._toml.layout import BLOCK_START, PLAIN_BLOCK, PLAIN_HEAD, block_cache, carry_block

_BRACKET_LINE = re.compile(r"^[ \t]*\[", re.MULTILINE)


def loads(text: str | bytes, *, user_id: str | None = None) -> PetFleet:
    """Return the fleet that a TOML text describes. Any TOML layout is accepted; comments are not kept.

    Args:
        text: the content of a fleet file, at most 16 MiB; bytes are UTF-8. One leading byte-order mark is allowed.
        user_id: the user_id that the text must have; None allows any.

    Raises:
        FleetFormatError: the text is not a fleet, or another user's. Its ``path`` is None.
        TypeError: ``text`` is neither str nor bytes.
    """
    source = _decode(text)
    fleet = _parse_blocks(source)
    if fleet is None:
        fleet = _parse_document(source)
    if user_id is not None and fleet.user_id != user_id:
        raise FleetFormatError(
            None, f"user_id = {user_id!r}, found {_printable(fleet.user_id)}", limits.Lines(source).of("user_id"), None
        )
    return fleet


def user_id_in(data: bytes) -> str | None:
    """Return the user_id of a broken fleet text if it can still be found, otherwise None."""
    try:
        source = _decode(data)
    except FleetFormatError:
        return None
    first_table = _BRACKET_LINE.search(source)
    parts = [source, source[: first_table.start()] if first_table else ""]
    for part in parts:
        try:
            limits.check_weight(part)
            found = limits.parse(limits.Lines(part)).get("user_id")
        except FleetFormatError as error:
            if part is source and error.line is not None:
                parts.append("\n".join(source.split("\n")[: error.line - 1]))  # everything above the error
            continue
        if isinstance(found, str):
            return found
    return None


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
    if size > limits.MAX_BYTES:
        raise FleetFormatError(None, f"at most {limits.MAX_BYTES} bytes, not {size}")
    return text.removeprefix("\ufeff")


def _parse_blocks(source: str) -> PetFleet | None:
    """Parse a text in the layout that petfleet writes, block by block; return None if it needs the full parser.

    Also None for every error, so that the full parser reports its place. If a multi-line string or array contains the
    start of a block, the split breaks it in two, and its first half cannot be parsed.
    """
    head, *blocks = source.split(BLOCK_START)
    pets = block_cache.get_all(blocks)
    if None in pets:
        for index, handle in enumerate(pets):
            if handle is None:
                pets[index] = _parse_plain_block(blocks[index])
    # Any number of pets is cheap to parse, if none has unknown keys.
    if None in pets or not PLAIN_HEAD.fullmatch(head):
        try:
            limits.check_weight(source)
        except FleetFormatError:
            return None
        for index, handle in enumerate(pets):
            if handle is None:
                pets[index] = parse_block(blocks[index])
                if pets[index] is None:
                    return None
    return _parse_head(head, cast(list[PetHandle], pets))


def _parse_plain_block(block: str) -> PetHandle | None:
    plain = PLAIN_BLOCK.fullmatch(block)
    if plain is None:
        return None
    pet_name, role, manifest_path, last_active = plain.groups()
    try:
        handle = PetHandle(pet_name, role, manifest_path, int(last_active))
    except ValueError:  # as in parse_block
        return None
    if block.endswith("\n"):
        carry_block(handle, block)  # exactly the text that would be written for it
    block_cache.put(block, handle, len(block))
    return handle


def parse_block(block: str) -> PetHandle | None:
    """Return the pet that a block describes; None if the block does not describe one by itself."""
    if _BRACKET_LINE.search(block):
        return None  # a table of the document, not of this pet
    try:
        fields = limits.parse(limits.Lines(block))
        handle = PetHandle(extra=_unknown(fields, HANDLE_KEYS), **_known(fields, HANDLE_KEYS))
    # No error is lost: the full parser then reads the whole text, and raises its own.
    except (TypeError, ValueError, RecursionError):
        return None
    if not handle.extra:
        block_cache.put(block, handle, len(block))
    return handle


def _parse_head(head: str, pets: list[PetHandle]) -> PetFleet | None:
    plain = PLAIN_HEAD.fullmatch(head)
    try:
        if plain is not None:
            user_id, active_pet, no_pets = plain.groups()
            return None if bool(no_pets) == bool(pets) else PetFleet(user_id, pets, active_pet)
        if not pets:
            return None
        fields = limits.parse(limits.Lines(head))
        if "pets" in fields:
            return None
        return PetFleet(fields["user_id"], pets, fields.get("active_pet"), _unknown(fields, FLEET_KEYS))
    except (KeyError, TypeError, ValueError, RecursionError):  # as in parse_block
        return None


def _known(fields: dict[str, Any], known: frozenset[str]) -> dict[str, Any]:
    return {key: value for key, value in fields.items() if key in known}


def _unknown(fields: dict[str, Any], known: frozenset[str]) -> dict[str, Any]:
    return {key: value for key, value in fields.items() if key not in known}


def _parse_document(source: str) -> PetFleet:
    limits.check_weight(source)
    lines = limits.Lines(source)
    document = limits.parse(lines)
    user_id = _field(document, "user_id", str, lines)
    active_pet = _field(document, "active_pet", str, lines) if "active_pet" in document else None
    tables = _field(document, "pets", list, lines)
    pets = [_parse_pet(table, lines, index) for index, table in enumerate(tables)]
    try:
        return PetFleet(user_id, pets, active_pet, _unknown(document, FLEET_KEYS))
    except (TypeError, ValueError) as error:
        raise FleetFormatError(None, f"a fleet that can be stored ({limits.brief(error)})") from error


def _parse_pet(table: object, lines: limits.Lines, index: int) -> PetHandle:
    if not isinstance(table, dict):
        raise FleetFormatError(None, f"a table for pet {index + 1}, found {_printable(table)}", lines.of("pets"))
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
        raise FleetFormatError(
            None, f"a pet that can be stored ({limits.brief(error)})", lines.of_pet(index)
        ) from error


_TYPE_NAMES = {str: "a string", int: "an integer of 64 bits", list: "an array of tables"}


def _field(table: dict[str, Any], name: str, kind: type, lines: limits.Lines, index: int | None = None) -> Any:
    owner = "" if index is None else f" of pet {index + 1}"
    if name not in table:
        line = None if index is None else lines.of_pet(index)
        raise FleetFormatError(None, f"the required field {name}{owner}", line)
    value = table[name]
    if type(value) is not kind:
        line = lines.of(name) if index is None else lines.of(name, index)
        raise FleetFormatError(None, f"{name}{owner} to be {_TYPE_NAMES[kind]}, found {_printable(value)}", line)
    return value


def _printable(value: object) -> str:
    try:
        return f"{value!r:.100}"
    except (RecursionError, ValueError):  # deep nesting, or an integer of thousands of digits
        return f"a {type(value).__name__} beyond printing"


loads.__module__ = "petfleet"
