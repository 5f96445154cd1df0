"""The guard of these tests fails on a blocking call in the event loop."""

from __future__ import annotations

from pathlib import Path

import pytest

from petfleet._backends.files import disk
from petfleet._backends.files.backend import FileBackend
from petfleet._util import runtime
from tests.conftest import BlockingCallError

pytestmark = pytest.mark.anyio


async def test_blocking_rooms_refuse_the_event_loop(root: Path) -> None:
    """Reading a file, committing or sleeping in a task is an error here."""
    with pytest.raises(BlockingCallError):
        disk.read(str(root / "fleet.toml"), 10)
    with pytest.raises(BlockingCallError):
        FileBackend(str(root)).begin("user", create=False)
    with pytest.raises(BlockingCallError):
        runtime.sleep(0)
