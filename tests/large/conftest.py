"""What the tests of many users share."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def quick_directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A directory in memory where there is one."""
    in_memory = Path("/dev/shm")
    if not os.access(in_memory, os.W_OK):
        yield tmp_path_factory.mktemp("large")
        return
    with tempfile.TemporaryDirectory(prefix="petfleet-large-", dir=in_memory) as directory:
        yield Path(directory)
