"""What the tests of the command line share."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from petfleet import PetFleet, dumps
from petfleet_cli.__main__ import _run
from tests.cli.running import Done, put
from tests.conftest import pet

MIRA = pet("mira")
REX = pet("rex", 1_700_000_001, role="guard")


@pytest.fixture
def kennel(root: Path) -> Path:
    """A root with a fleet of two pets, one without any, and things that are no fleets."""
    put(root, "ada", dumps(PetFleet("ada", [MIRA, REX], "mira")))
    put(root, "bob", dumps(PetFleet("bob")))
    (root / "notes.txt").write_text("not a user\n")
    (root / "empty").mkdir(mode=0o700)
    root.chmod(0o700)
    return root


@pytest.fixture
def local_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Berlin's time, in this process and its children."""
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Done]]:
    """Runs a command within the test (a process costs a third of a second), and checks its exit code."""
    for name in ("PETFLEET_ROOT", "EDITOR", "VISUAL"):
        monkeypatch.delenv(name, raising=False)

    def run(*arguments: object, code: int = 0) -> Done:
        capsys.readouterr()
        words = [str(argument) for argument in arguments]
        monkeypatch.setattr("sys.argv", ["petfleet", *words])
        found = _run(words)
        done = Done(*capsys.readouterr())
        assert found == code, done
        return done

    yield run
    logging.getLogger("petfleet").setLevel(logging.NOTSET)  # commands silence the library
