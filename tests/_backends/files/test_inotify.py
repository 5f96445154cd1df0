"""The last state is yielded even if notices of the system are lost, refused or late."""

from __future__ import annotations

import itertools
import logging
import threading
from collections.abc import Callable
from contextlib import aclosing
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from watchfiles import _rust_notify

from petfleet import FleetStore, _watch
from petfleet._backends.files import disk, inotify
from petfleet._backends.files.backend import FileBackend
from petfleet._backends.files.inotify import Notices
from petfleet._backends.files.paths import UserPaths
from petfleet._backends.files.reader import fingerprint
from petfleet._model.fleet import PetFleet
from petfleet._toml import encode
from tests.conftest import pet, wait_until
from tests.support.watching import (
    SilentNotifier,
    disable_notices,
    disable_polling,
    is_subscribed,
    next_names,
    wait_for_names,
)

pytestmark = pytest.mark.anyio
REAL = _rust_notify.RustNotify


def put(path: Path, name: str) -> None:
    """Write a fleet of one pet, whole at once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name("new")
    new.write_text(encode.dumps(PetFleet("u", [pet(name)])), encoding="utf-8")
    new.replace(path)


def replace_notifier(monkeypatch: pytest.MonkeyPatch, make: Callable[..., Any]) -> None:
    """Call ``make`` instead of making the system's notifier."""
    monkeypatch.setattr(_rust_notify, "RustNotify", make)


async def test_what_the_system_refuses_is_found_by_polling(
    store: FleetStore, path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Without a free inotify instance each change is still shown, and there is one warning."""
    disable_notices(monkeypatch)
    tries: list[object] = []

    def refuse(*arguments: object) -> None:
        tries.append(arguments)
        raise OSError("Too many open files (os error 24)")

    replace_notifier(monkeypatch, refuse)
    async with aclosing(store.watch("u")) as watch:
        assert await next_names(watch) == []
        for name in ("mira", "tom", "ada"):
            put(path, name)
            await wait_for_names(watch, name)
        before = len(tries)
        wait_until(lambda: len(tries) > before)  # it goes on trying
        replace_notifier(monkeypatch, REAL)
        wait_until(lambda: is_subscribed(path.parent))
        disable_polling(monkeypatch)
        for name in ("eve", "zoe"):  # one more poll may be due, which finds the first
            put(path, name)
            await wait_for_names(watch, name)
    warnings = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert warnings == [
        f"watching {store._backend} by polling, since the system tells of no changes: Too many open files (os error 24)"
    ]


async def test_a_notifier_that_breaks_is_replaced(
    store: FleetStore, path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """One that raises is logged, and another one is made at the next poll, not before."""
    disable_notices(monkeypatch)

    class Broken(SilentNotifier):
        made = 0

        def watch(self, *arguments: object) -> str:
            raise _rust_notify.WatchfilesRustInternalError("error in underlying watcher")

    replace_notifier(monkeypatch, Broken)
    async with aclosing(store.watch("u")) as watch:
        assert await next_names(watch) == []
        wait_until(lambda: Broken.made > 1)
        put(path, "mira")
        await wait_for_names(watch, "mira")
        made = Broken.made
        assert made <= (store._watching._turn + 1) * inotify._MAX_TRIES
    assert "error in underlying watcher" in caplog.text


async def test_a_missed_change_makes_it_subscribe_anew(
    store: FleetStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If only a poll finds a change, the notifier is of no use any more."""
    put(path, "mira")

    class Lost(SilentNotifier):
        made = 0

    def subscribed(number: int) -> bool:
        return Lost.made >= number

    def goes_on(turns: int) -> None:
        turn = store._watching._turn + turns
        wait_until(lambda: store._watching._turn > turn)

    disable_notices(monkeypatch, Lost)
    async with aclosing(store.watch("u")) as watch:
        assert await next_names(watch) == ["mira"]
        for number, name in enumerate(("tom", "ada"), 2):
            put(path, name)
            await wait_for_names(watch, name)
            wait_until(partial(subscribed, number))
            goes_on(2)  # a change right after it subscribes anew would be found by the poll that follows
        made = Lost.made
        goes_on(5)
        assert Lost.made == made


async def test_a_directory_that_is_made_while_subscribing(
    store: FleetStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is watched too, although it did not exist at first."""
    disable_polling(monkeypatch)
    late = [True]

    def make(*arguments: Any) -> Any:
        if late:
            late.pop()
            path.parent.mkdir(parents=True)
        return REAL(*arguments)

    replace_notifier(monkeypatch, make)
    async with aclosing(store.watch("u")) as watch:
        assert await next_names(watch) == []
        put(path, "mira")
        await wait_for_names(watch, "mira")


@pytest.mark.parametrize("user", ["u", "other"])
async def test_a_change_right_after_a_snapshot_is_told(
    user: str, root: Path, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Subscribing comes before the snapshot, at first and whenever a user joins, so no change is missed in between."""
    disable_polling(monkeypatch)
    put(path, "old")
    late: list[str] = []

    class Changing(FileBackend):
        def peek(self, user_id: str) -> PetFleet | None:
            found = super().peek(user_id)
            if user_id == "u" and late:
                put(path, late.pop())
            return found

    watching_ = _watch.Watching(Changing(str(root)))
    async with aclosing(watching_.watch("u")) as watch, aclosing(watching_.watch("other")) as other:
        if user == "u":
            late.append("mira")
            await wait_for_names(watch, "mira")
        else:
            await wait_for_names(watch, "old")
            late.append("mira")
            assert await next_names(other) == []
            await wait_for_names(watch, "mira")


def test_subscribing_ends_though_directories_come_and_go(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the directories are never the same twice, polling has to find the changes."""

    class Restless(SilentNotifier):
        made = 0

    replace_notifier(monkeypatch, Restless)
    notices = Notices(str(root), threading.Event())
    numbers = itertools.count()
    monkeypatch.setattr(notices, "_directories", lambda: {"/": (0, next(numbers))})
    notices.subscribe(["u"])
    assert Restless.made == inotify._MAX_TRIES


async def test_a_user_who_joins_while_another_one_changes_is_read(
    store: FleetStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A turn for the users of the notices does not leave out a new one."""
    disable_polling(monkeypatch)
    wait = Notices.wait
    monkeypatch.setattr(Notices, "wait", lambda self, seconds: wait(self, seconds) or set())
    async with aclosing(store.watch("u")) as watch, aclosing(store.watch("other")) as other:
        assert await next_names(watch) == await next_names(other) == []


def test_a_file_that_was_just_written_has_no_fingerprint(
    root: Path, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until the clock of the file system has moved on, only reading the file tells whether it was written again."""
    paths = UserPaths(str(root), "u")
    assert fingerprint(paths) == ()
    path.parent.mkdir(parents=True)
    without = fingerprint(paths)
    assert without
    put(path, "mira")
    assert fingerprint(paths) is None
    monkeypatch.setattr(disk, "_COARSEST_TIME", -1)
    assert fingerprint(paths) not in (None, without)
    assert fingerprint(paths) == fingerprint(paths)


def test_a_root_that_is_the_top_of_the_file_system(monkeypatch: pytest.MonkeyPatch) -> None:
    """The search for the nearest existing directory ends there, even if nothing is accessible."""
    notices = Notices("/", threading.Event())
    assert list(notices._directories()) == ["/"]
    monkeypatch.setattr(inotify, "_directory", lambda path, follow: None)
    assert notices._directories() == {}
