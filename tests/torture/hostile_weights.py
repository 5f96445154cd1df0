"""Texts that are cheap to write and costly to read, up to the size of a whole file, read within limits.

The limits are what a reader may cost: seconds of the processor in proportion to the size, and memory in proportion to
it up to a bound for all sizes. They are several times what is needed, and far below what anything quadratic needs.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from petfleet import FleetFormatError, dumps, loads
from petfleet._toml import decode, limits

MEBIBYTE: Final = 2**20
SECONDS: Final = 6  # of the processor, for a child to begin with, and
SECONDS_A_MEBIBYTE: Final = 6  # for each MiB that it reads
MEMORY: Final = 384 * MEBIBYTE  # for a child to begin with, and
MEMORY_A_BYTE: Final = 150  # for each byte that it reads, but
MAX_MEMORY: Final = 1536 * MEBIBYTE  # at most

HEAD: Final = 'user_id = "user"\n'
EMPTY: Final = HEAD + "pets = []\n"
PET: Final = "\n[[pets]]\npet_name = ''\nrole = ''\nmanifest_path = ''\nlast_active = 0\n"
_DEEP: Final = ".".join("a" * 98)

Text = Callable[[int], str]


def _repeated(unit: str, before: str = EMPTY, after: str = "\n") -> Text:
    return lambda size: before + unit * ((size - len(before)) // len(unit)) + after


def _numbered(unit: str, before: str = EMPTY, after: str = "\n") -> Text:
    """Return a text of units with a ``%`` in them, for which each has a number of its own."""

    def text(size: int) -> str:
        parts = [before]
        room = size - len(before)
        while room > 0:
            parts.append(unit.replace("%", f"{len(parts):x}"))
            room -= len(parts[-1])
        return "".join(parts) + after

    return text


def _under_a_long_key(unit: str, between: str, after: str) -> Text:
    """Return a text of which one half is a key, and the other what is below it."""
    return lambda size: _numbered(unit, f'{EMPTY}["{"k" * (size // 2)}"{between}', after)(size)


DEAR: Final[dict[str, Text]] = {
    "pets": _repeated("[[pets]]\npet_name=''\nrole=''\nmanifest_path=''\nlast_active=0\n", HEAD),
    "pets of our layout": _numbered(PET.replace("''", "'\\t%'").replace("'", '"'), HEAD),
    "pets with unknown keys": _repeated(f"{PET}x=1\n", HEAD),
    "pets inline": _repeated("{pet_name='',role='',manifest_path='',last_active=0},", HEAD + "pets=[", "]\n"),
    "pets without fields": _repeated("\n[[pets]]\n", HEAD),
    "keys": _numbered("%=1\n"),
    "inline keys": _numbered("%=1,", EMPTY + "x={", "z=1}\n"),
    "keys under a long header": _numbered("%=1\n", f"{EMPTY}[{_DEEP}]\n"),
    "keys under a long key": _under_a_long_key("%=1\n", "]\n", ""),
    "values under a long key": _under_a_long_key("%=[1,1,1,1]\n", "]\n", ""),
    "tables under a long key": _under_a_long_key("a.%={}\n", "]\n", ""),
    "tables": _numbered("[%]\n"),
    "tables of tables": _numbered("[a.%]\n"),
    "arrays of tables": _repeated("[[a.b.c]]\n"),
    "long headers": _numbered(f"[%.{_DEEP}]\n"),
    "long dotted keys": _numbered(f"%.{_DEEP}=1\n"),
    "long dotted keys that begin alike": _numbered(f"{_DEEP}.%=1\n"),
    "long dotted keys under a long header": _numbered(f"%.{_DEEP}=1\n", f"{EMPTY}[{_DEEP}]\n"),
    "long dotted keys of an inline table": _numbered(f"%.{_DEEP}=1,", EMPTY + "x={", "z=1}\n"),
    "keys of 20,000 parts": _repeated(f"{'a.' * 20_000}b=1\n"),
    "dotted values": _repeated(f"{_DEEP},\n", EMPTY + "x=["),
    "empty arrays": _repeated("[],", EMPTY + "x=[", "]\n"),
    "empty tables": _repeated("{},", EMPTY + "x=[", "]\n"),
    "deep arrays": _repeated("[" * 60 + "]" * 60 + ",", EMPTY + "x=[", "]\n"),
    "deep tables": _repeated("{a=" * 60 + "1" + "}" * 60 + ",", EMPTY + "x=[", "]\n"),
    "integers": _repeated("1,", EMPTY + "x=[", "]\n"),
    "floats": _repeated("0.5,", EMPTY + "x=[", "]\n"),
    "times": _repeated("1979-05-27T07:32:00.123-11:11,", EMPTY + "x=[", "]\n"),
    "empty strings": _repeated("'',", EMPTY + "x=[", "]\n"),
    "a string": _repeated("a", EMPTY + 'x="', '"\n'),
    "escapes": _repeated("\\u00e9\\n\\U0001F43E", EMPTY + 'x="', '"\n'),
    "a string of lines": _repeated('\n\\\n ""', EMPTY + 'x="""', '"""\n'),
    "a decimal number": _repeated("1", EMPTY + "x="),
    "a hexadecimal number": _repeated("f", EMPTY + "x=0x"),
    "a number with underscores": _repeated("1_", EMPTY + "x=", "1\n"),
    "a fraction": _repeated("1", EMPTY + "x=0."),
    "an exponent": _repeated("9", EMPTY + "x=1e"),
    "parts of a second": _repeated("1", EMPTY + "x=1979-05-27T07:32:00."),
    "a comment": _repeated("a", EMPTY + "#"),
    "comments": _repeated("#\n"),
    "lines": _repeated("\n"),
    "blanks": _repeated(" "),
    "a key": _repeated("k", EMPTY, "=1\n"),
    "another user": _repeated("a", 'user_id="', '"\npets=[]\n'),
    "quotes": _repeated("''."),
    "NULs": _repeated("\0", ""),
}


def read_within_limits(name: str, size: int, *, sabotage: str = "") -> str:
    """Have a child read that text of about ``size`` bytes within the limits, and return what it was told.

    Args:
        name: one of ``DEAR``.
        size: in bytes.
        sabotage: Python code for the child to run first.

    Raises:
        AssertionError: it ended otherwise than with a fleet or FleetFormatError, or was stopped by a limit.
    """
    # Without coverage's hook, which would make it several times as slow.
    environment = {key: value for key, value in os.environ.items() if not key.startswith("COVERAGE_")}
    code = f"{sabotage}\nfrom tests.torture import hostile_weights\nhostile_weights.main({name!r}, {size})"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parent.parent.parent,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, f"{size} bytes of {name}: exit code {done.returncode}\n{done.stderr}"
    return done.stdout.strip()


def main(name: str, size: int) -> None:
    """Read within the limits, once like ``loads`` and once like a store that was asked to overwrite."""
    data = DEAR[name](size).encode()[: limits.MAX_BYTES]
    seconds = SECONDS + SECONDS_A_MEBIBYTE * -(-size // MEBIBYTE)
    memory = MEMORY + min(MEMORY_A_BYTE * size, MAX_MEMORY)
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    try:
        fleet = loads(data)
    except FleetFormatError as error:
        decode.user_id_in(data)
        print(f"{error!s:.200}")
        return
    if size <= MEBIBYTE // 4:
        try:
            dumps(fleet)
        except ValueError as error:  # what is short in one layout may be long in ours
            print(f"{error!s:.200}")
            return
    print("a fleet")
