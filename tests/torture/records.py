"""Records that processes write of each call, and that survive when they are killed."""

from __future__ import annotations

import itertools
import os
import pickle
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tests.torture.model import Call, Reply


class Invoked(NamedTuple):
    """A call is about to be made."""

    number: int
    user_id: str
    call: Call
    at: int


class Returned(NamedTuple):
    """A call has returned; one that was cancelled never does."""

    number: int
    reply: Reply
    at: int


class Recorder:
    """Appends to one file, with times of the clock that all processes of the machine share."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self._numbers = itertools.count()

    def invoked(self, user_id: str, call: Call) -> int:
        """Note that a call is about to be made, and return its number."""
        number = next(self._numbers)
        self._note(Invoked(number, user_id, call, time.monotonic_ns()))
        return number

    def returned(self, number: int, reply: Reply) -> None:
        """Note what a call has replied."""
        self._note(Returned(number, reply, time.monotonic_ns()))

    def _note(self, record: Invoked | Returned) -> None:
        # One system call a record: what it was given survives the process.
        os.write(self._fd, pickle.dumps(record))


def read(path: Path) -> Iterator[Invoked | Returned]:
    """Return what was noted in a file; the killed may have left half a record at its end."""
    with open(path, "rb") as file:
        while True:
            try:
                yield pickle.load(file)
            except (EOFError, pickle.UnpicklingError):
                return
