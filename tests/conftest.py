"""What all tests share: both event loops, a guard against blocking them, and a clean end."""

from __future__ import annotations

import asyncio
import fcntl
import gc
import os
import signal
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import anyio.to_thread
import filelock
import hypothesis
import pytest
import trio

from petfleet import FleetStore, PetHandle
from petfleet._backends.files import backend as files
from petfleet._backends.files import disk, inotify, lock, reader
from petfleet._backends.files.backend import FileBackend
from petfleet._backends.objects import bucket
from petfleet._commit import timeouts
from petfleet._util import runtime
from tests.support.backends import KINDS, FileStorage, ObjectStorage, Storage
from tests.support.mutate import LAST_RESORT
from tests.support.recording_os import RecordingOS
from tests.support.seaweedfs import SeaweedFS
from tests.support.watching import disable_polling

# The same examples in every run, and no database: no outcome depends on an earlier run, or on how busy the machine is.
hypothesis.settings.register_profile(
    "petfleet",
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("petfleet")

# Some tests press Ctrl-C in their children, who would inherit that a script has started all of this with `&`.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

_SECONDS = float(os.environ.get(LAST_RESORT, "60"))

BACKENDS = [
    pytest.param(("asyncio", {"use_uvloop": False}), id="asyncio"),
    pytest.param(("trio", {}), id="trio"),
]


@pytest.fixture(params=BACKENDS)
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    """Every async test runs on asyncio and on trio."""
    return request.param


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root directory that does not exist yet."""
    return tmp_path / "fleets"


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where this test, and the processes that it starts, make temporary files and directories."""
    directory = tmp_path / "temporary"
    directory.mkdir()
    monkeypatch.setenv("TMPDIR", str(directory))
    monkeypatch.setattr("tempfile.tempdir", None)
    return directory


@pytest.fixture
def store(root: Path) -> FleetStore:
    """A store over that root; no deadline ends a call, however busy the machine is."""
    return FleetStore(root, lock_timeout=3600)


@pytest.fixture
def backend(root: Path) -> FileBackend:
    """The blocking part of a store over that root."""
    return FileBackend(str(root))


@pytest.fixture(scope="session")
def seaweedfs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SeaweedFS]:
    """An object store with two gateways, for all tests."""
    with SeaweedFS(tmp_path_factory.mktemp("weed")) as server:
        yield server


@pytest.fixture
def object_storage(seaweedfs: SeaweedFS) -> ObjectStorage:
    """A prefix of a bucket that no other test has."""
    return ObjectStorage(seaweedfs, f"test-{uuid.uuid4()}")


@pytest.fixture(params=KINDS)
def storage(request: pytest.FixtureRequest, root: Path) -> Storage:
    """Where fleets live: the test runs on each kind of backend."""
    if request.param == "files":
        return FileStorage(root)
    found: ObjectStorage = request.getfixturevalue("object_storage")
    return found


@pytest.fixture(scope="module")
def quick_directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A directory in memory where there is one."""
    in_memory = Path("/dev/shm")
    if not os.access(in_memory, os.W_OK):
        yield tmp_path_factory.mktemp("large")
        return
    with tempfile.TemporaryDirectory(prefix="petfleet-large-", dir=in_memory) as directory:
        yield Path(directory)


@pytest.fixture
def public_directory() -> Iterator[Path]:
    """A directory that every account may enter; pytest's own are closed to others."""
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o755)
        try:
            yield Path(name)
        finally:
            for path in [Path(name), *Path(name).rglob("*")]:
                if path.is_dir():
                    path.chmod(0o700)
            for path in Path(name).rglob("closed"):
                path.chmod(0o700)


@pytest.fixture
def without_polling(monkeypatch: pytest.MonkeyPatch) -> None:
    """Watches of files learn of changes from the system alone."""
    disable_polling(monkeypatch)


@pytest.fixture
def path(root: Path) -> Path:
    """The fleet file of user u."""
    return root / "u" / "fleet.toml"


@pytest.fixture
def system(root: Path, monkeypatch: pytest.MonkeyPatch) -> RecordingOS:
    """Put a recording ``os`` under disk, lock, files and reading."""
    recording = RecordingOS(root)
    for module in (disk, lock, files, reader):
        monkeypatch.setattr(module, "os", recording)
    return recording


def pet(name: str, last_active: int = 1_700_000_000, **fields: Any) -> PetHandle:
    """A handle with everything but the name filled in."""
    return PetHandle(name, fields.pop("role", "friend"), f"pets/{name}.toml", last_active, **fields)


def runs_event_loop() -> bool:
    """Whether the current thread is inside an event loop's task."""
    if asyncio._get_running_loop() is not None:
        return True
    try:
        trio.lowlevel.current_task()
    except RuntimeError:
        return False
    return True


class BlockingCallError(AssertionError):
    """The blocking rooms were entered from an event loop."""


class _Guarded:
    """A module whose functions refuse to be called from an event loop's thread."""

    def __init__(self, module: ModuleType) -> None:
        self._module = module

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._module, name)
        if not callable(value) or isinstance(value, type) or name == "fspath":
            return value

        def guarded(*arguments: Any, **options: Any) -> Any:
            if runs_event_loop():
                raise BlockingCallError(f"{self._module.__name__}.{name} called in an event loop")
            return value(*arguments, **options)

        return guarded


@pytest.fixture(autouse=True)
def never_block_the_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail on any call of the operating system that petfleet makes from an event loop's thread."""
    for module in (disk, lock, files, reader, inotify):
        monkeypatch.setattr(module, "os", _Guarded(os))
    for name in ("get", "put", "list"):
        monkeypatch.setattr(bucket.Bucket, name, _guarded_method(getattr(bucket.Bucket, name)))
    for module in (disk, lock, reader):
        monkeypatch.setattr(module, "time", _Sleepless())
    monkeypatch.setattr(runtime, "sleep", _Sleepless().sleep)
    for name in ("lock_descriptor", "unlock_descriptor"):
        monkeypatch.setattr(lock, name, getattr(_Guarded(filelock), name))
    monkeypatch.setattr(lock, "fcntl", _Guarded(fcntl))


def _guarded_method(method: Callable[..., Any]) -> Callable[..., Any]:
    def guarded(self: object, *arguments: Any, **options: Any) -> Any:
        if runs_event_loop():
            raise BlockingCallError(f"{method.__qualname__} called in an event loop")
        return method(self, *arguments, **options)

    return guarded


class _Sleepless:
    """The time module, whose sleep refuses to be called from an event loop's thread."""

    sleep = staticmethod(_Guarded(time).sleep)

    def __getattr__(self, name: str) -> Any:
        return getattr(time, name)


@pytest.fixture(autouse=True)
def there_is_time_to_ask_who_holds_a_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine an error would not wait for the name of the holder."""
    monkeypatch.setattr(timeouts, "_HOLDER_SECONDS", 30)


@pytest.fixture(autouse=True)
def no_descriptor_is_left() -> Iterator[None]:
    """Fail if a lock file is still open after a test, or a watching thread still runs."""
    yield
    wait_until(lambda: not lock._descriptors)
    # A watch may be held by garbage: a task that was cancelled and its traceback hold each other.
    wait_until(lambda: not watching_threads() or gc.collect() < 0)


def watching_threads() -> list[threading.Thread]:
    """Return the threads of watches."""
    return [thread for thread in threading.enumerate() if thread.name == "petfleet-watch"]


def wait_until(state: Callable[[], object], seconds: float = _SECONDS) -> None:
    """Wait for a state that a thread or process is about to reach; the time is only a last resort against hangs."""
    give_up = time.monotonic() + seconds
    while not state():
        assert time.monotonic() < give_up, "the awaited state was never reached"
        time.sleep(0.001)


async def until(state: Callable[[], object]) -> None:
    """Wait for a state, without blocking the event loop."""
    await anyio.to_thread.run_sync(wait_until, state)


class Clock:
    """A clock that moves only when the test moves it."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        """Return its time."""
        return self.now

    def sleep(self, seconds: float) -> None:
        """Let that time pass at once."""
        self.now += seconds


def refuse_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on the system refuses to start threads."""

    def refused(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refused)
