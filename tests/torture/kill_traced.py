"""Commits under strace: which system calls they make, and what is left when they are killed at each of them.

strace injects a signal at the N-th call, of each of the given kinds, of every process. So a child that is to die at the
k-th call that its commit makes of one kind first makes N - k harmless calls of that kind, and one strace does for all.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from petfleet._backends.files.backend import FileBackend
from tests.conftest import wait_until
from tests.support.commits import add, commit, leave_dead_writer
from tests.torture.kill_traced_commits import BEGIN, END, HARMLESS

_AT: Final = 80  # more than any process makes of one kind: a child in a commit, the parent in forking half as many
_MEMORY: Final = {"brk", "mmap", "munmap", "mremap", "madvise"}  # the interpreter's own


@dataclass(frozen=True, slots=True)
class Call:
    """One system call of a commit.

    Attributes:
        commit: which commit makes it.
        kind: its name.
        number: how many of that kind, with it, the child has made.
    """

    commit: str
    kind: str
    number: int


@dataclass(frozen=True, slots=True)
class End:
    """How a child ended, and whether its commit had begun by then, and returned."""

    pid: int
    code: int
    begun: bool
    returned: bool


class Traced:
    """A program that makes commits, each in a child of its own, with a strace attached to it."""

    def __init__(self, program: subprocess.Popen[str]) -> None:
        self._program = program

    def calls(self, directory: Path, name: str) -> list[Call]:
        """Return the system calls that a commit of that name makes, in order."""
        prepare(directory / name, name)
        trace = directory / f"{name}.trace"
        (end,) = self._run([(name, directory / name, "", 0)], "-o", str(trace))
        assert end.code == 0, f"not killed, {name} ended with {end}"
        text = trace.read_text(encoding="utf-8", errors="replace")
        made = [(match[1], match[2]) for match in re.finditer(rf"^{end.pid} +(\w+)\((.*)", text, re.MULTILINE)]
        begin, over = (next(i for i, (_, what) in enumerate(made) if mark in what) for mark in (BEGIN, END))
        so_far = Counter(kind for kind, _ in made[:begin])
        found = []
        for kind, _ in made[begin + 1 : over]:
            so_far[kind] += 1
            if kind not in _MEMORY:
                assert kind in HARMLESS, f"no harmless call is known like {kind}"
                found.append(Call(name, kind, so_far[kind]))
        return found

    def kill_at(self, places: Sequence[tuple[Call, Path]]) -> list[End]:
        """Have commits, each under a prepared root, killed with SIGKILL when they enter the system call given."""
        ends = []
        for begin in range(0, len(places), _AT // 2):
            some = places[begin : begin + _AT // 2]
            kinds = ",".join(sorted({call.kind for call, _ in some}))
            trials = [(call.commit, root, call.kind, _AT - call.number) for call, root in some]
            ends += self._run(trials, "-o", os.devnull, "-e", f"inject={kinds}:signal=KILL:when={_AT}")
        return ends

    def _run(self, trials: Sequence[tuple[str, Path, str, int]], *options: str) -> list[End]:
        program = self._program
        assert program.stdin is not None
        assert program.stdout is not None
        # Attached only now: a Python that starts makes more of these calls than all trials together.
        with subprocess.Popen(["strace", "-qq", "-f", "-p", str(program.pid), *options]) as strace:
            try:
                wait_until(lambda: _is_traced(program.pid) or strace.poll() is not None)
                assert strace.poll() is None, "strace could not attach; stderr says why"
                program.stdin.write(json.dumps([(name, str(root), *rest) for name, root, *rest in trials]) + "\n")
                program.stdin.flush()
                ends = program.stdout.readline()
            finally:
                strace.terminate()  # it detaches
        assert ends, f"the program ended with {program.wait()}; stderr says why"
        return [End(*fields) for fields in json.loads(ends)]


@contextmanager
def open_traced() -> Iterator[Traced]:
    """Start the program that makes the commits."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.torture.kill_traced_commits"],
        cwd=Path(__file__).parents[2],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as program:
        try:
            assert program.stdout is not None
            assert program.stdout.readline() == "ready\n"
            yield Traced(program)
        finally:
            program.kill()


def prepare(root: Path, name: str) -> None:
    """Leave user u as a commit of that name is to find it."""
    if name != "create":
        commit(FileBackend(str(root)), add("old"))
    if name == "recovery":
        leave_dead_writer(root / "u" / "fleet.toml")


def _is_traced(pid: int) -> bool:
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
    return re.search(r"^TracerPid:\t[1-9]", status, re.MULTILINE) is not None
