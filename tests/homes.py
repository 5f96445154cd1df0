"""Where fleets live in tests that hold for every backend, and what another program sees and does there."""

from __future__ import annotations

import os
import urllib.request
from pathlib import Path
from typing import Any, Final, Protocol

import obstore
from obstore.store import S3Store

from petfleet import FleetStore, ObjectBackend, fleet_path
from petfleet.backend import Backend
from petfleet.files import FileBackend
from petfleet.objects import TOMBSTONE
from tests.weed import Weed

KINDS: Final = ("files", "objects")


class Home(Protocol):
    """A place of fleets, at first an empty one."""

    def backend(self) -> Backend:
        """Return a new backend over it."""

    def store(self, **options: Any) -> FleetStore:
        """Return a new store over it."""

    def where(self, user_id: str = "user") -> str:
        """Return the path or URL of a user's fleet, as errors name it."""

    def read(self, user_id: str = "user") -> bytes | None:
        """Return what stands there of a user; None if no fleet does."""

    def version(self, user_id: str = "user") -> object:
        """Return what changes with every write, even of the same bytes; None if no fleet is there."""

    def write(self, data: bytes, user_id: str = "user") -> None:
        """Write what a program writes that knows nothing of petfleet."""

    def remove(self, user_id: str = "user") -> None:
        """Remove a user's fleet as such a program does."""

    def is_untouched(self) -> bool:
        """Return whether nothing at all was made there."""

    def is_empty(self) -> bool:
        """Return whether no fleet is there, and nothing else that should not be."""


class FileHome:
    """A root directory that does not exist yet."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def backend(self) -> Backend:
        return FileBackend(str(self._root))

    def store(self, **options: Any) -> FleetStore:
        return FleetStore(self._root, **options)

    def where(self, user_id: str = "user") -> str:
        return str(fleet_path(user_id, self._root))

    def read(self, user_id: str = "user") -> bytes | None:
        path = fleet_path(user_id, self._root)
        return path.read_bytes() if path.exists() else None

    def version(self, user_id: str = "user") -> object:
        path = fleet_path(user_id, self._root)
        return (path.stat().st_ino, path.stat().st_mtime_ns) if path.exists() else None

    def write(self, data: bytes, user_id: str = "user") -> None:
        path = fleet_path(user_id, self._root)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    def remove(self, user_id: str = "user") -> None:
        fleet_path(user_id, self._root).unlink()

    def is_untouched(self) -> bool:
        return not self._root.exists()

    def is_empty(self) -> bool:
        return os.listdir(self._root) == []


class ObjectHome:
    """A prefix of a bucket."""

    def __init__(self, weed: Weed, prefix: str) -> None:
        self._weed = weed
        self.url = f"s3://{weed.bucket}/{prefix}"
        self._objects = S3Store(weed.bucket, prefix=prefix, **weed.options())

    def backend(self, gateway: int = 0, **options: Any) -> ObjectBackend:
        """Return a new backend that goes through one of the gateways, or with other options."""
        return ObjectBackend(self.url, **{**self._weed.options(gateway), **options})

    def store(self, **options: Any) -> FleetStore:
        return FleetStore(self.backend(), **options)

    def where(self, user_id: str = "user") -> str:
        return f"{self.url}/{user_id}/fleet.toml"

    def read(self, user_id: str = "user") -> bytes | None:
        try:
            data = bytes(obstore.get(self._objects, f"{user_id}/fleet.toml").bytes())
        except FileNotFoundError:
            return None
        return None if data == TOMBSTONE else data

    def version(self, user_id: str = "user") -> object:
        if self.read(user_id) is None:
            return None
        return obstore.get(self._objects, f"{user_id}/fleet.toml").attributes.get("petfleet")

    def write(self, data: bytes, user_id: str = "user") -> None:
        obstore.put(self._objects, f"{user_id}/fleet.toml", data)

    def remove(self, user_id: str = "user") -> None:
        # Not obstore: some of its versions delete many at once, which this store takes and does not do.
        url = f"{self._weed.endpoints[0]}/{self.url.removeprefix('s3://')}/{user_id}/fleet.toml"
        urllib.request.urlopen(urllib.request.Request(url, method="DELETE"), timeout=30).close()

    def is_untouched(self) -> bool:
        return self._keys() == []

    def is_empty(self) -> bool:
        return all(self.read(key.partition("/")[0]) is None for key in self._keys())

    def _keys(self) -> list[str]:
        return [each["path"] for chunk in obstore.list(self._objects) for each in chunk]
