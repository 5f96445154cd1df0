"""What a watch shows: the fleet now and after every change, by whomever, told of or found by looking."""

from __future__ import annotations

import sys
from contextlib import aclosing
from pathlib import Path

import anyio
import pytest

from petfleet import FleetFormatError, FleetStore, InvalidNameError, PetFleet
from petfleet._toml import encode
from tests.conftest import pet
from tests.support.backends import FileHome, Home
from tests.support.watching import only_looks, only_told, shown, shows

pytestmark = pytest.mark.anyio

ADD = (
    "import asyncio, sys, petfleet as p\nfrom tests.support.backends import home_at\ns = home_at(sys.argv[1]).store()\n"
)
ADD += "asyncio.run(s.add('u', p.PetHandle('mira', 'friend', 'pets/mira.toml', 7)))"


@pytest.fixture(params=["files told", "files by looks", "objects"])
def home(request: pytest.FixtureRequest, root: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """Each test on files runs by what the system tells alone, and by looks alone; of objects nothing is told."""
    if request.param == "objects":
        found: Home = request.getfixturevalue("object_home")
        return found
    (only_told if request.param == "files told" else only_looks)(monkeypatch)
    return FileHome(root)


def write(home: Home, text: str) -> None:
    """Write what is no work of petfleet."""
    home.write(text.encode(), "u")


def put(home: Home, *pets: str) -> None:
    """Write a fleet like that."""
    write(home, encode.dumps(PetFleet("u", map(pet, pets))))


async def test_now_and_after_every_change_of_this_store(store: FleetStore) -> None:
    """A user of whom nothing is there means an empty fleet; then every change is shown, deletion too."""
    async with aclosing(store.watch("u")) as watch:
        assert await shown(watch) == []
        for names in (["mira"], ["mira", "tom"]):
            await store.add("u", pet(names[-1]))
            assert await shown(watch) == names
        await store.touch("u", "tom", last_active=7)
        fleet = await anext(watch)
        assert fleet.pet("tom").last_active == 7
        await store.delete("u")
        assert await anext(watch) == PetFleet("u")
        await store.add("u", pet("again"))
        assert await shown(watch) == ["again"]
    assert [fleet async for fleet in watch] == []


async def test_a_change_by_another_process(store: FleetStore, home: Home) -> None:
    """Who made the change does not matter."""
    async with aclosing(store.watch("u")) as watch:
        assert await shown(watch) == []
        await anyio.run_process([sys.executable, "-c", ADD, home.argument()], cwd=Path(__file__).parents[2])
        assert await shown(watch) == ["mira"]


async def test_equal_contents_are_shown_once(store: FleetStore, home: Home) -> None:
    """Another layout of the same fleet is no change; a value that only Python takes for equal is one."""
    put(home, "mira")
    async with aclosing(store.watch("u")) as watch:
        await anext(watch)
        text = (home.read("u") or b"").decode()
        write(home, text + "\n# a comment\n")
        write(home, "extra = 1\n" + text)
        assert (await anext(watch)).extra["extra"] is not True
        write(home, "extra = true\n" + text)
        assert (await anext(watch)).extra["extra"] is True


async def test_bursts_are_joined_and_the_last_one_is_shown(store: FleetStore) -> None:
    """Of a hundred changes in a row few are shown, in order, the last one among them."""
    async with aclosing(store.watch("u")) as watch:
        await anext(watch)
        seen: list[int] = []
        async with anyio.create_task_group() as tasks:

            async def write() -> None:
                for number in range(100):
                    await store.save(PetFleet("u", [pet("mira", number)]), overwrite=True)

            tasks.start_soon(write)
            while not seen or seen[-1] != 99:
                seen.append((await anext(watch)).pets[0].last_active)
        assert seen == sorted(set(seen))
        assert len(seen) < 100


async def test_a_file_that_is_broken_and_repaired(store: FleetStore, home: Home) -> None:
    """The error is raised once, as an object of its own for each watch, and the same watch goes on."""
    put(home, "mira")
    async with aclosing(store.watch("u")) as watch, aclosing(store.watch("u")) as other:
        assert await shown(watch) == await shown(other) == ["mira"]
        write(home, "broken")
        with pytest.raises(FleetFormatError) as first:
            await anext(watch)
        with pytest.raises(FleetFormatError) as second:
            await anext(other)
        assert str(first.value) == str(second.value)
        assert first.value is not second.value
        write(home, "broken in")  # an equal error, or another one
        put(home, "tom")
        while True:
            try:
                assert await shown(watch) == ["tom"]
                break
            except FleetFormatError:
                pass


async def test_a_fleet_too_large_for_the_layout_of_petfleet(
    store: FleetStore, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What could not be written back is shown nevertheless, and its change, too."""
    put(home, "mira")

    def too_large(fleet: PetFleet) -> str:
        raise ValueError("too large")

    async with aclosing(store.watch("u")) as watch:
        assert await shown(watch) == ["mira"]
        monkeypatch.setattr(encode, "dumps", too_large)
        text = (home.read("u") or b"").decode()
        for name in ("tom", "ada"):
            write(home, text.replace("mira", name))
            await shows(watch, name)


async def test_the_call_itself_refuses_what_no_user_can_have(store: FleetStore) -> None:
    """An id that may not name a directory, or is no text, is refused before anything is watched."""
    with pytest.raises(InvalidNameError):
        store.watch("a/b")
    with pytest.raises(TypeError, match="user_id must be str, not int"):
        store.watch(7)  # type: ignore[arg-type]
