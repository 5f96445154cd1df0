"""The texts that petfleet reads, and the errors of those that are no fleet."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from petfleet import FleetFormatError, loads
from petfleet._toml import decode, limits
from tests._toml.texts import BLOCK, HEAD, ONE

BAD: dict[str, tuple[str | bytes, str, int | None, int | None]] = {
    "empty": ("", "the required field user_id", None, None),
    "no pets": (HEAD, "the required field pets", None, None),
    "no user": ("pets = []\n", "the required field user_id", None, None),
    "no user, one pet": (BLOCK, "the required field user_id", None, None),
    "user": ("pets = []\nuser_id = 5\n", "user_id to be a string, found 5", 2, None),
    "user is a table": ("pets = []\n[user_id]\n", "user_id to be a string, found {}", None, None),
    "active": ("#\n active_pet = 0.5\n" + ONE, "active_pet to be a string, found 0.5", 2, None),
    "pets": (HEAD + 'pets = "x"\n', "pets to be an array of tables, found 'x'", 2, None),
    "pets is a table": (HEAD + "[pets]\na = 1\n", "pets to be an array of tables, found {'a': 1}", 2, None),
    "pets of ints": (HEAD + "\npets = [1]\n", "a table for pet 1, found 1", 3, None),
    "no role": (ONE + BLOCK.replace('role = "friend"\n', ""), "the required field role of pet 2", 9, None),
    "nothing in a pet": (ONE + "[[pets]]\n[[pets]]\n", "the required field pet_name of pet 2", 8, None),
    "an inline pet": (HEAD + "pets = [{}]\n", "the required field pet_name of pet 1", None, None),
    "role": (ONE.replace('"friend"', "true"), "role of pet 1 to be a string, found True", 5, None),
    "last_active": (
        ONE + BLOCK.replace("= 7", "= 7.0"),
        "last_active of pet 2 to be an integer of 64 bits, found 7.0",
        13,
        None,
    ),
    "last_active is a bool": (
        ONE.replace("= 7", "= false"),
        "last_active of pet 1 to be an integer of 64 bits, found False",
        7,
        None,
    ),
    "a quoted key": (
        HEAD + BLOCK.replace("role =", '"role" =').replace('"friend"', "1"),
        "role of pet 1 to be a string, found 1",
        None,
        None,
    ),
    "64 bits": (
        ONE.replace("= 7", "= 9223372036854775808"),
        "a pet that can be stored (last_active 9223372036854775808 does not fit into 64 bits)",
        3,
        None,
    ),
    "64 bits in extra": (
        HEAD + "x = -9223372036854775809\npets = []\n",
        "a fleet that can be stored (extra['x'] -9223372036854775809 does not fit into 64 bits)",
        None,
        None,
    ),
    "too deep": (
        HEAD + "x = " + "[" * 70 + "]" * 70 + "\npets = []\n",
        "a fleet that can be stored (extra is nested more than 64 levels deep)",
        None,
        None,
    ),
    "a surrogate": (
        'user_id = "a\ud800"\npets = []\n',
        "a fleet that can be stored (user_id 'a\\ud800' holds a lone surrogate at position 1: UTF-8 cannot store it)",
        None,
        None,
    ),
    "a long value": (
        f'user_id = "ada"\npets = "{"x" * 1000}"\n',
        "pets to be an array of tables, found '" + "x" * 99,
        2,
        None,
    ),
    "no value": (HEAD + "pets = \n", "valid TOML (Invalid value)", 2, 8),
    "no value in a block": (ONE + BLOCK.replace("= 7", "= "), "valid TOML (Invalid value)", 13, 15),
    "a key twice": (ONE + "role = 'x'\n", "valid TOML (Cannot overwrite a value)", 8, 11),
    "the end": (HEAD + "pets = [", "valid TOML (Invalid value)", 2, 9),
    "the end of a line": (HEAD + "pets = []\nx = [1\n", "valid TOML (Unclosed array)", 4, 1),
    "a key alone": (ONE + "x\n", "valid TOML (Expected '=' after a key in a key/value pair)", 8, 2),
    "not UTF-8": (HEAD.encode() + b'pets = "\xff"\n', "UTF-8", 2, 9),
    "not UTF-8 at the start": (b"\xff\xfe", "UTF-8", 1, 1),
    "not UTF-8 at the end": ("user_id = 'é".encode()[:-1], "UTF-8", 1, 12),
    "two byte-order marks": ("\ufeff\ufeff" + ONE, "valid TOML (Invalid statement)", 1, 1),
}


@pytest.mark.parametrize(("text", "expected", "line", "column"), BAD.values(), ids=BAD)
def test_bad_texts(text: str | bytes, expected: str, line: int | None, column: int | None) -> None:
    """The error of a text that is no fleet says what is expected, and at which line and column."""
    with pytest.raises(FleetFormatError) as caught:
        loads(text)
    error = caught.value
    assert (error.expected, error.line, error.column, error.path) == (expected, line, column, None)


@pytest.mark.parametrize(
    "header",
    [
        "[[pets]]",
        "[[ pets ]]",
        '[["pets"]]',
        "[['pets']]  # mine",
        "[[pets]] # mine",
        "\t[[pets]]",
        "[[other]] #\n[[pets]]",
        '[["other"]]\n[[pets]]',
    ],
)
def test_lines_beside_other_headers(header: str) -> None:
    """However the headers are written, a line that is given is the right one."""
    with pytest.raises(FleetFormatError) as caught:
        loads(f'{HEAD}{header}\nrole = 5\npet_name = "a"\n{BLOCK}')
    assert caught.value.expected == "role of pet 1 to be a string, found 5"
    right = 3 + header.count("\n")
    assert caught.value.line in ((right,) if '"' not in header and "'" not in header else (right, None))


def test_an_integer_that_cannot_be_shown() -> None:
    """Within the digits that are read, a hexadecimal one may have more of them than the interpreter prints."""
    with pytest.raises(FleetFormatError) as caught:
        loads(f"user_id = 0x{'f' * 4000}\npets = []\n")
    assert caught.value.expected == "user_id to be a string, found a int beyond printing"


@pytest.mark.parametrize("value", ["0x" + "f" * 5000, "[0x" + "f" * 5000 + "]"])
@pytest.mark.parametrize("place", ["user_id = {}\npets = []", HEAD + "pets = {}", ONE + "x = {}"])
def test_integers_of_very_many_digits(place: str, value: str) -> None:
    """An integer too long to be printed is refused like any other wrong value."""
    with pytest.raises(FleetFormatError):
        loads(place.format(value))


def test_too_many_digits() -> None:
    """Decimal digits beyond what Python converts are refused with its reason."""
    allowed = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(1000)
    try:
        with pytest.raises(ValueError, match="digits") as reason:
            int("1" * 1001)
        with pytest.raises(FleetFormatError) as caught:
            loads(f"{HEAD}pets = []\nx = {'1' * 1001}\n")
    finally:
        sys.set_int_max_str_digits(allowed)
    assert caught.value.expected == f"valid TOML ({reason.value})"
    assert caught.value.line is None


def test_byte_order_mark() -> None:
    """One leading byte-order mark is read past, in text and in bytes."""
    assert loads("\ufeff" + ONE) == loads(("\ufeff" + ONE).encode()) == loads(ONE)


@pytest.mark.parametrize("text", [None, 5, ["x"], bytearray(b"x")])
def test_only_text_is_read(text: Any) -> None:
    """Anything else than text or bytes is a TypeError."""
    with pytest.raises(TypeError, match=rf"^loads takes str or bytes, not {type(text).__name__}$"):
        loads(text)


@pytest.mark.parametrize("text", ["#é\n" + ONE, ("#é\n" + ONE).encode()], ids=["str", "bytes"])
def test_too_large_to_read(text: str | bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """A text of more bytes than a file may have is refused unread, one that just fits is read."""
    size = len(ONE) + 4
    monkeypatch.setattr(limits, "MAX_BYTES", size)
    assert loads(text) == loads(ONE)
    monkeypatch.setattr(limits, "MAX_BYTES", size - 1)
    with pytest.raises(FleetFormatError, match=rf"^fleet text: expected at most {size - 1} bytes, not {size}$"):
        loads(text)


def test_the_size_limit() -> None:
    """A file may have 16 MiB."""
    assert limits.MAX_BYTES == 16 * 1024 * 1024


@pytest.mark.parametrize("text", [ONE, HEAD + "pets = []\n", "# mine\n\n" + ONE], ids=["block", "empty", "comment"])
def test_another_users_fleet(text: str) -> None:
    """With a user_id given, a fleet of another user is refused with both ids and the line."""
    assert loads(text, user_id="ada") == loads(text)
    with pytest.raises(FleetFormatError) as caught:
        loads(text, user_id="Ada")
    assert caught.value.expected == "user_id = 'Ada', found 'ada'"
    assert caught.value.line == (3 if text.startswith("#") else 1)


@pytest.mark.parametrize(
    ("data", "user_id"),
    [
        (ONE, "ada"),
        ("\ufeff" + ONE, "ada"),
        (HEAD, "ada"),
        (HEAD + "pets = 5\n", "ada"),
        (HEAD + "[[pets]]\nrole = \n", "ada"),
        (HEAD + "  [[pets\n", "ada"),
        (HEAD + "x = \n[[pets]]\n", "ada"),
        ("x = \n" + HEAD + "[[pets]]\n", None),
        (HEAD + "x = " + "[" * 101 + "]" * 101, "ada"),
        ("[[pets]]\n" + HEAD + "x", None),
        ("user_id = 5\npets = []\n", None),
        ("pets = []\n", None),
        ("<<<<<<<\n" + HEAD, None),
        ("", None),
        (b"\xff" + HEAD.encode(), None),
    ],
)
def test_user_id_in(data: str | bytes, user_id: str | None) -> None:
    """The user_id of a broken text is told wherever it stands in a part that can be read."""
    assert decode.user_id_in(data if isinstance(data, bytes) else data.encode()) == user_id
