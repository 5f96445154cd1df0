"""What is stored of a user: a fleet, nothing, or something that is no fleet. No I/O."""

from __future__ import annotations

from typing import Final

from petfleet._model.errors import FleetFormatError, copy_error
from petfleet._model.fleet import PetFleet
from petfleet._toml import decode, encode, limits


class State:
    """What is stored of a user: a fleet, nothing (then it is ``absent``), or something that is no fleet.

    Attributes:
        fleet: the fleet; None if there is none.
        error: why something stored is no fleet; None otherwise.
        overwritable: whether ``save(overwrite=True)`` may replace something that is no fleet. Not if it is another
            user's.
    """

    __slots__ = ("_parts", "error", "fleet", "overwritable")

    def __init__(
        self,
        fleet: PetFleet | None = None,
        parts: encode.Parts | None = None,
        *,
        error: FleetFormatError | None = None,
        overwritable: bool = False,
    ) -> None:
        self.fleet: PetFleet | None = fleet
        self._parts = parts
        self.error: FleetFormatError | None = error
        self.overwritable: bool = overwritable

    @property
    def absent(self) -> bool:
        """Whether nothing at all is stored."""
        return self.fleet is None and self.error is None

    @property
    def parts(self) -> encode.Parts | None:
        """The parts of the fleet's text; None if there is no fleet. The store compares them."""
        if self._parts is None and self.fleet is not None:
            try:
                self._parts = encode.render_parts(self.fleet)
            except ValueError:
                # Readable in its own layout but too large in ours: no change may equal it.
                self._parts = encode.Parts("", [], "", False)
        return self._parts

    def readable(self) -> PetFleet | None:
        """Return the fleet, or None if nothing is stored; raise the error if something stored is no fleet."""
        if self.error is not None:
            raise copy_error(self.error)
        return self.fleet

    def encoded(self) -> bytes | None:
        """Return the bytes to store; None if there is no fleet.

        Raises:
            ValueError: the fleet is too large, or its text does not read back as the same fleet.
        """
        if self.fleet is None or self.parts is None:
            return None
        text = self.parts.text()
        encode.confirm(text, self.fleet)
        return text.encode()


ABSENT: Final[State] = State()
"""The state of a user of whom nothing is stored."""


def parse_state(data: bytes, user_id: str, where: str) -> State:
    """Return the state that stored bytes mean.

    Args:
        data: the stored bytes.
        user_id: whose fleet they should be.
        where: the path or URL that an error names.
    """
    try:
        return State(decode.loads(data, user_id=user_id))
    except FleetFormatError as error:
        located = FleetFormatError(where, error.expected, error.line, error.column)
        owner = decode.user_id_in(data)
        return State(error=located, overwritable=owner is None or owner == user_id)


def oversized_state(size: int, where: str) -> State:
    """Return the state of something stored that was not read, since it has more bytes than a fleet may have."""
    return State(error=FleetFormatError(where, f"at most {limits.MAX_BYTES} bytes, not {size}"), overwritable=True)
