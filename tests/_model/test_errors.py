"""Every error: its exact text, its fields, where it stands in the tree, and that it survives copying and pickling."""

from __future__ import annotations

import copy
import pickle

import pytest

import petfleet
from petfleet import (
    FleetConflictError,
    FleetError,
    FleetFormatError,
    FleetNotFoundError,
    InvalidNameError,
    LockTimeoutError,
    PetAlreadyInFleetError,
    PetFleet,
    PetNotInFleetError,
    UnconfirmedCommitError,
)
from petfleet._model import errors
from petfleet._model.errors import copy_error
from tests.conftest import pet

FLEET = PetFleet("ada", [pet("mira", extra={"colour": "red"})], "mira")

# The error, its fields, the builtin class that it also is, and its whole text.
CASES: list[tuple[FleetError, dict[str, object], type[Exception], str]] = [
    (FleetNotFoundError("ada"), {"user_id": "ada"}, LookupError, "fleet not found for user ada"),
    (
        PetNotInFleetError("ada", "mira"),
        {"user_id": "ada", "pet_name": "mira"},
        LookupError,
        "pet mira not in fleet",
    ),
    (
        PetAlreadyInFleetError("ada", "mira"),
        {"user_id": "ada", "pet_name": "mira"},
        ValueError,
        "pet mira already in fleet of user ada: choose another name, or change that pet with update and with_replaced",
    ),
    (
        InvalidNameError("a\nb", "a user id must not be odd"),
        {"name": "a\nb", "rule": "a user id must not be odd"},
        ValueError,
        "invalid name 'a\\nb': a user id must not be odd",
    ),
    (
        FleetFormatError("/f/fleet.toml", "UTF-8", 3, 7),
        {"path": "/f/fleet.toml", "expected": "UTF-8", "line": 3, "column": 7},
        ValueError,
        "/f/fleet.toml, line 3, column 7: expected UTF-8; "
        "repair it or move it away (a fleet file that cannot be parsed: save with overwrite=True replaces it)",
    ),
    (
        FleetFormatError(None, "the required field pets", 3),
        {"path": None, "expected": "the required field pets", "line": 3, "column": None},
        ValueError,
        "fleet text, line 3: expected the required field pets",
    ),
    (
        FleetFormatError(None, "valid TOML"),
        {"path": None, "expected": "valid TOML", "line": None, "column": None},
        ValueError,
        "fleet text: expected valid TOML",
    ),
    (
        FleetConflictError("ada", FLEET),
        {"user_id": "ada", "current": FLEET},
        RuntimeError,
        "fleet of user ada exists and is not the one being replaced: "
        "use add or update, or pass replacing=<the fleet you loaded>",
    ),
    (
        FleetConflictError("ada", None),
        {"user_id": "ada", "current": None},
        RuntimeError,
        "fleet of user ada no longer exists: use add or update, or pass replacing=<the fleet you loaded>",
    ),
    (
        LockTimeoutError("/f/fleet.toml.lock", 10.0042, "pid 4242 on web-3"),
        {"path": "/f/fleet.toml.lock", "waited": 10.0042, "holder": "pid 4242 on web-3"},
        TimeoutError,
        "/f/fleet.toml.lock not locked within 10 s, held by pid 4242 on web-3: "
        "try again, see what the holder does, or raise lock_timeout",
    ),
    (
        LockTimeoutError("/f/fleet.toml.lock", 0.12345, None),
        {"path": "/f/fleet.toml.lock", "waited": 0.12345, "holder": None},
        TimeoutError,
        "/f/fleet.toml.lock not locked within 0.123 s, its holder unknown: try again, or raise lock_timeout",
    ),
    (
        LockTimeoutError("/f/fleet.toml.lock", 2.0, None, "since all threads of the store are busy: raise threads"),
        {
            "path": "/f/fleet.toml.lock",
            "waited": 2.0,
            "holder": None,
            "reason": "since all threads of the store are busy: raise threads",
        },
        TimeoutError,
        "/f/fleet.toml.lock not locked within 2 s, since all threads of the store are busy: raise threads",
    ),
    (
        UnconfirmedCommitError("/f/fleet.toml"),
        {"path": "/f/fleet.toml"},
        OSError,
        "/f/fleet.toml: the change may or may not stand, since the storage did not confirm it (syncing a directory "
        "failed, or an object store's answer was lost); check the disk or the network, then load to see",
    ),
]
each_error = pytest.mark.parametrize(
    ("error", "fields", "builtin", "text"), CASES, ids=lambda case: type(case).__name__
)


@each_error
def test_text_and_fields(error: FleetError, fields: dict[str, object], builtin: type[Exception], text: str) -> None:
    """Each error builds its whole text from its fields and keeps them as attributes."""
    assert str(error) == text
    assert vars(error) == fields


@each_error
def test_tree(error: FleetError, fields: dict[str, object], builtin: type[Exception], text: str) -> None:
    """Each error is a FleetError and the builtin error that its kind of failure is known as."""
    assert isinstance(error, FleetError)
    assert isinstance(error, builtin)
    assert isinstance(error, OSError) is (builtin in (OSError, TimeoutError))


@each_error
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickle(
    error: FleetError, fields: dict[str, object], builtin: type[Exception], text: str, protocol: int
) -> None:
    """A pickled error comes back with its type, its text, its fields and its notes."""
    error = copy.copy(error)
    error.add_note("seen in process 7")
    back = pickle.loads(pickle.dumps(error, protocol))
    assert type(back) is type(error)
    assert str(back) == text
    assert vars(back) == {**fields, "__notes__": ["seen in process 7"]}


@each_error
def test_copies(error: FleetError, fields: dict[str, object], builtin: type[Exception], text: str) -> None:
    """copy, deepcopy and copy_error give another object with the same type, text and fields."""
    for twin in (copy.copy(error), copy.deepcopy(error), copy_error(error)):
        assert twin is not error
        assert type(twin) is type(error)
        assert str(twin) == text
        assert vars(twin) == fields


def test_every_error_is_covered() -> None:
    """Each public error class but the root is in the table above, and in the tree of the module's docstring."""
    public = {getattr(petfleet, name) for name in petfleet.__all__ if name.endswith("Error")}
    assert public - {FleetError} == {type(error) for error, *_ in CASES}
    for error_class in public:
        assert error_class.__name__ in (errors.__doc__ or "")


def test_own_copy_keeps_what_the_system_said() -> None:
    """The copy of an OSError has its errno and its file name, and is of the same class."""
    twin = copy_error(OSError(28, "No space left on device", "/f/fleet.toml"))
    assert isinstance(twin, OSError)
    assert (twin.errno, twin.strerror, twin.filename) == (28, "No space left on device", "/f/fleet.toml")
    assert type(copy_error(PermissionError(13, "no", "/f"))) is PermissionError


def test_own_copy_keeps_the_cause() -> None:
    """A copy of an error has the same cause, and none of the original's traceback."""
    cause = ValueError("why")
    try:
        raise UnconfirmedCommitError("/f") from cause
    except UnconfirmedCommitError as error:
        twin = copy_error(error)
    assert twin.__cause__ is cause
    assert twin.__traceback__ is None


class UncopyableError(Exception):
    """An error that needs two arguments but hands only one on, so that copy cannot make it again."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"{reason} ({code})")


def test_own_copy_of_what_cannot_be_copied() -> None:
    """An error that cannot be copied is told in a RuntimeError, with the original as its cause."""
    error = UncopyableError(5, "odd")
    twin = copy_error(error)
    assert type(twin) is RuntimeError
    assert str(twin) == "UncopyableError: odd (5)"
    assert twin.__cause__ is error
