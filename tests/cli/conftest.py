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
from petfleet._cli.main import run as run_command
from petfleet._cli.report_format import ReportFormat
from tests.cli.running import Done, put
from tests.conftest import pet
from tests.support.backends import KINDS, FileStorage, ObjectStorage, Storage
from tests.support.seaweedfs import SeaweedFS

MIRA = pet("mira")
REX = pet("rex", 1_700_000_001, role="guard")


@pytest.fixture
def two_pets_root(root: Path) -> Path:
    """A root with a fleet of two pets, a fleet without pets, a file, and an empty directory."""
    put(root, "ada", dumps(PetFleet("ada", [MIRA, REX], "mira")))
    put(root, "bob", dumps(PetFleet("bob")))
    (root / "notes.txt").write_text("not a user\n")
    (root / "empty").mkdir()
    (root / "empty").chmod(0o700)
    root.chmod(0o700)
    return root


class CommandRoot(NamedTuple):
    """A root for commands: a directory or a bucket.

    Attributes:
        argument: what ``--root`` takes.
        storage: the fleets there.
        open: returns the root of another argument.
    """

    argument: str
    storage: Storage
    open: Callable[[str], CommandRoot]

    def put(self, user_id: str, text: str) -> str:
        """Write a user's fleet file as another program does, and return its path or URL."""
        if isinstance(self.storage, FileStorage):
            return str(put(Path(self.argument), user_id, text))
        self.storage.write(text.encode(), user_id)
        return self.storage.where(user_id)

    def text(self, user_id: str) -> str | None:
        """Return the text of a user's fleet file; None if there is no fleet."""
        found = self.storage.read(user_id)
        return None if found is None else found.decode()

    def fleet(self, user_id: str) -> PetFleet:
        """Return a user's fleet."""
        text = self.text(user_id)
        assert text is not None
        return loads(text)

    def fleets(self) -> dict[str, PetFleet]:
        """Return all fleets."""
        return {user_id: self.fleet(user_id) for user_id in self.storage.backend().users()}

    def beside(self, name: str) -> CommandRoot:
        """Return another root of this kind, which is empty."""
        return self.open(f"{self.argument}-{name}")


@pytest.fixture
def bucket(seaweedfs: SeaweedFS, object_storage: ObjectStorage, monkeypatch: pytest.MonkeyPatch) -> CommandRoot:
    """An empty prefix of a bucket. Commands reach it by environment variables, which child processes inherit."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", seaweedfs.endpoints[0])
    monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
    monkeypatch.setenv("AWS_SKIP_SIGNATURE", "true")

    def opened(url: str) -> CommandRoot:
        return CommandRoot(url, ObjectStorage(seaweedfs, url.removeprefix(f"s3://{seaweedfs.bucket}/")), opened)

    return opened(object_storage.url)


@pytest.fixture
def unused_port() -> int:
    """A port on which nothing listens."""
    with socket.socket() as tried:
        tried.bind(("127.0.0.1", 0))
        return int(tried.getsockname()[1])


@pytest.fixture(params=KINDS)
def any_root(request: pytest.FixtureRequest) -> CommandRoot:
    """The fleets of ``two_pets_root``: the test runs with a directory and with a bucket."""
    if request.param == "files":

        def opened(root: str) -> CommandRoot:
            return CommandRoot(root, FileStorage(Path(root)), opened)

        return opened(str(request.getfixturevalue("two_pets_root")))
    found: CommandRoot = request.getfixturevalue("bucket")
    found.put("ada", dumps(PetFleet("ada", [MIRA, REX], "mira")))
    found.put("bob", dumps(PetFleet("bob")))
    return found


@pytest.fixture
def local_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The time zone of Berlin, in this process and its children."""
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Done]]:
    """Run a command in this process, which saves a third of a second, and check its exit code."""
    for name in ("PETFLEET_ROOT", "EDITOR", "VISUAL"):
        monkeypatch.delenv(name, raising=False)

    def run(*arguments: object, code: int = 0) -> Done:
        capsys.readouterr()
        found = run_command([str(argument) for argument in arguments], ReportFormat())
        done = Done(*capsys.readouterr())
        assert found == code, done
        return done

    yield run
    logging.getLogger("petfleet").setLevel(logging.NOTSET)  # commands silence the library
