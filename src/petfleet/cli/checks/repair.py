"""What `check` may repair: it lets the library recover, and sets aside what means no fleet. It deletes no content."""

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
from petfleet._model.errors import FleetFormatError, UnconfirmedCommitError
from petfleet.cli.checks import leftovers
from petfleet.cli.checks.finding import Finding, reason
from petfleet.cli.checks.leftovers import Traces
from petfleet.cli.output import printable

_RECOVERED: Final = {"leftover": "removed", "dead-writer": "recovered"}
_MAX_RESTARTS: Final = 20  # before setting a file aside gives way to who keeps replacing it


def repair(root: str, place: UserPaths, found: Sequence[Finding], lock_timeout: float) -> list[Finding]:
    """Repair what can be repaired of one user's findings, under the user's lock.

    Args:
        lock_timeout: seconds to wait for the lock, in each step.

    Returns:
        The findings, each with what was done about it or what stood in the way; without those that others have put
        right meanwhile.
    """
    after = [
        _unparsable(place, finding, lock_timeout) if finding.kind == "unparsable" else finding for finding in found
    ]
    kept = [finding for finding in after if finding is not None]
    if not any(finding.repaired or finding.kind in _RECOVERED for finding in kept):
        return kept
    trouble = None
    try:
        before = leftovers.look(place)
        trouble = _recover(root, place.user_id, lock_timeout)
        # Each is told by its name, or by who was writing since when, so that to see what is left no lock is needed.
        still = before.lasting(leftovers.look(place))
    except (FileNotFoundError, NotADirectoryError):
        still = Traces()
    except OSError as error:
        return [finding.but(error) if finding.kind in _RECOVERED else finding for finding in kept]
    return [_outcome(finding, still, trouble) for finding in kept]


def set_aside(place: UserPaths, lock_timeout: float) -> str | None:
    """Give a fleet file that means no fleet another name beside it, durably, and return that path.

    None if it means one by now, or is gone: nothing was changed. A crash leaves it under the one name or the other.

    Not promised: anything about programs that write the file without the lock, after it was last looked at.

    Args:
        lock_timeout: seconds to wait for the lock.

    Raises:
        LockTimeoutError: the lock stayed held, or the file kept being replaced.
        FleetFormatError: it is another user's, or no regular file.
        UnconfirmedCommitError: its directory could not be synced; ``path`` is the name that the file has.
        OSError: the system refused.
    """
    for _ in range(_MAX_RESTARTS):
        with leftovers.locked(place, lock_timeout) as lock:
            # Not what was read without the lock, and not by the same reader: it has waited for that file already.
            stored, state = Reader().read(place)
            if state.error is None:
                return None
            if not state.overwritable:
                raise FleetFormatError(place.fleet, f"a file of user {place.user_id!r}, found another's")
            aside = _free_name(f"{place.fleet}.corrupt-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}")
            if lock.is_at_path() and disk.unchanged(place.fleet, stored):
                disk.rename(place.fleet, aside)
                try:
                    disk.sync_directory(place.directory)
                except OSError as error:
                    raise UnconfirmedCommitError(aside) from error
                return aside
    raise lock_timeout_error(place.lock, lock_timeout)


def _free_name(path: str) -> str:
    # Only who holds the lock makes such names. To reserve it by making a file would leave that behind in a crash.
    return next(name for number in count() if not disk.exists(name := f"{path}-{number}" if number else path))


def _unparsable(place: UserPaths, finding: Finding, lock_timeout: float) -> Finding | None:
    try:
        aside = set_aside(place, lock_timeout)
    except FileNotFoundError:
        return None
    except UnconfirmedCommitError as error:
        message = f"{finding.message}; {printable(str(error))}"
        return finding._replace(message=message, repaired=f"set aside as {printable(error.path)}")
    except FleetFormatError as error:
        return finding.but(reason(error))
    except OSError as error:
        return finding.but(error)
    return None if aside is None else finding._replace(repaired=f"set aside as {printable(aside)}")


def _recover(root: str, user_id: str, lock_timeout: float) -> Exception | None:
    """Have the library recover the user; return what stood in the way."""

    async def load() -> None:
        async with FleetStore(root, lock_timeout=lock_timeout) as store:
            await store.load(user_id)

    try:
        # A store of its own: only at its first sight of a user it removes temporary files that nothing points to.
        anyio.run(load)
    except (OSError, ValueError) as error:
        return error
    return None


def _outcome(finding: Finding, still: Traces, trouble: Exception | None) -> Finding:
    """Return the finding with what has become of it."""
    if finding.kind in _RECOVERED:
        leftover = finding.kind == "leftover"
        shows = os.path.basename(finding.path) in still.temporaries if leftover else still.unfinished is not None
        return (
            finding.but(trouble or "it is still there")
            if shows
            else finding._replace(repaired=_RECOVERED[finding.kind])
        )
    if finding.repaired and trouble is not None:
        return finding._replace(message=f"{finding.message}; what else is to be tidied up is left: {reason(trouble)}")
    return finding
