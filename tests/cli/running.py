"""How the tests run the command line: as a real process, on a terminal, or within the test."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pexpect

COMMAND = (sys.executable, "-W", "error", "-m", "petfleet")
SECONDS = 60


class Done(NamedTuple):
    """What a command printed."""

    out: str
    err: str

    @property
    def values(self) -> list[Any]:
        """What it printed as JSON, one value a line."""
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def value(self) -> Any:
        """The one value that it printed."""
        (value,) = self.values
        return value


def environment(**changes: str) -> dict[str, str]:
    """Return the environment without variables that change the command line, and with these changes."""
    kept = {
        k: v for k, v in os.environ.items() if k not in ("PETFLEET_ROOT", "EDITOR", "VISUAL", "COLUMNS", "NO_COLOR")
    }
    return {**kept, "LC_ALL": "C.UTF-8", "TERM": "xterm-256color", **changes}


def petfleet(*arguments: object, code: int = 0, given: str = "", **changes: str) -> Done:
    """Run a command as a process without a terminal, and check its exit code."""
    done = subprocess.run(
        [*COMMAND, *map(str, arguments)],
        input=given,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=SECONDS,
        env=environment(**changes),
    )
    assert "Traceback" not in done.stderr, done.stderr
    assert done.returncode == code, done
    return Done(done.stdout, done.stderr)


@contextmanager
def terminal(*arguments: object, columns: int = 100, **changes: str) -> Iterator[pexpect.spawn[str]]:
    """Run a command on its own terminal; it is killed at the end of the block if it still runs."""
    session = pexpect.spawn(
        COMMAND[0],
        [*COMMAND[1:], *map(str, arguments)],
        encoding="utf-8",
        dimensions=(40, columns),
        timeout=SECONDS,
        maxread=65536,
        searchwindowsize=4000,  # else it looks through all that was printed, again and again
        env=environment(**changes),
    )
    try:
        yield session
    finally:
        session.close(force=True)


def rest(session: pexpect.spawn[str]) -> tuple[str, int | None]:
    """Return what a command on a terminal prints until it ends, and its exit code."""
    session.expect(pexpect.EOF)
    printed = str(session.before)
    session.close()
    return printed, session.exitstatus


def put(root: Path, user_id: str, text: str) -> Path:
    """Write a user's fleet file, private like petfleet's own, and return its path."""
    directory = root / user_id
    directory.mkdir(parents=True, exist_ok=True)
    directory.chmod(0o700)
    path = directory / "fleet.toml"
    path.write_text(text)
    path.chmod(0o600)
    return path


ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\r")


def visible_lines(text: str) -> list[str]:
    """Return the printed lines without escape sequences."""
    return ESCAPES.sub("", text).splitlines()


def records(path: Path) -> dict[str, str]:
    """Return the TOML text of each user in an export."""
    found = [json.loads(line) for line in path.read_text().splitlines()]
    assert all(list(record) == ["user_id", "toml"] for record in found)
    return {record["user_id"]: record["toml"] for record in found}
