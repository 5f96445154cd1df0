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

The last two are also OSErrors: catch them first. An ``OSError`` of the operating system (disk full, no permission)
passes unchanged, with its errno and file name.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from petfleet._model.fleet import PetFleet


WAY_OUT: Final = (
    "; repair it or move it away (a fleet file that cannot be parsed: save with overwrite=True replaces it)"
)


class FleetError(Exception):
    """Base class of every error that petfleet itself raises."""

    __module__ = "petfleet"
    _fields: tuple[str, ...] = ()

    # Without it, pickle and copy would call the class with the finished message instead of the fields.
    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), tuple(getattr(self, name) for name in self._fields), self.__dict__


class FleetNotFoundError(FleetError, LookupError):
    """The user has no fleet, and the call does not create one.

    Attributes:
        user_id: the user.
    """

    __module__ = "petfleet"
    _fields = ("user_id",)

    def __init__(self, user_id: str) -> None:
        super().__init__(f"fleet not found for user {user_id}")
        self.user_id = user_id


class PetNotInFleetError(FleetError, LookupError):
    """The fleet has no pet of that name.

    Attributes:
        user_id: the user.
        pet_name: the missing name.
    """

    __module__ = "petfleet"
    _fields = ("user_id", "pet_name")

    def __init__(self, user_id: str, pet_name: str) -> None:
        super().__init__(f"pet {pet_name} not in fleet")
        self.user_id = user_id
        self.pet_name = pet_name


class PetAlreadyInFleetError(FleetError, ValueError):
    """The fleet already has a pet of that name.

    Attributes:
        user_id: the user.
        pet_name: the name that is taken.
    """

    __module__ = "petfleet"
    _fields = ("user_id", "pet_name")

    def __init__(self, user_id: str, pet_name: str) -> None:
        super().__init__(
            f"pet {pet_name} already in fleet of user {user_id}: "
            "choose another name, or change that pet with update and with_replaced"
        )
        self.user_id = user_id
        self.pet_name = pet_name


class InvalidNameError(FleetError, ValueError):
    """A user id or pet name breaks a rule.

    Attributes:
        name: the user id or pet name.
        rule: the rule that it breaks, as a sentence.
    """

    __module__ = "petfleet"
    _fields = ("name", "rule")

    def __init__(self, name: str, rule: str) -> None:
        super().__init__(f"invalid name {name!r}: {rule}")
        self.name = name
        self.rule = rule


class FleetFormatError(FleetError, ValueError):
    """A file or text is not a fleet.

    Attributes:
        path: the file or object; None for a text given to :func:`petfleet.loads`.
        expected: what should be there.
        line, column: where, counted from 1; None if unknown.
    """

    __module__ = "petfleet"
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
    """``save`` would have discarded the stored fleet; nothing was changed.

    Attributes:
        user_id: the user.
        current: the fleet that is stored now; None if there is none.
    """

    __module__ = "petfleet"
    _fields = ("user_id", "current")

    def __init__(self, user_id: str, current: PetFleet | None) -> None:
        state = "no longer exists" if current is None else "exists and is not the one being replaced"
        super().__init__(
            f"fleet of user {user_id} {state}: use add or update, or pass replacing=<the fleet you loaded>"
        )
        self.user_id = user_id
        self.current = current


class LockTimeoutError(FleetError, TimeoutError):
    """The call's commit did not begin in time; nothing was changed.

    Attributes:
        path: the lock file or object.
        waited: how many seconds the call has waited.
        holder: the process that held the lock, like ``pid 4242 on web-3``; None if no other process held it, or if it
            is unknown.
        reason: what else the call has waited for, and what to do about it; None if it waited for ``holder``.
    """

    __module__ = "petfleet"
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
    """The storage did not confirm the change: it may or may not have taken effect. ``load`` tells which.

    With files, syncing the directory failed: the change is in place, but may not survive a power cut. The next call for
    this user writes the same content again durably, or fails too. In a bucket, the response to the put was lost: the
    change may have taken effect, or may still do so.

    Attributes:
        path: the file or object.
    """

    __module__ = "petfleet"
    _fields = ("path",)

    def __init__(self, path: str) -> None:
        super().__init__(
            f"{path}: the change may or may not stand, since the storage did not confirm it (syncing a directory "
            "failed, or an object store's answer was lost); check the disk or the network, then load to see"
        )
        self.path = path


def copy_error(error: BaseException) -> BaseException:
    """Return a copy of an error. Calls that fail for the same reason each raise a copy, not the same object.

    An error that cannot be copied becomes the cause of a RuntimeError.
    """
    try:
        twin = copy.copy(error)
    except Exception:  # noqa: BLE001 - a class of the caller may not be copyable
        twin = RuntimeError(f"{type(error).__name__}: {error}")
    twin.__cause__ = error if type(twin) is not type(error) else error.__cause__
    return twin
