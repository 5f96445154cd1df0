"""What the tests of watching share: waiting for what a watch shows, and notifiers that tell nothing."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from petfleet import PetFleet, _watch
from petfleet._backends.files.backend import FileBackend
from tests.support.children import names

FOR_EVER = 3600.0  # seconds


async def shown(watch: AsyncIterator[PetFleet]) -> list[str]:
    """Return the names of the pets in what the watch shows next."""
    with anyio.fail_after(30):
        return names(await anext(watch))


async def shows(watch: AsyncIterator[PetFleet], *wanted: str) -> None:
    """Wait until the watch shows these pets: what is on its way there may be shown or not."""
    while await shown(watch) != list(wanted):
        pass


def inotify_instances() -> list[str]:
    """Return those that this process has: what each of them watches, as the system has it."""
    found = []
    for entry in os.listdir("/proc/self/fd"):
        try:
            if os.readlink(f"/proc/self/fd/{entry}") == "anon_inode:inotify":
                found.append(Path(f"/proc/self/fdinfo/{entry}").read_text(encoding="ascii"))
        except FileNotFoundError:
            pass  # closed meanwhile
    return found


def is_subscribed(directory: Path) -> bool:
    """Return whether the system tells this process of changes in that directory."""
    return any(f" ino:{directory.stat().st_ino:x} " in instance for instance in inotify_instances())


class Deaf:
    """A notifier that never tells anything; counts how many there were."""

    made = 0

    def __init__(self, *arguments: Any) -> None:
        type(self).made += 1

    def watch(self, burst: int, step: int, timeout: int, stop: _watch._WatchThread) -> str:
        """Wait as the real one does."""
        give_up = time.monotonic() + timeout / 1000
        while not stop.is_set():
            if time.monotonic() > give_up:
                return "timeout"
            time.sleep(0.001)
        return "stop"

    def close(self) -> None:
        """Nothing is open."""


def only_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on nothing is found by polling."""
    monkeypatch.setattr(FileBackend, "poll_seconds", FOR_EVER)


def only_looks(monkeypatch: pytest.MonkeyPatch, notifier: type = Deaf) -> None:
    """From now on the system tells of no change."""
    monkeypatch.setattr(FileBackend, "poll_seconds", 0.02)
    monkeypatch.setattr("watchfiles._rust_notify.RustNotify", notifier)
