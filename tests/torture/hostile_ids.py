"""User ids that look like paths or could share a key, and whether a store must take them."""

from __future__ import annotations

import os
import random
import unicodedata
from typing import Final

from petfleet import InvalidNameError, fleet_path, per_pet_memory_key, shared_memory_key

_PARTS: Final = [
    *["a", "b", "A", "ada", "bob", "1", "_", "-", "~", "$HOME", "%2e%2e%2f", "%00", "*", "?", "-rf", "'", '"'],
    *[".", "..", "...", "../", "/..", "/", "//", "\\", "..\\", "/etc/passwd", "/proc/self/fd/1", "\\\\host\\share"],
    *["C:", ":", "::", ":::", "pet::", "shared::", "::a", "a:", ":a"],
    *["fleet.toml", "fleet.toml.lock", ".fleet.toml.0011223344556677.tmp", ".tmp", ".lock", "lost+found"],
    *["CON", "nul", "COM1.txt", "end."],
    *[" ", "  ", "\t", "\n", "\r", "\0", "\x1b[2J", "\x7f", "\x80", "\x85", "\xa0", "\xad"],
    # Nearly "/", ".", ".." and ":"; then letters that are equal in some form.
    *["\u2215", "\u2044", "\uff0f", "\u29f8", "\uff0e", "\u2024", "\u2025", "\ufe30", "\uff1a", "\ua789", "\u02d0"],
    *["\xe9", "e\u0301", "\u212b", "\xc5", "\ufb01", "fi", "\u0131", "I", "\u1e9e", "\xdf", "SS", "\u041e", "O"],
    *["\u200b", "\u200d", "\u202e", "\u2066", "\ufeff", "\u2028", "\u2029", "\u3164", "\U000e0041", "\U0001f408"],
    *["\ud800", "\udfff", "\udc80", "\ud83d\udc08", "\ufffd", "\uffff"],
    *["a" * 63, "a" * 127, "a" * 255, "\xe9" * 64, "\U0001f408" * 63],
]
_COLONS: Final = ["a", "b", ":", "::", "pet", "shared", ""]


def user_id(rng: random.Random) -> str:
    """Return a text that a careless store would take for a path or for another user."""
    text = "".join(rng.choices(_PARTS, k=rng.choice([1, 1, 2, 2, 3, 5])))
    match rng.randrange(10):
        case 0:
            return unicodedata.normalize(rng.choice(["NFC", "NFD", "NFKC", "NFKD"]), text)
        case 1:
            return text.swapcase()
        case 2:
            return text + chr(rng.randrange(0x110000))
        case 3:
            return text[:1] * rng.choice([127, 128, 254, 255, 256, 1000])
        case _:
            return text


def is_valid(user_id: str) -> bool:
    """Return whether a store should take that id: the rules of the design, written down a second time."""
    try:
        size = len(user_id.encode())
    except UnicodeEncodeError:
        return False
    return (
        0 < size <= 255
        and user_id not in {".", ".."}
        and "/" not in user_id
        and not any(unicodedata.category(character) == "Cc" for character in user_id)
        and "::" not in user_id
        and not user_id.endswith(":")
    )


def is_taken(user_id: str) -> bool:
    """Return whether the module functions take that id; AssertionError if they do not agree, or it leaves the root."""
    paths = []
    for call in (lambda: fleet_path(user_id, "/root"), lambda: shared_memory_key(user_id)):
        try:
            paths.append(str(call()))
        except InvalidNameError:
            paths.append("")
    path, key = paths
    assert bool(path) == bool(key) == is_valid(user_id), f"{user_id!r} becomes {path!r} and {key!r}"
    if path:
        assert path == os.path.normpath(path) == f"/root/{user_id}/fleet.toml", f"{user_id!r} leads to {path!r}"
    return bool(path)


def check_keys(rng: random.Random, number: int) -> int:
    """Check that no two pairs of a valid user id and a pet name share a key, nor a user's with any; return how many."""
    owners: dict[str, tuple[str, ...]] = {}
    for _ in range(number):
        user_id, pet_name = _user_and_pet(rng)
        if not is_valid(user_id):
            continue
        for key, owner in (
            (shared_memory_key(user_id), (user_id,)),
            (per_pet_memory_key(user_id, pet_name), (user_id, pet_name)),
        ):
            other = owners.setdefault(key, owner)
            assert other == owner, f"{key!r} is the key of {other} and of {owner}"
    return len(owners)


def _user_and_pet(rng: random.Random) -> tuple[str, str]:
    parts = rng.choice([_COLONS, _COLONS, _PARTS])
    user_id, pet_name = ("".join(rng.choices(parts, k=rng.randrange(6))) for _ in "12")
    try:
        pet_name.encode()
    except UnicodeEncodeError:
        pet_name = "\xe9"
    return user_id, pet_name
