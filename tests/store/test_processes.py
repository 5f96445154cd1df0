"""Several processes on the same fleets: nothing acknowledged is lost."""

from __future__ import annotations

import re
from contextlib import ExitStack

import anyio
import pytest

from tests.conftest import pet
from tests.support.backends import Storage
from tests.support.children import tell
from tests.support.counting import check_acknowledged, counting_process, stored


@pytest.mark.timeout(600)  # for a busy machine
@pytest.mark.parametrize(
    "backends",
    [
        pytest.param(["asyncio"] * 4, id="four on asyncio"),
        pytest.param(["asyncio"] * 3 + ["trio"], id="one of them on trio"),
    ],
)
def test_no_change_of_four_processes_is_lost(storage: Storage, backends: list[str]) -> None:
    """Many tasks in each of 4 processes add, touch and count on one user and on many; all of it is found again."""
    tasks, calls, users = storage.load
    anyio.run(storage.store().add, "hot", pet("counter", 0))
    with ExitStack() as stack:
        workers = [
            stack.enter_context(
                counting_process(storage, number, tasks=tasks, calls=calls, users=users, backend=backend)
            )
            for number, backend in enumerate(backends)
        ]
        for worker in workers:
            tell(worker)
        outcomes = [worker.communicate() for worker in workers]
        # On a busy machine a wait may be long enough for a warning.
        printed = [re.sub(r"^waited .*\n", "", errors, flags=re.MULTILINE) for _, errors in outcomes]
        assert [(worker.returncode, rest) for worker, rest in zip(workers, printed, strict=True)] == [(0, "")] * 4
    acknowledged = [line for output, _ in outcomes for line in output.splitlines()]
    assert len(acknowledged) == 4 * tasks * calls * 3
    assert check_acknowledged(storage, acknowledged) == 4 * tasks * calls
    hot = stored(storage, "hot")
    assert hot.pet("counter").last_active == 4 * tasks * calls
    assert len(hot.pets) == 1 + 4 * tasks
    assert sum(len(stored(storage, f"user-{number}").pets) for number in range(users)) == 4 * tasks
