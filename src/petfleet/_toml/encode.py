"""Writing: the TOML text of a fleet."""

from __future__ import annotations

import io
import operator
from typing import Any, NamedTuple

import tomli_w

from petfleet._model.errors import FleetFormatError
from petfleet._model.extra import same
from petfleet._model.fleet import PetFleet, PetHandle
from petfleet._toml import limits
from petfleet._toml.decode import loads, parse_block
from petfleet._toml.layout import (
    BLOCK_START,
    NO_PETS,
    PLAIN_BLOCK,
    PLAIN_HEAD,
    PLAIN_TEXT,
    block_cache,
    carried_block,
    carry_block,
)

_extra_of = operator.attrgetter("extra")


def dumps(fleet: PetFleet) -> str:
    """Return the TOML text of ``fleet``, exactly as ``save`` writes it to a file.

    The text was parsed back: :func:`petfleet.loads` returns the same fleet. ``sha256(dumps(fleet).encode())`` can serve
    as its ETag.

    Raises:
        TypeError: ``fleet`` is not a PetFleet.
        ValueError: the text is larger than a fleet file may be (16 MiB), or too expensive to parse.
    """
    if type(fleet) is not PetFleet:
        raise TypeError(f"dumps takes a PetFleet, not {type(fleet).__name__}")
    text = render_parts(fleet).text()
    confirm(text, fleet)
    return text


class Parts(NamedTuple):
    """The parts of a fleet's text. They can be compared and checked without joining the texts of 1,000 pets.

    Attributes:
        head: everything before the pets.
        blocks: the text of each pet; without pets, ``pets = []`` is in the head.
        tail: the unknown tables.
        plain: whether the head alone is known to read back as the same values.
    """

    head: str
    blocks: list[str]
    tail: str
    plain: bool

    def text(self) -> str:
        """Return the whole text."""
        start = BLOCK_START if self.blocks else ""
        return f"{self.head}{start}{BLOCK_START.join(self.blocks)}{self.tail}"


def render_parts(fleet: PetFleet, before: tuple[PetFleet, Parts] | None = None) -> Parts:
    """Return the parts of the text of a fleet. Each new part is parsed back by itself.

    Args:
        fleet: what to write.
        before: another fleet and its parts; if ``fleet`` has the same head, it is used again.

    Raises:
        ValueError: as in :func:`dumps`.
    """
    parts, checked = _render(fleet, before)
    size = sum(map(len, parts.blocks)) + len(parts.head)
    # A character has at most four bytes, and the lines between the blocks add less than a quarter to the size. If pets
    # have unknown keys, each block may be cheap to parse, and all of them together too expensive.
    if not checked or size > limits.MAX_BYTES // 5 or _may_be_heavy(2 * size, fleet):
        confirm(parts.text(), fleet)
    return parts


def confirm(text: str, fleet: PetFleet) -> None:
    """Read a written text back; ValueError if it does not mean ``fleet``."""
    _check_size(text, fleet)
    try:
        if _consists_of_checked_parts(text, fleet):
            if _may_be_heavy(len(text), fleet):
                limits.check_weight(text)
            return
        same_fleet = _same_fleet(loads(text), fleet)
    except FleetFormatError as error:
        raise ValueError(f"the fleet of user {fleet.user_id} cannot be stored: {error}") from error
    if not same_fleet:
        raise ValueError(f"the fleet of user {fleet.user_id} cannot be stored: its TOML text reads back differently")


def _may_be_heavy(size: int, fleet: PetFleet) -> bool:
    return size >= limits.LIGHTEST_HEAVY and any(map(_extra_of, fleet.pets))


def _consists_of_checked_parts(text: str, fleet: PetFleet) -> bool:
    """Return whether a text splits into the very parts that were each read back, as the parser would split it."""
    head, *blocks = text.split(BLOCK_START)
    plain = PLAIN_HEAD.fullmatch(head)
    try:
        return (
            plain is not None
            and not fleet.extra
            and plain.groups() == (fleet.user_id, fleet.active_pet, None if fleet.pets else NO_PETS)
            and blocks == list(map(carried_block, fleet.pets))
        )
    except AttributeError:
        return False  # a handle carries no text


def _check_size(text: str, fleet: PetFleet) -> None:
    if len(text) <= limits.MAX_BYTES // 4:  # a character has at most four bytes
        return
    size = len(text.encode())
    if size > limits.MAX_BYTES:
        raise ValueError(
            f"the fleet of user {fleet.user_id} cannot be stored: {size} bytes of TOML, {limits.MAX_BYTES} are allowed"
        )


def _render(fleet: PetFleet, before: tuple[PetFleet, Parts] | None) -> tuple[Parts, bool]:
    """Return the parts, and whether each of them is known to read back as the same values."""
    if before is not None and _has_head_of(fleet, before[0]):
        head, _, tail, plain = before[1]
    else:
        head, tail, plain = _render_head(fleet)
    checked = plain
    blocks: list[str] = []
    carried = map(carried_block, fleet.pets)
    while True:
        try:
            # In CPython, items before an error stay in the list, and the iterator goes on after it. This finds one new
            # pet among 1,000 in 25 us.
            blocks.extend(carried)
        except AttributeError:
            handle = fleet.pets[len(blocks)]
            block = _plain_block(handle)
            if block is None:
                block = _render_block(handle)
                checked = _note_block(handle, block) and checked
            blocks.append(block)
        else:
            return Parts(head, blocks, tail, plain), checked


def _has_head_of(fleet: PetFleet, other: PetFleet) -> bool:
    return (
        fleet.user_id is other.user_id
        and fleet.active_pet is other.active_pet
        and fleet.extra is other.extra
        and bool(fleet.pets) == bool(other.pets)
    )


def _render_head(fleet: PetFleet) -> tuple[str, str, bool]:
    """Return the head and the tail, and whether they are known to read back as the same values."""
    head = f"user_id = {_string(fleet.user_id)}\n"
    if fleet.active_pet is not None:
        head += f"active_pet = {_string(fleet.active_pet)}\n"
    found = PLAIN_HEAD.fullmatch(head)
    plain = found is not None and found.group(1, 2) == (fleet.user_id, fleet.active_pet) and not fleet.extra
    tail = ""
    for key, value in fleet.extra.items():
        # Not dumps: the header of each table repeats all keys above it, so 1 MiB of tables can become many GiB of text.
        written = _Bounded(fleet.user_id, limits.MAX_BYTES - len(head) - len(tail))
        tomli_w.dump({key: value}, written)
        entry = written.getvalue().decode()
        # A key is never written with a leading bracket, so this is a table or an array of tables.
        if entry.startswith("["):
            tail += f"\n{entry}"
        else:
            head += entry
    if not fleet.pets:
        head += NO_PETS
    return head, tail, plain


class _Bounded(io.BytesIO):
    """A buffer for tomli_w that refuses to grow beyond the size of a fleet file."""

    def __init__(self, user_id: str, most: int) -> None:
        super().__init__()
        self._user_id = user_id
        self._most = most

    def write(self, chunk: Any) -> int:
        if self.tell() + len(chunk) > self._most:
            raise ValueError(
                f"the fleet of user {self._user_id} cannot be stored: its unknown tables take more than "
                f"{limits.MAX_BYTES} bytes of TOML"
            )
        return super().write(chunk)


def _plain_block(handle: PetHandle) -> str | None:
    """Return the handle's text, and let the handle carry it; None if a string needs more than quotes around it.

    This is checked by matching the text, as safe as parsing and comparing it, and several times as fast.
    """
    if handle.extra:
        return None
    block = _quoted(handle)
    back = PLAIN_BLOCK.fullmatch(block)
    if back is None or back.groups() != (handle.pet_name, handle.role, handle.manifest_path, str(handle.last_active)):
        return None
    block_cache.put(block, handle, len(block))
    carry_block(handle, block)
    return block


def _quoted(handle: PetHandle) -> str:
    return (
        f'pet_name = "{handle.pet_name}"\nrole = "{handle.role}"\n'
        f'manifest_path = "{handle.manifest_path}"\nlast_active = {handle.last_active}\n'
    )


def _note_block(handle: PetHandle, block: str) -> bool:
    """Let the handle carry its text if the text reads back as an equal handle; return whether it does."""
    back = parse_block(block)
    if back is None or not _same_handle(back, handle):
        return False
    carry_block(handle, block)
    return True


def _render_block(handle: PetHandle) -> str:
    block = (
        f"pet_name = {_string(handle.pet_name)}\n"
        f"role = {_string(handle.role)}\n"
        f"manifest_path = {_string(handle.manifest_path)}\n"
        f"last_active = {handle.last_active}\n"
    )
    for key, value in handle.extra.items():
        # In an array with other values than tables, tomli_w writes every value inline. A [table] after the pet's own
        # keys would belong to the document. The array around the value is cut off again.
        inline = tomli_w.dumps({"x": [value, 0]}, indent=0)
        block += tomli_w.dumps({key: 0})[: -len("0\n")] + inline[len("x = [\n") : -len(",\n0,\n]\n")] + "\n"
    return block


def _string(value: str) -> str:
    # tomli_w looks at each character in turn, which took half of the time of a commit.
    if PLAIN_TEXT.fullmatch(value):
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
    # Not ==: for it, the extras 1 and True are equal, and NaN is not equal to NaN.
    return one is other or (
        one.pet_name == other.pet_name
        and one.role == other.role
        and one.manifest_path == other.manifest_path
        and one.last_active == other.last_active
        and same(one.extra, other.extra)
    )


dumps.__module__ = "petfleet"
