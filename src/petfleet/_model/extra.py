"""Unknown keys of a fleet file, kept for the program that wrote them: TOML values, checked and deep-frozen."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime, time, timedelta, timezone
from typing import Any, NoReturn

from petfleet._model import names

MAX_LEVELS = 64  # of nesting; the recursive TOML parser and writer survive much more in any thread
INTEGERS = range(-(2**63), 2**63)


class FrozenDict(dict[str, Any]):
    """A dict without mutators, so that json, pickle and asdict treat it like any other dict."""

    __slots__ = ()

    def _refuse(self, *_: object, **__: object) -> NoReturn:
        raise TypeError("extra is immutable: build a new value from dict(extra)")

    __setitem__ = __delitem__ = __ior__ = clear = pop = popitem = setdefault = update = _refuse

    def __copy__(self) -> FrozenDict:
        return self

    def __deepcopy__(self, memo: object) -> FrozenDict:
        return self

    # By default, pickle would rebuild it item by item, which it refuses.
    def __reduce__(self) -> tuple[type[FrozenDict], tuple[dict[str, Any]]]:
        return FrozenDict, (dict(self),)


EMPTY = FrozenDict()


class _Where:
    """A place in an extra, for error messages.

    Formatted only when an error needs it: otherwise a long key would be copied for each value in its table.
    """

    __slots__ = ("_form", "_parts")

    def __init__(self, form: str, *parts: object) -> None:
        self._form = form
        self._parts = parts

    def __str__(self) -> str:
        return self._form.format(*self._parts)


def freeze(extra: Mapping[str, Any], known: frozenset[str]) -> FrozenDict:
    """Return a deep-frozen copy of ``extra``.

    Args:
        extra: the unknown keys and their values.
        known: the keys that are fields, and not allowed here.

    Raises:
        TypeError: a key is not a str, or TOML has no such type.
        ValueError: a key is one of ``known``, TOML cannot hold a value, or the nesting is too deep.
    """
    if extra is EMPTY:
        return EMPTY
    if not isinstance(extra, Mapping):
        raise TypeError(f"extra must be a mapping, not {type(extra).__name__}")
    frozen = extra if type(extra) is FrozenDict else _freeze_table(extra, "extra", 1)
    for name in frozen.keys() & known:
        raise ValueError(f"extra must not hold {name!r}: it is a field of its own")
    return frozen


def _freeze_table(table: Mapping[str, Any], where: object, level: int) -> FrozenDict:
    a_key = _Where("a key of {}", where)
    return FrozenDict(
        (names.text(key, a_key), _freeze(value, _Where("{}[{!r}]", where, key), level + 1))
        for key, value in table.items()
    )


def _freeze(value: Any, where: object, level: int) -> Any:
    if level > MAX_LEVELS + 1:
        raise ValueError(f"extra is nested more than {MAX_LEVELS} levels deep")
    if isinstance(value, str):
        return names.text(value, where)
    if isinstance(value, bool):
        return value
    if isinstance(value, int):
        return integer(value, where)
    if isinstance(value, float):
        return float.__float__(value)
    if isinstance(value, Mapping):
        return _freeze_table(value, where, level)
    if isinstance(value, (list, tuple)):
        return tuple(_freeze(item, _Where("{}[{}]", where, index), level + 1) for index, item in enumerate(value))
    if isinstance(value, datetime):
        return _freeze_datetime(value, where)
    if isinstance(value, date):
        return date(value.year, value.month, value.day)
    if isinstance(value, time):
        if value.tzinfo is not None:
            raise ValueError(f"{where} is a time with an offset, which TOML cannot hold: use a datetime")
        return time(value.hour, value.minute, value.second, value.microsecond)
    raise TypeError(
        f"{where} must be a TOML value (str, int, float, bool, datetime, date, time, list or mapping), "
        f"not {type(value).__name__}"
    )


def _freeze_datetime(value: datetime, where: object) -> datetime:
    offset = value.utcoffset()
    if offset is not None and offset % timedelta(minutes=1):
        raise ValueError(f"{where} has an offset of {offset}: TOML holds whole minutes only")
    zone = None if offset is None else timezone(offset)
    return datetime(value.year, value.month, value.day, value.hour, value.minute, value.second, value.microsecond, zone)


def integer(value: int, what: object) -> int:
    """Return ``value`` as exactly ``int``; TypeError if it is not an int or is a bool, ValueError beyond 64 bits."""
    if type(value) is not int:
        if isinstance(value, bool) or not isinstance(value, int):
            way_out = ": use int(...)" if isinstance(value, float) else ""
            raise TypeError(f"{what} must be int, not {type(value).__name__}{way_out}")
        value = int.__int__(value)
    if value not in INTEGERS:
        shown = str(value) if value.bit_length() < 256 else f"of {value.bit_length()} bits"
        raise ValueError(f"{what} {shown} does not fit into 64 bits")
    return value


def same(one: Any, other: Any) -> bool:
    """Return whether both are the same in TOML: unlike ==, 1 is not True or 1.0, NaN is NaN, and 0.0 is not -0.0."""
    if type(one) is not type(other):
        return False
    if isinstance(one, FrozenDict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return repr(one) == repr(other)
