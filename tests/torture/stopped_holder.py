"""A process that stops itself with SIGSTOP in the middle of a commit, while it holds the user's lock (a program)."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from unittest import mock

import anyio

from petfleet import FleetStore
from petfleet._backends.files import disk
from tests.conftest import pet
from tests.support.children import SECONDS

# The points where it stops, and the function that it is about to call.
POINTS: Final[dict[str, tuple[object, str]]] = {
    "before it reads": (disk, "read"),
    "before it renames": (disk, "rename"),
    "before it syncs the directory": (disk.Directory, "sync"),
}


@contextmanager
def holder(root: Path, backend: str, point: str) -> Iterator[subprocess.Popen[bytes]]:
    """Start a process that adds a pet, "holder", to the user named user, and stops there; it is killed in the end."""
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-m", __name__, root, backend, point], cwd=Path(__file__).parents[2]
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def main(root: str, backend: str, point: str) -> None:
    """Add the pet, and stop at that point on the way."""
    place, name = POINTS[point]
    function = getattr(place, name)

    def stop(*arguments: Any) -> Any:
        hook.stop()
        # Sent to this very thread. One sent to the process might stop it through another thread, a moment too late.
        signal.raise_signal(signal.SIGSTOP)
        return function(*arguments)

    hook = mock.patch.object(place, name, stop)
    hook.start()
    anyio.run(FleetStore(root).add, "user", pet("holder"), backend=backend)


if __name__ == "__main__":
    signal.alarm(SECONDS)
    main(*sys.argv[1:])
