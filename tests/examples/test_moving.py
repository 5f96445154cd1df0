"""Users move from a directory to another store while programs write, die or know nothing of it, and nothing is lost."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest
from filelock import FileLock

import moving
from moving import MovingStore
from petfleet import FleetConflictError, FleetFormatError, FleetStore, LockTimeoutError, PetFleet, fleet_path, loads
from tests.conftest import pet, wait_until
from tests.support.children import child, tell

EXAMPLES = Path(__file__).parent.parent.parent / "examples"
USERS = 4
SECONDS = 100

# Says what was acknowledged, until it is told to stop and has then done each thing once more.
WORKER = """
import sys, threading
sys.path.insert(0, sys.argv[1])
import anyio
from moving import MovingStore
from petfleet import FleetStore, PetHandle

root, target, name, moving, users, said = sys.argv[2:]
stop = threading.Event()

def wait():
    sys.stdin.readline()
    stop.set()

def count(fleet):
    return fleet.with_last_active("counter", fleet.pet("counter").last_active + 1)

async def play(store, task):
    number, last = 0, False
    while not last:
        last = stop.is_set()
        user, own = f"user-{(number + task) % int(users)}", f"{name}-{task}-{number}"
        await store.add(user, PetHandle(own, "friend", "x", 0))
        print(user, own, file=log, flush=True)
        await store.update(user, count)
        print(user, "counter", file=log, flush=True)
        assert (await store.load(user)).get(own) is not None, (user, own)
        number += 1

async def main():
    store = MovingStore(root, FleetStore(target), moving=moving == "True", lock_timeout=60)
    async with anyio.create_task_group() as group:
        for task in range(4):
            group.start_soon(play, store, task)
    await store.aclose()

log = open(said, "w")
print("ready", flush=True)
sys.stdin.readline()
threading.Thread(target=wait, daemon=True).start()
anyio.run(main)
"""


class KilledError(BaseException):
    """Stands for the end of the process."""


def script(root: Path, target: Path) -> subprocess.CompletedProcess[str]:
    """Run the example as an operator does."""
    command = [sys.executable, str(EXAMPLES / "moving.py"), str(root), str(target)]
    return subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)


def names(fleet: PetFleet) -> list[str]:
    """Return the names of the pets, in order."""
    return [each.pet_name for each in fleet.pets]


@pytest.fixture
def target(tmp_path: Path) -> FleetStore:
    """The store that takes the directory's place: any will do."""
    return FleetStore(tmp_path / "target")


@pytest.fixture
def before(root: Path, target: FleetStore) -> MovingStore:
    """That of a program that moves no one."""
    return MovingStore(str(root), target)


@pytest.fixture
def during(root: Path, target: FleetStore) -> MovingStore:
    """That of a program that moves whom it meets."""
    return MovingStore(str(root), target, moving=True)


async def test_nothing_is_lost_among_programs_of_both_kinds_and_the_script(tmp_path: Path, root: Path) -> None:
    """Two processes that move no one write beside two that do, and beside the script; all is found once, and there."""
    target = tmp_path / "target"
    for number in range(USERS):
        await FleetStore(root).add(f"user-{number}", pet("counter", 0))
    logs = [tmp_path / f"{number}.log" for number in range(4)]
    with ExitStack() as stack:
        workers = [
            stack.enter_context(child("-c", WORKER, EXAMPLES, root, target, f"p{number}", number > 1, USERS, log))
            for number, log in enumerate(logs)
        ]
        for worker in workers:
            tell(worker)
        await anyio.to_thread.run_sync(wait_until, lambda: all(log.exists() and log.stat().st_size for log in logs))
        done = script(root, target)
        assert (done.returncode, done.stdout) == (0, f"{USERS} moved, 0 not\n"), done.stderr
        for worker in workers:
            errors = worker.communicate("stop\n", timeout=SECONDS)[1]
            assert worker.returncode == 0, errors
    acknowledged = Counter(line for log in logs for line in log.read_text().splitlines())
    for number in range(USERS):
        user = f"user-{number}"
        fleet = await FleetStore(target).load(user)
        assert fleet.pet("counter").last_active == acknowledged.pop(f"{user} counter")
        expected = sorted(line.split()[1] for line in acknowledged if line.startswith(f"{user} "))
        assert sorted(names(fleet)) == sorted([*expected, "counter"])


CALLS: dict[str, Callable[[Any], Awaitable[object]]] = {
    "load": lambda store: store.load("u"),
    "peek": lambda store: store.peek("u"),
    "add": lambda store: store.add("u", pet("new")),
    "switch": lambda store: store.switch("u", "rex"),
    "touch": lambda store: store.touch("u", "rex", last_active=7),
    "remove": lambda store: store.remove("u", "mira"),
    "update": lambda store: store.update("u", lambda fleet: fleet.with_active("rex")),
    "save": lambda store: store.save(PetFleet("u", [pet("other")]), overwrite=True),
    "delete": lambda store: store.delete("u"),
}


@pytest.mark.parametrize("name", CALLS)
async def test_a_program_that_knows_nothing_of_the_move_is_refused(
    name: str, root: Path, during: MovingStore, path: Path
) -> None:
    """Every call of a FleetStore over the directory raises FleetFormatError for a moved user, and changes nothing."""
    await FleetStore(root).save(PetFleet("u", [pet("mira"), pet("rex")]))
    await during.move("u")
    mark = moving._mark(path)
    with pytest.raises(FleetFormatError):
        await CALLS[name](FleetStore(root))
    assert mark == moving._mark(path)


@pytest.mark.parametrize("name", CALLS)
async def test_each_call_does_the_same_before_and_after_the_move(
    name: str, tmp_path: Path, before: MovingStore, during: MovingStore
) -> None:
    """A store that moves no one follows those who are moved: results and fleets are those of a plain FleetStore."""
    plain = FleetStore(tmp_path / "plain")
    fleet = PetFleet("u", [pet("mira"), pet("rex")])
    for store in (plain, before):
        await store.save(fleet)
    expected = await CALLS[name](plain)
    await during.move("u")
    assert await CALLS[name](before) == expected
    assert await before.load("u") == await plain.load("u")


@pytest.mark.parametrize("when", ["before the mark", "before the fleet is saved", "before the mark says so"])
async def test_whoever_comes_next_finishes_what_a_killed_program_began(
    when: str, root: Path, target: FleetStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fleet is in one place at each moment; a call for the user finds it there, and changes it once."""
    await FleetStore(root).add("u", pet("mira"))
    written = []
    write = moving._write

    def die_instead(path: Path, mark: moving.Mark) -> None:
        if mark.done == (when == "before the mark says so"):
            raise KilledError
        write(path, mark)
        written.append(mark)

    async def die_instead_of_saving(fleet: PetFleet) -> None:
        raise KilledError

    dying = MovingStore(str(root), target, moving=True)
    with monkeypatch.context() as patch:
        if when == "before the fleet is saved":
            patch.setattr(dying._target, "save", die_instead_of_saving)
        else:
            patch.setattr(moving, "_write", die_instead)
        with pytest.raises(KilledError):
            await dying.move("u")
    for number, how in enumerate([False, True]):
        store = MovingStore(str(root), target, moving=how)
        assert names(await store.add("u", pet(f"new-{number}"))) == ["mira", "new-0", "new-1"][: number + 2]
    assert names(await target.load("u")) == ["mira", "new-0", "new-1"]


@pytest.mark.parametrize("stays", ["mira", "early"])
async def test_a_fleet_that_is_there_already_is_not_replaced(
    stays: str, before: MovingStore, during: MovingStore, target: FleetStore, root: Path
) -> None:
    """Someone wrote there too early: the user's calls fail until an operator has decided, and nothing is dropped."""
    await target.add("u", pet("early"))
    await FleetStore(root).add("u", pet("mira"))
    with pytest.raises(FleetConflictError):
        await during.load("u")
    with pytest.raises(FleetConflictError):
        await before.add("u", pet("new"))
    assert names(await target.load("u")) == ["early"]
    mark = moving._mark(fleet_path("u", root))
    assert mark is not None
    assert "mira" in (mark.text or "")
    if stays == "mira":
        await target.delete("u")
    else:
        file = fleet_path("u", root)
        await anyio.Path(file).write_text(file.read_text().replace("done = false", "done = true"))
    assert names(await before.load("u")) == [stays]


async def test_a_deleted_fleet_does_not_come_back(
    before: MovingStore, during: MovingStore, target: FleetStore, root: Path
) -> None:
    """Neither a second move nor a program that moves no one brings back what was deleted after the move."""
    await FleetStore(root).add("u", pet("mira"))
    await during.move("u")
    assert await during.delete("u")
    await during.move("u")
    assert (await before.load("u")).pets == ()
    assert [user async for user in target.users()] == []


async def test_a_new_user_is_made_in_one_place_only(root: Path, before: MovingStore, during: MovingStore) -> None:
    """A user without a fleet gets a mark, too, so that no other program makes a second fleet in the directory."""
    await FleetStore(root).add("someone else", pet("mira"))
    await during.add("u", pet("mira"))
    assert names(await before.add("u", pet("rex"))) == ["mira", "rex"]


async def test_an_error_of_ones_own_moves_no_one(root: Path, before: MovingStore) -> None:
    """A change that raises FleetFormatError reaches its caller, and is not tried in the other store."""

    def change(fleet: PetFleet) -> PetFleet:
        return loads("no TOML")

    await before.add("u", pet("mira"))
    with pytest.raises(FleetFormatError):
        await before.update("u", change)
    assert names(await FleetStore(root).load("u")) == ["mira"]


async def test_users_are_listed_once_wherever_they_are(
    root: Path, before: MovingStore, during: MovingStore, target: FleetStore
) -> None:
    """Moved, not yet moved, made there; and neither deleted ones nor those who never had a fleet."""
    for user in ("moved", "here", "deleted"):
        await FleetStore(root).add(user, pet("mira"))
    await during.move("moved")
    await during.delete("deleted")
    await during.load("never")
    await during.add("there", pet("mira"))
    await FleetStore(root).add("half", pet("mira"))
    await during.move("half")
    moving._write(fleet_path("half", root), moving.Mark("", False))  # as if killed before the mark said so
    for store in (before, during):
        assert sorted([user async for user in store.users()]) == ["half", "here", "moved", "there"]


async def test_a_held_lock_is_waited_for_and_then_named(root: Path, target: FleetStore, path: Path) -> None:
    """LockTimeoutError, as of a FleetStore, and nobody has moved."""
    await FleetStore(root).add("u", pet("mira"))
    store = MovingStore(str(root), target, moving=True, lock_timeout=0)
    with FileLock(f"{path}.lock"), pytest.raises(LockTimeoutError):
        await store.load("u")
    assert names(await FleetStore(root).load("u")) == ["mira"]


def test_the_script_moves_whom_it_can_and_names_the_others(tmp_path: Path, root: Path) -> None:
    """A broken file stays as it is; the exit code says that someone is left, and a second run moves the rest."""
    for user in ("ok", "bad"):
        fleet_path(user, root).parent.mkdir(parents=True)
        fleet_path(user, root).write_text(f'user_id = "{user}"\npets = []\n' if user == "ok" else "no TOML")
    first = script(root, tmp_path / "target")
    assert (first.returncode, first.stdout) == (1, "1 moved, 1 not\n")
    assert first.stderr.startswith("bad: not moved: ")
    assert fleet_path("bad", root).read_text() == "no TOML"
    fleet_path("bad", root).write_text('user_id = "bad"\npets = []\n')
    again = script(root, tmp_path / "target")
    assert (again.returncode, again.stdout, again.stderr) == (0, "2 moved, 0 not\n", "")
