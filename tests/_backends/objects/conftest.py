"""What the tests of the backend on objects share."""

from __future__ import annotations

import pytest

from petfleet import (
    ObjectBackend,
)
from tests.support.backends import ObjectStorage
from tests.support.object_requests import (
    RecordedBackend,
)


@pytest.fixture
def recorded(object_storage: ObjectStorage, monkeypatch: pytest.MonkeyPatch) -> RecordedBackend:
    return RecordedBackend(object_storage.backend(), monkeypatch)


@pytest.fixture
def other(object_storage: ObjectStorage) -> ObjectBackend:
    """Someone else, by the other gateway."""
    return object_storage.backend(gateway=1)
