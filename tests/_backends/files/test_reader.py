"""A file that is being rewritten in place is read again for a moment, by every kind of reader."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import anyio
import pytest

from petfleet import FleetFormatError, FleetStore, PetFleet, dumps, fleet_path, loads
from petfleet._backends.files import disk, reader
from petfleet._backends.files.backend import FileBackend
from petfleet._commit.change import Change, Kind
from petfleet._toml import decode
from petfleet._util import runtime
from tests.conftest import Clock, pet, wait_until
from tests.support.commits import add, attempt, commit, leave_dead_writer, load, marker, names
from tests.support.gate import Gate
from tests.support.old_program import is_version, rewrite, version
from tests.support.recording_os import RecordingOS

BEFORE = PetFleet("u", [pet("mira"), pet("nova")])
AFTER = PetFleet("u", [pet("mira"), pet("nova"), pet("otto")])


class Pauses(Clock):
    """The clocks of the reader: they move only when a test moves them, during the reader's pauses."""

    def __init__(self) -> None:
        super().__init__()
        self.wall = 1_700_000_000.0  # a little after the tests write their files
        self.number = 0
        self.meanwhile: Callable[[int], object] = lambda number: None

    def time(self) -> float:
        return self.wall

    def sleep(self, seconds: float) -> None:
        self.number += 1
        self.meanwhile(self.number)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Pauses:
    """Put such clocks under the reading of files."""
    clock = Pauses()
    monkeypatch.setattr(reader, "time", clock)
    monkeypatch.setattr(runtime, "monotonic", clock.monotonic)
    return clock


def put(path: Path, data: bytes, age: float = 0.01) -> None:
    """Put a file there that was written so many seconds ago, by that clock."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    os.utime(path, ns=(0, int((1_700_000_000 - age) * 1e9)))


def torn(data: bytes, cut: bytes = b"manifest_path") -> bytes:
    """Return the first part of a fleet, up to the last time that this occurs."""
    return data[: data.rindex(cut)]


def error_of_load(backend: FileBackend) -> BaseException | None:
    """Return the error of a load: its own, not that of its batch."""
    change = Change(load, Kind.READ)
    assert attempt(backend, change)
    return change.error


@pytest.mark.parametrize("change", [load, add("lora")], ids=["load", "add"])
def test_a_commit_waits_for_a_rewrite_to_be_finished(
    backend: FileBackend, path: Path, system: RecordingOS, clock: Pauses, change: Callable[..., PetFleet]
) -> None:
    """It sees neither the empty file nor the half of it, and returns what it has synced."""
    whole = dumps(AFTER).encode()
    states = [torn(whole), torn(whole, b"role"), whole]
    put(path, b"")
    clock.meanwhile = lambda number: put(path, states[number - 1])
    assert commit(backend, change, Kind.CHANGE) == change(AFTER)
    assert clock.number == 3
    assert loads(path.read_bytes()) == change(AFTER)
    assert ("fsync", "u/fleet.toml") in system.calls


def test_a_peek_waits_for_a_rewrite_to_be_finished(backend: FileBackend, path: Path, clock: Pauses) -> None:
    """Without the lock it reads the same way."""
    put(path, b"")
    clock.meanwhile = lambda number: put(path, dumps(AFTER).encode())
    assert backend.peek("u") == AFTER


def test_what_is_synced_is_what_was_read_in_the_end(
    backend: FileBackend, path: Path, monkeypatch: pytest.MonkeyPatch, clock: Pauses
) -> None:
    """Truncated again while it is synced, it is read once more, and waited for once more."""
    put(path, dumps(BEFORE).encode())
    sync_file = disk.sync_file
    syncs: list[str] = []

    def truncated(synced: str) -> None:
        sync_file(synced)
        syncs.append(synced)
        if len(syncs) == 1:
            put(path, b"")

    monkeypatch.setattr(disk, "sync_file", truncated)
    clock.meanwhile = lambda number: put(path, dumps(AFTER).encode())
    assert commit(backend, load, Kind.READ) == AFTER
    assert (clock.number, len(syncs)) == (1, 2)


@pytest.mark.parametrize("age", [0.099, -0.099])
def test_a_file_that_stays_torn_is_reported_after_a_tenth_of_a_second(
    backend: FileBackend, path: Path, clock: Pauses, age: float
) -> None:
    """However often it is written to meanwhile, and whatever the wall clock does."""

    def meanwhile(number: int) -> None:
        clock.now += 0.03
        put(path, b"#", age)

    put(path, b"#", age)
    clock.meanwhile = meanwhile
    assert isinstance(error_of_load(backend), FleetFormatError)
    assert clock.number == 4
    assert path.read_bytes() == b"#"


@pytest.mark.parametrize(
    ("data", "age"),
    [
        pytest.param(b'user_id = "u"\n', 0.2, id="broken for long"),
        pytest.param(b'user_id = "u"\n', -0.2, id="of the future"),
        pytest.param(b'user_id = "other"\npets = []\n', 0.01, id="another user's"),
        pytest.param(b'user_id = "other"\n', 0.01, id="another user's and torn"),
        pytest.param(b"#" * (2**24 + 1), 0.01, id="too large"),
    ],
)
def test_what_time_will_not_mend_is_reported_at_once(
    backend: FileBackend, path: Path, clock: Pauses, data: bytes, age: float
) -> None:
    """A pause would only cost."""
    put(path, data, age)
    assert isinstance(error_of_load(backend), FleetFormatError)
    assert clock.number == 0


def test_an_empty_file_is_waited_for_once(backend: FileBackend, path: Path, clock: Pauses) -> None:
    """However old it looks, it may have been truncated just now; once waited for in vain, it is known to be left so."""

    def pauses() -> int:
        before = clock.number
        assert isinstance(error_of_load(backend), FleetFormatError)
        return clock.number - before

    def meanwhile(number: int) -> None:
        clock.now += 0.06

    clock.meanwhile = meanwhile
    put(path, b"", age=1000)
    assert [pauses(), pauses()] == [2, 0]
    put(path, b"", age=999)
    assert [pauses(), pauses()] == [2, 0]


def test_a_reader_that_was_held_up_looks_again(
    backend: FileBackend, path: Path, clock: Pauses, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was torn when it was read may be whole by the time that its age is judged."""
    put(path, torn(dumps(AFTER).encode()))
    read = disk.read

    def held_up(*arguments: object) -> disk.Stored | None:
        stored = read(*arguments)  # type: ignore[arg-type]
        clock.wall += 1
        put(path, dumps(AFTER).encode())
        return stored

    monkeypatch.setattr(disk, "read", held_up)
    assert backend.peek("u") == AFTER


def test_a_file_truncated_while_it_is_read_is_read_again(
    backend: FileBackend, path: Path, system: RecordingOS, clock: Pauses
) -> None:
    """When it was opened it was old and whole."""
    put(path, dumps(BEFORE).encode(), age=1000)
    clock.meanwhile = lambda number: put(path, dumps(AFTER).encode())

    def truncated(name: str, where: str) -> None:
        if (name, where) == ("read", "u/fleet.toml"):
            system.before = lambda name, where: None
            put(path, torn(dumps(AFTER).encode()))

    system.before = truncated
    assert backend.peek("u") == AFTER


def test_a_reader_of_a_large_file_looks_a_second_time(
    backend: FileBackend, path: Path, monkeypatch: pytest.MonkeyPatch, clock: Pauses
) -> None:
    """To find that its first half is no fleet took longer than the whole wait."""
    put(path, torn(dumps(BEFORE).encode()))
    user_id_in = decode.user_id_in

    def slow(data: bytes) -> str | None:
        clock.now += 1
        clock.wall += 1
        return user_id_in(data)

    monkeypatch.setattr(decode, "user_id_in", slow)
    clock.meanwhile = lambda number: put(path, dumps(AFTER).encode())
    assert backend.peek("u") == AFTER


def test_a_torn_file_that_is_gone_at_the_second_look_is_no_fleet(
    backend: FileBackend, path: Path, monkeypatch: pytest.MonkeyPatch, clock: Pauses
) -> None:
    """It is not an error."""
    put(path, torn(dumps(AFTER).encode()))
    user_id_in = decode.user_id_in

    def unlinked(data: bytes) -> str | None:
        path.unlink()
        return user_id_in(data)

    monkeypatch.setattr(decode, "user_id_in", unlinked)
    assert backend.peek("u") is None


def test_a_recovery_leaves_a_file_alone_that_is_being_rewritten(backend: FileBackend, path: Path) -> None:
    """Were it written anew, the rest would go into the file that was replaced, and be lost."""
    commit(backend, add("mira"))
    leave_dead_writer(path)
    whole = dumps(AFTER).encode()
    with open(path, "wb", buffering=0) as file:
        with pytest.raises(FleetFormatError):
            commit(backend, load, Kind.READ)
        file.write(whole)
    assert path.read_bytes() == whole
    assert names(path) == {"fleet.toml", "fleet.toml.lock"}
    assert marker(path) == "writing"  # what could not be synced once is not taken for synced by trying again
    before = os.stat(path).st_ino
    assert commit(backend, load, Kind.READ) == AFTER
    assert (marker(path), os.stat(path).st_ino == before) == ("clean", False)


def test_a_prefix_that_is_a_fleet_by_itself_cannot_be_told(backend: FileBackend, path: Path) -> None:
    """Cut at the end of a pet or within its last number, a text parses, and its first part is taken for the whole."""
    text = dumps(PetFleet("u", [pet("mira", 10), pet("nova", 234)], "mira"))
    path.parent.mkdir(parents=True)
    fleets: list[list[tuple[str, int]]] = []
    for end in range(len(text)):
        path.write_text(text[:end])
        os.utime(path, (0, 0))
        try:
            fleet = backend.peek("u")
        except FleetFormatError:
            continue
        assert re.search(r"last_active = \d+\n{0,2}\Z", text[:end])
        assert fleet is not None
        fleets.append([(handle.pet_name, handle.last_active) for handle in fleet.pets])
    mira = ("mira", 10)
    assert fleets == [
        [("mira", 1)],
        *[[mira]] * 3,  # the number, its line's end, the empty line
        [mira, ("nova", 2)],
        [mira, ("nova", 23)],
        [mira, ("nova", 234)],
    ]


# --- in a store ------------------------------------------------------------------------------------------------------


async def test_a_pause_keeps_no_other_user_waiting(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a torn file is waited for, other threads commit; peek waits on threads of its own."""
    store = FleetStore(root)
    await store.add("user", pet("mira"))
    path = fleet_path("user", root)
    whole = path.read_bytes()
    gate = Gate()
    monkeypatch.setattr("petfleet._backends.files.reader.time.sleep", gate.before(lambda seconds: None))
    monkeypatch.setattr(reader, "_TORN_SECONDS", 3600)
    path.write_bytes(b"")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(store.load, "user")
        await anyio.to_thread.run_sync(wait_until, gate.reached.is_set)
        await store.add("other", pet("nova"))
        path.write_bytes(whole)
        assert await store.peek("user") == loads(whole)
        gate.open()


async def test_no_reader_meets_the_old_programs_half_written_file(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside a process that pauses after it has truncated and within its writing, every read is of one version."""
    monkeypatch.setattr(reader, "_TORN_SECONDS", 30)  # however busy the machine is
    path = fleet_path("user", root)
    path.parent.mkdir(parents=True)
    rewrite(path, version(0))
    store = FleetStore(root)
    reads = dict.fromkeys(("load", "peek"), 0)
    seen: set[int] = set()

    async def read(name: str) -> None:
        while len(seen) < 10:
            fleet = await getattr(store, name)("user")
            assert is_version(fleet), fleet
            seen.add(fleet.pets[0].last_active)
            reads[name] += 1

    with old_program(path, 0.01):
        with anyio.fail_after(60):
            async with anyio.create_task_group() as tasks:
                for name in reads:
                    tasks.start_soon(read, name)
    assert min(reads.values()) > 0


async def test_a_file_that_the_old_program_leaves_torn_is_an_error(store: FleetStore, root: Path) -> None:
    """It died in the middle of writing: the error comes soon, and the file stays as it is."""
    path = fleet_path("user", root)
    path.parent.mkdir(parents=True)

    def die() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rewrite(path, version(3), die)
    for call in (store.load("user"), store.peek("user"), store.add("user", pet("mira"))):
        with pytest.raises(FleetFormatError, match=re.escape(str(path))):
            await call
    assert path.read_bytes() == b""


@contextmanager
def old_program(path: Path, pause: float) -> Iterator[None]:
    """Have the old program rewrite the file all the time, in a process of its own."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.support.old_program", str(path), str(pause)],
        cwd=Path(__file__).parents[3],
        stdin=subprocess.PIPE,
    ) as process:
        try:
            yield
        except BaseException:
            process.kill()
            raise
    assert process.returncode == 0
