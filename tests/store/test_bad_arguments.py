"""Arguments that cannot be: each is refused before anything is touched."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from petfleet import FleetStore, InvalidNameError, PetHandle, PetNotInFleetError, dumps
from tests.conftest import pet
from tests.support.backends import Storage
from tests.support.store_calls import ALL

FORBIDDEN = {
    "": "a user id must not be empty",
    ".": "a user id must not be '.' or '..'",
    "..": "a user id must not be '.' or '..'",
    "../user": "a user id must not contain '/'",
    "a\nb": "a user id must not contain control characters",
    "a\0": "a user id must not contain control characters",
    "a\x85": "a user id must not contain control characters",
    "a::b": "a user id must not contain '::' or end in ':', or two memory keys could be the same",
    "a:": "a user id must not contain '::' or end in ':', or two memory keys could be the same",
    "é" * 128: "a user id must have at most 255 bytes of UTF-8, not 256",
}


@pytest.mark.parametrize(("user_id", "rule"), FORBIDDEN.items())
async def test_forbidden_user_ids(store: FleetStore, storage: Storage, user_id: str, rule: str) -> None:
    """Every call refuses them by the rule that they break, before anything is touched."""
    for name, call in ALL.items():
        with pytest.raises(InvalidNameError) as caught:
            await call(store, user_id)
        assert (caught.value.name, caught.value.rule) == (user_id, rule), name
        assert str(caught.value) == f"invalid name {user_id!r}: {rule}"
    assert storage.is_untouched()


async def test_user_ids_that_are_no_text(store: FleetStore, storage: Storage) -> None:
    """A number, as chat services number their users, is not made a text silently."""
    number: Any = 123
    for name, call in ALL.items():
        with pytest.raises(TypeError) as caught:
            await call(store, number)
        assert str(caught.value) == "user_id must be str, not int: use str(123)", name
    with pytest.raises(InvalidNameError, match="it holds a lone surrogate"):
        await store.load("\ud800")
    assert storage.is_untouched()


WRONG: dict[str, tuple[Callable[[FleetStore], Awaitable[object]], type[Exception], str]] = {
    "an empty name": (
        lambda store: store.add("user", pet("")),
        InvalidNameError,
        "invalid name '': a pet name must not be empty",
    ),
    "no handle": (
        lambda store: store.add("user", "mira"),  # type: ignore[arg-type]  # the wrong type is what is tested
        TypeError,
        "handle must be a PetHandle, not str",
    ),
    "a name that is no text": (
        lambda store: store.switch("user", 5),  # type: ignore[arg-type]  # as above
        TypeError,
        "pet_name must be str, not int: use str(5)",
    ),
    "a time that is no integer": (
        lambda store: store.touch("user", last_active=1.5),  # type: ignore[arg-type]  # as above
        TypeError,
        "last_active must be int, not float: use int(...)",
    ),
    "a time that does not fit": (
        lambda store: store.touch("user", last_active=2**63),
        ValueError,
        "last_active 9223372036854775808 does not fit into 64 bits",
    ),
}


@pytest.mark.parametrize(("call", "error", "message"), WRONG.values(), ids=WRONG.keys())
async def test_wrong_arguments(
    store: FleetStore,
    storage: Storage,
    call: Callable[[FleetStore], Awaitable[object]],
    error: type[Exception],
    message: str,
) -> None:
    """Each is refused by what is wrong with it, and the fleet stays as it is."""
    fleet = await store.add("user", pet("mira"))
    with pytest.raises(error) as caught:
        await call(store)
    assert type(caught.value) is error
    assert str(caught.value) == message
    assert storage.read() == dumps(fleet).encode()


async def test_an_empty_name_is_in_no_fleet(store: FleetStore) -> None:
    """Looking for it is not an error of its own."""
    await store.add("user", pet("mira"))
    with pytest.raises(PetNotInFleetError):
        await store.switch("user", "")


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        ((7, "r", "m", 0), TypeError, "pet_name must be str, not int: use str(7)"),
        (("n", None, "m", 0), TypeError, "role must be str, not NoneType"),
        (("n", "r", b"m", 0), TypeError, "manifest_path must be str, not bytes"),
        (("n", "r", "m", "0"), TypeError, "last_active must be int, not str"),
        (("n", "r", "m", True), TypeError, "last_active must be int, not bool"),
        (("n", "r", "m", -(2**63) - 1), ValueError, "last_active -9223372036854775809 does not fit into 64 bits"),
        (("n", "r", "m", 0, {"x": None}), TypeError, None),
        (("n", "r", "m", 0, {"role": "x"}), ValueError, "extra must not hold 'role': it is a field of its own"),
    ],
)
def test_wrong_fields_in_a_handle(fields: tuple[Any, ...], error: type[Exception], message: str | None) -> None:
    """A handle that could not be written cannot be made."""
    with pytest.raises(error) as caught:
        PetHandle(*fields)
    assert type(caught.value) is error
    assert message is None or str(caught.value) == message
