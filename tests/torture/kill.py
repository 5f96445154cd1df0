"""Children are killed with SIGKILL, at any moment and at any call of the system; nothing acknowledged is lost.

Several at once work in several tasks each, on asyncio and on trio, and die one after another: the survivors recover
what the dead have left, and in the end a new writer does, which waits for no lock.
"""

from __future__ import annotations

import itertools
import random
import signal
from collections import Counter
from pathlib import Path
from typing import Final

import anyio

from petfleet import FleetStore, PetFleet, dumps
from tests.conftest import pet
from tests.torture.fork_server import BACKENDS, ForkServer, Plan, open_fork_server
from tests.torture.kill_tasks import DELETED, SHARED, Call, Task
from tests.torture.kill_verdict import Fleets, Life, judge, lives
from tests.torture.next_writer import Warned, check_tidy, expected_warnings, heard, stored
from tests.torture.parts import Part

GROUPS: Final = 70  # a round
# The children of a group: the users that only their tasks have.
CHILDREN: Final = (("own-0", "own-1"), ("own-2", "own-3"), ("own-4", "own-5"))
_USERS: Final = (SHARED, DELETED, *itertools.chain(*CHILDREN))


def _round(rng: random.Random, directory: Path) -> Counter[str]:
    root = directory / "fleets"
    with open_fork_server(root) as server, heard() as warned:
        killing = _Kill(rng, root, server, warned)
        for number in range(GROUPS):
            killing.kill_group(number)
    return killing.counted


class _Kill:
    """One round: groups of children, each on the fleets that the group before has left."""

    def __init__(self, rng: random.Random, root: Path, server: ForkServer, warned: Warned) -> None:
        self.counted = Counter[str]()
        self._rng = rng
        self._root = root
        self._server = server
        self._warned = warned
        self._fleets: Fleets = dict.fromkeys(_USERS)
        self._lasting = FleetStore(root, lock_timeout=0)  # remembers what it has seen before the deaths

    def kill_group(self, number: int) -> None:
        """Run a group until it is dead, judge what it leaves, and let the next writer work on that."""
        group = [self._plan(f"{number}.{child}", users) for child, users in enumerate(CHILDREN)]
        try:
            deaths = self._server.run_until_dead(group)
            codes = {death.code for death in deaths}
            assert codes == {-signal.SIGKILL}, f"children ended with {codes}, not killed; stderr says why"
            lived = [life for plan, death in zip(group, deaths, strict=True) for life in lives(plan, death)]
            fleets = {user_id: stored(self._root, user_id) for user_id in _USERS}
            judge(self._fleets, fleets, lived)
            self._count(lived)
            self._fleets = self._find(fleets)
        except Exception as error:
            raise AssertionError(f"group {number}: {group}") from error

    def _plan(self, name: str, users: tuple[str, ...]) -> Plan:
        rng = self._rng
        tasks = []
        for user_id in users:
            fleet = self._fleets[user_id]
            text = None if fleet is None else dumps(fleet)
            tasks.append(Task(f"{name}.{user_id}", rng.getrandbits(32), user_id, text))
        deaths: list[dict[str, float]] = [
            {"calls": rng.randrange(250)},
            {"reports": rng.randrange(1, 60)},
            {"seconds": rng.uniform(0, 0.05)},
        ]
        (dies,) = rng.choices(deaths, (2, 1, 1))
        return Plan(rng.choice(BACKENDS), tuple(tasks), rng.random(), **dies)

    def _count(self, lived: list[Life]) -> None:
        self.counted["kills"] += len(CHILDREN)
        acknowledged = sum(life.acknowledged for life in lived)
        self.counted["acknowledged calls"] += acknowledged
        self.counted["calls under way"] += sum(len(life.calls) for life in lived) - acknowledged

    def _find(self, fleets: Fleets) -> Fleets:
        """Make a call of the next writer for each user, and return what is stored then."""
        rng = self._rng
        warnings = [warning for user_id in _USERS for warning in expected_warnings(self._root, user_id)]
        store = rng.choice((self._lasting, FleetStore(self._root, lock_timeout=0)))
        calls = {user_id: _next_call(user_id, fleets[user_id], rng) for user_id in _USERS}
        self._warned.messages.clear()

        async def main() -> None:
            async with store, anyio.create_task_group() as group:
                for call, _ in calls.values():
                    group.start_soon(call, store)

        anyio.run(main, backend=rng.choice(BACKENDS))
        found = {user_id: stored(self._root, user_id) for user_id in _USERS}
        for user_id, (_, after) in calls.items():
            assert found[user_id] == after, f"{found[user_id]} is stored, not {after}"
            check_tidy(self._root, user_id)
        warned = self._warned.messages
        assert sorted(warned) == sorted(warnings), f"the next writer warned of {warned}, not of {warnings}"
        self.counted["recoveries"] += len(warnings)
        return found


def _next_call(user_id: str, fleet: PetFleet | None, rng: random.Random) -> tuple[Call, PetFleet | None]:
    """Return a call, and the fleet that it leads to."""
    new = pet(f"next-{rng.getrandbits(32)}")
    more = (fleet or PetFleet(user_id)).with_pet(new)
    return rng.choice(
        [
            (lambda store: store.load(user_id), fleet),
            (lambda store: store.add(user_id, new), more),
            (lambda store: store.delete(user_id), None),
        ]
    )


PART: Final = Part("kill", "processes killed at any moment, and at any call of the system", _round, ("linux",))
