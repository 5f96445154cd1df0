"""The fleet server as its readers start it: uvicorn, real workers, one directory."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.conftest import wait_until

REPOSITORY = Path(__file__).parent.parent.parent
SECONDS = 60  # for starting and stopping, on a machine that is busy with other things


class Server(NamedTuple):
    """A server that answers, on 127.0.0.1."""

    url: str
    pid: int  # of the process that supervises the workers
    log: Path

    def worker_pids(self) -> set[int]:
        """Return the workers that are alive now; those that still start are among them."""
        return {pid for pid in _children(self.pid) if b"spawn_main" in _command(pid)}  # not the resource tracker

    def started(self) -> int:
        """Return how many workers have ever got as far as answering."""
        return self.log.read_text().count("Application startup complete.")


@contextmanager
def serving(root: Path, *options: str, workers: int = 4) -> Iterator[Server]:
    """Serve the fleets under a root, and print the log if that ends with an error.

    Args:
        root: what the server is to work on; ``<root>.log`` takes its log.
        options: more of uvicorn's options.
        workers: how many processes answer.
    """
    log = root.with_name(f"{root.name}.log")
    # The examples' own command, but for the port: whichever is free. The supervisor replaces a worker that does not
    # answer it within 5 seconds. One that only waits for a core must not be; but of one that is killed between the
    # question and the answer it waits for the answer that long too, so that this cannot be a minute.
    command = [
        *(sys.executable, "-m", "uvicorn", "--app-dir", "examples", "server.app:app", "--workers", str(workers)),
        *("--timeout-graceful-shutdown", "3", "--timeout-worker-healthcheck", "15"),
        *("--port", "0", "--no-use-colors", *options),
    ]
    with (
        open(log, "wb") as output,
        subprocess.Popen(
            command,
            cwd=REPOSITORY,
            env={**os.environ, "PETFLEET_ROOT": str(root)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        ) as process,
    ):
        try:
            yield _answering(process, log, workers)
            process.terminate()
            code = process.wait(SECONDS)
            assert code == 0, f"the server ended with {code}"
        except BaseException:
            print(log.read_text())
            raise
        finally:
            # Not the supervisor alone: it would leave its workers behind.
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass  # all of them have ended


def _answering(process: subprocess.Popen[bytes], log: Path, workers: int) -> Server:
    def is_ready() -> bool:
        assert process.poll() is None, "the server has ended"
        said = log.read_text()
        return said.count("Application startup complete.") >= workers and " running on http" in said

    wait_until(is_ready, SECONDS)
    found = re.search(r"running on (http://127\.0\.0\.1:\d+) ", log.read_text())
    assert found is not None
    return Server(found[1], process.pid, log)


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""  # it has just ended
