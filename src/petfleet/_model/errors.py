"""Every error that petfleet raises.

::

    FleetError
     ├─ FleetNotFoundError(user_id)                           LookupError
     ├─ PetNotInFleetError(user_id, pet_name)                 LookupError
     ├─ PetAlreadyInFleetError(user_id, pet_name)             ValueError
     ├─ InvalidNameError(name, rule)                          ValueError
     ├─ FleetFormatError(path, expected, line, column)        ValueError
     ├─ FleetConflictError(user_id, current)                  RuntimeError
     ├─ LockTimeoutError(path, waited, holder)                TimeoutError, so an OSError
     └─ UnconfirmedCommitError(path)                          OSError

Catch the last two before ``OSError``: they are both. An ``OSError`` of the operating system (disk full, no
permission) passes unchanged, with its errno and file name.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, ClassVar, Final

if TYPE_CHECKING:
    from petfleet._model.fleet import PetFleet


WAY_OUT: Final = (
    "; repair it or move it away (a fleet file that cannot be parsed: save with overwrite=True replaces it)"
)


class FleetError(Exception):
    """Base class of every error that petfleet itself raises."""

    _fields: ClassVar[tuple[str, ...]] = ()

    # The default would call the class with the finished message instead of its fields.
    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), tuple(getattr(self, name) for name in self._fields), self.__dict__


class FleetNotFoundError(FleetError, LookupError):
    """The user has no fleet, and the call does not create one."""

    _fields = ("user_id",)

    def __init__(self, user_id: str) -> None:
        super().__init__(f"fleet not found for user {user_id}")
        self.user_id = user_id


class PetNotInFleetError(FleetError, LookupError):
    """The fleet holds no pet of that name."""

    _fields = ("user_id", "pet_name")

    def __init__(self, user_id: str, pet_name: str) -> None:
        super().__init__(f"pet {pet_name} not in fleet")
        self.user_id = user_id
        self.pet_name = pet_name


class PetAlreadyInFleetError(FleetError, ValueError):
    """The fleet already holds a pet of that name."""

    _fields = ("user_id", "pet_name")

    def __init__(self, user_id: str, pet_name: str) -> None:
        super().__init__(
            f"pet {pet_name} already in fleet of user {user_id}: "
            "choose another name, or change that pet with update and with_replaced"
        )
        self.user_id = user_id
        self.pet_name = pet_name


class InvalidNameError(FleetError, ValueError):
    """A user id or pet name breaks a rule; ``rule`` says which."""

    _fields = ("name", "rule")

    def __init__(self, name: str, rule: str) -> None:
        super().__init__(f"invalid name {name!r}: {rule}")
        self.name = name
        self.rule = rule


class FleetFormatError(FleetError, ValueError):
    """A file or text is not a fleet; ``expected`` says what should be there.

    ``path`` is None for a text given to :func:`petfleet.loads`; ``line`` and ``column`` count from 1 and are None
    where they are unknown.
    """

    _fields = ("path", "expected", "line", "column")

    def __init__(self, path: str | None, expected: str, line: int | None = None, column: int | None = None) -> None:
        where = "fleet text" if path is None else path
        if line is not None:
            where += f", line {line}"
        if column is not None:
            where += f", column {column}"
        way_out = "" if path is None else WAY_OUT
        super().__init__(f"{where}: expected {expected}{way_out}")
        self.path = path
        self.expected = expected
        self.line = line
        self.column = column


class FleetConflictError(FleetError, RuntimeError):
    """``save`` would have discarded what is stored now; ``current`` is that fleet, or None where there is none."""

    _fields = ("user_id", "current")

    def __init__(self, user_id: str, current: PetFleet | None) -> None:
        state = "no longer exists" if current is None else "exists and is not the one being replaced"
        super().__init__(
            f"fleet of user {user_id} {state}: use add or update, or pass replacing=<the fleet you loaded>"
        )
        self.user_id = user_id
        self.current = current


class LockTimeoutError(FleetError, TimeoutError):
    """The user's turn did not come in time; nothing was changed.

    ``waited`` is in seconds; ``holder`` reads like ``pid 4242 on web-3``, or is None where no other process had the
    lock, or it is not known which. ``reason``, if there is one, is what else the call has waited for, and the way out.
    """

    _fields = ("path", "waited", "holder", "reason")
    reason: str | None = None

    def __init__(self, path: str, waited: float, holder: str | None, reason: str | None = None) -> None:
        if reason is not None:
            why = self.reason = reason
        elif holder is None:
            why = "its holder unknown: try again, or raise lock_timeout"
        else:
            why = f"held by {holder}: try again, see what the holder does, or raise lock_timeout"
        super().__init__(f"{path} not locked within {waited:.3g} s, {why}")
        self.path = path
        self.waited = waited
        self.holder = holder


class UnconfirmedCommitError(FleetError, OSError):
    """The change may or may not stand: the storage did not confirm it.

    Of a file, syncing its directory failed: the change is in place, but may not survive a power cut, and the next call
    for this user writes the same content again durably, or fails in its turn. Of an object, the answer to the put was
    lost: it may have happened, and may still. ``load`` to see.
    """

    _fields = ("path",)

    def __init__(self, path: str) -> None:
        super().__init__(
            f"{path}: the change may or may not stand, since the storage did not confirm it (syncing a directory "
            "failed, or an object store's answer was lost); check the disk or the network, then load to see"
        )
        self.path = path


def copy_error(error: BaseException) -> BaseException:
    """Return an equal error for one of several calls that fail for the same reason: each raises its own object."""
    try:
        twin = copy.copy(error)
    except Exception:  # noqa: BLE001 - a class of someone else's that cannot be copied
        twin = RuntimeError(f"{type(error).__name__}: {error}")
    twin.__cause__ = error if type(twin) is not type(error) else error.__cause__
    return twin
