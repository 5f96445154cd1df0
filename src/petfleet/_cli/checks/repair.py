"""Repairs findings: petfleet recovers from dead writers, and files that are not fleets get another name.

A repair deletes no content.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from itertools import count
from typing import Final

import anyio

from petfleet import FleetStore
from petfleet._backends.files import disk
from petfleet._backends.files.lock import lock_timeout_error
from petfleet._backends.files.paths import UserPaths
from petfleet._backends.files.reader import Reader
from petfleet._cli.checks import leftovers
from petfleet._cli.checks.finding import Finding, reason
from petfleet._cli.checks.leftovers import Leftovers
from petfleet._cli.output import printable
from petfleet._model.errors import FleetFormatError, UnconfirmedCommitError

_RECOVERED: Final = {"leftover": "removed", "dead-writer": "recovered"}
_MAX_RESTARTS: Final = 20  # if others keep replacing the file


def repair_user(root: str, paths: UserPaths, found: Sequence[Finding], lock_timeout: float) -> list[Finding]:
    """Repair what can be repaired of one user's findings, under the user's lock.

    Args:
        root: the directory of all fleets.
        paths: the user's.
        found: the findings.
        lock_timeout: seconds to wait for the lock, in each step.

    Returns:
        The findings, each with how it was repaired or why not; without those that others have repaired meanwhile.
    """
    after = [
        _unparsable(paths, finding, lock_timeout) if finding.kind == "unparsable" else finding for finding in found
    ]
    kept = [finding for finding in after if finding is not None]
    if not any(finding.repaired or finding.kind in _RECOVERED for finding in kept):
        return kept
    trouble = None
    try:
        before = leftovers.read(paths)
        trouble = _recover(root, paths.user_id, lock_timeout)
        # No lock is needed to see what is left: each leftover has a unique name, or a writer and a time.
        still = before.lasting(leftovers.read(paths))
    except (FileNotFoundError, NotADirectoryError):
        still = Leftovers()
    except OSError as error:
        return [finding.not_repaired(error) if finding.kind in _RECOVERED else finding for finding in kept]
    return [_outcome(finding, still, trouble) for finding in kept]


def set_aside(paths: UserPaths, lock_timeout: float) -> str | None:
    """Rename a file that is not a fleet, durably, and return its new path.

    Returns None, and changes nothing, if the file is a fleet by now, or has gone. A crash leaves it under one of the
    two names.

    Not promised: to see a change by a program that writes the file without the lock just before it is renamed.

    Args:
        paths: the user's.
        lock_timeout: seconds to wait for the lock.

    Raises:
        LockTimeoutError: others keep the lock, or keep replacing the file.
        FleetFormatError: it belongs to another user, or is not a regular file.
        UnconfirmedCommitError: its directory could not be synced; ``path`` is its new name.
        OSError: the system refused.
    """
    for _ in range(_MAX_RESTARTS):
        with leftovers.locked(paths, lock_timeout) as lock:
            # Read again under the lock, by a new reader: the other one has already waited for this file.
            stored, state = Reader().read(paths)
            if state.error is None:
                return None
            if not state.overwritable:
                raise FleetFormatError(paths.fleet, f"a file of user {paths.user_id!r}, found another's")
            aside = _free_name(f"{paths.fleet}.corrupt-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}")
            if lock.is_at_path() and disk.unchanged(paths.fleet, stored):
                disk.rename(paths.fleet, aside)
                try:
                    disk.sync_directory(paths.directory)
                except OSError as error:
                    raise UnconfirmedCommitError(aside) from error
                return aside
    raise lock_timeout_error(paths.lock, lock_timeout)


def _free_name(path: str) -> str:
    # Only the holder of the lock makes such names. Making a file to reserve the name would leave it behind in a crash.
    return next(name for number in count() if not disk.exists(name := f"{path}-{number}" if number else path))


def _unparsable(paths: UserPaths, finding: Finding, lock_timeout: float) -> Finding | None:
    try:
        aside = set_aside(paths, lock_timeout)
    except FileNotFoundError:
        return None
    except UnconfirmedCommitError as error:
        message = f"{finding.message}; {printable(str(error))}"
        return finding._replace(message=message, repaired=f"set aside as {printable(error.path)}")
    except FleetFormatError as error:
        return finding.not_repaired(reason(error))
    except OSError as error:
        return finding.not_repaired(error)
    return None if aside is None else finding._replace(repaired=f"set aside as {printable(aside)}")


def _recover(root: str, user_id: str, lock_timeout: float) -> Exception | None:
    """Have petfleet recover the user's files; return the error that prevented it."""

    async def load() -> None:
        async with FleetStore(root, lock_timeout=lock_timeout) as store:
            await store.load(user_id)

    try:
        # A new store, since a store removes temporary files only when it first commits for a user.
        anyio.run(load)
    except (OSError, ValueError) as error:
        return error
    return None


def _outcome(finding: Finding, still: Leftovers, trouble: Exception | None) -> Finding:
    """Return the finding with how it was repaired, or why not."""
    if finding.kind in _RECOVERED:
        leftover = finding.kind == "leftover"
        shows = os.path.basename(finding.path) in still.temporaries if leftover else still.unfinished is not None
        return (
            finding.not_repaired(trouble or "it is still there")
            if shows
            else finding._replace(repaired=_RECOVERED[finding.kind])
        )
    if finding.repaired and trouble is not None:
        return finding._replace(message=f"{finding.message}; what else is to be tidied up is left: {reason(trouble)}")
    return finding
