"""What a check finds, in words that any terminal can show."""

from __future__ import annotations

import errno
import os
import shlex
from typing import Final, NamedTuple

from petfleet._model.errors import FleetFormatError
from petfleet.cli.output import printable

KINDS: Final = (
    "unparsable",  # fleet.toml means no fleet
    "foreign-user-id",  # it means another user's
    "not-a-file",  # a link, a pipe, a directory in the place of fleet.toml or fleet.toml.lock
    "link",  # a symbolic link in the place of a user's directory, with a fleet behind it
    "active-pet-missing",
    "duplicate-name",
    "leftover",  # a temporary file that no living writer uses
    "dead-writer",  # the lock file says that one is writing, and nobody holds it
    "mode",  # others than the owner have rights, or the owner lacks one
    "owner",  # not the account that owns the root directory
    "unreadable",  # the system refused to show a file or a directory
    "invalid-name",  # a directory that no store accepts
)


class Finding(NamedTuple):
    """One thing that is not as petfleet leaves it.

    Attributes:
        kind: one of ``KINDS``.
        path: the file or directory concerned, as the system names it: to be shown, it goes through ``shown``.
        message: one printable line: what is wrong, and the way out.
        user_id: whose it is, a valid id; None where the name is none.
        line: where in the file, from 1; None where unknown, as for ``column``.
        repaired: what was done about it, printable; None if nothing was.
    """

    kind: str
    path: str
    message: str
    user_id: str | None
    line: int | None = None
    column: int | None = None
    repaired: str | None = None

    def but(self, why: object) -> Finding:
        """Return it with what stood in the way of its repair."""
        return self._replace(message=f"{self.message}; not repaired: {printable(str(why))}")


def unreadable(path: str, error: OSError, user_id: str | None) -> Finding:
    """Return that the system refused to show something."""
    if error.errno in (errno.EACCES, errno.EPERM):
        way_out = "check as the account that owns it"
    else:
        way_out = "see what the system's log says of the disk"
    return Finding("unreadable", path, f"{reason(error)}: {way_out}", user_id)


def not_a_file(path: str, error: FleetFormatError, user_id: str) -> Finding:
    """Return that something else stands in the place of a file."""
    return Finding("not-a-file", path, f"{reason(error)}: move it away", user_id)


def reason(error: Exception) -> str:
    """Return an error in a few printable words, without the file that it is about."""
    if isinstance(error, FleetFormatError):
        return printable(f"expected {error.expected}")
    return printable((error.strerror if isinstance(error, OSError) else None) or str(error))


def command(*words: str) -> str:
    """Return a command that a shell takes as these words, whatever bytes they hold."""
    return " ".join(shlex.quote(word) if word.isprintable() else _escaped(word) for word in words)


def _escaped(word: str) -> str:
    plain = (
        chr(byte) if 0x20 <= byte < 0x7F and byte not in b"'\\" else f"\\x{byte:02x}" for byte in os.fsencode(word)
    )
    return f"$'{''.join(plain)}'"
