"""Batches: how the calls that one commit carries affect each other, and how they do not."""

from __future__ import annotations

import errno
import gc
import os
import weakref
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import anyio
import anyio.to_thread
import pytest
from anyio.abc import TaskStatus

from petfleet import (
    FleetConflictError,
    FleetFormatError,
    FleetNotFoundError,
    FleetStore,
    LockTimeoutError,
    ObjectBackend,
    PetAlreadyInFleetError,
    PetFleet,
    PetNotInFleetError,
    UnconfirmedCommitError,
    dumps,
)
from tests.conftest import pet, wait_until
from tests.support.backends import Storage, version_and_bytes
from tests.support.gate import Gate
from tests.support.points import HeldCall

Call = Callable[[], Awaitable[Any]]
MIRA = PetFleet("user", [pet("mira")], "mira")


class Quit(KeyboardInterrupt):
    """An error that only the call that raises it may get."""


class Outcomes(list[Any]):
    """The results of calls, or the errors that they raised."""

    async def of(self, call: Call, *, task_status: TaskStatus[None]) -> None:
        """Make a call; the task that starts this goes on when the call waits."""
        index = len(self)
        self.append(None)
        task_status.started()
        try:
            self[index] = await call()
        except (Exception, Quit) as error:  # noqa: BLE001 - whatever it is, the test looks at it
            self[index] = error


async def together(*calls: Call) -> Outcomes:
    """Make the calls in this order so that one commit carries all of them, and return their outcomes."""
    outcomes = Outcomes()
    with HeldCall("enqueued") as held:
        async with anyio.create_task_group() as group:
            try:
                for call in calls:
                    await group.start(outcomes.of, call)
            finally:
                held.open()
    return outcomes


def classes(outcomes: list[Any]) -> list[type[Any]]:
    """Return the classes of outcomes."""
    return [type(outcome) for outcome in outcomes]


def fail_with(error: Exception) -> Callable[[PetFleet], PetFleet]:
    """A change that raises."""

    def change(fleet: PetFleet) -> PetFleet:
        raise error

    return change


# --- order -----------------------------------------------------------------------------------------------------------


async def test_a_batch_keeps_the_order_of_its_calls(store: FleetStore, storage: Storage) -> None:
    """Each call sees the ones before it and none after it, and one write carries all."""
    outcomes = await together(
        lambda: store.add("user", pet("mira")),
        lambda: store.load("user"),
        lambda: store.add("user", pet("nova")),
        lambda: store.switch("user", "nova"),
        lambda: store.load("user"),
        lambda: store.remove("user", "mira"),
        lambda: store.touch("user", last_active=9),
    )
    both = MIRA.with_pet(pet("nova"))
    assert outcomes == [
        MIRA,
        MIRA,
        both,
        both.with_active("nova"),
        both.with_active("nova"),
        PetFleet("user", [pet("nova")], "nova"),
        PetFleet("user", [pet("nova", 9)], "nova"),
    ]
    counted = store.statistics()
    assert (counted.commits, counted.changes, counted.largest_batch) == (1, 7, 7)
    assert storage.read() == dumps(outcomes[-1]).encode()


async def test_of_equal_adds_the_first_wins(store: FleetStore) -> None:
    """A name that the batch itself has taken is taken."""
    outcomes = await together(
        lambda: store.add("user", pet("mira", role="first")),
        lambda: store.add("user", pet("mira", role="second")),
    )
    assert classes(outcomes) == [PetFleet, PetAlreadyInFleetError]
    assert (await store.load("user")).pet("mira").role == "first"


async def test_a_save_conflicts_with_what_its_own_batch_wrote(store: FleetStore) -> None:
    """The error holds the fleet as the call before it left it."""
    outcomes = await together(lambda: store.add("user", pet("mira")), lambda: store.save(PetFleet("user")))
    assert classes(outcomes) == [PetFleet, FleetConflictError]
    assert outcomes[1].current == MIRA


async def test_delete_then_add(store: FleetStore, storage: Storage) -> None:
    """The new fleet holds nothing of the old one, and there is never a moment without a file."""
    await store.add("user", pet("mira"))
    outcomes = await together(lambda: store.delete("user"), lambda: store.add("user", pet("nova")))
    assert outcomes == [True, PetFleet("user", [pet("nova")], "nova")]
    assert storage.read() == dumps(outcomes[1]).encode()


async def test_no_fleet_is_a_state_of_its_own(store: FleetStore, storage: Storage) -> None:
    """After a delete a load returns an empty fleet, but the calls behind it find none."""
    await store.add("user", pet("mira"))
    outcomes = await together(
        lambda: store.delete("user"),
        lambda: store.load("user"),
        lambda: store.switch("user", "mira"),
        lambda: store.delete("user"),
        lambda: store.update("user", lambda fleet: fleet),
        lambda: store.touch("user"),
    )
    assert outcomes[:2] == [True, PetFleet("user")]
    assert classes(outcomes) == [bool, PetFleet, FleetNotFoundError, bool, PetFleet, FleetNotFoundError]
    assert outcomes[3] is False
    assert storage.is_empty()


async def test_a_batch_that_ends_where_it_began_writes_nothing(store: FleetStore, storage: Storage) -> None:
    """An add and the remove that undoes it leave the file alone, and each call has its own result."""
    await store.add("user", pet("mira"))
    before = version_and_bytes(storage)
    outcomes = await together(lambda: store.add("user", pet("nova")), lambda: store.remove("user", "nova"))
    assert outcomes == [MIRA.with_pet(pet("nova")), MIRA]
    assert version_and_bytes(storage) == before


async def test_an_add_and_a_delete_of_no_fleet_leave_nothing(store: FleetStore, storage: Storage) -> None:
    """Where there was nothing there is nothing afterwards."""
    outcomes = await together(lambda: store.add("user", pet("mira")), lambda: store.delete("user"))
    assert outcomes == [MIRA, True]
    assert storage.is_empty()


async def test_a_commit_that_starts_over_keeps_the_order_of_its_calls(
    store: FleetStore, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Someone replaced the fleet in between: the same calls are carried out again, one after another as they came."""
    left = storage.overtake_once(monkeypatch)
    outcomes = await together(*(partial(store.add, "user", pet(name)) for name in ("mira", "nova", "otto")))
    assert [[handle.pet_name for handle in fleet.pets] for fleet in outcomes] == [
        ["mira"],
        ["mira", "nova"],
        ["mira", "nova", "otto"],
    ]
    assert not left


# --- failing calls ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [LookupError("why"), Quit("why")], ids=["Exception", "BaseException"])
async def test_a_failing_change_fails_alone(store: FleetStore, storage: Storage, error: Any) -> None:
    """The calls before and behind it are carried out as if it had not been made."""
    outcomes = await together(
        lambda: store.add("user", pet("mira")),
        lambda: store.update("user", fail_with(error)),
        lambda: store.update("user", lambda fleet: None),  # type: ignore[arg-type,return-value]  # a wrong change
        lambda: store.update("user", lambda fleet: fleet.with_pet(pet("big", role="x" * 2**24))),
        lambda: store.add("user", pet("nova")),
    )
    assert classes(outcomes) == [PetFleet, type(error), TypeError, ValueError, PetFleet]
    assert outcomes[1] is error
    assert outcomes[4] == MIRA.with_pet(pet("nova"))
    assert store.statistics().largest_batch == 5
    assert storage.read() == dumps(outcomes[4]).encode()


async def test_only_an_overwriting_save_gets_past_a_broken_file(store: FleetStore, storage: Storage) -> None:
    """Calls before it fail, those behind it work on what it wrote."""
    storage.write(b"broken")
    outcomes = await together(
        lambda: store.load("user"),
        lambda: store.add("user", pet("nova")),
        lambda: store.save(MIRA, overwrite=True),
        lambda: store.add("user", pet("nova")),
    )
    assert classes(outcomes) == [FleetFormatError, FleetFormatError, PetFleet, PetFleet]
    assert storage.read() == dumps(MIRA.with_pet(pet("nova"))).encode()


async def test_every_call_gets_an_error_of_its_own(
    store: FleetStore, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tasks that fail for one reason do not share, and so do not change, one exception and its traceback."""
    storage.write(b"broken")
    with monkeypatch.context() as patch:
        storage.fail_reads(patch, errno.EIO)
        whole = await together(*[lambda: store.load("user")] * 3)
    assert [(type(error), error.errno, error.filename) for error in whole] == [
        (OSError, errno.EIO, storage.where())
    ] * 3
    each = await together(*[lambda: store.load("user")] * 3)
    assert classes(each) == [FleetFormatError] * 3
    assert {error.path for error in each} == {storage.where()}
    for errors in (whole, each):
        assert len({id(error) for error in errors}) == 3
        assert len({str(error) for error in errors}) == 1
    assert store.statistics().largest_batch == 3


async def test_an_error_is_gone_when_its_caller_is_done_with_it(store: FleetStore) -> None:
    """No ring of references keeps it, its traceback and all that its frames hold until the next collection."""

    def change(fleet: PetFleet) -> PetFleet:
        raise Quit

    gc.disable()
    try:
        try:
            await store.update("user", change)
        except Quit as error:
            left = weakref.ref(error)
        wait_until(lambda: left() is None)
    finally:
        gc.enable()


# --- failing writes --------------------------------------------------------------------------------------------------


async def test_a_failing_write_fails_the_changes_that_rest_on_it(
    store: FleetStore, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All changes from the first one on fail; loads return the stored fleet, and its file stays."""
    await store.add("user", pet("mira"))
    before = version_and_bytes(storage)

    with monkeypatch.context() as patch:
        storage.fail_writes(patch, errno.ENOSPC)
        outcomes = await together(
            lambda: store.load("user"),
            lambda: store.touch("user", last_active=MIRA.pets[0].last_active),
            lambda: store.switch("user", "ghost"),
            lambda: store.add("user", pet("nova")),
            lambda: store.switch("user", "ghost"),
            lambda: store.load("user"),
            lambda: store.remove("user", "mira"),
        )
    assert store.statistics().largest_batch == 7
    assert classes(outcomes) == [PetFleet, PetFleet, PetNotInFleetError, OSError, OSError, PetFleet, OSError]
    assert outcomes[0] == outcomes[1] == outcomes[5] == MIRA
    errors = [outcome for outcome in outcomes if type(outcome) is OSError]
    assert len({id(error) for error in errors}) == 3
    assert {error.errno for error in errors} == {errno.ENOSPC}
    assert {os.path.dirname(error.filename) for error in errors} == {os.path.dirname(storage.where())}
    assert version_and_bytes(storage) == before
    assert await store.load("user") == MIRA


async def test_a_failing_first_write_leaves_no_fleet(store: FleetStore, storage: Storage) -> None:
    """Where there was none, loads of that batch are answered with an empty fleet."""
    with pytest.MonkeyPatch.context() as patch:
        storage.fail_writes(patch, errno.EIO)
        outcomes = await together(lambda: store.add("user", pet("mira")), lambda: store.load("user"))
    assert classes(outcomes) == [OSError, PetFleet]
    assert outcomes[1] == PetFleet("user")
    assert storage.read() is None
    assert [user_id async for user_id in store.users()] == []


async def test_a_write_that_no_one_can_confirm_leaves_all_of_the_batch_in_doubt(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Loads too: what they would say may not survive. The next call finds out, and answers."""
    monkeypatch.setattr(ObjectBackend, "_settle_seconds", 0.0)
    store = storage.store()
    await store.add("user", pet("mira"))
    with monkeypatch.context() as patch:
        storage.doubt_writes(patch)
        outcomes = await together(
            lambda: store.add("user", pet("nova")),
            lambda: store.load("user"),
            lambda: store.switch("user", "ghost"),
            lambda: store.add("user", pet("otto")),
        )
    assert classes(outcomes) == [UnconfirmedCommitError] * 4
    assert len({id(error) for error in outcomes}) == 4
    assert {error.path for error in outcomes} == {storage.where()}
    assert outcomes[0].__cause__.errno == errno.EIO
    fleet = await store.load("user")
    assert fleet == MIRA.with_pet(pet("nova")).with_pet(pet("otto"))
    assert storage.read() == dumps(fleet).encode()


# --- many calls, late calls ------------------------------------------------------------------------------------------


async def test_a_batch_is_bounded(store: FleetStore) -> None:
    """One commit carries at most 256 of 600 waiting calls, so that other processes get the lock in between."""
    outcomes = await together(*[partial(store.add, "user", pet(f"pet-{number}")) for number in range(600)])
    assert classes(outcomes) == [PetFleet] * 600
    assert [len(fleet.pets) for fleet in outcomes] == list(range(1, 601))
    counted = store.statistics()
    assert (counted.commits, counted.changes, counted.largest_batch) == (3, 600, 256)
    assert [handle.pet_name for handle in (await store.load("user")).pets] == [f"pet-{n}" for n in range(600)]


async def test_600_calls_at_once_for_many_users(store: FleetStore) -> None:
    """Whatever the batches are, every acknowledged change is there."""
    async with anyio.create_task_group() as group:
        for number in range(600):
            group.start_soon(store.add, f"user-{number % 5}", pet(f"pet-{number}"))
    for user in range(5):
        names = {handle.pet_name for handle in (await store.load(f"user-{user}")).pets}
        assert names == {f"pet-{number}" for number in range(user, 600, 5)}


async def test_a_call_past_its_deadline_is_never_carried_out(
    store: FleetStore, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A call that waits behind its own process's commit for lock_timeout fails then, says so, and stays undone."""
    gate = Gate()
    storage.gate_before_write(monkeypatch, gate)
    outcomes = Outcomes()
    async with anyio.create_task_group() as group:
        try:
            await group.start(outcomes.of, lambda: store.add("user", pet("mira")))
            await anyio.to_thread.run_sync(gate.reached.wait)
            monkeypatch.setattr(store._group_commit, "_lock_timeout", 0.01)
            await group.start(outcomes.of, lambda: store.add("user", pet("late")))
            await anyio.to_thread.run_sync(wait_until, lambda: outcomes[1] is not None)
            monkeypatch.setattr(store._group_commit, "_lock_timeout", 3600)
            await group.start(outcomes.of, lambda: store.add("user", pet("nova")))
        finally:
            gate.open()
    assert classes(outcomes) == [PetFleet, LockTimeoutError, PetFleet]
    assert outcomes[0] == MIRA
    assert (outcomes[1].path, outcomes[1].holder) == (storage.contended(), None)
    assert "since this process's own commit for that user has taken " in str(outcomes[1])
    assert outcomes[2] == await store.load("user") == MIRA.with_pet(pet("nova"))
