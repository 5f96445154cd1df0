"""Where fleets live in tests that hold for every backend, and what another program sees and does there."""

from __future__ import annotations

import errno
import functools
import itertools
import json
import os
import urllib.request
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol
from unittest import mock
from urllib.parse import quote

import filelock
import obstore
from obstore.store import MemoryStore, S3Store

from petfleet import FleetStore, ObjectBackend, fleet_path
from petfleet._backends.files import disk
from petfleet._backends.files.backend import FileBackend
from petfleet._backends.objects.backend import TOMBSTONE, tombstone
from petfleet._backends.objects.bucket import Bucket, Found, UnansweredError, Version
from petfleet._backends.protocol import Backend
from tests.support.gate import Gate
from tests.support.points import Held, HeldRequest

if TYPE_CHECKING:  # child processes import this module too
    import pytest

    from tests.support.seaweedfs import Weed

KINDS: Final = ("files", "objects")
_LONG_AGO: Final = (1_700_000_000, 1_700_000_000)


class Home(Protocol):
    """A place of fleets, at first an empty one.

    Attributes:
        crowd: how many stores may well write to one user there at once.
        renamed: characters of user ids that ``users`` does not name as they are.
        load: of each of four processes: tasks, calls of each on a user, users beside the one of all.
    """

    crowd: int
    renamed: str
    load: tuple[int, int, int]

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

    def write_long_ago(self, data: bytes, user_id: str = "user") -> None:
        """Write it as :meth:`write` does, and let it be older than anything that is still being written."""

    def leave(self, name: str, data: bytes = b"") -> None:
        """Leave something there that is not petfleet's."""

    def left(self) -> list[str]:
        """Return the names of all that is there, but for what petfleet keeps of those who have no fleet."""

    def make(self) -> None:
        """Make the place itself, where the first fleet would have to."""

    def is_untouched(self) -> bool:
        """Return whether nothing at all was made there."""

    def is_empty(self) -> bool:
        """Return whether no fleet is there, and nothing else that should not be."""

    def is_settled(self, user_id: str = "user") -> bool:
        """Return whether a user has a fleet, and no call has left anything beside it, or holds anything."""

    def argument(self) -> str:
        """Return what :func:`home_at` makes this home of in another process."""

    def contended(self, user_id: str = "user") -> str:
        """Return what a LockTimeoutError names."""

    def busy(self, user_id: str = "user") -> AbstractContextManager[None]:
        """Have others at this user, so that no write gets through. They leave a fleet that means the same."""

    def held(self, point: str) -> Held:
        """Return what holds whatever worker comes to one point of a call."""

    def gate_before_write(self, patch: pytest.MonkeyPatch, gate: Gate) -> None:
        """Hold commits where everything but the last step is done, and no one can see it yet."""

    def gate_after_write(self, patch: pytest.MonkeyPatch, gate: Gate) -> None:
        """Hold commits where everyone can see what they do, but they do not know it yet."""

    def gate_users(self, patch: pytest.MonkeyPatch, gate: Gate) -> None:
        """Hold who looks for users."""

    def fail_writes(self, patch: pytest.MonkeyPatch, number: int) -> None:
        """Refuse every write, with an error of that number, before anything has happened."""

    def fail_reads(self, patch: pytest.MonkeyPatch, number: int) -> None:
        """Refuse every read of a fleet."""

    def doubt_writes(self, patch: pytest.MonkeyPatch) -> None:
        """Let the next write happen, and no one be able to confirm it."""

    def overtake_once(self, patch: pytest.MonkeyPatch) -> list[None]:
        """Let someone else get between the reading and the writing of one commit; the list is empty after that."""


class FileHome:
    """A root directory that does not exist yet."""

    crowd = 21
    renamed = ""
    load = (50, 4, 20)

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

    def write_long_ago(self, data: bytes, user_id: str = "user") -> None:
        self.write(data, user_id)
        os.utime(fleet_path(user_id, self._root), _LONG_AGO)

    def leave(self, name: str, data: bytes = b"") -> None:
        path = self._root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    def left(self) -> list[str]:
        return sorted(str(path.relative_to(self._root)) for path in self._root.rglob("*") if not path.is_dir())

    def make(self) -> None:
        self._root.mkdir()

    def is_untouched(self) -> bool:
        return not self._root.exists()

    def is_empty(self) -> bool:
        return os.listdir(self._root) == []

    def is_settled(self, user_id: str = "user") -> bool:
        directory = fleet_path(user_id, self._root).parent
        there = sorted(os.listdir(directory)) == ["fleet.toml", "fleet.toml.lock"]
        return there and is_free(directory / "fleet.toml.lock")

    def argument(self) -> str:
        return json.dumps({"root": str(self._root)})

    def contended(self, user_id: str = "user") -> str:
        return f"{fleet_path(user_id, self._root)}.lock"

    @contextmanager
    def busy(self, user_id: str = "user") -> Iterator[None]:
        with filelock.FileLock(self.contended(user_id)):
            yield

    def held(self, point: str) -> Held:
        return Held(point)

    def gate_before_write(self, patch: pytest.MonkeyPatch, gate: Gate) -> None:
        patch.setattr(disk, "rename", gate.before(disk.rename))

    def gate_after_write(self, patch: pytest.MonkeyPatch, gate: Gate) -> None:
        patch.setattr(disk, "rename", gate.after(disk.rename))

    def gate_users(self, patch: pytest.MonkeyPatch, gate: Gate) -> None:
        patch.setattr(disk, "exists", gate.before(disk.exists))

    def fail_writes(self, patch: pytest.MonkeyPatch, number: int) -> None:
        def write_new(path: str, data: bytes, like: object) -> str:
            raise OSError(number, os.strerror(number), path)

        patch.setattr(disk, "write_new", write_new)

    def fail_reads(self, patch: pytest.MonkeyPatch, number: int) -> None:
        def read(path: str, *arguments: object) -> disk.Stored:
            raise OSError(number, os.strerror(number), path)

        patch.setattr(disk, "read", read)

    def doubt_writes(self, patch: pytest.MonkeyPatch) -> None:
        def sync(directory: disk.Directory) -> None:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

        patch.setattr(disk.Directory, "sync", sync)

    def overtake_once(self, patch: pytest.MonkeyPatch) -> list[None]:
        left = [None]
        unchanged = disk.unchanged
        patch.setattr(disk, "unchanged", lambda path, before: bool(left.pop()) if left else unchanged(path, before))
        return left


class Gateways(NamedTuple):
    """A server as another process knows it."""

    bucket: str
    ways: list[dict[str, Any]]

    def options(self, gateway: int = 0) -> dict[str, Any]:
        """Return what it takes to go through a gateway."""
        return self.ways[gateway]


class ObjectHome:
    """A prefix of a bucket."""

    crowd = 2  # the server answers puts that meet at one object only after a second
    renamed = "\\"  # the server takes it for a slash
    load = (8, 3, 4)

    def __init__(self, weed: Weed | Gateways, prefix: str) -> None:
        self._weed = weed
        self._prefix = prefix
        self.url = f"s3://{weed.bucket}/{prefix}"
        self._objects: Any = _client(weed.bucket, json.dumps(weed.options()))
        self._moves = itertools.count()

    def backend(self, gateway: int = 0, **options: Any) -> ObjectBackend:
        """Return a new backend that goes through one of the gateways, or with other options."""
        return ObjectBackend(self.url, **{**self._weed.options(gateway), "poll_seconds": 0.02, **options})

    def store(self, **options: Any) -> FleetStore:
        return FleetStore(self.backend(), **options)

    def where(self, user_id: str = "user") -> str:
        return f"{self.url}/{user_id}/fleet.toml"

    def read(self, user_id: str = "user") -> bytes | None:
        data = self._raw(user_id)
        return None if data is None or TOMBSTONE.fullmatch(data) else data

    def version(self, user_id: str = "user") -> object:
        if self.read(user_id) is None:
            return None
        return obstore.get(self._objects, self._full(_key(user_id))).attributes.get("petfleet")

    def write(self, data: bytes, user_id: str = "user") -> None:
        obstore.put(self._objects, self._full(_key(user_id)), data)

    def write_long_ago(self, data: bytes, user_id: str = "user") -> None:
        self.write(data, user_id)

    def remove(self, user_id: str = "user") -> None:
        # Not obstore: some of its versions delete many at once, which this store takes and does not do.
        url = f"{self._weed.options()['endpoint']}/{self.url.removeprefix('s3://')}/{quote(_key(user_id))}"
        urllib.request.urlopen(urllib.request.Request(url, method="DELETE"), timeout=30).close()

    def leave(self, name: str, data: bytes = b"") -> None:
        obstore.put(self._objects, self._full(name), data)

    def left(self) -> list[str]:
        return sorted(
            key
            for key in self._keys()
            if not TOMBSTONE.fullmatch(bytes(obstore.get(self._objects, self._full(key)).bytes()))
        )

    def make(self) -> None:
        """Do nothing: a prefix is there as soon as something has it."""

    def is_untouched(self) -> bool:
        return self._keys() == []

    def is_empty(self) -> bool:
        return self.left() == []

    def is_settled(self, user_id: str = "user") -> bool:
        return [key for key in self.left() if key.startswith(f"{user_id}/")] == [_key(user_id)]

    def argument(self) -> str:
        ways = [self._weed.options(gateway) for gateway in range(2)]
        return json.dumps({"bucket": self._weed.bucket, "ways": ways, "prefix": self._prefix})

    def contended(self, user_id: str = "user") -> str:
        return self.where(user_id)

    @contextmanager
    def busy(self, user_id: str = "user") -> Iterator[None]:
        put = Bucket.put

        def overtaken(bucket: Bucket, key: str, *arguments: Any) -> Version:
            if key == _key(user_id):
                self._move_on(key)
            return put(bucket, key, *arguments)

        with mock.patch.object(Bucket, "put", overtaken):
            yield

    def held(self, point: str) -> Held:
        return HeldRequest(point)

    def gate_before_write(self, patch: pytest.MonkeyPatch, gate: Gate) -> None:
        patch.setattr(Bucket, "put", gate.before(Bucket.put))

    def gate_after_write(self, patch: pytest.MonkeyPatch, gate: Gate) -> None:
        patch.setattr(Bucket, "put", gate.after(Bucket.put))

    def gate_users(self, patch: pytest.MonkeyPatch, gate: Gate) -> None:
        patch.setattr(Bucket, "list", gate.before(Bucket.list))

    def fail_writes(self, patch: pytest.MonkeyPatch, number: int) -> None:
        def put(bucket: Bucket, key: str, *arguments: Any) -> Version:
            raise OSError(number, os.strerror(number), f"{bucket.url}/{key}")

        patch.setattr(Bucket, "put", put)

    def fail_reads(self, patch: pytest.MonkeyPatch, number: int) -> None:
        def get(bucket: Bucket, key: str, *arguments: Any) -> Found | None:
            raise OSError(number, os.strerror(number), f"{bucket.url}/{key}")

        patch.setattr(Bucket, "get", get)

    def doubt_writes(self, patch: pytest.MonkeyPatch) -> None:
        put, patched = Bucket.put, patch

        def lost(bucket: Bucket, key: str, *arguments: Any) -> Version:
            raise UnansweredError(errno.EIO, os.strerror(errno.EIO), f"{bucket.url}/{key}")

        def put_and_lost(bucket: Bucket, key: str, *arguments: Any) -> Version:
            put(bucket, key, *arguments)
            self.fail_reads(patched, errno.EIO)
            patched.setattr(Bucket, "put", lost)
            return lost(bucket, key)

        patch.setattr(Bucket, "put", put_and_lost)

    def overtake_once(self, patch: pytest.MonkeyPatch) -> list[None]:
        put, left = Bucket.put, [None]

        def overtaken(bucket: Bucket, key: str, *arguments: Any) -> Version:
            if left:
                left.pop()
                self._move_on(key)
            return put(bucket, key, *arguments)

        patch.setattr(Bucket, "put", overtaken)
        return left

    def _move_on(self, key: str) -> None:
        """Replace what is there by what means the same."""
        data = self._raw(key.partition("/")[0])
        if data is None or TOMBSTONE.fullmatch(data):
            moved_on = tombstone()
        else:
            moved_on = data + b"# %d\n" % next(self._moves)
        obstore.put(self._objects, self._full(key), moved_on)

    def _raw(self, user_id: str) -> bytes | None:
        try:
            return bytes(obstore.get(self._objects, self._full(_key(user_id))).bytes())
        except FileNotFoundError:
            return None

    def _keys(self) -> list[str]:
        chunks = obstore.list(self._objects, prefix=self._prefix)
        return [each["path"].removeprefix(f"{self._prefix}/") for chunk in chunks for each in chunk]

    def _full(self, key: str) -> str:
        return f"{self._prefix}/{key}"


class MemoryHome(ObjectHome):
    """Objects in the memory of this process, of which no version comes back: for many quick calls."""

    def __init__(self) -> None:
        self.url = "s3://fleets/memory"
        self._prefix = ""
        self._objects: Any = MemoryStore()
        self._moves = itertools.count()

    def backend(self, gateway: int = 0, **options: Any) -> ObjectBackend:
        """Return a new backend."""
        with mock.patch("obstore.store.from_url", return_value=self._objects):
            return ObjectBackend(self.url, **options)

    def remove(self, user_id: str = "user") -> None:
        """Remove a user's fleet as another program does."""
        obstore.delete(self._objects, _key(user_id))

    def _full(self, key: str) -> str:
        return key


def home_at(argument: str) -> Home:
    """Return the home of another process that gave this as its argument."""
    told = json.loads(argument)
    if "root" in told:
        return FileHome(Path(told["root"]))
    return ObjectHome(Gateways(told["bucket"], told["ways"]), told["prefix"])


@functools.cache
def _client(bucket: str, options: str) -> S3Store:
    """Return one for all tests: to make one takes longer than many requests."""
    return S3Store(bucket, **json.loads(options))


def is_free(path: Path) -> bool:
    """Return whether a stranger gets that lock at the first try."""
    # Not by a FileLock: most versions empty the file that they have locked, and the marker is still wanted.
    with open(path, "rb") as file:
        return filelock.lock_descriptor(file.fileno(), blocking=False)


def _key(user_id: str) -> str:
    return f"{user_id}/fleet.toml"
