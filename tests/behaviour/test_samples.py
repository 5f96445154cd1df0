"""What the old program wrote, and what it would read and what not, through a store."""

from __future__ import annotations

import base64

import pytest

from petfleet import FleetFormatError, dumps
from tests.conftest import pet
from tests.homes import Home
from tests.test_samples import NEWER_TOML, VERDICTS, WRITTEN, fleet_of, without_extra

NO_IDS = ("", "u\0")  # a text may hold them, and no directory's or object's name


async def test_written(home: Home) -> None:
    """Every file that the old program wrote loads, is peeked at and changed, as what it means."""
    store, other = home.store(), home.store()
    for parameters in WRITTEN:
        sample = parameters.values[0]
        fleet, user_id = fleet_of(sample["fleet"]), sample["user_id"]
        home.write_long_ago(sample["toml"].encode(), user_id)
        assert await store.peek(user_id) == await store.load(user_id) == fleet
        assert home.read(user_id) == sample["toml"].encode()
        more = await store.add(user_id, pet("one more"))
        assert home.read(user_id) == dumps(more).encode()
        assert await store.remove(user_id, "one more") == await other.load(user_id)
        home.remove(user_id)  # some are of one user


async def test_verdicts(home: Home) -> None:
    """Every text is read or refused as the old program does, but for what a newer TOML allows."""
    store = home.store()
    for parameters in VERDICTS:
        sample = parameters.values[0]
        data = base64.b64decode(sample["toml_base64"])
        user_id = sample["fleet"]["user_id"] if sample["ok"] else "u"
        if user_id in NO_IDS:
            continue
        home.write_long_ago(data, user_id)
        if sample["ok"]:
            assert without_extra(await store.load(user_id)) == fleet_of(sample["fleet"])
        elif sample["name"] not in NEWER_TOML:
            with pytest.raises(FleetFormatError) as caught:
                await store.load(user_id)
            assert caught.value.path == home.where(user_id)
        assert home.read(user_id) == data
