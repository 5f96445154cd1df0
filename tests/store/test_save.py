"""save: never discards silently what someone else wrote."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from petfleet import FleetConflictError, FleetFormatError, FleetStore, PetFleet, dumps
from tests.conftest import pet
from tests.support.backends import Storage

OLD = PetFleet("user", [pet("mira")], "mira", {"mood": 1})
NEW = PetFleet("user", [pet("nova")])
CONFLICT = (
    "fleet of user user exists and is not the one being replaced: "
    "use add or update, or pass replacing=<the fleet you loaded>"
)
GONE = "fleet of user user no longer exists: use add or update, or pass replacing=<the fleet you loaded>"


@pytest.mark.parametrize("options", [{}, {"replacing": PetFleet("user")}, {"overwrite": True}, {"overwrite": False}])
@pytest.mark.parametrize("fleet", [NEW, PetFleet("user")], ids=["pets", "no pets"])
async def test_save_always_leaves_a_file(
    store: FleetStore, storage: Storage, fleet: PetFleet, options: dict[str, Any]
) -> None:
    """Where there is no fleet every form of save makes one, even one without pets."""
    assert await store.save(fleet, **options) == fleet
    assert storage.read() == dumps(fleet).encode()


@pytest.mark.parametrize("new", [NEW, OLD], ids=["another", "the same"])
async def test_save_does_not_replace_a_fleet(store: FleetStore, storage: Storage, new: PetFleet) -> None:
    """A fleet that is there already is a conflict, and comes with the error."""
    storage.write(dumps(OLD).encode())
    with pytest.raises(FleetConflictError) as caught:
        await store.save(new)
    assert (caught.value.user_id, caught.value.current, str(caught.value)) == ("user", OLD, CONFLICT)
    assert storage.read() == dumps(OLD).encode()


async def test_save_does_not_replace_an_empty_fleet_either(store: FleetStore) -> None:
    """A stored fleet without pets is a fleet."""
    await store.save(PetFleet("user"))
    with pytest.raises(FleetConflictError) as caught:
        await store.save(NEW)
    assert caught.value.current == PetFleet("user")


async def test_save_replaces_the_fleet_that_was_loaded(store: FleetStore, storage: Storage) -> None:
    """With the stored fleet as `replacing`, in whatever layout it is stored, the new one takes its place."""
    storage.write(b"#\n" + dumps(OLD).encode())
    assert await store.save(NEW, replacing=await store.load("user")) == NEW
    assert storage.read() == dumps(NEW).encode()


@pytest.mark.parametrize(
    "replacing",
    [NEW, PetFleet("user"), PetFleet("user", OLD.pets, "mira", {"mood": True})],
    ids=["other pets", "empty", "equal in Python only"],
)
async def test_save_refuses_to_replace_another_fleet(store: FleetStore, storage: Storage, replacing: PetFleet) -> None:
    """Someone changed the fleet since it was loaded: nothing is written, and the present fleet is in the error."""
    storage.write(dumps(OLD).encode())
    with pytest.raises(FleetConflictError) as caught:
        await store.save(NEW, replacing=replacing)
    assert (caught.value.current, str(caught.value)) == (OLD, CONFLICT)
    assert storage.read() == dumps(OLD).encode()


async def test_save_refuses_to_replace_a_fleet_that_is_gone(store: FleetStore, storage: Storage) -> None:
    """Someone deleted the fleet since it was loaded: it is not made anew."""
    with pytest.raises(FleetConflictError) as caught:
        await store.save(NEW, replacing=OLD)
    assert (caught.value.current, str(caught.value)) == (None, GONE)
    assert storage.is_empty()


async def test_of_many_saves_that_replace_one_fleet_one_wins(store: FleetStore) -> None:
    """The comparison and the write are one step."""
    await store.save(OLD)
    outcomes: list[object] = []

    async def save(name: str) -> None:
        try:
            outcomes.append(await store.save(PetFleet("user", [pet(name)]), replacing=OLD))
        except FleetConflictError as error:
            outcomes.append(error)

    async with anyio.create_task_group() as group:
        for number in range(8):
            group.start_soon(save, f"pet-{number}")
    (winner,) = [fleet for fleet in outcomes if isinstance(fleet, PetFleet)]
    assert await store.load("user") == winner
    losers = [error.current for error in outcomes if isinstance(error, FleetConflictError)]
    assert losers == [winner] * 7


@pytest.mark.parametrize(
    "there",
    [dumps(OLD).encode(), b"", b"not a fleet", b"\xff", b'user_id = "user"\n', b"user_id = 7\npets = []\n"],
    ids=["a fleet", "nothing", "no TOML", "no UTF-8", "a field missing", "no user_id"],
)
async def test_save_overwrites_on_demand(store: FleetStore, storage: Storage, there: bytes) -> None:
    """overwrite=True replaces any fleet of the user and any file that means none."""
    storage.write(there)
    assert await store.save(NEW, overwrite=True) == NEW
    assert storage.read() == dumps(NEW).encode()
    assert await store.load("user") == NEW


async def test_save_overwrites_a_file_that_is_too_large(store: FleetStore, storage: Storage) -> None:
    """A file that petfleet refuses to read can be replaced."""
    storage.write(bytes(16 * 1024 * 1024 + 1))
    await store.save(NEW, overwrite=True)
    assert storage.read() == dumps(NEW).encode()


@pytest.mark.parametrize(
    "there",
    [
        b'user_id = "other"\npets = []\n',
        b'user_id = "other"\n',
        b'user_id = "other"\n[[pets]]\nbroken\n',
    ],
    ids=["a fleet", "a field missing", "no TOML after the first table"],
)
@pytest.mark.parametrize("options", [{}, {"replacing": OLD}, {"overwrite": True}])
async def test_save_never_replaces_another_users_file(
    store: FleetStore, storage: Storage, there: bytes, options: dict[str, Any]
) -> None:
    """Where a user_id can be read it must be the user's own, even to overwrite a broken file."""
    storage.write(there)
    with pytest.raises(FleetFormatError) as caught:
        await store.save(NEW, **options)
    assert caught.value.path == storage.where()
    assert storage.read() == there


async def test_save_takes_one_of_replacing_and_overwrite(store: FleetStore, storage: Storage) -> None:
    """Both at once make no sense and are refused before anything is touched."""
    save: Any = store.save
    with pytest.raises(TypeError, match=r"^save takes replacing or overwrite, not both$"):
        await save(NEW, replacing=OLD, overwrite=True)
    assert storage.is_untouched()


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        (["user"], {}, TypeError, "fleet must be a PetFleet, not str"),
        ([None], {"overwrite": True}, TypeError, "fleet must be a PetFleet, not NoneType"),
        ([NEW], {"replacing": None}, TypeError, "replacing must be a PetFleet, not NoneType"),
        ([NEW], {"replacing": PetFleet("other")}, ValueError, "replacing is the fleet of user other, not of user"),
    ],
)
async def test_save_checks_its_arguments(
    store: FleetStore,
    storage: Storage,
    arguments: list[Any],
    options: dict[str, Any],
    error: type[Exception],
    message: str,
) -> None:
    """What is no fleet, or another user's, is refused before anything is touched."""
    with pytest.raises(error) as caught:
        await store.save(*arguments, **options)
    assert type(caught.value) is error
    assert str(caught.value) == message
    assert storage.is_untouched()
