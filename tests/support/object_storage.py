"""Fleets as objects, for tests that run on every backend."""

from __future__ import annotations

import errno
import functools
import itertools
import json
import os
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple
from unittest import mock
from urllib.parse import quote

import obstore
from obstore.store import MemoryStore, S3Store

from petfleet import FleetStore, ObjectBackend
from petfleet._backends.objects.backend import TOMBSTONE, tombstone
from petfleet._backends.objects.bucket import Bucket, Found, UnansweredError, Version
from tests.support.gate import Gate
from tests.support.points import HeldCall, HeldObjectCall

if TYPE_CHECKING:  # child processes import this module too
    import pytest

    from tests.support.seaweedfs import SeaweedFS


class Gateways(NamedTuple):
    """The options of a server's gateways, for another process."""

    bucket: str
    ways: list[dict[str, Any]]

    def options(self, gateway: int = 0) -> dict[str, Any]:
        """Return the options of a backend that goes through a gateway."""
        return self.ways[gateway]


class ObjectStorage:
    """A prefix of a bucket."""

    crowd = 2  # when puts meet at one object, the server takes a second to answer
    renamed = "\\"  # the server turns it into a slash
    load = (8, 3, 4)

    def __init__(self, seaweedfs: SeaweedFS | Gateways, prefix: str) -> None:
        self._seaweedfs = seaweedfs
        self._prefix = prefix
        self.url = f"s3://{seaweedfs.bucket}/{prefix}"
        self._objects: Any = _client(seaweedfs.bucket, json.dumps(seaweedfs.options()))
        self._moves = itertools.count()

    def backend(self, gateway: int = 0, **options: Any) -> ObjectBackend:
        """Return a new backend that goes through one of the gateways, or with other options."""
        return ObjectBackend(self.url, **{**self._seaweedfs.options(gateway), "poll_seconds": 0.02, **options})

    def store(self, **options: Any) -> FleetStore:
        return FleetStore(self.backend(), **{"lock_timeout": 3600, **options})

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
        url = f"{self._seaweedfs.options()['endpoint']}/{self.url.removeprefix('s3://')}/{quote(_key(user_id))}"
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
        ways = [self._seaweedfs.options(gateway) for gateway in range(2)]
        return json.dumps({"bucket": self._seaweedfs.bucket, "ways": ways, "prefix": self._prefix})

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

    def held(self, point: str) -> HeldCall:
        return HeldObjectCall(point)

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
        """Replace an object by another one with the same fleet."""
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


class MemoryStorage(ObjectStorage):
    """Objects in the memory of this process, for many quick calls; each write has an ETag of its own."""

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


@functools.cache
def _client(bucket: str, options: str) -> S3Store:
    """Return one for all tests: to make one takes longer than many requests."""
    return S3Store(bucket, **json.loads(options))


def _key(user_id: str) -> str:
    return f"{user_id}/fleet.toml"
