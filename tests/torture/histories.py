"""Random calls of many tasks and processes, and whether one order of them explains all replies."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Final

import anyio

from petfleet import FleetStore, PetFleet
from tests.torture import history_processes, linear, model
from tests.torture.history_processes import Objects
from tests.torture.linear import Operation
from tests.torture.model import Call, Reply
from tests.torture.parts import Part
from tests.torture.performing import shown
from tests.torture.records import Invoked, Returned, read
from tests.torture.specification import SPECIFICATION

TRIALS: Final = 4  # a round
_AT_THE_END: Final = 2**62  # later than any time

History = list[Operation[Call, Reply]]


def play(seed: str, directory: Path, trials: int, objects: Objects | None = None, sabotage: str = "") -> None:
    """Run trials of processes in a directory, or on objects; no process outlives this call."""
    with subprocess.Popen(
        [
            sys.executable,
            "-m",
            history_processes.__name__,
            seed,
            str(directory),
            str(trials),
            json.dumps(objects),
            sabotage,
        ],
        cwd=Path(__file__).parents[2],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # it and its children are a group of their own
    ) as process:
        try:
            _, told = process.communicate(timeout=history_processes.SECONDS * trials)
            assert process.returncode == 0, f"the processes ended with {process.returncode}:\n{told}"
        finally:
            if process.returncode != 0:  # or it has waited for all of them
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)


def _histories(place: Path, counted: Counter[str], objects: Objects | None) -> dict[str, History]:
    """Return what was recorded in one trial, user by user."""
    # Over a network a call may also have done nothing, or have an unknown outcome.
    in_vain, unknown = {"LockTimeoutError"}, set()
    if objects is not None:
        in_vain, unknown = {"LockTimeoutError", "OSError"}, {"UnconfirmedCommitError"}
    found: dict[str, History] = {user_id: [] for user_id in history_processes.USERS}
    records = sorted(place.glob("*.records"))
    counted["kills"] += len(records) - history_processes.PROCESSES
    for path in records:
        invoked: dict[int, Invoked] = {}
        returned: dict[int, Returned] = {}
        for record in read(path):
            if isinstance(record, Invoked):
                invoked[record.number] = record
            else:
                returned[record.number] = record
        for number, begun in invoked.items():
            ended = returned.get(number)
            counted["calls"] += 1
            if ended is None or ended.reply in unknown:
                counted["calls of unknown outcome"] += 1
                found[begun.user_id].append(Operation(begun.call, begun.at))
            elif ended.reply in in_vain:
                counted["calls out of time"] += 1  # nothing has happened, so there is nothing to explain
            else:
                found[begun.user_id].append(Operation(begun.call, begun.at, (ended.at, ended.reply)))
    return found


def check(
    place: Path, counted: Counter[str], objects: Objects | None = None, *, most_steps: int = linear.MAX_STEPS
) -> None:
    """Fail unless every user's history of one trial is linearizable, up to what a last load finds.

    A history that takes too many steps to decide is counted, and no failure: calls may overlap as they like.
    """

    async def load(user_id: str) -> PetFleet:
        there = place / "fleets" if objects is None else objects.backend(place, 0)
        async with FleetStore(there) as store:
            return await store.load(user_id)

    for user_id, history in _histories(place, counted, objects).items():
        last = shown(anyio.run(load, user_id))
        history.append(Operation(model.Load(), _AT_THE_END, (_AT_THE_END, last)))
        try:
            linear.check(history, SPECIFICATION, None, most_steps=most_steps)
        except linear.GaveUpError:
            counted["undecided histories"] += 1
            continue
        except linear.NotLinearizableError as error:
            raise linear.NotLinearizableError(f"user {user_id} of {place}: {error}") from None
        counted["histories"] += 1


def _round(rng: random.Random, directory: Path) -> Counter[str]:
    counted: Counter[str] = Counter()
    play(str(rng.random()), directory, TRIALS)
    for number in range(TRIALS):
        check(directory / str(number), counted)
    return counted


PART: Final = Part(
    "histories", "random calls of many processes, some cancelled or killed, have an order that explains them", _round
)
