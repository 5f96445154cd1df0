"""What the tests of the server share: four real workers, for all tests of a module."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.examples.serving import Server, serving


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    """uvicorn, these clients and Playwright are for asyncio."""
    return "asyncio"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One root for the module: each test has users of its own."""
    return tmp_path_factory.mktemp("server") / "fleets"


@pytest.fixture(scope="module")
def server(root: Path) -> Iterator[Server]:
    """The server with its four workers."""
    with serving(root) as server:
        yield server
