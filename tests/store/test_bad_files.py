"""What is stored and is no fleet gets an error with place, line and way out, and stays as it is."""

from __future__ import annotations

import pytest

from petfleet import FleetFormatError, FleetStore, PetFleet, dumps
from tests.support.backends import Home
from tests.support.bad_texts import BROKEN, refuse
from tests.support.store_calls import ALL, CAREFUL, OVERWRITE


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN.keys())
async def test_a_broken_file_is_reported_and_never_overwritten_unasked(
    store: FleetStore, home: Home, broken: tuple[bytes, str, int | None, int | None]
) -> None:
    """Every call says the same, the bytes stay as they are, and only save(overwrite=True) replaces them."""
    data, expected, line, column = broken
    home.write_long_ago(data)
    await refuse(CAREFUL, store, home.where(), expected, line, column)
    assert home.read() == data
    fleet = await OVERWRITE(store, "user")
    assert home.read() == dumps(await store.load("user")).encode()
    assert await store.load("user") == fleet


async def test_another_users_file_is_reported_by_every_call(store: FleetStore, home: Home) -> None:
    """A copied directory, or one that the file system calls the same: not even overwrite=True touches it."""
    data = b'user_id = "other"\npets = []\n'
    home.write_long_ago(data)
    await refuse(ALL, store, home.where(), "user_id = 'user', found 'other'", 1)
    assert home.read() == data


async def test_a_change_is_not_asked_about_a_broken_file(store: FleetStore, home: Home) -> None:
    """There is no fleet that it could be given."""
    home.write_long_ago(b"oops")
    asked: list[PetFleet] = []
    with pytest.raises(FleetFormatError):
        await store.update("user", lambda fleet: asked.append(fleet) or fleet)  # type: ignore[func-returns-value]  # None
    assert asked == []
