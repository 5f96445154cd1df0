"""A finding of a check. Its texts are printable on any terminal."""

from __future__ import annotations

import errno
import os
import shlex
from typing import Final, NamedTuple

from petfleet._cli.output import printable
from petfleet._model.errors import FleetFormatError

KINDS: Final = (
    "unparsable",  # fleet.toml is not a fleet
    "foreign-user-id",  # it is the fleet of another user
    "not-a-file",  # fleet.toml or fleet.toml.lock is a link, a pipe or a directory
    "link",  # a user's directory is a symbolic link to a directory with a fleet
    "active-pet-missing",
    "duplicate-name",
    "leftover",  # a temporary file that no living writer uses
    "dead-writer",  # the lock file says that a writer is at work, and nobody holds the lock
    "mode",  # other accounts have rights, or the owner lacks one
    "owner",  # it is not the owner of the root directory
    "unreadable",  # the system refused to show a file or a directory
    "invalid-name",  # a directory whose name is not a user id
)


class Finding(NamedTuple):
    """One thing that is not as petfleet would leave it.

    Attributes:
        kind: one of ``KINDS``.
        path: the file or directory, as the system names it. It may hold any character: print it with ``printable``.
        message: one printable line: what is wrong, and the way out.
        user_id: the user that it belongs to; None if the name is not a user id.
        line: the line in the file, from 1; None if unknown.
        column: the column in that line, from 1; None if unknown.
        repaired: how it was repaired, printable; None if it was not.
    """

    kind: str
    path: str
    message: str
    user_id: str | None
    line: int | None = None
    column: int | None = None
    repaired: str | None = None

    def not_repaired(self, why: object) -> Finding:
        """Return the finding with the reason why it was not repaired."""
        return self._replace(message=f"{self.message}; not repaired: {printable(str(why))}")


def unreadable(path: str, error: OSError, user_id: str | None) -> Finding:
    """Return the finding that the system refused to read something."""
    if error.errno in (errno.EACCES, errno.EPERM):
        way_out = "check as the account that owns it"
    else:
        way_out = "see what the system's log says of the disk"
    return Finding("unreadable", path, f"{reason(error)}: {way_out}", user_id)


def not_a_file(path: str, error: FleetFormatError, user_id: str) -> Finding:
    """Return the finding that a link, a pipe or a directory has the name of a file."""
    return Finding("not-a-file", path, f"{reason(error)}: move it away", user_id)


def reason(error: Exception) -> str:
    """Return an error as a few printable words, without the name of its file."""
    if isinstance(error, FleetFormatError):
        return printable(f"expected {error.expected}")
    return printable((error.strerror if isinstance(error, OSError) else None) or str(error))


def command(*words: str) -> str:
    """Return a command that a shell splits into these words, whatever bytes they hold."""
    return " ".join(shlex.quote(word) if word.isprintable() else _escaped(word) for word in words)


def _escaped(word: str) -> str:
    plain = (
        chr(byte) if 0x20 <= byte < 0x7F and byte not in b"'\\" else f"\\x{byte:02x}" for byte in os.fsencode(word)
    )
    return f"$'{''.join(plain)}'"
