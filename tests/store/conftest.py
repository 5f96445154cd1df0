"""What the tests of behaviour share: a store over a home of each kind."""

from __future__ import annotations

import pytest

from petfleet import FleetStore
from tests.support.backends import Home


@pytest.fixture
def store(home: Home) -> FleetStore:
    """A store over that home."""
    return home.store()
