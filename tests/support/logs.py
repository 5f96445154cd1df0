"""What petfleet has logged."""

from __future__ import annotations

import pytest


def petfleet_records(caplog: pytest.LogCaptureFixture) -> list[tuple[str, int, str]]:
    """Return the logger, the level and the message of each record of petfleet."""
    return [entry for entry in caplog.record_tuples if entry[0].startswith("petfleet")]
