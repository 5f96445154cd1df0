"""What the tests of the command line share."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from petfleet import PetFleet, dumps, loads
from petfleet.cli.main import _run
from tests.cli.running import Done, put
from tests.conftest import pet
from tests.support.backends import KINDS, FileHome, Home, ObjectHome
from tests.support.seaweedfs import Weed

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


class Place(NamedTuple):
    """Where a command finds fleets: what it is told as its root, the home there, and how to have a place beside it."""

    root: str
    home: Home
    open: Callable[[str], Place]

    def put(self, user_id: str, text: str) -> str:
        """Put a text in the place of a user's fleet, as another program does, and return its path or URL."""
        if isinstance(self.home, FileHome):
            return str(put(Path(self.root), user_id, text))
        self.home.write(text.encode(), user_id)
        return self.home.where(user_id)

    def text(self, user_id: str) -> str | None:
        """Return what stands there of a user; None if no fleet does."""
        found = self.home.read(user_id)
        return None if found is None else found.decode()

    def fleet(self, user_id: str) -> PetFleet:
        """Return a user's fleet."""
        text = self.text(user_id)
        assert text is not None
        return loads(text)

    def fleets(self) -> dict[str, PetFleet]:
        """Return all fleets."""
        return {user_id: self.fleet(user_id) for user_id in self.home.backend().users()}

    def beside(self, name: str) -> Place:
        """Return another place of this kind, with nothing in it."""
        return self.open(f"{self.root}-{name}")


@pytest.fixture
def bucket(weed: Weed, object_home: ObjectHome, monkeypatch: pytest.MonkeyPatch) -> Place:
    """An empty prefix of a bucket, which commands, here and in children, reach by what the environment says."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", weed.endpoints[0])
    monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
    monkeypatch.setenv("AWS_SKIP_SIGNATURE", "true")

    def opened(url: str) -> Place:
        return Place(url, ObjectHome(weed, url.removeprefix(f"s3://{weed.bucket}/")), opened)

    return opened(object_home.url)


@pytest.fixture
def unused_port() -> int:
    """A port on which nothing listens."""
    with socket.socket() as tried:
        tried.bind(("127.0.0.1", 0))
        return int(tried.getsockname()[1])


@pytest.fixture(params=KINDS)
def place(request: pytest.FixtureRequest) -> Place:
    """The same fleets of ``kennel`` in a directory, and in a bucket."""
    if request.param == "files":

        def opened(root: str) -> Place:
            return Place(root, FileHome(Path(root)), opened)

        return opened(str(request.getfixturevalue("kennel")))
    found: Place = request.getfixturevalue("bucket")
    found.put("ada", dumps(PetFleet("ada", [MIRA, REX], "mira")))
    found.put("bob", dumps(PetFleet("bob")))
    return found


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
