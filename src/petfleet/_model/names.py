"""The rules for user ids and pet names, shared by paths and memory keys."""

from __future__ import annotations

import re
import sys
from typing import Final

from petfleet._model.errors import InvalidNameError

FLEET_FILE: Final = "fleet.toml"  # the name of a fleet's file or object
_WINDOWS = sys.platform == "win32"
_WINDOWS_CHARACTERS = frozenset('<>:"\\|?*')
_WINDOWS_DEVICES = frozenset(
    ["CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$"]
    + [f"{port}{digit}" for port in ("COM", "LPT") for digit in "123456789\u00b9\u00b2\u00b3"]
)
_MAX_BYTES = 255
_ORDINARY = re.compile(r"[A-Za-z0-9_-]{1,255}")
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")


def text(value: str, what: object) -> str:
    """Return ``value`` as exactly ``str``; TypeError if it is not a str, ValueError if UTF-8 cannot hold it."""
    if type(value) is not str:
        if not isinstance(value, str):
            way_out = f": use str({value!r})" if isinstance(value, int) else ""
            raise TypeError(f"{what} must be str, not {type(value).__name__}{way_out}")
        value = str.__str__(value)
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise ValueError(
                f"{what} {value!r} holds a lone surrogate at position {error.start}: UTF-8 cannot store it"
            ) from None
    return value


def check_user_id(user_id: str) -> str:
    """Return ``user_id`` if it may name a directory and begin a memory key, else raise InvalidNameError."""
    if not isinstance(user_id, str):
        return text(user_id, "user_id")  # raises
    rule = _broken_rule(user_id)
    if rule is not None:
        raise InvalidNameError(user_id, rule)
    return str.__str__(user_id)


def check_pet_name(pet_name: str) -> str:
    """Return ``pet_name`` if a pet of that name may join a fleet, else raise InvalidNameError."""
    if not pet_name:
        raise InvalidNameError(pet_name, "a pet name must not be empty")
    return pet_name


def _broken_rule(user_id: str) -> str | None:
    if not _WINDOWS and _ORDINARY.fullmatch(user_id):
        return None  # such ids follow every rule
    if not user_id:
        return "a user id must not be empty"
    if user_id in (".", ".."):
        return "a user id must not be '.' or '..'"
    if "/" in user_id:
        return "a user id must not contain '/'"
    if _CONTROL.search(user_id):
        return "a user id must not contain control characters"
    if "::" in user_id or user_id.endswith(":"):
        return "a user id must not contain '::' or end in ':', or two memory keys could be the same"
    try:
        size = len(user_id.encode())
    except UnicodeEncodeError:
        return "a user id must be encodable as UTF-8 (it holds a lone surrogate)"
    if size > _MAX_BYTES:
        return f"a user id must have at most {_MAX_BYTES} bytes of UTF-8, not {size}"
    return _broken_windows_rule(user_id) if _WINDOWS else None


def _broken_windows_rule(user_id: str) -> str | None:
    if not _WINDOWS_CHARACTERS.isdisjoint(user_id):
        return "a user id must not contain any of " + " ".join(sorted(_WINDOWS_CHARACTERS)) + " on Windows"
    if user_id[-1] in ". ":
        return "a user id must not end in a dot or a space on Windows"
    if user_id.partition(".")[0].rstrip(" ").upper() in _WINDOWS_DEVICES:
        return "a user id must not be a reserved device name on Windows"
    return None
