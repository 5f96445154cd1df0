"""The layout in which petfleet writes a fleet, and the texts of pets that are known to be right."""

from __future__ import annotations

import operator
import re

from petfleet._model.fleet import PetHandle
from petfleet._util.cache import BoundedCache

# The text of one pet, and the handle that it means. It cannot be stale: whole texts are compared. Pets with unknown
# keys stay out of it. In the other direction, a handle carries its own text.
block_cache: BoundedCache[str, PetHandle] = BoundedCache(8192, 2 * 1024 * 1024)

BLOCK_START = "\n[[pets]]\n"
_PLAIN = r'[^"\\\x00-\x1f\x7f]*'  # what stands in a TOML string as it is
_STRING = f'"({_PLAIN})"'
PLAIN_TEXT = re.compile(_PLAIN)
PLAIN_BLOCK = re.compile(
    rf"pet_name = {_STRING}\nrole = {_STRING}\nmanifest_path = {_STRING}\nlast_active = (0|-?[1-9][0-9]{{0,18}})\n?"
)
NO_PETS = "pets = []\n"
PLAIN_HEAD = re.compile(rf"user_id = {_STRING}\n(?:active_pet = {_STRING}\n)?({re.escape(NO_PETS)})?")
carried_block = operator.attrgetter("_block")


def carry_block(handle: PetHandle, block: str) -> None:
    """Have a handle carry its text, for the next time that it is written."""
    # Only ever a text that was read back: what is made of such pieces needs no parser to be right. No part of the
    # value, so being frozen does not matter.
    object.__setattr__(handle, "_block", block)
