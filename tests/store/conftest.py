"""A store over each kind of storage."""

from __future__ import annotations

import pytest

from petfleet import FleetStore
from tests.support.backends import Storage


@pytest.fixture
def store(storage: Storage) -> FleetStore:
    """A store over that storage."""
    return storage.store()
