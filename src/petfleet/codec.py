"""A fleet as TOML text, and back."""

from __future__ import annotations

import io
import operator
import re
from typing import Any, Final, NamedTuple, cast

import tomli_w

from petfleet import toml
from petfleet.errors import FleetFormatError
from petfleet.extra import same
from petfleet.fleet import FLEET_KEYS, HANDLE_KEYS, PetFleet, PetHandle
from petfleet.memory import Memory

MOST_BYTES: Final = 16 * 1024 * 1024

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
_NO_PETS = "pets = []\n"
_PLAIN_HEAD = re.compile(rf"user_id = {_STRING}\n(?:active_pet = {_STRING}\n)?({re.escape(_NO_PETS)})?")
_BRACKET_LINE = re.compile(r"^[ \t]*\[", re.MULTILINE)
_block_of = operator.attrgetter("_block")
_extra_of = operator.attrgetter("extra")


def dumps(fleet: PetFleet) -> str:
    """Return the TOML text of ``fleet``: exactly what ``save`` writes.

    ``sha256(dumps(fleet).encode())`` is a fleet's ETag. The text was parsed back and means the same fleet.

    Raises:
        TypeError: ``fleet`` is no PetFleet.
        ValueError: the text would be larger than a fleet file may be (16 MiB).
    """
    if type(fleet) is not PetFleet:
        raise TypeError(f"dumps takes a PetFleet, not {type(fleet).__name__}")
    text = pieces(fleet).text()
    confirm(text, fleet)
    return text


class Pieces(NamedTuple):
    """What :func:`dumps` is made of: comparing and checking it piece by piece costs no join of 1,000 pets.

    Attributes:
        head: everything before the pets.
        blocks: the text of each pet; without pets, ``pets = []`` is in the head.
        tail: the unknown tables.
        plain: whether the head reads back as it should, judged by itself.
    """

    head: str
    blocks: list[str]
    tail: str
    plain: bool

    def text(self) -> str:
        """Return the whole text."""
        start = _BLOCK_START if self.blocks else ""
        return f"{self.head}{start}{_BLOCK_START.join(self.blocks)}{self.tail}"


def pieces(fleet: PetFleet, before: tuple[PetFleet, Pieces] | None = None) -> Pieces:
    """Return what :func:`dumps` is made of, each new piece parsed back by itself; ValueError as there.

    Args:
        fleet: what to write.
        before: another fleet and its pieces: if ``fleet`` has the same head, that need not be made again.
    """
    made, checked = _render(fleet, before)
    size = sum(map(len, made.blocks)) + len(made.head)
    # A character has at most four bytes, and the lines between the blocks add less than a quarter to them. Each block
    # may be light enough to be read and all of them too heavy, if pets have unknown keys.
    if not checked or size > MOST_BYTES // 5 or _may_be_heavy(2 * size, fleet):
        confirm(made.text(), fleet)
    return made


def confirm(text: str, fleet: PetFleet) -> None:
    """Read a written text back; ValueError if it does not mean ``fleet``."""
    _check_size(text, fleet)
    try:
        if _is_of_checked_pieces(text, fleet):
            if _may_be_heavy(len(text), fleet):
                toml.check_weight(text)
            return
        same_fleet = _same_fleet(loads(text), fleet)
    except FleetFormatError as error:
        raise ValueError(f"the fleet of user {fleet.user_id} cannot be stored: {error}") from error
    if not same_fleet:
        raise ValueError(f"the fleet of user {fleet.user_id} cannot be stored: its TOML text reads back differently")


def _may_be_heavy(size: int, fleet: PetFleet) -> bool:
    return size >= toml.LIGHTEST_HEAVY and any(map(_extra_of, fleet.pets))


def _is_of_checked_pieces(text: str, fleet: PetFleet) -> bool:
    """Say whether a text falls apart into the very pieces that were each read back: the parser would split it there."""
    head, *blocks = text.split(_BLOCK_START)
    plain = _PLAIN_HEAD.fullmatch(head)
    try:
        return (
            plain is not None
            and not fleet.extra
            and plain.groups() == (fleet.user_id, fleet.active_pet, None if fleet.pets else _NO_PETS)
            and blocks == list(map(_block_of, fleet.pets))
        )
    except AttributeError:
        return False  # a handle carries no text that was read back


def _check_size(text: str, fleet: PetFleet) -> None:
    if len(text) <= MOST_BYTES // 4:  # a character has at most four bytes
        return
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
            None, f"user_id = {user_id!r}, found {_shown(fleet.user_id)}", toml.Lines(source).of("user_id"), None
        )
    return fleet


def user_id_in(data: bytes) -> str | None:
    """Return the user_id that a broken fleet text holds, as far as it can be told; None if it cannot."""
    try:
        source = _decode(data)
    except FleetFormatError:
        return None
    first_table = _BRACKET_LINE.search(source)
    parts = [source, source[: first_table.start()] if first_table else ""]
    for part in parts:
        try:
            toml.check_weight(part)
            found = toml.parse(toml.Lines(part)).get("user_id")
        except FleetFormatError as error:
            if part is source and error.line is not None:
                parts.append("\n".join(source.split("\n")[: error.line - 1]))  # all above the mistake
            continue
        if isinstance(found, str):
            return found
    return None


# --- writing ---------------------------------------------------------------------------------------------------------


def _render(fleet: PetFleet, before: tuple[PetFleet, Pieces] | None) -> tuple[Pieces, bool]:
    """Return the pieces, and whether each of them is known to read back as it should."""
    if before is not None and _has_head_of(fleet, before[0]):
        head, _, tail, plain = before[1]
    else:
        head, tail, plain = _render_head(fleet)
    checked = plain
    blocks: list[str] = []
    carried = map(_block_of, fleet.pets)
    while True:
        try:
            # What came before an error stays in the list (CPython), and the iterator goes on behind it: of 1,000 pets
            # the one that is new is found in 25 us.
            blocks.extend(carried)
        except AttributeError:
            handle = fleet.pets[len(blocks)]
            block = _plain_block(handle)
            if block is None:
                block = _render_block(handle)
                checked = _note_block(handle, block) and checked
            blocks.append(block)
        else:
            return Pieces(head, blocks, tail, plain), checked


def _has_head_of(fleet: PetFleet, other: PetFleet) -> bool:
    return (
        fleet.user_id is other.user_id
        and fleet.active_pet is other.active_pet
        and fleet.extra is other.extra
        and bool(fleet.pets) == bool(other.pets)
    )


def _render_head(fleet: PetFleet) -> tuple[str, str, bool]:
    """Return all of the text but the pets, in two parts, and whether it is known to read back as it should."""
    head = f"user_id = {_string(fleet.user_id)}\n"
    if fleet.active_pet is not None:
        head += f"active_pet = {_string(fleet.active_pet)}\n"
    found = _PLAIN_HEAD.fullmatch(head)
    plain = found is not None and found.group(1, 2) == (fleet.user_id, fleet.active_pet) and not fleet.extra
    tail = ""
    for key, value in fleet.extra.items():
        # Not dumps: the header of each table repeats all keys above it, so that 1 MiB can become many GiB.
        written = _Bounded(fleet.user_id, MOST_BYTES - len(head) - len(tail))
        tomli_w.dump({key: value}, written)
        piece = written.getvalue().decode()
        # A key is never written with a leading bracket, so this is a table or an array of tables.
        if piece.startswith("["):
            tail += f"\n{piece}"
        else:
            head += piece
    if not fleet.pets:
        head += _NO_PETS
    return head, tail, plain


class _Bounded(io.BytesIO):
    """Takes what tomli_w writes, as long as it is no more than a fleet file may hold."""

    def __init__(self, user_id: str, most: int) -> None:
        super().__init__()
        self._user_id = user_id
        self._most = most

    def write(self, chunk: Any) -> int:
        if self.tell() + len(chunk) > self._most:
            raise ValueError(
                f"the fleet of user {self._user_id} cannot be stored: its unknown tables take more than {MOST_BYTES} "
                "bytes of TOML"
            )
        return super().write(chunk)


def _plain_block(handle: PetHandle) -> str | None:
    """Return the handle's text, and have the handle carry it; None if that takes more than quotes around each string.

    Found out by reading it back: as good as making a handle of it to compare, and several times as fast.
    """
    if handle.extra:
        return None
    block = _quoted(handle)
    back = _PLAIN_BLOCK.fullmatch(block)
    if back is None or back.groups() != (handle.pet_name, handle.role, handle.manifest_path, str(handle.last_active)):
        return None
    _handles.put(block, handle, len(block))
    _set_block(handle, block)
    return block


def _quoted(handle: PetHandle) -> str:
    return (
        f'pet_name = "{handle.pet_name}"\nrole = "{handle.role}"\n'
        f'manifest_path = "{handle.manifest_path}"\nlast_active = {handle.last_active}\n'
    )


def _note_block(handle: PetHandle, block: str) -> bool:
    """Have the handle carry its text, if that reads back as it should."""
    back = _parse_block(block)
    if back is None or not _same_handle(back, handle):
        return False
    _set_block(handle, block)
    return True


def _set_block(handle: PetHandle, block: str) -> None:
    # Only ever a text that was read back: what is made of such pieces needs no parser to be right. No part of the
    # value, so being frozen does not matter.
    object.__setattr__(handle, "_block", block)


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
    pets = _handles.get_all(blocks)
    if None in pets:
        for index, handle in enumerate(pets):
            if handle is None:
                pets[index] = _parse_plain_block(blocks[index])
    # Pets without unknown keys, however many, are light.
    if None in pets or not _PLAIN_HEAD.fullmatch(head):
        try:
            toml.check_weight(source)
        except FleetFormatError:
            return None
        for index, handle in enumerate(pets):
            if handle is None:
                pets[index] = _parse_block(blocks[index])
                if pets[index] is None:
                    return None
    return _parse_head(head, cast(list[PetHandle], pets))


def _parse_plain_block(block: str) -> PetHandle | None:
    plain = _PLAIN_BLOCK.fullmatch(block)
    if plain is None:
        return None
    pet_name, role, manifest_path, last_active = plain.groups()
    try:
        handle = PetHandle(pet_name, role, manifest_path, int(last_active))
    except ValueError:  # as below
        return None
    if block.endswith("\n"):
        _set_block(handle, block)  # exactly what would be written for it
    _handles.put(block, handle, len(block))
    return handle


def _parse_block(block: str) -> PetHandle | None:
    if _BRACKET_LINE.search(block):
        return None  # a table of the document, not of this pet
    try:
        fields = toml.parse(toml.Lines(block))
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
        fields = toml.parse(toml.Lines(head))
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
    toml.check_weight(source)
    lines = toml.Lines(source)
    document = toml.parse(lines)
    user_id = _field(document, "user_id", str, lines)
    active_pet = _field(document, "active_pet", str, lines) if "active_pet" in document else None
    tables = _field(document, "pets", list, lines)
    pets = [_parse_pet(table, lines, index) for index, table in enumerate(tables)]
    try:
        return PetFleet(user_id, pets, active_pet, _unknown(document, FLEET_KEYS))
    except (TypeError, ValueError) as error:
        raise FleetFormatError(None, f"a fleet that can be stored ({toml.brief(error)})") from error


def _parse_pet(table: object, lines: toml.Lines, index: int) -> PetHandle:
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
        raise FleetFormatError(None, f"a pet that can be stored ({toml.brief(error)})", lines.of_pet(index)) from error


_TYPE_NAMES = {str: "a string", int: "an integer of 64 bits", list: "an array of tables"}


def _field(table: dict[str, Any], name: str, kind: type, lines: toml.Lines, index: int | None = None) -> Any:
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
