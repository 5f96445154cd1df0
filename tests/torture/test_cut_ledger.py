"""What counts as a loss after a power cut."""

from __future__ import annotations

import json
import random
from contextlib import nullcontext
from itertools import islice
from pathlib import Path

import pytest

from petfleet import FleetStore, PetFleet, dumps
from petfleet._backends.files import disk
from petfleet._backends.files.backend import FileBackend
from tests.conftest import pet
from tests.torture.cut_checks import check_as_found, check_next_calls
from tests.torture.cut_ledger import Ledger, LostError, Standing
from tests.torture.cut_script import Step, script

ONE, TWO, THREE = (PetFleet("own", [pet(f"pet-{number}")]) for number in (1, 2, 3))


def step(user: str, after: PetFleet | None) -> Step:
    """A step that is not carried out."""
    return Step(user, lambda store: store.delete(user), after)


def ledger(*steps: Step, task: str = "task", into: Ledger | None = None) -> Ledger:
    """A ledger with one more task; its first call is in flight."""
    into = into or Ledger()
    into.standings[task] = Standing(task, ("hot",), ["own"] if task == "task" else [], iter(steps))
    return into


def report(task: str | None, fleet: PetFleet) -> bytes:
    """A line that a process writes when a call has returned."""
    return json.dumps([task, fleet.user_id, dumps(fleet)]).encode()


def test_what_was_acknowledged_is_there_and_what_is_in_flight_may_be() -> None:
    """The fleet is the one before or after the call in flight."""
    book = ledger(step("own", ONE), step("own", TWO), step("own", THREE))
    book.enter(report("task", ONE))
    book.check("own", ONE)
    book.check("own", TWO)
    for lost in (None, THREE):
        with pytest.raises(LostError):
            book.check("own", lost)


def test_a_copy_of_the_ledger_stands_still() -> None:
    """What is acknowledged after a cut need not be in it."""
    book = ledger(step("own", ONE), step("own", TWO), step("own", THREE))
    then = book.copy()
    book.enter(report("task", ONE))
    book.enter(report("task", TWO))
    then.check("own", None)
    then.check("own", ONE)
    with pytest.raises(LostError):
        book.check("own", ONE)


def test_a_call_that_returns_something_else_is_noticed() -> None:
    """Not only the disk has to be right."""
    book = ledger(step("own", ONE), step("own", TWO))
    with pytest.raises(LostError):
        book.enter(report("task", TWO))


@pytest.mark.parametrize(("loaded", "never"), [(ONE, None), (PetFleet("own"), ONE)])
def test_a_load_decides_what_a_dead_process_had_in_flight(loaded: PetFleet, never: PetFleet | None) -> None:
    """What one load has returned, no later one takes back."""
    book = ledger(step("own", ONE))
    book.enter(report(None, loaded))
    book.check("own", loaded if loaded.pets else None)
    with pytest.raises(LostError):
        book.check("own", never)


def test_what_another_task_was_told_is_there() -> None:
    """A change that someone has seen is durable before its own call returns."""
    mine, other = pet("task", last_active=1), pet("other", last_active=1)
    both = PetFleet("hot", [mine, other], "task")
    book = ledger(step("hot", PetFleet("hot", [mine])), step("own", ONE))
    ledger(step("hot", PetFleet("hot", [other])), step("hot", both), task="other", into=book)
    book.check("hot", PetFleet("hot", [other], "other"))
    book.enter(report("other", both))
    book.check("hot", both)
    with pytest.raises(LostError):
        book.check("hot", PetFleet("hot", [other], "other"))


def test_a_shared_fleet_holds_nothing_that_nobody_made() -> None:
    """Neither a strange pet nor one twice."""
    mine = pet("task", last_active=1)
    book = ledger(step("hot", PetFleet("hot", [mine])))
    ledger(step("hot", PetFleet("hot", [pet("other")])), task="other", into=book)
    book.check("hot", PetFleet("hot", [mine], "task"))
    for strange in (PetFleet("hot", [mine, pet("strange")], "task"), PetFleet("hot", [mine], "strange")):
        with pytest.raises(LostError):
            book.check("hot", strange)


def test_a_file_that_does_not_parse_is_a_loss(root: Path) -> None:
    """Empty, for one: that is how a file is found whose content was not synced before its name."""
    book = ledger(step("own", ONE))
    check_as_found(root, book)
    (root / "own").mkdir(parents=True)
    (root / "own" / "fleet.toml").touch()
    with pytest.raises(LostError, match="does not parse"):
        check_as_found(root, book)


@pytest.mark.parametrize("sweeps", [True, False])
def test_a_temporary_file_that_stays_is_noticed(root: Path, monkeypatch: pytest.MonkeyPatch, sweeps: bool) -> None:
    """The next call tidies up."""
    book = ledger(step("own", ONE))
    (root / "own").mkdir(parents=True)
    (root / "own" / ".fleet.toml.00112233445566aa.tmp").touch()
    if not sweeps:
        monkeypatch.setattr(disk, "sweep", lambda path: None)
    with nullcontext() if sweeps else pytest.raises(LostError, match="left"):
        check_next_calls(root, book, random.Random(0))


def test_a_next_call_that_returns_something_else_is_noticed(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It goes on from what is on the disk."""
    wrong = FileBackend(str(root.parent / "elsewhere"))
    monkeypatch.setattr("petfleet._backends.resolve.FileBackend", lambda root: wrong)
    (root / "own").mkdir(parents=True)
    (root / "own" / "fleet.toml").write_text(dumps(ONE))
    with pytest.raises(LostError, match="returned"):
        check_next_calls(root, ledger(step("own", ONE)), random.Random(0))


async def test_a_script_foretells_its_calls(root: Path) -> None:
    """What it says that a task has is what the calls return, and the same seed means the same script."""
    first, again = (script(7, "task", ["hot"], ["one", "two"]) for _ in range(2))
    async with FleetStore(root) as store:
        for now, then in zip(islice(first, 200), islice(again, 200), strict=True):
            got = await now.call(store)
            assert (got if isinstance(got, PetFleet) else None) == (
                now.after if now.after is not None or got is True else PetFleet(now.user)
            )
            assert (then.user, then.after) == (now.user, now.after)
