"""What a watch yields: the fleet now and after every change, found by notices of the system or by polling."""

from __future__ import annotations

import sys
from contextlib import aclosing
from pathlib import Path

import anyio
import pytest

from petfleet import FleetFormatError, FleetStore, InvalidNameError, PetFleet
from petfleet._toml import encode
from tests.conftest import pet
from tests.support.backends import FileStorage, Storage
from tests.support.watching import disable_notices, disable_polling, next_names, wait_for_names

pytestmark = pytest.mark.anyio

ADD = """
import asyncio, sys, petfleet
from tests.support.backends import storage_at

store = storage_at(sys.argv[1]).store()
asyncio.run(store.add("u", petfleet.PetHandle("mira", "friend", "pets/mira.toml", 7)))
"""


@pytest.fixture(params=["files told", "files by looks", "objects"])
def storage(request: pytest.FixtureRequest, root: Path, monkeypatch: pytest.MonkeyPatch) -> Storage:
    """Each test on files runs by notices of the system alone, and by polling alone; objects are only polled."""
    if request.param == "objects":
        found: Storage = request.getfixturevalue("object_storage")
        return found
    (disable_polling if request.param == "files told" else disable_notices)(monkeypatch)
    return FileStorage(root)


def write(storage: Storage, text: str) -> None:
    """Write what is no work of petfleet."""
    storage.write(text.encode(), "u")


def put(storage: Storage, *pets: str) -> None:
    """Write a fleet like that."""
    write(storage, encode.dumps(PetFleet("u", map(pet, pets))))


async def test_now_and_after_every_change_of_this_store(store: FleetStore) -> None:
    """A user without a fleet yields an empty one; then every change is yielded, a deletion too."""
    async with aclosing(store.watch("u")) as watch:
        assert await next_names(watch) == []
        for names in (["mira"], ["mira", "tom"]):
            await store.add("u", pet(names[-1]))
            assert await next_names(watch) == names
        await store.touch("u", "tom", last_active=7)
        fleet = await anext(watch)
        assert fleet.pet("tom").last_active == 7
        await store.delete("u")
        assert await anext(watch) == PetFleet("u")
        await store.add("u", pet("again"))
        assert await next_names(watch) == ["again"]
    assert [fleet async for fleet in watch] == []


async def test_a_change_by_another_process(store: FleetStore, storage: Storage) -> None:
    """The author of the change does not matter."""
    async with aclosing(store.watch("u")) as watch:
        assert await next_names(watch) == []
        await anyio.run_process([sys.executable, "-c", ADD, storage.argument()], cwd=Path(__file__).parents[2])
        assert await next_names(watch) == ["mira"]


async def test_equal_contents_are_shown_once(store: FleetStore, storage: Storage) -> None:
    """Another layout of the same fleet is no change; a value that only Python takes for equal is one."""
    put(storage, "mira")
    async with aclosing(store.watch("u")) as watch:
        await anext(watch)
        text = (storage.read("u") or b"").decode()
        write(storage, text + "\n# a comment\n")
        write(storage, "extra = 1\n" + text)
        assert (await anext(watch)).extra["extra"] is not True
        write(storage, "extra = true\n" + text)
        assert (await anext(watch)).extra["extra"] is True


async def test_changes_that_nobody_has_read_are_joined(store: FleetStore) -> None:
    """A late consumer gets the last fleet, and before it at most those that the thread was reading."""
    async with aclosing(store.watch("u")) as watch:
        await anext(watch)
        for number in range(20):
            await store.save(PetFleet("u", [pet("mira", number)]), overwrite=True)
        seen: list[int] = []
        while not seen or seen[-1] != 19:
            seen.append((await anext(watch)).pets[0].last_active)
        assert seen == sorted(set(seen))
        assert len(seen) <= 3  # the one that was read, the one that was being read, the last one


async def test_a_file_that_is_broken_and_repaired(store: FleetStore, storage: Storage) -> None:
    """The error is raised once, as an object of its own for each watch, and the same watch goes on."""
    put(storage, "mira")
    async with aclosing(store.watch("u")) as watch, aclosing(store.watch("u")) as other:
        assert await next_names(watch) == await next_names(other) == ["mira"]
        write(storage, "broken")
        with pytest.raises(FleetFormatError) as first:
            await anext(watch)
        with pytest.raises(FleetFormatError) as second:
            await anext(other)
        assert str(first.value) == str(second.value)
        assert first.value is not second.value
        write(storage, "broken in")  # an equal error, or another one
        put(storage, "tom")
        while True:
            try:
                assert await next_names(watch) == ["tom"]
                break
            except FleetFormatError:
                pass


async def test_a_fleet_too_large_for_the_layout_of_petfleet(
    store: FleetStore, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What could not be written back is shown nevertheless, and its change, too."""
    put(storage, "mira")

    def too_large(fleet: PetFleet) -> str:
        raise ValueError("too large")

    async with aclosing(store.watch("u")) as watch:
        assert await next_names(watch) == ["mira"]
        monkeypatch.setattr(encode, "dumps", too_large)
        text = (storage.read("u") or b"").decode()
        for name in ("tom", "ada"):
            write(storage, text.replace("mira", name))
            await wait_for_names(watch, name)


async def test_the_call_itself_refuses_what_no_user_can_have(store: FleetStore) -> None:
    """An id that may not name a directory, or is no text, is refused before anything is watched."""
    with pytest.raises(InvalidNameError):
        store.watch("a/b")
    with pytest.raises(TypeError, match="user_id must be str, not int"):
        store.watch(7)  # type: ignore[arg-type]
