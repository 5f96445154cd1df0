"""What the old program would read and what not, through a store."""

from __future__ import annotations

import base64

import pytest

from petfleet import FleetFormatError
from tests._toml.test_samples import NEWER_TOML, VERDICTS, fleet_of, without_extra
from tests.support.backends import Storage

NO_IDS = ("", "u\0")  # a text may hold them, and no directory's or object's name


async def test_verdicts(storage: Storage) -> None:
    """Every text is read or refused as the old program does, except for syntax of a newer TOML."""
    store = storage.store()
    for parameters in VERDICTS:
        sample = parameters.values[0]
        data = base64.b64decode(sample["toml_base64"])
        user_id = sample["fleet"]["user_id"] if sample["ok"] else "u"
        if user_id in NO_IDS:
            continue
        storage.write_long_ago(data, user_id)
        if sample["ok"]:
            assert without_extra(await store.load(user_id)) == fleet_of(sample["fleet"])
        elif sample["name"] not in NEWER_TOML:
            with pytest.raises(FleetFormatError) as caught:
                await store.load(user_id)
            assert caught.value.path == storage.where(user_id)
        assert storage.read(user_id) == data
