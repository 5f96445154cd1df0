"""Makes commits while it is traced, each in a child of its own (a program, for a tracer to attach to)."""

from __future__ import annotations

import ctypes
import fcntl
import functools
import json
import logging
import math
import mmap
import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from petfleet import PetFleet
from petfleet._backends.files import disk
from petfleet._backends.files.backend import FileBackend
from petfleet._commit.change import Kind
from tests.support.children import start_fork
from tests.support.commits import add, commit, delete, load

BEGIN: Final = "the commit begins"
END: Final = "the commit has ended"
COMMITS: Final[dict[str, tuple[Callable[[PetFleet | None], PetFleet | None], Kind]]] = {
    "create": (add("new"), Kind.CREATE),
    "add": (add("new"), Kind.CREATE),
    "delete": (delete, Kind.DELETE),
    "recovery": (load, Kind.READ),
}
_NOWHERE: Final = 10**6  # no descriptor
_PR_SET_PTRACER: Final = 0x59616D61
_C: Final = ctypes.CDLL(None)
# Calls that do nothing, by the names that they have on one machine or another.
HARMLESS: Final[dict[str, Callable[[], object]]] = {
    "clock_gettime": lambda: time.clock_gettime(time.CLOCK_THREAD_CPUTIME_ID),
    "close": lambda: os.close(_NOWHERE),
    "flock": lambda: fcntl.flock(_NOWHERE, fcntl.LOCK_UN),
    "fstat": lambda: os.fstat(_NOWHERE),
    "fsync": lambda: os.fsync(_NOWHERE),
    "getdents64": lambda: _C.getdents64(_NOWHERE, None, 0),
    "geteuid": os.geteuid,
    "getpid": os.getpid,
    "getrandom": lambda: os.getrandom(0),
    "lseek": lambda: os.lseek(_NOWHERE, 0, os.SEEK_SET),
    "mkdir": lambda: os.mkdir(""),
    "mkdirat": lambda: os.mkdir(""),
    "newfstatat": lambda: os.stat(""),
    "openat": lambda: os.open("", os.O_RDONLY),
    "read": lambda: os.read(_NOWHERE, 1),
    "rename": lambda: os.rename("", ""),
    "renameat": lambda: os.rename("", ""),
    "renameat2": lambda: os.rename("", ""),
    "rmdir": lambda: os.rmdir(""),
    "uname": os.uname,
    "unlink": lambda: os.unlink(""),
    "unlinkat": lambda: os.unlink(""),
    "write": lambda: os.write(_NOWHERE, b""),
}


def _mark(text: str) -> None:
    os.access(text, os.F_OK)  # for who reads the trace; no commit makes this call


def _try(board: mmap.mmap, name: str, root: str, harmless: str, times: int) -> None:
    change, kind = COMMITS[name]
    backend = FileBackend(root)
    for _ in range(times):
        with suppress(OSError):
            HARMLESS[harmless]()
    _mark(BEGIN)
    board[0] = 1
    commit(backend, change, kind)
    board[1] = 1
    _mark(END)


def main() -> None:
    """Make the commits that each line on stdin lists, and say with a line how they ended."""
    logging.getLogger("petfleet").addHandler(logging.NullHandler())
    logging.getLogger("petfleet").propagate = False
    disk._COARSEST_TIME = math.inf  # all files count as just written: the same calls each time
    _C.prctl(_PR_SET_PTRACER, ctypes.c_ulong(-1), 0, 0, 0)  # else Yama may let none but an ancestor trace it
    board = mmap.mmap(-1, 2)  # shared with the children: to note something there takes no system call
    print("ready", flush=True)
    for line in sys.stdin:
        ends = []
        for trial in json.loads(line):
            board[:] = bytes(2)
            pid = start_fork(functools.partial(_try, board, *trial))
            ends.append([pid, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), *map(bool, board[:])])
        print(json.dumps(ends), flush=True)


if __name__ == "__main__":
    main()
