"""Users who came once leave nothing in memory except in the bounded caches."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

# Touches users once, then loads others once, and prints by how much the process has grown: as the system counts it, the
# allocator's leftovers included. Most of those others have no fleet: with files, 50,000 would take minutes. The files
# are written beside the store, a hundred at a time, and removed again. Nothing is synced and one thread does it all,
# which is quick and leaves as much in memory.
VISITS = """
import anyio, functools, gc, json, os, sys
from petfleet import FleetStore, PetFleet, PetHandle, dumps

os.fsync = lambda fd: None
root = sys.argv[1]
warm_up, touched, loaded, absent = map(int, sys.argv[2:])

def resident():
    gc.collect()
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")

def come(user_id):
    os.makedirs(f"{root}/{user_id}")
    pets = [PetHandle(f"pet-{n}", "friend", f"pets/{user_id}/pet-{n}.toml", 1) for n in range(2)]
    with open(f"{root}/{user_id}/fleet.toml", "w") as file:
        file.write(dumps(PetFleet(user_id, pets, "pet-0")))

def go(user_id):
    for name in os.listdir(f"{root}/{user_id}"):
        os.unlink(f"{root}/{user_id}/{name}")
    os.rmdir(f"{root}/{user_id}")

async def visit(call, first, count, *, have_fleets=True):
    for start in range(first, first + count, 100):
        users = [f"user-{number}" for number in range(start, start + 100)]
        for user_id in users if have_fleets else ():
            come(user_id)
        async with anyio.create_task_group() as group:
            for user_id in users:
                group.start_soon(call, user_id)
        for user_id in users if have_fleets else ():
            go(user_id)
    return first + count

async def main():
    store = FleetStore(root, threads=1)
    touch = functools.partial(store.touch, last_active=2)
    seen = await visit(touch, 0, warm_up)
    before = resident()
    seen = await visit(touch, seen, touched)
    after_touched = resident() - before
    seen = await visit(store.load, seen, loaded)
    seen = await visit(store.load, seen, absent, have_fleets=False)
    print(json.dumps([after_touched, resident() - before, store.statistics().changes]))

anyio.run(main)
"""


@pytest.mark.timeout(600)  # for a busy machine
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc/self/statm")
def test_50_000_users_leave_no_more_than_10_megabytes(quick_directory: Path) -> None:
    """10,000 users touched once leave at most 10 MB, 40,000 more no more than that: the bounded memories are full."""
    command = [sys.executable, "-c", VISITS, str(quick_directory), "300", "10000", "5000", "35000"]
    # Without coverage's hook: what it notes down would count, and it triples the time.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert (done.returncode, done.stderr) == (0, "")
    after_10_000, after_50_000, calls = json.loads(done.stdout)
    assert calls == 50_300
    print(f"{after_10_000 / 1e6:.1f} MB after 10,000 users, {after_50_000 / 1e6:.1f} MB after 50,000")
    assert after_10_000 <= 10_000_000
    assert after_50_000 <= 10_000_000
    assert after_50_000 - after_10_000 <= 1_500_000
