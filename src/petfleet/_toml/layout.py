"""The layout in which petfleet writes a fleet, and caches of texts that were checked."""

from __future__ import annotations

import operator
import re

from petfleet._model.fleet import PetHandle
from petfleet._util.cache import BoundedCache

# Maps the text of one pet to its handle. It cannot be stale, since whole texts are compared. Pets with unknown keys are
# not cached. For the other direction, a handle carries its own text.
block_cache: BoundedCache[str, PetHandle] = BoundedCache(8192, 2 * 1024 * 1024)

BLOCK_START = "\n[[pets]]\n"
_PLAIN = r'[^"\\\x00-\x1f\x7f]*'  # characters that a TOML string holds unescaped
_STRING = f'"({_PLAIN})"'
PLAIN_TEXT = re.compile(_PLAIN)
PLAIN_BLOCK = re.compile(
    rf"pet_name = {_STRING}\nrole = {_STRING}\nmanifest_path = {_STRING}\nlast_active = (0|-?[1-9][0-9]{{0,18}})\n?"
)
NO_PETS = "pets = []\n"
PLAIN_HEAD = re.compile(rf"user_id = {_STRING}\n(?:active_pet = {_STRING}\n)?({re.escape(NO_PETS)})?")
carried_block = operator.attrgetter("_block")


def carry_block(handle: PetHandle, block: str) -> None:
    """Let a handle carry its text, for the next time that it is written. The text must have been read back."""
    # A fleet of such texts is written without parsing it again. The handle is frozen, but this is no part of its value.
    object.__setattr__(handle, "_block", block)
