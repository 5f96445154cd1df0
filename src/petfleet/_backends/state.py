"""What is stored of a user: a fleet, none, or something that is no fleet. No I/O."""

from __future__ import annotations

from typing import Final

from petfleet._model.errors import FleetFormatError, copy_error
from petfleet._model.fleet import PetFleet
from petfleet._toml import decode, encode, limits


class State:
    """What a user has: a fleet, no fleet, or a file that means none (``error``)."""

    __slots__ = ("_parts", "error", "fleet", "overwritable")

    def __init__(
        self,
        fleet: PetFleet | None = None,
        parts: encode.Parts | None = None,
        *,
        error: FleetFormatError | None = None,
        overwritable: bool = False,
    ) -> None:
        self.fleet = fleet
        self._parts = parts
        self.error = error
        self.overwritable = overwritable

    @property
    def absent(self) -> bool:
        """Whether there is nothing at all."""
        return self.fleet is None and self.error is None

    @property
    def parts(self) -> encode.Parts | None:
        """What ``dumps`` of the fleet is made of; None without one."""
        if self._parts is None and self.fleet is not None:
            try:
                self._parts = encode.render_parts(self.fleet)
            except ValueError:
                # Readable in its own layout but too large in ours: no change may equal it.
                self._parts = encode.Parts("", [], "", False)
        return self._parts

    def readable(self) -> PetFleet | None:
        """Return the fleet, None if there is none; raise what keeps it from being one."""
        if self.error is not None:
            raise copy_error(self.error)
        return self.fleet

    def encoded(self) -> bytes | None:
        """Return what is to be written; each piece of it was parsed back, and now the whole is compared with them."""
        if self.fleet is None or self.parts is None:
            return None
        text = self.parts.text()
        encode.confirm(text, self.fleet)
        return text.encode()


ABSENT: Final = State()


def parse_state(data: bytes | None, size: int, user_id: str, where: str) -> State:
    """Return what stored bytes mean.

    Args:
        data: None if there are more than a fleet may have.
        size: their number.
        user_id: whose fleet they are to be.
        where: the path or URL that an error names.
    """
    if data is None:
        too_large = FleetFormatError(where, f"at most {limits.MAX_BYTES} bytes, not {size}")
        return State(error=too_large, overwritable=True)
    try:
        return State(decode.loads(data, user_id=user_id))
    except FleetFormatError as error:
        located = FleetFormatError(where, error.expected, error.line, error.column)
        owner = decode.user_id_in(data)
        return State(error=located, overwritable=owner is None or owner == user_id)
