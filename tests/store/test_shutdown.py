"""Ending the event loop and the interpreter in the midst of a call: no hang, no noise, nothing half done."""

from __future__ import annotations

import asyncio
import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial

import pytest
import trio
import trio.testing

from petfleet import FleetStore, PetFleet, dumps
from tests.conftest import pet, wait_until
from tests.support.backends import Storage
from tests.support.children import CHANGES, ENDS, SECONDS, names, program
from tests.support.points import BEFORE_TAKEN, BUSY, STORAGES_AND_POINTS, waits_for

CANCELLING = ("asyncio.run", "trio.run")


# Others at a user of an object can hold up a commit for as long as they write, and no longer.
@pytest.mark.parametrize(
    ("storage", "point"), [each for each in STORAGES_AND_POINTS if each != ("objects", "refused")], indirect=["storage"]
)
@pytest.mark.parametrize("how", ENDS)
def test_what_was_taken_is_committed_and_the_exit_is_quiet(
    how: str, point: str, storage: Storage, caplog: pytest.LogCaptureFixture
) -> None:
    """The loop ends at a point of two calls, then the interpreter: the exit waits for what was taken, and only that."""
    storage.write(dumps(PetFleet("user", [pet("first")], "first")).encode())

    with ExitStack() as stack:
        if point in BUSY:
            stack.enter_context(storage.busy())  # to the end: no exit may wait for it
        with program("end", how, point, storage.argument()) as child:
            out, err = child.communicate(timeout=SECONDS)
    assert (out, err, child.returncode) == ("", "", 0)

    with caplog.at_level(logging.WARNING, "petfleet"):
        found = names(asyncio.run(storage.store().load("user")))
    if point not in BEFORE_TAKEN:
        assert found == ["first", *CHANGES]
    elif point in BUSY or how in CANCELLING:
        assert found == ["first"]
    else:  # neither taken nor withdrawn: whole or not at all
        assert found in (["first"], ["first", *CHANGES])
    assert caplog.records == []  # there was nothing to recover
    assert storage.is_settled()


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_an_ended_loop_keeps_no_other_loop_from_its_results(backend: str, store: FleetStore, storage: Storage) -> None:
    """Where two loops have calls in one batch, the end of one of them does not concern the other."""
    with storage.held("taken") as held, ThreadPoolExecutor() as threads:
        ends = end_asyncio_with_a_pending_call if backend == "asyncio" else end_trio_with_a_pending_call
        end = threading.Event()
        ended = threads.submit(ends, store, end)
        wait_until(partial(waits_for, store, 1))
        call = asyncio.wait_for(store.add("user", pet("lives")), 60)
        lives = threads.submit(asyncio.run, call)
        wait_until(partial(waits_for, store, 2))
        held.reach()
        end.set()
        ended.result(60)
        held.open()
        assert names(lives.result(60)) == ["ended", "lives"]


def end_asyncio_with_a_pending_call(store: FleetStore, end: threading.Event) -> None:
    """Run a loop that makes a call, and close it without more ado."""
    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda loop, context: None)  # the default handler reports the task that is left
    task = loop.create_task(store.add("user", pet("ended")))
    loop.run_until_complete(asyncio.sleep(0))
    assert end.wait(60)
    assert not task.done()
    loop.close()


def end_trio_with_a_pending_call(store: FleetStore, end: threading.Event) -> None:
    """Run a loop that makes a call, and cancel all of it."""

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(store.add, "user", pet("ended"))
            await trio.testing.wait_all_tasks_blocked()
            assert end.wait(60)
            nursery.cancel_scope.cancel()

    trio.run(main)
