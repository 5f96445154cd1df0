"""The paths of a user's files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from petfleet._model.names import FLEET_FILE, check_user_id

LOCK_FILE: Final = "fleet.toml.lock"


def fleet_path(user_id: str, root: str | os.PathLike[str]) -> Path:
    """Return the path of that user's fleet file, ``<root>/<user_id>/fleet.toml``, without touching the disk.

    Raises:
        InvalidNameError: ``user_id`` may not name a directory.
    """
    return Path(root, check_user_id(user_id), FLEET_FILE)


fleet_path.__module__ = "petfleet"


class UserPaths:
    """The paths of one user's files."""

    __slots__ = ("directory", "fleet", "lock", "user_id")

    def __init__(self, root: str, user_id: str) -> None:
        self.user_id: str = user_id
        self.directory: str = f"{root}{os.sep}{user_id}"
        self.fleet: str = f"{self.directory}{os.sep}{FLEET_FILE}"
        self.lock: str = f"{self.directory}{os.sep}{LOCK_FILE}"
