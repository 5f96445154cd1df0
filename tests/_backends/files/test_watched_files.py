"""What a watch of files yields, by notices or by polling, whatever happens to files and directories."""

from __future__ import annotations

import os
import shutil
from contextlib import aclosing
from pathlib import Path

import anyio
import pytest

from petfleet import FleetStore, PetFleet
from petfleet._backends.files import reader
from petfleet._toml import encode
from tests.conftest import pet, wait_until
from tests.support.old_program import rewrite
from tests.support.store_calls import text_of
from tests.support.watching import disable_notices, disable_polling, is_subscribed, next_names, wait_for_names

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True, params=["told", "looks"])
def means(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each test runs by notices of the system alone, and by polling alone."""
    (disable_polling if request.param == "told" else disable_notices)(monkeypatch)
    return str(request.param)


@pytest.fixture(autouse=True)
def half_written_files_are_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """For longer than any writer of these tests is held up on a busy machine."""
    monkeypatch.setattr(reader, "_TORN_SECONDS", 60)


def write(path: Path, text: str) -> None:
    """Write a file in place."""
    path.write_text(text, encoding="utf-8")


def put(path: Path, *pets: str) -> None:
    """Write a fleet as an editor does: a new file, renamed over the old one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_suffix(".new")
    write(new, encode.dumps(PetFleet("u", map(pet, pets))))
    new.rename(path)


async def test_the_old_program_rewrites_in_place(store: FleetStore, path: Path) -> None:
    """Its change is shown, and no half of it."""
    put(path, "mira")
    async with aclosing(store.watch("u")) as watch:
        assert await next_names(watch) == ["mira"]
        for number in range(5):
            fleet = PetFleet("u", [pet(f"pet{number}"), pet("tom")])
            await anyio.to_thread.run_sync(rewrite, path, fleet)
            assert await next_names(watch) == [f"pet{number}", "tom"]


async def test_an_editor_renames(store: FleetStore, root: Path, path: Path) -> None:
    """A file put in the place of another is seen, and written to in place after that, too."""
    put(path, "mira")
    async with aclosing(store.watch("u")) as watch:
        assert await next_names(watch) == ["mira"]
        put(path, "tom")
        assert await next_names(watch) == ["tom"]
        write(path, text_of(root, "u").replace("tom", "ada"))
        assert await next_names(watch) == ["ada"]


@pytest.mark.parametrize("above", [0, 1, 2], ids=["the user's", "the root", "above the root"])
async def test_a_directory_is_removed_and_made_again(above: int, tmp_path: Path) -> None:
    """Whatever is removed and made again, changes after that are shown, the second one too."""
    root = tmp_path / "above" / "fleets"
    path = root / "u" / "fleet.toml"
    put(path, "mira")
    store = FleetStore(root)
    async with aclosing(store.watch("u")) as watch:
        assert await next_names(watch) == ["mira"]
        shutil.rmtree(path.parents[above])
        assert await next_names(watch) == []
        put(path, "tom")
        await wait_for_names(watch, "tom")
        shutil.rmtree(path.parents[above])  # so fast that the new one may have the number of the old one
        put(path, "ada")
        await wait_for_names(watch, "ada")
        put(path, "eve")
        assert await next_names(watch) == ["eve"]


async def test_a_root_that_does_not_exist_yet(tmp_path: Path, means: str) -> None:
    """It may be made step by step, beside other things, long after the watch began."""
    root = tmp_path / "a" / "b" / "fleets"
    async with aclosing(FleetStore(root).watch("u")) as watch:
        assert await next_names(watch) == []
        for directory in (root.parent.parent, root.parent, root, root / "u"):
            (directory.parent / "else").mkdir()
            directory.mkdir()
            if means == "told":
                await anyio.to_thread.run_sync(wait_until, lambda path=directory: is_subscribed(path))
        put(root / "u" / "fleet.toml", "mira")
        assert await next_names(watch) == ["mira"]


async def test_what_cannot_be_read(store: FleetStore, path: Path) -> None:
    """An error of the system is raised, and what can be read again is yielded."""
    put(path, "mira")
    aside = path.parent.with_name("aside")
    async with aclosing(store.watch("u")) as watch:
        assert await next_names(watch) == ["mira"]
        path.parent.rename(aside)
        await wait_for_names(watch)
        path.parent.symlink_to(aside)
        with pytest.raises(OSError, match="A user's directory must not be a symbolic link"):
            await anext(watch)
        path.parent.unlink()
        path.parent.write_bytes(b"")
        with pytest.raises(NotADirectoryError):
            while True:
                await anext(watch)
        path.parent.unlink()
        aside.rename(path.parent)
        await wait_for_names(watch, "mira")


async def test_what_is_not_the_users_is_left_alone(store: FleetStore, root: Path) -> None:
    """Files and other users' directories beside what is watched show nothing."""
    await store.add("u", pet("mira"))
    async with aclosing(store.watch("u")) as watch:
        assert await next_names(watch) == ["mira"]
        await store.add("other", pet("tom"))
        write(root / "u" / "notes", "x")
        os.utime(root / "u")
        await store.add("u", pet("tom"))
        assert await next_names(watch) == ["mira", "tom"]
