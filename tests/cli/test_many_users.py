"""The command line on a root of 30,000 users: flat memory, and a terminal that shows how far it is."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from petfleet import PetFleet, dumps
from tests.cli.running import COMMAND, environment, rest, terminal
from tests.conftest import pet

FEW, MANY = 2_000, 30_000
MAX_MORE = 10_000  # KiB of memory that many users may take more than few: a buffer here or there

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="ru_maxrss is in KiB only there"),
    pytest.mark.timeout(300),
]


@pytest.fixture(scope="module")
def roots(quick_directory: Path) -> dict[int, Path]:
    """A root of few users, and a root of many."""
    return {count: root_of(quick_directory / f"{count}", count) for count in (FEW, MANY)}


def root_of(root: Path, count: int) -> Path:
    root.mkdir(mode=0o700)
    for number in range(count):
        directory = f"{root}/user-{number:06}"
        os.mkdir(directory, 0o700)
        with open(f"{directory}/fleet.toml", "w", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
            file.write(dumps(PetFleet(f"user-{number:06}", [pet(f"pet-{number}", number)], f"pet-{number}")))
    return root


# A process's memory is at least what the one had that started it: this one has little.
MEASURE = """
import os, sys
process = os.spawnv(os.P_NOWAIT, sys.argv[2], sys.argv[2:])
_, status, usage = os.wait4(process, 0)
with open(sys.argv[1], "w") as file:
    file.write(str(usage.ru_maxrss))
sys.exit(os.waitstatus_to_exitcode(status))
"""


class Ran(NamedTuple):
    """The result of a command."""

    lines: int  # on standard output
    seen: str  # on standard error, which was a terminal
    memory: int  # the most it had, in KiB


def run_on_terminal(directory: Path, *arguments: str) -> Ran:
    """Run a command to its end."""
    # Without coverage's hook: what it notes down would count.
    plain = {name: value for name, value in environment().items() if not name.startswith("COVERAGE_")}
    outer, inner = os.openpty()
    seen = bytearray()

    def read() -> None:
        try:
            while data := os.read(outer, 65536):
                seen.extend(data)
        except OSError:
            pass  # Linux's way to say that no one has it open any more

    memory = directory / "memory"
    command = [sys.executable, "-c", MEASURE, str(memory), *COMMAND, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=inner, env=plain) as process:
        os.close(inner)
        reader = threading.Thread(target=read)
        reader.start()
        assert process.stdout is not None
        lines = sum(1 for _ in process.stdout)
        process.wait()
        reader.join()
    os.close(outer)
    assert process.returncode == 0, seen.decode()
    return Ran(lines, seen.decode(), int(memory.read_text()))


@pytest.mark.parametrize(
    ("command", "what", "lines"),
    [
        (("list",), "users", lambda count: 1 + count),
        (("check", "--json"), "checked", lambda count: 2),
        (("export", "-"), "exported", lambda count: count),
    ],
)
def test_memory_is_flat_and_progress_is_shown(
    roots: dict[int, Path], tmp_path: Path, command: tuple[str, ...], what: str, lines: Callable[[int], int]
) -> None:
    """Every user is printed; a bar shows how many are done, and is removed in the end."""
    memory = {}
    for count, root in roots.items():
        done = run_on_terminal(tmp_path, *command, "--root", str(root))
        assert done.lines == lines(count)
        memory[count] = done.memory
        bars = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", done.seen)
        shown = [int(number) for number in re.findall(rf"{what}\D*(\d+)/{count}", bars)]
        assert shown == sorted(shown)
        assert shown[-1] == count
        assert "\x1b[2K" in done.seen.rpartition(f"/{count}")[2]
    assert len(set(shown)) > 10
    print(f"{' '.join(command)}: {memory} KiB")
    assert memory[MANY] - memory[FEW] <= MAX_MORE


def test_lines_go_above_the_bar(roots: dict[int, Path]) -> None:
    """All lines are visible where the bar is on the same terminal."""
    with terminal("list", "--root", roots[FEW]) as session:
        printed, code = rest(session)
    assert code == 0
    assert set(re.findall(r"user-\d{6}", printed)) == set(os.listdir(roots[FEW]))
    assert f"/{FEW}" in printed
    assert f"{FEW:,} users" in printed.splitlines()[-1]


def test_an_import_of_many(roots: dict[int, Path], quick_directory: Path) -> None:
    """It saves all exported fleets, in flat memory."""
    file = quick_directory / "few.jsonl"
    run_on_terminal(quick_directory, "export", str(file), "--root", str(roots[FEW]))
    with file.open() as exported:
        assert {json.loads(line)["user_id"] for line in exported} == set(os.listdir(roots[FEW]))
    run_on_terminal(quick_directory, "import", str(file), "--root", str(quick_directory / "copy"))
    assert set(os.listdir(quick_directory / "copy")) == set(os.listdir(roots[FEW]))
