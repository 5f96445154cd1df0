"""What a watch shows: the fleet now and after every change, by whomever, told of or found by looking."""

from __future__ import annotations

import os
import shutil
import sys
from contextlib import aclosing
from pathlib import Path

import anyio
import pytest

from petfleet import FleetFormatError, FleetStore, InvalidNameError, PetFleet, codec
from tests.calls import text_of
from tests.conftest import pet, wait_until
from tests.old_program import rewrite
from tests.watched import is_armed, only_looks, only_told, shown, shows

pytestmark = pytest.mark.anyio

ADD = "import asyncio, sys, petfleet as p; s = p.FleetStore(sys.argv[1])\n"
ADD += "asyncio.run(s.add('u', p.PetHandle('mira', 'friend', 'pets/mira.toml', 7)))"


@pytest.fixture(autouse=True, params=["told", "looks"])
def means(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each test runs by what the system tells alone, and by looks alone."""
    (only_told if request.param == "told" else only_looks)(monkeypatch)
    return str(request.param)


def write(path: Path, text: str) -> None:
    """Write a file in place."""
    path.write_text(text, encoding="utf-8")


def put(path: Path, *pets: str) -> None:
    """Write a fleet as an editor does: a new file, renamed over the old one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_suffix(".new")
    write(new, codec.dumps(PetFleet("u", map(pet, pets))))
    new.rename(path)


async def test_now_and_after_every_change_of_this_store(store: FleetStore) -> None:
    """A root that does not exist yet means an empty fleet; then every change is shown, deletion too."""
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


async def test_a_change_by_another_process(store: FleetStore, root: Path) -> None:
    """Who made the change does not matter."""
    async with aclosing(store.watch("u")) as watch:
        assert await shown(watch) == []
        await anyio.run_process([sys.executable, "-c", ADD, str(root)])
        assert await shown(watch) == ["mira"]


async def test_the_old_program_rewrites_in_place(store: FleetStore, path: Path) -> None:
    """Its change is shown, and no half of it."""
    put(path, "mira")
    async with aclosing(store.watch("u")) as watch:
        assert await shown(watch) == ["mira"]
        for number in range(5):
            fleet = PetFleet("u", [pet(f"pet{number}"), pet("tom")])
            await anyio.to_thread.run_sync(rewrite, path, fleet)
            assert await shown(watch) == [f"pet{number}", "tom"]


async def test_an_editor_renames(store: FleetStore, root: Path, path: Path) -> None:
    """A file put in the place of another is seen, and written to in place after that, too."""
    put(path, "mira")
    async with aclosing(store.watch("u")) as watch:
        assert await shown(watch) == ["mira"]
        put(path, "tom")
        assert await shown(watch) == ["tom"]
        write(path, text_of(root, "u").replace("tom", "ada"))
        assert await shown(watch) == ["ada"]


async def test_equal_contents_are_shown_once(store: FleetStore, root: Path, path: Path) -> None:
    """Another layout of the same fleet is no change; a value that only Python takes for equal is one."""
    put(path, "mira")
    async with aclosing(store.watch("u")) as watch:
        await anext(watch)
        text = text_of(root, "u")
        write(path, text + "\n# a comment\n")
        write(path, "extra = 1\n" + text)
        assert (await anext(watch)).extra["extra"] is not True
        write(path, "extra = true\n" + text)
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


@pytest.mark.parametrize("above", [0, 1, 2], ids=["the user's", "the root", "above the root"])
async def test_a_directory_is_removed_and_made_again(above: int, tmp_path: Path) -> None:
    """Whatever is removed and made again, changes after that are shown, the second one too."""
    root = tmp_path / "above" / "fleets"
    path = root / "u" / "fleet.toml"
    put(path, "mira")
    store = FleetStore(root)
    async with aclosing(store.watch("u")) as watch:
        assert await shown(watch) == ["mira"]
        shutil.rmtree(path.parents[above])
        assert await shown(watch) == []
        put(path, "tom")
        await shows(watch, "tom")
        shutil.rmtree(path.parents[above])  # so fast that the new one may have the number of the old one
        put(path, "ada")
        await shows(watch, "ada")
        put(path, "eve")
        assert await shown(watch) == ["eve"]


async def test_a_root_that_does_not_exist_yet(tmp_path: Path, means: str) -> None:
    """It may be made step by step, beside other things, long after the watch began."""
    root = tmp_path / "a" / "b" / "fleets"
    async with aclosing(FleetStore(root).watch("u")) as watch:
        assert await shown(watch) == []
        for directory in (root.parent.parent, root.parent, root, root / "u"):
            (directory.parent / "else").mkdir()
            directory.mkdir()
            if means == "told":
                await anyio.to_thread.run_sync(wait_until, lambda path=directory: is_armed(path))
        put(root / "u" / "fleet.toml", "mira")
        assert await shown(watch) == ["mira"]


async def test_a_file_that_is_broken_and_repaired(store: FleetStore, path: Path) -> None:
    """The error is raised once, as an object of its own for each watch, and the same watch goes on."""
    put(path, "mira")
    async with aclosing(store.watch("u")) as watch, aclosing(store.watch("u")) as other:
        assert await shown(watch) == await shown(other) == ["mira"]
        write(path, "broken")
        with pytest.raises(FleetFormatError) as first:
            await anext(watch)
        with pytest.raises(FleetFormatError) as second:
            await anext(other)
        assert str(first.value) == str(second.value)
        assert first.value is not second.value
        write(path, "broken in")  # an equal error, or another one
        put(path, "tom")
        while True:
            try:
                assert await shown(watch) == ["tom"]
                break
            except FleetFormatError:
                pass


async def test_what_cannot_be_read(store: FleetStore, path: Path) -> None:
    """What the system refuses is raised, and what it allows again is shown."""
    put(path, "mira")
    aside = path.parent.with_name("aside")
    async with aclosing(store.watch("u")) as watch:
        assert await shown(watch) == ["mira"]
        path.parent.rename(aside)
        await shows(watch)
        path.parent.symlink_to(aside)
        with pytest.raises(OSError, match="A symbolic link is not followed"):
            await anext(watch)
        path.parent.unlink()
        path.parent.write_bytes(b"")
        with pytest.raises(NotADirectoryError):
            while True:
                await anext(watch)
        path.parent.unlink()
        aside.rename(path.parent)
        await shows(watch, "mira")


async def test_a_fleet_too_large_for_the_layout_of_petfleet(
    store: FleetStore, root: Path, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What could not be written back is shown nevertheless, and its change, too."""
    put(path, "mira")

    def too_large(fleet: PetFleet) -> str:
        raise ValueError("too large")

    async with aclosing(store.watch("u")) as watch:
        assert await shown(watch) == ["mira"]
        monkeypatch.setattr(codec, "dumps", too_large)
        text = text_of(root, "u")
        for name in ("tom", "ada"):
            new = path.with_suffix(".new")
            write(new, text.replace("mira", name))
            new.rename(path)
            await shows(watch, name)


async def test_the_call_itself_refuses_what_no_user_can_have(store: FleetStore) -> None:
    """An id that may not name a directory, or is no text, is refused before anything is watched."""
    with pytest.raises(InvalidNameError):
        store.watch("a/b")
    with pytest.raises(TypeError, match="user_id must be str, not int"):
        store.watch(7)  # type: ignore[arg-type]


async def test_what_is_not_the_users_is_left_alone(store: FleetStore, root: Path) -> None:
    """Files and other users' directories beside what is watched show nothing."""
    await store.add("u", pet("mira"))
    async with aclosing(store.watch("u")) as watch:
        assert await shown(watch) == ["mira"]
        await store.add("other", pet("tom"))
        write(root / "u" / "notes", "x")
        os.utime(root / "u")
        await store.add("u", pet("tom"))
        assert await shown(watch) == ["mira", "tom"]
