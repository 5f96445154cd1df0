"""Every block of docs/guide.md runs: the Python of each part as one program, the shell as an operator would type it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.test_readme import PROJECT, Block, blocks

GUIDE = (PROJECT / "docs" / "guide.md").read_text(encoding="utf-8")
PARTS = {part.partition("\n")[0]: blocks(part) for part in re.split(r"^## ", GUIDE, flags=re.MULTILINE)[1:]}
ROOT = "/srv/bot"  # what the guide calls the place of an operator's data


def program(part: list[Block]) -> str:
    """Return the Python blocks of a part as one program."""
    return "\n\n".join(block.code for block in part if block.language == "python")


def in_shell(part: list[Block], place: Path) -> str:
    """Return the shell blocks of a part as one script, over a directory of the test's; it installs nothing."""
    script = "\n".join(block.code for block in part if block.language == "sh").replace(ROOT, str(place))
    return f'set -eu\npip() {{ echo pip "$@"; }}\n{script}'


def run(command: list[str], place: Path, **variables: str) -> str:
    """Run a command in that directory, and return what it said; AssertionError if it failed."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "HOME": str(place), **variables}
    done = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_every_block_has_a_language_that_is_run() -> None:
    """There are no blocks but Python and shell, and each part that the page begins with has some."""
    assert {block.language for part in PARTS.values() for block in part} == {"python", "sh"}
    listed = re.findall(r"^- \[([^]]+)\]", GUIDE, re.MULTILINE)
    assert [name.replace("`", "") for name in listed] == [name.replace("`", "") for name in PARTS]
    assert all(PARTS.values())


@pytest.mark.parametrize("name", [name for name in PARTS if program(PARTS[name])])
def test_the_python_of_a_part_runs(name: str, tmp_path: Path) -> None:
    """As a program of its own in an empty directory; tests are run by pytest."""
    source = program(PARTS[name])
    if "def test_" in source:
        (tmp_path / "test_part.py").write_text(source, encoding="utf-8")
        said = run([sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "test_part.py"], tmp_path)
        assert f" {2 * source.count('async def test_')} passed" in said  # on asyncio and on trio
    else:
        (tmp_path / "part.py").write_text(source, encoding="utf-8")
        run([sys.executable, "part.py"], tmp_path)


@pytest.mark.parametrize("name", [name for name in PARTS if any(block.language == "sh" for block in PARTS[name])])
def test_the_shell_of_a_part_runs(name: str, tmp_path: Path) -> None:
    """With an operator's data in a directory of the test's, and a home of its own."""
    fleet = tmp_path / "fleets" / "user-1001" / "fleet.toml"
    fleet.parent.mkdir(parents=True)
    fleet.write_text('user_id = "user-1001"\npets = []\n')
    fleet.chmod(0o644)
    said = run(["bash", "-c", in_shell(PARTS[name], tmp_path)], tmp_path)
    assert "pip install" in said
    assert fleet.stat().st_mode & 0o777 == 0o600
