"""What the fixed rounds share: the seed in the head of the report, and an object store if the machine has one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.seaweedfs import SeaweedFS
from tests.torture import means
from tests.torture.parts import FIXED_SEED


def pytest_report_header() -> str:
    """Name the seed."""
    return f"torture: fixed rounds, seed {FIXED_SEED}; `python -m tests.torture` plays others"


@pytest.fixture(scope="session")
def seaweedfs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SeaweedFS]:
    """An object store with two gateways, for all tests that can have one."""
    means.need("seaweedfs")
    with SeaweedFS(tmp_path_factory.mktemp("seaweedfs")) as server:
        yield server
