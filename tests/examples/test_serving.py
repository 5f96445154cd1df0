"""The tests' own server leaves nothing behind."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.conftest import wait_until
from tests.examples.serving import Server, serving


def ended(pids: set[int]) -> bool:
    """Return whether these processes have ended, be it that no one has reaped them yet."""
    return not any(Path(f"/proc/{pid}/exe").exists() for pid in pids)


def test_the_workers_end_with_a_test_that_fails(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """They are killed, and the log is shown."""
    with pytest.raises(ZeroDivisionError), serving(root, workers=2) as server:
        workers = server.worker_pids()
        assert len(workers) == server.started() == 2
        raise ZeroDivisionError
    wait_until(lambda: ended(workers | {server.pid}))
    assert "Application startup complete" in capsys.readouterr().out


def test_the_workers_end_though_no_one_supervises_them(root: Path) -> None:
    """A supervisor that ends otherwise than it should is an error, and takes its workers along."""

    def kill_the_supervisor_of(server: Server) -> set[int]:
        workers = server.worker_pids()
        os.kill(server.pid, signal.SIGKILL)
        return workers

    with pytest.raises(AssertionError, match="the server ended with -9"), serving(root, workers=2) as server:
        workers = kill_the_supervisor_of(server)
    wait_until(lambda: ended(workers))
