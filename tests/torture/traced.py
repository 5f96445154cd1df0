"""I/O faults made by strace: the system calls of a real process fail (this module is also its program).

strace is told to fail the _WHEN-th call of each kind that a process makes. A process for each trial makes so many
harmless calls of one kind that the k-th of the operation is that one, for k = 1, 2, ... until the operation runs
through.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import itertools
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final

from tests.conftest import wait_until
from tests.support.mutate import environment
from tests.torture import failing
from tests.torture.operations import OPERATIONS, Operation
from tests.torture.trial import Trial, finish

# The kinds of calls, and what each may be called by the kernel.
KINDS: Final = {
    "open": ("open", "openat"),
    "close": ("close",),
    "read": ("read",),
    "write": ("write",),
    "lseek": ("lseek",),
    "fsync": ("fsync",),
    "flock": ("flock",),
    "lstat": ("lstat", "stat", "newfstatat"),
    "fstat": ("fstat",),
    "getdents": ("getdents64",),
    "rename": ("rename", "renameat", "renameat2"),
    "unlink": ("unlink", "unlinkat"),
    "mkdir": ("mkdir", "mkdirat"),
    "rmdir": ("rmdir",),
    "fchmod": ("fchmod",),
    "fchown": ("fchown",),
    "chown": ("chown", "lchown", "fchownat"),
}
# Of these the manual says that a signal may interrupt them; and close(), which strace would keep from happening.
RESTARTED: Final = ("open", "openat", "read", "write", "fsync", "flock")
_SET_PTRACER: Final = 0x59616D61
NAMES: Final = tuple(operation.name for operation in OPERATIONS)
_WHEN: Final = 100  # more than are made to prepare and to carry out one operation
_SECONDS: Final = 60  # for one trial
_FAILED, _NOT_MADE, _DONE, _RAN_THROUGH = range(200, 204)  # how a trial's process ends, if not with a number of calls


def sweep(directory: Path, error: int, operations: Iterable[str] = NAMES) -> int:
    """Fail every system call of these operations, and return how many trials that took.

    Raises:
        AssertionError: something was not as promised.
    """
    how = f"error={errno.errorcode[error]}:when={_WHEN}"
    names = [f"?{name}" for names in KINDS.values() for name in names]
    expressions = [f"trace={','.join(names)}", *(f"inject={name}:{how}" for name in names)]
    return _trace(directory, error, operations, expressions)


def interrupt(directory: Path, operations: Iterable[str] = NAMES) -> int:
    """Interrupt every call that can be, and return how many that were; each is to be made again, and to succeed."""
    # Every other one, so that an interrupted call succeeds when it is made again.
    injections = [f"inject=?{name}:error=EINTR:when=1+2" for name in RESTARTED]
    _trace(directory, 0, operations, ["trace=%file,%desc", *injections])
    return _log(directory).count("(INJECTED)")


def calls_made(directory: Path, operations: Iterable[str] = NAMES) -> set[str]:
    """Return the system calls on files that these operations make."""
    _trace(directory, 0, operations, ["trace=%file,%desc"])
    lines = (line.split(maxsplit=1)[1] for line in _log(directory).splitlines())
    return {line.partition("(")[0] for line in lines if line[:1].isalpha()}


def _log(directory: Path) -> str:
    return (directory / "trace").read_text(encoding="utf-8", errors="replace")


def _trace(directory: Path, error: int, operations: Iterable[str], expressions: list[str]) -> int:
    """Have the operations tried in a process that strace looks at, and return what it counted."""
    # Without coverage, which would cost more than the trials: they are forked by the hundred.
    arguments = [sys.executable, "-m", __name__, str(directory), str(error), *operations]
    with subprocess.Popen(
        arguments,
        cwd=Path(__file__).parents[2],
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as program:
        assert program.stdin is not None
        assert program.stdout is not None
        try:
            program.stdout.readline()  # it has begun, and made the calls that only a beginning makes
            options = [option for expression in expressions for option in ("-e", expression)]
            strace = ["strace", "-f", "-qqq", "-o", str(directory / "trace"), "-e", "signal=none", *options]
            with subprocess.Popen([*strace, "-p", str(program.pid)]) as tracer:
                try:
                    wait_until(lambda: tracer.poll() is not None or _is_traced(program.pid))
                    found, errors = program.communicate("go\n")
                    tracer.wait()  # its log is complete then
                finally:
                    tracer.terminate()  # what it still looked at goes on, and is killed below
        finally:
            with suppress(ProcessLookupError):
                os.killpg(program.pid, signal.SIGKILL)
    assert program.returncode == 0, errors
    return int(found)


def _is_traced(pid: int) -> bool:
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return "\nTracerPid:\t0\n" not in status


# --- the program -----------------------------------------------------------------------------------------------------


def main(directory: str, error: str, *names: str) -> None:
    """Fail every call of these operations with an errno, or carry them out once (0); print the number of trials."""
    trials = _Trials(Path(directory), int(error))
    operations = [operation for operation in OPERATIONS if operation.name in names]
    for operation in operations:
        trials.whole(operation)
    ctypes.CDLL(None).prctl(_SET_PTRACER, -1)  # so that anyone may trace it, where only parents may
    print("ready", flush=True)
    sys.stdin.readline()
    print(sum(trials.sweep(operation) if trials.error else trials.whole(operation) for operation in operations))


class _Trials:
    """The trials, each in a process of its own: counting begins anew in each."""

    def __init__(self, directory: Path, error: int) -> None:
        self.error = error
        self._roots = (directory / f"fleets{number}" for number in itertools.count())
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._slash = os.open("/", os.O_RDONLY)
        self._no_room = ctypes.c_char()
        null = os.open(os.devnull, os.O_RDWR)
        nowhere = "/nonexistent"
        # Calls of each kind that do nothing.
        self._harmless: dict[str, Callable[[], object]] = {
            "open": lambda: os.open(nowhere, os.O_RDONLY),
            "close": lambda: os.close(-1),
            "read": lambda: os.read(null, 1),
            "write": lambda: os.write(null, b"x"),
            "lseek": lambda: os.lseek(null, 0, os.SEEK_SET),
            "fsync": lambda: os.fsync(null),
            "flock": lambda: failing.flock(null, fcntl.LOCK_UN),
            "lstat": lambda: os.lstat(nowhere),
            "fstat": lambda: os.fstat(null),
            "getdents": self._read_no_entry,
            "rename": lambda: os.rename(nowhere, nowhere),
            "unlink": lambda: os.unlink(nowhere),
            "mkdir": lambda: os.mkdir("/"),
            "rmdir": lambda: os.rmdir(nowhere),
            "fchmod": lambda: os.chmod(-1, 0),
            "fchown": lambda: os.chown(-1, 0, 0),
            "chown": lambda: os.chown(nowhere, 0, 0),
        }

    def _read_no_entry(self) -> None:
        # Not with scandir(), which makes other calls too.
        if self._libc.getdents64(self._slash, ctypes.byref(self._no_room), 1) < 0:
            raise OSError(ctypes.get_errno(), "getdents64")

    def whole(self, operation: Operation) -> int:
        """Carry an operation out, which must succeed, and return 1 for it."""
        root = next(self._roots)

        def trial() -> int:
            with Trial(operation, root) as trial:
                trial.system.syncs = True
                trial.attempt(operation, {})
                assert not trial.failed
            return _DONE

        _in_child(trial)
        return 1

    def sweep(self, operation: Operation) -> int:
        """Fail each call of each kind that an operation makes, and return how many these were."""
        return sum(self._sweep(operation, kind) for kind in KINDS)

    def _sweep(self, operation: Operation, kind: str) -> int:
        before = _in_child(partial(self._calls_to_prepare, operation, next(self._roots), kind))
        if before == _NOT_MADE:
            return 0
        for tried in itertools.count():
            harmless = _WHEN - before - tried - 1
            trial = partial(self._fail, operation, next(self._roots), kind, tried + 1, harmless)
            if _in_child(trial) == _RAN_THROUGH:
                return tried
        raise AssertionError

    def _calls_to_prepare(self, operation: Operation, root: Path, kind: str) -> int:
        """Return how many calls of that kind are made before the operation; _NOT_MADE if this system has none."""
        with Trial(operation, root):
            for made in range(_WHEN):
                if self._is_failed(kind):
                    return _WHEN - made - 1
        return _NOT_MADE

    def _fail(self, operation: Operation, root: Path, kind: str, number: int, harmless: int) -> int:
        """Carry out an operation whose call of that kind and number fails."""
        reached = True

        def run(call: Awaitable[object]) -> object:
            nonlocal reached
            assert not any(self._is_failed(kind) for _ in range(harmless)), f"{kind} failed before its time"
            try:
                return finish(call)
            finally:
                reached = not any(self._is_failed(kind) for _ in range(number))

        with Trial(operation, root) as trial:
            trial.run = run
            trial.system.syncs = True
            trial.may_leak = kind == "close"  # strace keeps it from happening
            trial.attempt(operation, {})
            trial.run = finish
            trial.settle(set())
        return _DONE if reached else _RAN_THROUGH

    def _is_failed(self, kind: str) -> bool:
        """Make a call of that kind that does nothing; True if it failed as strace has it fail."""
        try:
            self._harmless[kind]()
        except OSError as error:
            return error.errno == self.error
        return False


def _in_child(trial: Callable[[], int]) -> int:
    """Return what a trial returns in a process of its own; end the program if it fails."""
    pid = os.fork()
    if pid == 0:
        code = _FAILED
        try:
            signal.alarm(_SECONDS)
            code = trial()
        except BaseException:  # noqa: BLE001 - nothing may escape into the copy of the caller
            sys.excepthook(*sys.exc_info())
        finally:
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if code not in (*range(_WHEN), _NOT_MADE, _DONE, _RAN_THROUGH):
        sys.exit(f"a trial ended with {code}")
    return code


if __name__ == "__main__":
    main(*sys.argv[1:])
