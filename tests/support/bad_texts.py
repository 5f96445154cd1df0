"""Bytes that are no fleet, what is said of each, and a look whether calls say it."""

from __future__ import annotations

import pytest

from petfleet import FleetFormatError, FleetStore
from tests.support.store_calls import Call

HEAD = b'user_id = "user"\n'
PET = b'[[pets]]\npet_name = "mira"\nrole = "friend"\nmanifest_path = "mira.toml"\nlast_active = '
BROKEN: dict[str, tuple[bytes, str, int | None, int | None]] = {
    "cut off": (b"", "the required field user_id", None, None),
    "no TOML": (
        HEAD + b"pets = [] oops\n",
        "valid TOML (Expected newline or end of document after a statement)",
        2,
        11,
    ),
    "no user_id": (b"pets = []\n", "the required field user_id", None, None),
    "no pets": (HEAD, "the required field pets", None, None),
    "a pet without a field": (HEAD + b'\n[[pets]]\npet_name = "mira"\n', "the required field role of pet 1", 3, None),
    "user_id no string": (b"pets = []\nuser_id = 7\n", "user_id to be a string, found 7", 2, None),
    "active_pet no string": (HEAD + b"pets = []\nactive_pet = 1.5\n", "active_pet to be a string, found 1.5", 3, None),
    "pets no array": (HEAD + b'pets = "mira"\n', "pets to be an array of tables, found 'mira'", 2, None),
    "a pet no table": (HEAD + b"pets = [1]\n", "a table for pet 1, found 1", 2, None),
    "last_active no integer": (
        HEAD + PET + b"1\n\n" + PET + b'"2"\n',
        "last_active of pet 2 to be an integer of 64 bits, found '2'",
        12,
        None,
    ),
    "last_active a boolean": (
        HEAD + PET + b"true\n",
        "last_active of pet 1 to be an integer of 64 bits, found True",
        6,
        None,
    ),
    "last_active too large": (
        HEAD + PET + b"9223372036854775808\n",
        "a pet that can be stored (last_active 9223372036854775808 does not fit into 64 bits)",
        2,
        None,
    ),
    "no UTF-8": (HEAD + b'pets = []\nnote = "\xff"\n', "UTF-8", 3, 9),
    "UTF-16": ("user_id".encode("utf-16"), "UTF-8", 1, 1),
    "deep nesting": (HEAD + b"pets = []\nx = " + b"[" * 5000, "at most 100 levels of nesting", 3, None),
}
WAY_OUT = "; repair it or move it away (a fleet file that cannot be parsed: save with overwrite=True replaces it)"


async def refuse(
    calls: dict[str, Call],
    store: FleetStore,
    where: object,
    expected: str,
    line: int | None = None,
    column: int | None = None,
) -> None:
    """Make the calls, and see that each fails and says where, what was expected and what to do."""
    place = "".join(f", {what} {number}" for what, number in (("line", line), ("column", column)) if number)
    for name, call in calls.items():
        with pytest.raises(FleetFormatError) as caught:
            await call(store, "user")
        error = caught.value
        assert (error.path, error.expected, error.line, error.column) == (str(where), expected, line, column), name
        assert str(error) == f"{where}{place}: expected {expected}{WAY_OUT}"
