"""Checks symbolic links in the root: a store follows none of them, so that a fleet behind one seems to be missing."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator

from petfleet._cli.checks.finding import Finding, unreadable
from petfleet._cli.output import printable
from petfleet._model.names import FLEET_FILE


def check_link(entry: os.DirEntry[str]) -> Iterator[Finding]:
    """Yield a finding if a link leads to a directory with a fleet, or to one that may not be read."""
    try:
        os.stat(os.path.join(entry.path, FLEET_FILE))
        target = printable(os.readlink(entry.path))
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EINVAL):
            yield unreadable(entry.path, error, entry.name)
    else:
        message = f"a symbolic link to {target}, which no store follows: put the directory itself in its place"
        yield Finding("link", entry.path, message, entry.name)
