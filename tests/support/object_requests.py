"""A backend on objects whose requests are recorded, and meet faults that a test prepares."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Any
from unittest import mock

import pytest

from petfleet import (
    ObjectBackend,
    PetFleet,
)
from petfleet._backends.objects.bucket import Found, UnansweredError, UnsentError, Version
from petfleet._commit.change import Change, Kind
from petfleet._util import runtime
from tests.conftest import Clock
from tests.support.commits import add, attempt, commit

Put = Callable[..., Version]


class Pauses(Clock):
    """A clock on which each pause takes a tenth of a second."""

    def __init__(self) -> None:
        super().__init__()
        self.made: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.made.append(seconds)
        super().sleep(0.1)


class RecordedBackend:
    """A backend that records its requests; a test may prepare a fault for each of the next puts and gets."""

    def __init__(self, backend: ObjectBackend, monkeypatch: pytest.MonkeyPatch) -> None:
        self.backend = backend
        self.requests: list[str] = []
        self.puts: list[Callable[[Put, tuple[Any, ...]], Version]] = []
        self.gets: list[Exception | None] = []
        self.pauses: list[float] = []
        bucket = backend._bucket
        put, get = bucket.put, bucket.get

        def noted_put(*arguments: Any) -> Version:
            self.requests.append("put")
            return self.puts.pop(0)(put, arguments) if self.puts else put(*arguments)

        def noted_get(*arguments: Any) -> Found | None:
            self.requests.append("get")
            if self.gets and (error := self.gets.pop(0)) is not None:
                raise error
            return get(*arguments)

        monkeypatch.setattr(bucket, "put", noted_put)
        monkeypatch.setattr(bucket, "get", noted_get)

    def commit(self, *changes: Change, seconds: float = 1.0) -> None:
        """Commit changes of user u in one batch; ``seconds`` is how long a lost put is looked up."""
        self.requests.clear()
        clock = Pauses()
        self.pauses = clock.made
        self.backend._settle_seconds = seconds
        with (
            mock.patch.object(runtime, "monotonic", clock.monotonic),
            mock.patch.object(runtime, "sleep", clock.sleep),
        ):
            assert attempt(self.backend, *changes)

    def add(self, name: str, seconds: float = 1.0) -> PetFleet | None:
        """Add a pet as :meth:`commit` does, and return the fleet or raise the error."""
        change = Change(add(name), Kind.CREATE)
        self.commit(change, seconds=seconds)
        if change.error is not None:
            raise change.error
        return change.result


AWAY = OSError(errno.EIO, "away", "s3://...")


LOST = UnansweredError(errno.EIO, "the answer was lost", "s3://...")


def answer_lost(put: Put, arguments: tuple[Any, ...]) -> Version:
    """The store writes, and the answer is lost."""
    put(*arguments)
    raise LOST


def request_lost(put: Put, arguments: tuple[Any, ...]) -> Version:
    """The request is lost, which looks the same to the client."""
    raise LOST


def refused(put: Put, arguments: tuple[Any, ...]) -> Version:
    """The store refuses."""
    raise PermissionError(errno.EACCES, "not allowed", "s3://...")


def unsent(put: Put, arguments: tuple[Any, ...]) -> Version:
    """There is no connection."""
    raise UnsentError(errno.EIO, "no connection", "s3://...")


def done_twice(put: Put, arguments: tuple[Any, ...]) -> Version:
    """A proxy repeats the request, and returns the answer to the second one."""
    put(*arguments)
    return put(*arguments)


def before_it(backend: ObjectBackend, name: str) -> Callable[[Put, tuple[Any, ...]], Version]:
    """Return a fault that lets another writer add a pet just before the put."""

    def overtaken(put: Put, arguments: tuple[Any, ...]) -> Version:
        commit(backend, add(name))
        return put(*arguments)

    return overtaken


def names(fleet: PetFleet | None) -> list[str] | None:
    return None if fleet is None else [handle.pet_name for handle in fleet.pets]
