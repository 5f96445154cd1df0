"""What both bots do with pets: what is on disk when, what happens once, and what calls beside each other leave."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
import tomllib
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiofiles.os
import filelock
import pytest

from companions import MAX_PETS, Companions, RefusedError
from petfleet import (
    FleetFormatError,
    FleetStore,
    InvalidNameError,
    LockTimeoutError,
    UnconfirmedCommitError,
    fleet_path,
    per_pet_memory_key,
    shared_memory_key,
)
from tests.support.children import names


@pytest.fixture
def anyio_backend() -> str:
    """aiofiles and aiosqlite are made for asyncio."""
    return "asyncio"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """The directory of everything; it does not exist yet."""
    return tmp_path / "data"


@pytest.fixture
async def companions(data: Path) -> AsyncIterator[Companions]:
    """Companions over that directory; no deadline ends a call, however busy the machine is."""
    async with Companions(data, lock_timeout=3600) as companions:
        yield companions


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """What the time is for the companions."""
    clock = SimpleNamespace(now=1_700_000_000)
    monkeypatch.setattr("companions.time", SimpleNamespace(time=lambda: clock.now))
    return clock


def manifests(data: Path) -> list[str]:
    """Return the manifests that are on disk, as handles name them."""
    return sorted(str(path.relative_to(data)) for path in data.glob("pets/*/*"))


async def named(companions: Companions) -> list[str]:
    """Return the manifests that user u's handles name."""
    return sorted(pet.manifest_path for pet in (await companions.pets("u")).pets)


async def test_a_handle_is_added_when_its_manifest_is_durable(
    companions: Companions, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """File, directory and both directories above were synced, in this order, before the fleet is changed."""
    synced: list[str] = []
    real_fsync, real_update = os.fsync, FleetStore.update

    def fsync(descriptor: int) -> None:
        synced.append(os.path.relpath(os.readlink(f"/proc/self/fd/{descriptor}"), data))
        real_fsync(descriptor)

    async def update(store: FleetStore, *arguments: Any) -> Any:
        monkeypatch.undo()
        (path,) = manifests(data)
        assert tomllib.loads((data / path).read_text()) == {"name": "mira", "role": "old friend"}
        assert synced == [path, "pets/u", "pets", "."]
        return await real_update(store, *arguments)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(FleetStore, "update", update)
    await companions.adopt("u", "mira", "old friend")
    assert manifests(data) == await named(companions)


async def test_the_data_directory_is_durable_and_private(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its entry in the directory above is synced before anything is kept in it; nobody else may look into it."""
    synced: list[str] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    async with Companions(data):
        assert synced[:1] == [str(data.parent)]
        assert os.stat(data).st_mode & 0o777 == 0o700


async def test_what_was_remembered_is_synced(companions: Companions) -> None:
    """SQLite is told to survive a power cut."""
    async with companions._memory.execute("PRAGMA synchronous") as rows:
        assert await rows.fetchone() == (2,)  # FULL


async def test_the_data_directory_may_be_moved(data: Path) -> None:
    """Handles name their manifests from the data directory."""
    async with Companions(data) as companions:
        await companions.adopt("u", "mira", "friend")
    moved = data.with_name("moved")
    os.rename(data, moved)
    async with Companions(moved) as companions:
        assert (await companions.answer("u", "hello")).startswith("mira, your friend: that is message 1")


async def test_adopting_one_name_at_once_gives_one_pet(companions: Companions, data: Path) -> None:
    """One call adds it, the others are refused, and only its own manifest is left."""
    outcomes = await asyncio.gather(
        *(companions.adopt("u", "mira", f"role {number}") for number in range(8)), return_exceptions=True
    )
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["PetFleet"] + ["RefusedError"] * 7
    handle = (await companions.pets("u")).pet("mira")
    assert manifests(data) == [handle.manifest_path]
    assert tomllib.loads((data / handle.manifest_path).read_text())["role"] == handle.role


async def test_adopting_beside_releasing_leaves_no_pet_without_its_manifest(companions: Companions, data: Path) -> None:
    """Whoever comes first, the handles that are left and the manifests that are left are the same."""
    for _ in range(10):
        calls = [companions.adopt("u", "mira", "friend"), companions.release("u", "mira")] * 3
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        assert all(not isinstance(outcome, Exception) or type(outcome) is RefusedError for outcome in outcomes)
        assert manifests(data) == await named(companions)


async def test_a_release_takes_nothing_of_a_new_pet_of_that_name(
    companions: Companions, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pet that is adopted and told something before the release has forgotten the old one keeps it all."""
    await companions.adopt("u", "mira", "friend")
    await companions.answer("u", "old")
    forget = companions._forget

    async def held(key: str, pet: str) -> None:
        await companions.adopt("u", "mira", "guard")
        assert (await companions.answer("u", "new")).startswith("mira, your guard: that is message 1 between us.")
        await forget(key, pet)

    monkeypatch.setattr(companions, "_forget", held)
    await companions.release("u", "mira")
    assert await companions.recall(per_pet_memory_key("u", "mira")) == ["new"]
    assert manifests(data) == await named(companions)
    assert (await companions.answer("u", "newer")).endswith("message 2 between us. Before that you said: new")


async def test_a_pet_inherits_nothing_from_a_release_that_was_cut_off(
    companions: Companions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A crash before the old pet's memory is gone does not give it to a new pet of that name."""
    await companions.adopt("u", "mira", "friend")
    await companions.answer("u", "a secret")

    async def crash(*_: object) -> None:
        raise SystemExit

    monkeypatch.setattr(companions, "_forget", crash)
    with pytest.raises(SystemExit):
        await companions.release("u", "mira")
    with pytest.raises(RefusedError, match="You have no pet called mira"):
        await companions.release("u", "mira")
    await companions.adopt("u", "mira", "guard")
    assert await companions.answer("u", "hello") == "mira, your guard: that is message 1 between us."


async def test_an_answer_beside_a_release_comes_from_the_pet_that_is_active_then(
    companions: Companions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A manifest that is gone with its pet is no failure; after the last pet the user is told that there is none."""
    for name in ("mira", "rex"):
        await companions.adopt("u", name, "friend")
    real = FleetStore.update

    async def released_after(store: FleetStore, *arguments: Any) -> Any:
        monkeypatch.undo()
        fleet = await real(store, *arguments)
        await companions.release("u", fleet.active_pet or "")
        return fleet

    monkeypatch.setattr(FleetStore, "update", released_after)
    assert (await companions.answer("u", "hello")).startswith("rex, your friend: that is message 1")
    monkeypatch.setattr(FleetStore, "update", released_after)
    with pytest.raises(RefusedError, match="None of your pets is active"):
        await companions.answer("u", "hello")


async def test_a_pet_that_is_released_remembers_nothing_more(
    companions: Companions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A message that it was just hearing is forgotten, too, and its user is told."""
    await companions.adopt("u", "mira", "friend")
    real = companions._active

    async def released_after(user_id: str) -> Any:
        found = await real(user_id)
        await companions.release(user_id, "mira")
        return found

    monkeypatch.setattr(companions, "_active", released_after)
    with pytest.raises(RefusedError, match=r"mira has just left\."):
        await companions.answer("u", "my secret")
    assert await companions.recall(per_pet_memory_key("u", "mira")) == []


async def test_a_release_that_was_cut_off_is_done_when_it_is_said_again(
    companions: Companions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is no such pet any more, but what it was told was still there; what others know stays."""
    for name in ("mira", "rex"):
        await companions.adopt("u", name, "friend")
        await companions.switch("u", name)
        await companions.answer("u", f"for {name}")
    await companions.store.remove("u", "mira")
    with pytest.raises(RefusedError, match="You have no pet called mira"):
        await companions.release("u", "mira")
    assert await companions.recall(per_pet_memory_key("u", "mira")) == []
    assert await companions.recall(per_pet_memory_key("u", "rex")) == ["for rex"]
    real = FleetStore.load

    async def adopted_before(store: FleetStore, user_id: str) -> Any:
        monkeypatch.undo()
        await companions.adopt("u", "mira", "friend")
        await companions.switch("u", "mira")
        await companions.answer("u", "for the new one")
        return await real(store, user_id)

    monkeypatch.setattr(FleetStore, "load", adopted_before)
    with pytest.raises(RefusedError):
        await companions.release("u", "mira")
    assert await companions.recall(per_pet_memory_key("u", "mira")) == ["for the new one"]


async def test_a_manifest_that_is_missing_is_an_error(companions: Companions, data: Path) -> None:
    """The pet is still in the fleet: that is no release but a loss, and is not passed over."""
    await companions.adopt("u", "mira", "friend")
    (data / manifests(data)[0]).unlink()
    with pytest.raises(FileNotFoundError):
        await companions.answer("u", "hello")
    assert names(await companions.release("u", "mira")) == []  # which is the way out


async def test_a_message_that_comes_again_is_remembered_once(companions: Companions) -> None:
    """It is answered as before, by the pet that is active now; what comes without an id is always new."""
    await companions.adopt("u", "mira", "friend")
    first = await companions.answer("u", "one", message="5/1")
    assert first == await companions.answer("u", "one", message="5/1")
    for _ in range(2):
        await companions.answer("u", "remember: tea", message="5/2")
    await companions.adopt("u", "rex", "guard")
    await companions.switch("u", "rex")
    assert (await companions.answer("u", "one", message="5/1")).startswith("rex, your guard: that is message 1")
    assert await companions.recall(per_pet_memory_key("u", "mira")) == ["one"]
    assert await companions.recall(per_pet_memory_key("u", "rex")) == []
    assert await companions.recall(shared_memory_key("u")) == ["tea"]
    for _ in range(2):
        await companions.answer("u", "again")
    assert await companions.recall(per_pet_memory_key("u", "rex")) == ["again", "again"]


async def test_messages_at_once_are_all_remembered(companions: Companions) -> None:
    """Those of many users beside each other, each under the user's own keys."""
    for user in range(10):
        await companions.adopt(f"u{user}", "mira", "friend")
    await asyncio.gather(*(companions.answer(f"u{user}", f"{user}: {n}") for user in range(10) for n in range(10)))
    for user in range(10):
        said = await companions.recall(per_pet_memory_key(f"u{user}", "mira"))
        assert sorted(said) == [f"{user}: {n}" for n in range(10)]


async def test_a_pet_is_touched_once_a_minute(companions: Companions, data: Path, clock: SimpleNamespace) -> None:
    """A second message within it leaves the fleet file as it is; one after it does not, nor one of an earlier time."""
    path = fleet_path("u", data / "fleets")
    await companions.adopt("u", "mira", "friend")
    for seconds, commits in [(0, False), (59, False), (1, True), (59, False), (3600, True), (-1800, True), (30, False)]:
        clock.now += seconds
        before = path.stat().st_ino, path.stat().st_mtime_ns
        await companions.answer("u", "hello")
        assert ((path.stat().st_ino, path.stat().st_mtime_ns) != before) == commits
    assert (await companions.pets("u")).pet("mira").last_active == clock.now - 30


@pytest.mark.parametrize(
    ("name", "role", "why"),
    [
        ("", "friend", "A name"),
        ("../mira", "friend", "A name"),
        ("mira:1", "friend", "A name"),
        ("mi ra", "friend", "A name"),
        ("mira\n", "friend", "A name"),
        ("m" * 33, "friend", "A name"),
        ("é" * 21, "friend", "A name"),
        ("mira", " \n", "A role"),
        ("mira", "x" * 101, "A role"),
    ],
)
async def test_what_is_no_name_or_role_is_refused(
    companions: Companions, data: Path, name: str, role: str, why: str
) -> None:
    """Nothing is written for it."""
    with pytest.raises(RefusedError, match=why):
        await companions.adopt("u", name, role)
    assert manifests(data) == []


@pytest.mark.parametrize("user_id", ["", "..", "../../other", "a::b"])
async def test_a_user_id_that_is_no_directory_writes_nowhere(companions: Companions, data: Path, user_id: str) -> None:
    """It is petfleet's error before the manifest is written."""
    before = sorted(data.parent.rglob("*"))
    with pytest.raises(InvalidNameError):
        await companions.adopt(user_id, "mira", "friend")
    assert sorted(data.parent.rglob("*")) == before


async def test_there_are_so_many_pets_and_no_more(companions: Companions, data: Path) -> None:
    """The limit holds for calls at once too, and a name that is taken is told first."""
    outcomes = await asyncio.gather(
        *(companions.adopt("u", f"pet{number}", "friend") for number in range(MAX_PETS + 5)), return_exceptions=True
    )
    assert sum(isinstance(outcome, RefusedError) for outcome in outcomes) == 5
    fleet = await companions.pets("u")
    assert len(fleet.pets) == MAX_PETS
    assert manifests(data) == await named(companions)
    with pytest.raises(RefusedError, match="already"):
        await companions.adopt("u", names(fleet)[0], "friend")


async def test_a_lock_that_cannot_be_had_leaves_nothing(data: Path) -> None:
    """The manifest of an adoption that did not happen is gone again."""
    async with Companions(data, lock_timeout=0.01) as companions:
        await companions.adopt("u", "mira", "friend")
        before = manifests(data)
        with filelock.FileLock(f"{fleet_path('u', data / 'fleets')}.lock"), pytest.raises(LockTimeoutError):
            await companions.adopt("u", "rex", "guard")
        assert manifests(data) == before


async def test_a_manifest_stays_where_its_handle_may_be(
    companions: Companions, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After an error that leaves open whether the pet was added, its manifest is there."""

    async def unconfirmed(*_: object) -> None:
        raise UnconfirmedCommitError(str(data))

    monkeypatch.setattr(FleetStore, "update", unconfirmed)
    with pytest.raises(UnconfirmedCommitError):
        await companions.adopt("u", "mira", "friend")
    assert len(manifests(data)) == 1


async def test_a_broken_fleet_is_no_empty_one(companions: Companions, data: Path) -> None:
    """No call takes it for a user without pets."""
    await companions.adopt("u", "mira", "friend")
    fleet_path("u", data / "fleets").write_text("nonsense")
    for call in (companions.pets("u"), companions.answer("u", "hello"), companions.release("u", "mira")):
        with pytest.raises(FleetFormatError):
            await call


async def test_switching_to_a_pet_that_is_not_there_is_refused(companions: Companions) -> None:
    """With a fleet and without one."""
    for _ in range(2):
        with pytest.raises(RefusedError, match="You have no pet called rex any more"):
            await companions.switch("u", "rex")
        if not (await companions.pets("u")).pets:
            await companions.adopt("u", "mira", "friend")


async def test_a_start_that_fails_leaves_nothing_running(data: Path) -> None:
    """A memory file that cannot be used is an error, not a program that never ends."""
    await aiofiles.os.makedirs(data)
    async with aiofiles.open(data / "memory.sqlite", "w") as file:
        await file.write("no database" * 100)
    before = threading.enumerate()
    with pytest.raises(sqlite3.DatabaseError):
        await Companions(data).__aenter__()
    started = [thread for thread in threading.enumerate() if thread not in before]  # asyncio's end with the loop
    for thread in started:
        if not thread.name.startswith("asyncio_"):
            thread.join(30)
            assert not thread.is_alive()
