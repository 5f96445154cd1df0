"""I/O faults in this process: every system call of every operation fails, alone, in pairs, and from then on."""

from __future__ import annotations

import itertools
import random
import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import anyio
import anyio.from_thread

from tests.torture import traced
from tests.torture.failing import ERRNOS
from tests.torture.operations import OPERATIONS, Operation
from tests.torture.parts import Part
from tests.torture.trial import Trial, finish

Run = Callable[[Awaitable[object]], object]
BACKENDS: Final = ("asyncio", "trio")
_SECONDS: Final = 30  # a call that takes longer hangs
_MEMORY: Final = Path("/dev/shm")


@contextmanager
def quick_directory(directory: Path) -> Iterator[Path]:
    """Give a place in memory, where there is one, for what does not depend on the file system."""
    place = _MEMORY if _MEMORY.is_dir() else directory
    with tempfile.TemporaryDirectory(prefix="petfleet-faults-", dir=place) as name:
        yield Path(name) / "fleets"


def singles(
    operation: Operation,
    root: Path,
    errors: Iterable[int],
    *,
    lasting: bool = False,
    step: int = 1,
    run: Run = finish,
) -> int:
    """Fail each call of the operation (or each ``step``-th), and return how many trials that took.

    Args:
        operation: what to try.
        root: of the fleets; a directory that does not exist.
        errors: what the calls fail with, one after another.
        lasting: whether all that follow fail too.
        step: how far the calls tried are apart.
        run: runs a call of the store, and returns its result.
    """
    tried, settled = 0, set[object]()
    for error in errors:
        for number in itertools.count(1, step):
            with Trial(operation, root, run) as trial:
                trial.attempt(operation, {number: error}, lasting=lasting)
                hits = trial.system.hits
                trial.settle(settled)
            if not hits:
                break
            tried += 1
    return tried


def pairs(operation: Operation, root: Path, errors: tuple[int, int], *, then: bool = False) -> int:
    """Fail each two calls of the operation, and return how many trials that took.

    Args:
        operation: what to try.
        root: of the fleets; a directory that does not exist.
        errors: what the first and the second fail with.
        then: whether the second is one of the load that comes next.
    """
    tried, settled = 0, set[object]()
    first, second = errors
    for number in itertools.count(1):
        for other in itertools.count(1):
            with Trial(operation, root) as trial:
                trial.attempt(operation, {number: first} if then else {number: first, number + other: second})
                hits = trial.system.hits
                if hits == 0:
                    return tried
                if then:
                    trial.attempt(trial.again(), {other: second})
                    hits += trial.system.hits
                trial.settle(settled)
            if hits < 2:
                break
            tried += 1
    raise AssertionError


def shortened(operation: Operation, root: Path, most: int) -> int:
    """Have reads and writes handle at most so many bytes, and every close() be interrupted: all that must succeed."""
    with Trial(operation, root) as trial:
        trial.attempt(operation, {}, short=most)
        assert not trial.failed, f"{operation.name} failed with reads and writes of at most {most} bytes"
        trial.settle(set())
    return 1


@contextmanager
def event_loop(backend: str) -> Iterator[Run]:
    """Run an event loop in a thread of its own, and give what has calls awaited there."""

    async def wait(call: Awaitable[object]) -> object:
        with anyio.fail_after(_SECONDS):
            return await call

    with anyio.from_thread.start_blocking_portal(backend) as portal:
        yield lambda call: portal.call(wait, call)


def _round(rng: random.Random, directory: Path) -> Counter[str]:
    counted: Counter[str] = Counter()
    with quick_directory(directory) as root, event_loop(rng.choice(BACKENDS)) as run:
        operation = rng.choice(OPERATIONS)
        errors = (first, second) = rng.sample(ERRNOS, 2)
        counted["single faults"] = singles(operation, root, ERRNOS)
        counted["pairs of faults"] = pairs(operation, root, (first, second))
        counted["pairs of faults"] += pairs(operation, root, (first, second), then=True)
        counted["lasting faults"] = singles(operation, root, errors, lasting=True)
        counted["faults under an event loop"] = singles(operation, root, errors, run=run)
        counted["faults by strace"] = traced.sweep(root.parent, first, [operation.name])
        counted["calls in small pieces"] = sum(shortened(operation, root, most) for most in range(1, 200))
    return counted


PART: Final = Part(
    "faults",
    "every system call of every operation fails: alone, in pairs, from then on",
    _round,
    ("linux", "strace"),
)
