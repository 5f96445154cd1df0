"""A process that calls one store all the time while others interfere, and reports at its end.

    python -m tests.torture.disturbed_client <root> <asyncio or trio> <reads or changes>

It ends when stdin ends.
"""

from __future__ import annotations

import json
import random
import sys
import time
from collections import Counter
from typing import Any

import anyio
import anyio.to_thread

from petfleet import FleetError, FleetFormatError, FleetStore
from tests.conftest import pet
from tests.support.children import lock_descriptors
from tests.support.old_program import USER, is_version

_TASKS = 3
_MAX_PAUSE = 0.01


class Client:
    """One store, some tasks, and what they have seen."""

    def __init__(self, root: str, name: str, changes: bool) -> None:
        self.store = FleetStore(root, lock_timeout=0.3)
        self.name = name
        self.changes = changes
        self.acknowledged: list[str] = []
        self.errors: Counter[str] = Counter()
        self.calls: Counter[str] = Counter()
        self.longest_look = 0.0  # seconds after which a call gave a torn file up
        self.torn: list[str] = []  # fleets that nobody ever wrote

    async def run(self) -> None:
        """Call until stdin ends."""
        async with anyio.create_task_group() as tasks:
            for task in range(_TASKS):
                tasks.start_soon(self._call_on, f"{self.name}-{task}")
            print("calling", flush=True)
            await anyio.to_thread.run_sync(sys.stdin.read)
            tasks.cancel_scope.cancel()
        await self.store.aclose()

    async def _call_on(self, task: str) -> None:
        rng = random.Random(task)
        number = 0
        while True:
            await anyio.sleep(rng.random() * _MAX_PAUSE)
            number += 1
            began = time.monotonic()
            call = rng.choice(("load", "peek", "add") if self.changes else ("load", "peek"))
            try:
                # To its end: of a cancelled call nobody knows what came of it.
                with anyio.CancelScope(shield=True):
                    await self._call(call, f"{task}-{number}")
                self.calls[call] += 1
            except (FleetError, OSError) as error:
                self.errors[f"{type(error).__name__}: {error}"] += 1
                if isinstance(error, FleetFormatError):
                    self.longest_look = max(self.longest_look, time.monotonic() - began)

    async def _call(self, call: str, name: str) -> None:
        if call == "add":
            fleet = await self.store.add(USER, pet(name))
            self.acknowledged.append(name)
        else:
            fleet = await getattr(self.store, call)(USER)
        if not self.changes and not is_version(fleet):
            self.torn.append(repr(fleet))


def main() -> None:
    """Do what the command line says."""
    root, loop, what = sys.argv[1:]
    client = Client(root, loop, what == "changes")
    anyio.run(client.run, backend=loop)
    told: dict[str, Any] = {
        "acknowledged": client.acknowledged,
        "errors": client.errors,
        "calls": client.calls,
        "torn": client.torn,
    }
    told |= {"longest_look": client.longest_look, "open": len(lock_descriptors())}
    print(json.dumps(told), flush=True)


if __name__ == "__main__":
    main()
