"""Troubles of requests on their way to an object store, put between a backend and its bucket."""

from __future__ import annotations

import errno
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final
from unittest import mock

from petfleet import ObjectBackend
from petfleet._backends.objects.bucket import Bucket, ConflictError, Found, UnansweredError, UnsentError, Version
from petfleet._backends.protocol import Backend

Put = Callable[..., Version]
Arguments = tuple[Any, ...]


class Network:
    """The way of requests: the first puts meet a trouble each (None: none), and gets may fail; all others arrive.

    Attributes:
        held: the puts that have not arrived yet; whoever made one has heard that there was no answer.
        met: how often each trouble was met.
    """

    def __init__(
        self, troubles: Iterable[Trouble | None] = (), *, failing_reads: int = 0, failing_lookups: int = 0
    ) -> None:
        """Take the troubles of puts in their order, and how many gets fail: at once, or after the first put."""
        self.held: list[Arguments] = []
        self.met: Counter[str] = Counter()
        self._troubles = iter(troubles)
        self._failing, self._failing_then = failing_reads, failing_lookups
        self._mutex = threading.Lock()

    @contextmanager
    def between(self, backend: Backend) -> Iterator[None]:
        """Stand between a backend and its bucket during the block."""
        bucket = bucket_of(backend)
        put, get = bucket.put, bucket.get
        with (
            mock.patch.object(bucket, "put", lambda *arguments: self._put(put, arguments)),
            mock.patch.object(bucket, "get", lambda *arguments: self._get(get, arguments)),
        ):
            yield

    def _put(self, put: Put, arguments: Arguments) -> Version:
        with self._mutex:
            self._failing, self._failing_then = self._failing + self._failing_then, 0
            trouble = next(self._troubles, None)
            if trouble is not None:
                self.met[trouble.__name__] += 1
        return put(*arguments) if trouble is None else trouble(self, put, arguments)

    def _get(self, get: Callable[..., Found | None], arguments: Arguments) -> Found | None:
        with self._mutex:
            fails = self._failing > 0
            self._failing -= fails
            self.met["failed_read"] += fails
        if fails:
            raise OSError(errno.EIO, "it could not be read", "s3://...")
        return get(*arguments)


Trouble = Callable[[Network, Put, Arguments], Version]


def lost_answer(network: Network, put: Put, arguments: Arguments) -> Version:
    """The store carries it out or refuses, and the answer is lost."""
    try:
        put(*arguments)
    except ConflictError:
        pass  # that answer is lost too
    raise UnansweredError(errno.EIO, "there was no answer", "s3://...")


def lost_request(network: Network, put: Put, arguments: Arguments) -> Version:
    """It never arrives, and the sender cannot tell."""
    raise UnansweredError(errno.EIO, "there was no answer", "s3://...")


def held_request(network: Network, put: Put, arguments: Arguments) -> Version:
    """It has not arrived when its sender gives up."""
    network.held.append(arguments)
    raise UnansweredError(errno.EIO, "there was no answer", "s3://...")


def behind_the_held(network: Network, put: Put, arguments: Arguments) -> Version:
    """Those that were held arrive just before this one."""
    held, network.held = network.held, []
    for one in held:
        try:
            put(*one)
        except ConflictError:
            pass  # what it was to replace is there no more
    return put(*arguments)


def sent_twice(network: Network, put: Put, arguments: Arguments) -> Version:
    """Something on the way repeats it: the answer is that of the second try."""
    put(*arguments)
    return put(*arguments)


def busy_store(network: Network, put: Put, arguments: Arguments) -> Version:
    """The store refuses it, since it is busy with another one."""
    raise ConflictError


def no_connection(network: Network, put: Put, arguments: Arguments) -> Version:
    """It cannot be sent."""
    raise UnsentError(errno.EIO, "there was no connection", "s3://...")


TROUBLES: Final = (
    lost_answer,
    lost_request,
    held_request,
    behind_the_held,
    sent_twice,
    busy_store,
    no_connection,
)


def bucket_of(backend: Backend) -> Bucket:
    """Return the bucket of a backend."""
    assert isinstance(backend, ObjectBackend)
    return backend._bucket
