"""Stored bytes that are no fleet: an error with place, line and way out, and they stay as they are."""

from __future__ import annotations

import pytest

from petfleet import FleetFormatError, FleetStore, PetFleet, dumps
from tests.support.backends import Storage
from tests.support.bad_texts import BROKEN, refuse
from tests.support.store_calls import ALL, CAREFUL, OVERWRITE


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN.keys())
async def test_a_broken_file_is_reported_and_never_overwritten_unasked(
    store: FleetStore, storage: Storage, broken: tuple[bytes, str, int | None, int | None]
) -> None:
    """Every call says the same, the bytes stay as they are, and only save(overwrite=True) replaces them."""
    data, expected, line, column = broken
    storage.write_long_ago(data)
    await refuse(CAREFUL, store, storage.where(), expected, line, column)
    assert storage.read() == data
    fleet = await OVERWRITE(store, "user")
    assert storage.read() == dumps(await store.load("user")).encode()
    assert await store.load("user") == fleet


async def test_another_users_file_is_reported_by_every_call(store: FleetStore, storage: Storage) -> None:
    """A copied directory, or one that the file system calls the same: not even overwrite=True touches it."""
    data = b'user_id = "other"\npets = []\n'
    storage.write_long_ago(data)
    await refuse(ALL, store, storage.where(), "user_id = 'user', found 'other'", 1)
    assert storage.read() == data


async def test_a_change_is_not_asked_about_a_broken_file(store: FleetStore, storage: Storage) -> None:
    """There is no fleet that it could be given."""
    storage.write_long_ago(b"oops")
    asked: list[PetFleet] = []
    with pytest.raises(FleetFormatError):
        await store.update("user", lambda fleet: asked.append(fleet) or fleet)  # type: ignore[func-returns-value]  # None
    assert asked == []
