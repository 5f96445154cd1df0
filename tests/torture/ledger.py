"""Which changes of a user's files have been synced, and which a mere sync can no longer make durable."""

from __future__ import annotations

import errno
import os
from typing import Final

from tests.support.commits import FLEET, LOCK

# Above the root we may lack permission to look; then there is nothing to sync.
BEYOND_US: Final = (errno.EACCES, errno.EROFS)


class Ledger:
    """Follows the calls: data is durable after its file's fsync, a name after that of its directory.

    A failed fsync may drop the data and the next one succeed all the same: such data is ``tainted``, and only a newly
    written file mends it.
    """

    def __init__(self) -> None:
        self.data: set[str] = set()  # files written and not synced
        self.tainted: set[str] = set()
        self.names: set[str] = set()  # made, replaced or removed in a directory that was not synced since

    def missing(self, present: bool) -> list[str]:
        """Return what is not durable of the fleet, or of its absence."""
        names = [FLEET, *(["u", "."] if present else [])]
        unsynced = [f"name {name}" for name in names if name in self.names]
        return unsynced + [f"data {FLEET}"] * (present and FLEET in self.data | self.tainted)

    def done(self, name: str, path: str) -> None:
        """Note a call that succeeded."""
        if name == "open" and path == "TEMPORARY":
            self.data.discard(path)  # a new one, whatever became of the last
            self.tainted.discard(path)
        elif name == "write":
            self.data.add(path)
        elif name == "fsync":
            self.data.discard(path)
            self._synced(path)
        elif name == "replace":
            source, _, target = path.partition(" -> ")
            for kind in (self.data, self.tainted):
                kind.discard(target)
                if source in kind:
                    kind.remove(source)
                    kind.add(target)
            self.names.add(target)
        elif name in ("unlink", "mkdir"):
            self.names.add(path)
        elif name == "rmdir":
            self.names -= {path, FLEET}

    def failed(self, name: str, path: str, error: int) -> None:
        """Note a call that failed."""
        if name == "fsync":
            self.tainted.add(path)
        elif path == LOCK and name in ("lseek", "write") and FLEET in self.data:
            # What others wrote, and no one can note that its sync failed: as far as syncing can assure is all that is
            # promised of it.
            self.tainted.discard(FLEET)
        if path.startswith("..") and error in BEYOND_US:
            self._synced(path)

    def _synced(self, directory: str) -> None:
        self.names = {name for name in self.names if os.path.normpath(f"{name}/..") != directory}
