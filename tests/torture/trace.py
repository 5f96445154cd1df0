"""Records a program's system calls on files with strace, as operations on paths.

Everything that names a path under the recorded directory, or a descriptor of one, is either understood or known to
change nothing; any other call is an error, so that no way of writing goes unseen.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

CALLS: Final = "%file,%desc,sync,io_uring_setup"
_COMMAND: Final = (
    "strace",
    "-f",
    "--seccomp-bpf",
    "-y",
    "-v",
    "-xx",
    "-s",
    "10000000",
    "-e",
    "signal=none",
    "-e",
    f"trace={CALLS}",
)
_RAW: Final = ("-e", "raw=read,getdents64")  # all that the program imports would be in the trace
_READ: Final = " read(0x"
_UNSEEN: Final = re.compile(r"\d+ +(sync|io_uring_setup)\(")  # they may change any file, and name none
_HARMLESS: Final = frozenset(
    (
        *("access", "close", "execve", "faccessat", "faccessat2", "flock", "fstat", "getcwd", "lseek", "lstat"),
        *("newfstatat", "readlink", "readlinkat", "stat", "statx"),
    )
)
_SECONDS: Final = 100
_LINE: Final = re.compile(r"(\d+) +(\w+)\((.*)\) += (0x[0-9a-f]+|-?\d+|\?)(.*)")
_RESUMED: Final = re.compile(r"(\d+) +<\.\.\. (\w+) resumed>(.*)")
_UNFINISHED: Final = " <unfinished ...>"
_STATUS: Final = re.compile(r"st_ino=(\d+), .*st_mtime=(-?\d+) .*st_mtime_nsec=(\d+)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Open:
    """A file or directory was opened; later operations name it by ``handle``."""

    handle: int
    path: str
    creates: bool
    truncates: bool
    mode: int


@dataclass(frozen=True, slots=True)
class Write:
    """Bytes were written into an open file."""

    handle: int
    offset: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Truncate:
    """An open file got another length."""

    handle: int
    size: int


@dataclass(frozen=True, slots=True)
class SetMode:
    """A file got other permissions, by its name or, where that is empty, by its handle."""

    path: str
    handle: int
    mode: int


@dataclass(frozen=True, slots=True)
class Sync:
    """An open file or directory was synced: what had ended before line ``began`` of the trace is durable."""

    handle: int
    began: int


@dataclass(frozen=True, slots=True)
class Status:
    """The number and the time of change that the program was told, by name or, where that is empty, by handle."""

    path: str
    handle: int
    number: int
    changed_ns: int


@dataclass(frozen=True, slots=True)
class MakeDirectory:
    """A directory was made."""

    path: str


@dataclass(frozen=True, slots=True)
class Remove:
    """A name was removed, that of a file or of an empty directory."""

    path: str


@dataclass(frozen=True, slots=True)
class Rename:
    """A file got another name, and what had that name before lost it."""

    source: str
    target: str


@dataclass(frozen=True, slots=True)
class Label:
    """The program has written a label."""

    text: str


class Line(NamedTuple):
    """A system call as strace shows it, from the line of its beginning to that of its end."""

    began: int
    ended: int
    text: str


Operation = Open | Write | Truncate | SetMode | Sync | Status | MakeDirectory | Remove | Rename | Label
Trace = list[tuple[int, Operation]]


def record(program: list[str], text: str, environment: Mapping[str, str], directory: Path) -> list[Line]:
    """Run a Python program that reads ``text`` from stdin in the project's directory, and return its system calls.

    Args:
        program: arguments for the interpreter.
        text: what stands on its stdin.
        environment: the whole environment that it gets.
        directory: left out are calls on what is not below it, as far as they name it.
    """
    out = directory / "strace"
    done = subprocess.run(
        [*_COMMAND, *_RAW, "-o", str(out), sys.executable, *program],
        input=text,
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        cwd=Path(__file__).parent.parent.parent,
        env=environment,
    )
    assert done.returncode == 0, f"the recorded program failed:\n{done.stdout}{done.stderr}"
    lines = join(out.read_text(encoding="ascii").splitlines())
    below = _hexadecimal(str(directory))
    return [line for line in lines if below in line.text or _READ in line.text]


def join(lines: list[str]) -> list[Line]:
    """Return each system call whole, of those that strace saw begin and end apart."""
    begun: dict[str, tuple[int, str]] = {}
    joined = []
    for number, line in enumerate(lines):
        assert not _UNSEEN.match(line), f"not in the model: {line}"
        if line.endswith(_UNFINISHED):
            begun[line.split(maxsplit=1)[0]] = number, line.removesuffix(_UNFINISHED)
        elif resumed := _RESUMED.fullmatch(line):
            began, start = begun.pop(resumed[1])
            joined.append(Line(began, number, start + resumed[3]))
        else:
            joined.append(Line(number, number, line))
    return joined


def read(lines: list[Line], directory: str, labels: str) -> Trace:
    """Return the operations on a directory that these system calls are, each with the line of its end.

    Their paths are relative to the directory; it has the empty path itself. A label counts from the beginning of its
    write, and all else only from its end.

    Args:
        lines: what :func:`record` returned.
        directory: what is watched.
        labels: the file to which the program appends labels, each with one write.
    """
    reader = _Reader(directory, labels)
    # What reads from a descriptor does not name it: of that only what is done in between matters.
    ours = [number for number, line in enumerate(lines) if reader.watches(line.text)]
    for line in lines[ours[0] : ours[-1] + 1] if ours else []:
        reader.take(line)
    return sorted(reader.trace, key=lambda entry: entry[0])


class _Reader:
    """Follows descriptors and their offsets through a trace.

    One table does for all processes and threads: only one process at a time works under the directory.
    """

    def __init__(self, directory: str, labels: str) -> None:
        self.trace: Trace = []
        self._directory = directory
        self._labels = _hexadecimal(labels)
        self._watched = re.compile(re.escape(_hexadecimal(directory)) + r'(\\x2f|["<>])|' + re.escape(self._labels))
        self._handles: dict[int, int] = {}  # by descriptor; each open makes a new one
        self._offsets: dict[int, int] = {}  # by handle

    def watches(self, line: str) -> bool:
        """Return whether a system call names something that is watched."""
        # What is written may name any path.
        return self._watched.search(line.partition('"')[0] if " write(" in line else line) is not None

    def take(self, whole: Line) -> None:
        """Understand one system call."""
        began, ended, line = whole
        if _READ in line:
            self._read(line)
            return
        if not self.watches(line):
            return
        found = _LINE.fullmatch(line)
        assert found is not None, f"not a system call: {line}"
        if found[4] in ("-1", "?"):
            return  # it failed, or its process ended in it
        call, arguments, result = found[2], found[3].split(", "), int(found[4], 0)
        if call in ("write", "openat", "open") and self._labels in line:
            if call == "write":
                self.trace.append((began, Label(_text(arguments[1]).decode())))
            return
        operation = self._operation(call, arguments, result, began)
        if operation is not None:
            self.trace.append((ended, operation))
        else:
            assert call in _HARMLESS, f"not in the model: {line}"

    def _operation(self, call: str, arguments: list[str], result: int, began: int) -> Operation | None:
        arguments = [argument for argument in arguments if not argument.startswith("AT_FDCWD")]
        match call, arguments:
            case "open" | "openat", [path, flags, *mode]:
                return self._open(self._path(path), set(flags.split("|")), int(mode[0], 8) if mode else 0, result)
            case "write", [descriptor, data, _]:
                return self._write(self._handle(descriptor), _text(data)[:result])
            case "lseek", [descriptor, _, _]:
                self._offsets[self._handle(descriptor)] = result
            case "ftruncate", [descriptor, size]:
                return Truncate(self._handle(descriptor), int(size))
            case "fchmod", [descriptor, mode]:
                return SetMode("", self._handle(descriptor), int(mode, 8))
            case "chmod" | "fchmodat" | "fchmodat2", [path, mode, *_]:
                return SetMode(self._path(path), -1, int(mode, 8))
            case "fsync" | "fdatasync", [descriptor]:
                return Sync(self._handle(descriptor), began)
            case "mkdir" | "mkdirat", [path, _]:
                return MakeDirectory(self._path(path))
            case ("unlink" | "rmdir", [path]) | ("unlinkat", [path, _]):
                return Remove(self._path(path))
            case "rename" | "renameat" | "renameat2", [source, target, *rest] if rest in ([], ["0"]):
                return Rename(self._path(source), self._path(target))
            case "fstat" | "newfstatat" | "lstat" | "stat", [where, *rest]:
                return self._status(where, ", ".join(rest))
        return None

    def _open(self, path: str, flags: set[str], mode: int, descriptor: int) -> Open:
        unknown = flags & {"O_APPEND", "O_TMPFILE", "O_SYNC", "O_DSYNC"}
        assert not unknown, f"not in the model: {path} opened with {unknown}"
        handle = len(self.trace)
        self._handles[descriptor] = handle
        self._offsets[handle] = 0
        return Open(handle, path, "O_CREAT" in flags, "O_TRUNC" in flags, mode)

    def _write(self, handle: int, data: bytes) -> Write:
        offset = self._offsets[handle]
        self._offsets[handle] += len(data)
        return Write(handle, offset, data)

    def _read(self, line: str) -> None:
        found = _LINE.fullmatch(line)
        assert found is not None
        handle = self._handles.get(int(found[3].split(",")[0], 16))
        # Another file may have that number now; it is then not under the directory, and its offset is not asked for.
        if handle is not None and found[4] not in ("-1", "?"):
            self._offsets[handle] += int(found[4], 16)

    def _status(self, where: str, rest: str) -> Status | None:
        found = _STATUS.search(rest)
        if found is None:
            return None
        told = int(found[1]), int(found[2]) * 10**9 + int(found[3])
        if where.startswith('"'):
            return Status(self._path(where), -1, *told)
        return Status("", self._handle(where), *told)

    def _handle(self, descriptor: str) -> int:
        return self._handles[int(descriptor.partition("<")[0])]

    def _path(self, quoted: str) -> str:
        path = os.fsdecode(_text(quoted))
        below = path.removeprefix(self._directory)
        assert below != path, f"not in the model: the path {path}"
        return below.removeprefix("/")


def _text(quoted: str) -> bytes:
    assert quoted[0] == quoted[-1] == '"', f"cut short: {quoted[:80]}"
    return bytes.fromhex(quoted[1:-1].replace("\\x", ""))


def _hexadecimal(text: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in os.fsencode(text))
