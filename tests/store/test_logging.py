"""What petfleet logs while all is well: commits, at level DEBUG."""

from __future__ import annotations

import logging

import pytest

from petfleet import FleetStore
from tests.conftest import pet
from tests.support.backends import Storage
from tests.support.logs import petfleet_records


async def test_a_commit_is_logged_for_debugging(
    store: FleetStore, storage: Storage, caplog: pytest.LogCaptureFixture
) -> None:
    """One line a commit: which fleet, how many calls, and whether it was written."""
    caplog.set_level(logging.DEBUG, "petfleet")
    await store.add("user", pet("mira"))
    await store.load("user")
    await store.delete("user")
    assert petfleet_records(caplog) == [
        ("petfleet", logging.DEBUG, f"{storage.where()}: a write for 1 calls"),
        ("petfleet", logging.DEBUG, f"{storage.where()}: no write for 1 calls"),
        ("petfleet", logging.DEBUG, f"{storage.where()}: a write for 1 calls"),
    ]


async def test_what_nobody_asked_for_is_not_even_made_up(
    store: FleetStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Without debugging a commit costs no line of it."""
    caplog.set_level(logging.INFO, "petfleet")
    asked: list[object] = []
    logger = logging.getLogger("petfleet")
    monkeypatch.setattr(logger, "log", lambda *arguments: asked.append(arguments))
    await store.add("user", pet("mira"))
    assert not asked
    caplog.set_level(logging.DEBUG, "petfleet")
    await store.load("user")
    assert len(asked) == 1


async def test_good_calls_are_silent(store: FleetStore, caplog: pytest.LogCaptureFixture) -> None:
    """Without DEBUG, successful calls log nothing."""
    caplog.set_level(logging.INFO)
    await store.add("user", pet("mira"))
    await store.touch("user")
    await store.peek("user")
    await store.delete("user")
    assert petfleet_records(caplog) == []
