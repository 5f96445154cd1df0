"""What the tests of watching share: waiting for what a watch yields, and watching without notices or polling."""

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


async def next_names(watch: AsyncIterator[PetFleet]) -> list[str]:
    """Return the names of the pets in the fleet that the watch yields next."""
    with anyio.fail_after(60):
        return names(await anext(watch))


async def wait_for_names(watch: AsyncIterator[PetFleet], *wanted: str) -> None:
    """Wait until the watch yields these pets; it may yield fleets from before first."""
    while await next_names(watch) != list(wanted):
        pass


def inotify_instances() -> list[str]:
    """Return for each inotify instance of this process what it watches, as /proc tells it."""
    found = []
    for entry in os.listdir("/proc/self/fd"):
        try:
            if os.readlink(f"/proc/self/fd/{entry}") == "anon_inode:inotify":
                found.append(Path(f"/proc/self/fdinfo/{entry}").read_text(encoding="ascii"))
        except FileNotFoundError:
            pass  # closed meanwhile
    return found


def is_subscribed(directory: Path) -> bool:
    """Return whether this process watches that directory by inotify."""
    return any(f" ino:{directory.stat().st_ino:x} " in instance for instance in inotify_instances())


class SilentNotifier:
    """A notifier that reports no change; counts how many were made."""

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


def disable_polling(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on only the notices of the system tell of changes."""
    monkeypatch.setattr(FileBackend, "poll_seconds", FOR_EVER)


def disable_notices(monkeypatch: pytest.MonkeyPatch, notifier: type = SilentNotifier) -> None:
    """From now on only polling finds changes."""
    monkeypatch.setattr(FileBackend, "poll_seconds", 0.02)
    monkeypatch.setattr("watchfiles._rust_notify.RustNotify", notifier)
