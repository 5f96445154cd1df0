"""Count the syncs of a change with strace. Run as a program, this module makes the counted changes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from benchmarks.work import Peer, peer_class, pet_name
from benchmarks.worker import user_name

SYNCS: Final = ("fsync", "fdatasync", "sync_file_range", "msync")
SECONDS: Final = 120  # that the changes may take
_CALL = re.compile(rf"\b(?:{'|'.join(SYNCS)})\(")  # a resumed call is not counted again
_ROOT: Final = Path(__file__).parent.parent


class CannotCountError(Exception):
    """Syncs cannot be counted on this machine."""


def syncs_per_change(name: str, directory: Path, server: Sequence[int], changes: int) -> float:
    """Return the syncs of a single task's change, including those of the server's processes.

    Args:
        name: the peer; at least one user is prepared.
        directory: the place of the data.
        server: the server's processes.
        changes: how many changes to count over.

    Raises:
        CannotCountError: there is no strace, or it is not permitted.
    """
    if shutil.which("strace") is None:
        raise CannotCountError("strace is not installed")
    # The syncs of opening and closing are subtracted.
    return (_count(name, directory, server, changes) - _count(name, directory, server, 0)) / changes


def _count(name: str, directory: Path, server: Sequence[int], changes: int) -> int:
    with tempfile.TemporaryDirectory() as logs, contextlib.ExitStack() as stack:
        trace = ["strace", "-f", "-qq", "-e", f"trace={','.join(SYNCS)}", "-e", "signal=none", "-o"]
        if server:
            stack.enter_context(_attached([*trace, f"{logs}/server"], server))
        program = [sys.executable, "-m", "benchmarks.syscalls", name, str(directory), str(changes)]
        try:
            done = subprocess.run(
                [*trace, f"{logs}/client", *program], cwd=_ROOT, capture_output=True, text=True, timeout=SECONDS
            )
        except subprocess.TimeoutExpired:
            raise CannotCountError(f"{changes} changes took more than {SECONDS} s") from None
        if done.returncode != 0:
            raise CannotCountError((done.stderr.strip().splitlines() or ["strace failed"])[-1])
        stack.close()
        return sum(len(_CALL.findall(log.read_text(errors="replace"))) for log in Path(logs).iterdir())


@contextlib.contextmanager
def _attached(trace: Sequence[str], processes: Sequence[int]) -> Iterator[None]:
    """Attach strace to running processes, and to those that they start."""
    there = [number for number in processes if os.path.exists(f"/proc/{number}")]
    to_each = [argument for number in there for argument in ("-p", str(number))]
    with subprocess.Popen([*trace, *to_each], stderr=subprocess.PIPE, text=True) as strace:
        try:
            give_up = time.monotonic() + 10
            while not all(map(_is_traced, there)):
                if strace.poll() is not None or time.monotonic() > give_up:
                    strace.kill()
                    said = strace.communicate()[1].strip().splitlines()
                    raise CannotCountError(f"strace cannot look at the server ({said[-1] if said else 'no reason'})")
                time.sleep(0.01)
            yield
        finally:
            strace.terminate()  # it detaches from the processes


def _is_traced(process: int) -> bool:
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True  # it has ended
    return "TracerPid:\t0\n" not in status


async def _change(peer: Peer, changes: int) -> None:
    await peer.open()
    await peer.touch(user_name(0), pet_name(0))  # not counted: a first change may do more
    for number in range(changes):
        await peer.touch(user_name(0), pet_name(number % 5))
    await peer.close()


def main() -> None:
    """Do the changes: PEER DIRECTORY CHANGES."""
    name, directory, changes = sys.argv[1:]
    asyncio.run(_change(peer_class(name)(Path(directory)), int(changes)))


if __name__ == "__main__":
    main()
