"""The store as an object: made, closed, used again, shared, and used beside others."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest
from anyio.abc import TaskStatus

from petfleet import (
    FleetStore,
    PetFleet,
    disk,
    fleet_path,
    loads,
)
from tests.calls import text_of
from tests.conftest import pet, wait_until
from tests.gate import Gate


async def test_aclose_waits_for_what_was_taken(store: FleetStore, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Closing comes back only after the commit under way has ended, and leaves no thread of the store."""
    threads = set(threading.enumerate())
    gate = Gate()
    monkeypatch.setattr(disk, "rename", gate.before(disk.rename))
    closed = anyio.Event()

    async def close(*, task_status: TaskStatus[None]) -> None:
        task_status.started()
        await store.aclose()
        closed.set()

    async with anyio.create_task_group() as group:
        group.start_soon(store.add, "user", pet("mira"))
        await anyio.to_thread.run_sync(gate.reached.wait)
        await group.start(close)
        await anyio.wait_all_tasks_blocked()
        try:
            assert not closed.is_set()
            assert not fleet_path("user", root).exists()
        finally:
            gate.open()
        await closed.wait()
        assert fleet_path("user", root).exists()
    wait_until(lambda: not [t for t in set(threading.enumerate()) - threads if t.name.startswith("petfleet")])


async def test_a_closed_store_stays_usable(root: Path) -> None:
    """aclose may be called before any other call and twice; the next call simply works."""
    async with FleetStore(root) as store:
        await store.aclose()
        await store.aclose()
        await store.add("user", pet("mira"))
        await store.peek("user")
    await store.aclose()
    assert await store.add("user", pet("nova")) == await store.peek("user")
    await store.aclose()


async def test_the_end_of_an_async_with_block_closes_the_store(root: Path) -> None:
    """The block gives the store itself, and its threads end with it, also when the block raises."""
    threads = set(threading.enumerate())
    store = FleetStore(root)
    with pytest.raises(KeyError):
        async with store as entered:
            assert entered is store
            await store.add("user", pet("mira"))
            await store.peek("user")
            raise KeyError
    assert not [t for t in set(threading.enumerate()) - threads if t.name.startswith("petfleet")]


async def test_two_stores_on_one_root_lose_nothing(store: FleetStore, root: Path) -> None:
    """Changes through two stores at once all arrive."""
    async with anyio.create_task_group() as group:
        for number in range(20):
            group.start_soon(store.add, "user", pet(f"one-{number}"))
            group.start_soon(FleetStore(root, threads=1).add, "user", pet(f"two-{number}"))
    names = {handle.pet_name for handle in (await store.load("user")).pets}
    assert names == {f"{who}-{number}" for who in ("one", "two") for number in range(20)}


async def test_another_process_may_make_a_directory_first(
    store: FleetStore, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two first calls for one user do not fail because both make the user's directory."""
    make_directories = disk.make_directories

    def make(path: str) -> int:
        made = make_directories(path)
        if path == str(root):
            os.mkdir(root / "user")  # as the other process does at just this moment
        return made

    monkeypatch.setattr(disk, "make_directories", make)
    assert await store.add("user", pet("mira")) == PetFleet("user", [pet("mira")], "mira")


async def test_a_relative_root_is_made_absolute_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that changes its directory later does not move its store, and `~` is a name like any other."""
    monkeypatch.chdir(tmp_path)
    store = FleetStore("~")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    await store.add("user", pet("mira"))
    assert (tmp_path / "~" / "user" / "fleet.toml").exists()
    assert repr(store) == f"FleetStore({str(tmp_path / '~')!r})"


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"root": ""}, ValueError, "root must be the path of a directory or an ObjectBackend(url), not ''"),
        (
            {"root": "s3://pets"},
            ValueError,
            "root must be the path of a directory or an ObjectBackend(url), not 's3://pets'",
        ),
        ({"root": "\ud800"}, ValueError, "root '\\ud800' holds a lone surrogate at position 0: UTF-8 cannot store it"),
        ({"root": b"pets"}, TypeError, "root must be str, not bytes"),
        ({"root": 7}, TypeError, "expected str, bytes or os.PathLike object, not int"),
        ({"lock_timeout": None}, ValueError, "lock_timeout must be a number of seconds, 0 or more, not None"),
        ({"lock_timeout": -0.1}, ValueError, "lock_timeout must be a number of seconds, 0 or more, not -0.1"),
        ({"lock_timeout": float("nan")}, ValueError, "lock_timeout must be a number of seconds, 0 or more, not nan"),
        ({"lock_timeout": "1"}, TypeError, "'>=' not supported between instances of 'str' and 'int'"),
        ({"threads": 0}, ValueError, "threads must be 1 or more, not 0"),
        ({"threads": 1.5}, TypeError, "threads must be int, not float"),
        ({"threads": True}, TypeError, "threads must be int, not bool"),
    ],
)
def test_the_constructor_checks_its_arguments(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    """A store that could not work is refused when it is made."""
    with pytest.raises(error) as caught:
        FleetStore(**{"root": "fleets", **arguments})
    assert type(caught.value) is error
    assert str(caught.value) == message


async def test_a_second_aclose_waits_for_the_commits_of_the_first(
    store: FleetStore, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And for what waited behind them: no thread and no call is left when it returns."""
    gate = Gate()
    monkeypatch.setattr(disk, "write_new", gate.before(disk.write_new))
    found: list[list[str]] = []

    async def close() -> None:
        await store.aclose()
        found.append([handle.pet_name for handle in loads(text_of(root)).pets])

    async with anyio.create_task_group() as group:
        group.start_soon(store.add, "user", pet("mira"))
        await anyio.to_thread.run_sync(gate.reached.wait)
        group.start_soon(store.add, "user", pet("nova"))
        await anyio.to_thread.run_sync(wait_until, lambda: store._batching._queues["user"].waiting)
        group.start_soon(close)
        await anyio.to_thread.run_sync(wait_until, lambda: store._batching._closing)
        group.start_soon(close)
        await anyio.wait_all_tasks_blocked()
        gate.open()
    assert found == [["mira", "nova"]] * 2
    assert not store._batching._closing
    assert store._batching._workers is None
