"""An object backend as a whole: its name, its arguments, and forked processes."""

from __future__ import annotations

import errno

import pytest

from petfleet import (
    ObjectBackend,
)
from petfleet._backends.objects.bucket import Bucket
from tests.support.backends import ObjectStorage
from tests.support.children import in_fork
from tests.support.commits import add, commit, load
from tests.support.object_requests import (
    names,
)


def test_names_itself(object_storage: ObjectStorage) -> None:
    """A store shows its URL."""
    backend = object_storage.backend()
    assert str(backend) == object_storage.url
    assert repr(backend) == f"ObjectBackend({object_storage.url!r})"
    assert repr(object_storage.store()) == f"FleetStore({object_storage.url!r})"


@pytest.mark.parametrize("seconds", [0, -1, float("nan")])
def test_the_pause_between_polls_is_some_time(seconds: float) -> None:
    """Without one the store would be asked without end."""
    with pytest.raises(ValueError, match="poll_seconds must be a number of seconds above 0, not "):
        ObjectBackend("s3://bucket/prefix", poll_seconds=seconds)


def test_a_forked_child_is_told_at_once(object_storage: ObjectStorage) -> None:
    """The threads of obstore are the parent's: the child would wait for ever."""
    backend = object_storage.backend()
    commit(backend, add("mira"))
    mine = backend._writer

    def child() -> None:
        assert backend._writer is not mine
        for call in (backend.peek, backend.text, lambda user: list(backend.users())):
            with pytest.raises(OSError, match="start processes by spawn") as raised:
                call("u")
            assert raised.value.errno == errno.ENOTSUP
        with pytest.raises(OSError, match="start processes by spawn"):
            commit(backend, load)

    assert in_fork(child) == 0
    assert names(backend.peek("u")) == ["mira"]


def test_the_bucket_is_what_is_patched() -> None:
    """The tests above reach the requests that are made."""
    assert {"put", "get", "list"} <= set(vars(Bucket))
