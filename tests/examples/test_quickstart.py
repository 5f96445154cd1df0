"""The quickstart runs as a visitor runs it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from petfleet import fleet_path

EXAMPLES = Path(__file__).parent.parent.parent / "examples"


def run(script: str, *arguments: str) -> str:
    """Run an example to its end, and return what it printed."""
    command = [sys.executable, str(EXAMPLES / script), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    return done.stdout


def test_quickstart_leaves_nothing_behind_without_a_root(temporary: Path) -> None:
    """It prints the fleet file, and its temporary directory is gone."""
    printed = run("quickstart.py")
    assert printed.startswith('user-alpha: 1 pet, mira is active\n\nuser_id = "user-alpha"\n')
    assert list(temporary.iterdir()) == []


def test_quickstart_may_run_again_in_the_same_root(tmp_path: Path) -> None:
    """The second run finds the pet of the first; the handle names the manifest that is there."""
    run("quickstart.py", str(tmp_path))
    assert run("quickstart.py", str(tmp_path)).startswith("mira is still there from the last run\n")
    manifest = tmp_path / "pets" / "mira.toml"
    assert manifest.read_text() == 'name = "Mira"\ngreeting = "Good to see you!"\n'
    assert f'manifest_path = "{manifest}"' in fleet_path("user-alpha", tmp_path / "fleets").read_text()
