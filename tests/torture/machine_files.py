"""Random walks on files: other programs change the files, and every call leaves its directory tidy."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections import Counter
from pathlib import Path
from typing import Final

import filelock
from anyio.from_thread import BlockingPortal
from hypothesis import strategies as st

from petfleet import FleetStore, PetFleet, dumps, fleet_path
from tests.support.backends import FileStorage
from tests.support.commits import leave_dead_writer
from tests.torture import model
from tests.torture.machine import ANY_STORE, ANY_USER, Machine, rule
from tests.torture.model import Broken, Call, Fleet
from tests.torture.performing import perform
from tests.torture.strategies import CALLS

_FOREIGN: Final = "notes.txt"  # someone's own file in a user's directory


class FileMachine(Machine):
    """Two stores on one root."""

    def __init__(self, directory: Path, loops: list[BlockingPortal], counted: Counter[str]) -> None:
        self.root = Path(tempfile.mkdtemp(dir=directory)) / "fleets"
        self.foreign: set[str] = set()  # who has a foreign file
        super().__init__(loops, FileStorage(self.root), counted)

    def teardown(self) -> None:
        """Leave no thread and no file behind."""
        super().teardown()
        shutil.rmtree(self.root.parent)

    @rule(user=ANY_USER)
    def link(self, user: str) -> None:
        """A link to another file replaces a fleet."""
        target = self.root.parent / f"{user}.toml"
        target.write_text(dumps(PetFleet(user)), encoding="utf-8")
        path = self._directory(user) / "fleet.toml"
        path.unlink(missing_ok=True)
        path.symlink_to(target)
        self.texts[user] = target.read_bytes()
        self.states[user] = Broken(overwritable=False)

    @rule(user=ANY_USER, what=st.sampled_from(["lock", "directory"]))
    def lose_more(self, user: str, what: str) -> None:
        """Someone removes a lock file, or a user's whole directory."""
        if what == "lock":
            Path(f"{self._path(user)}.lock").unlink(missing_ok=True)
            return
        shutil.rmtree(self._path(user).parent, ignore_errors=True)
        self.foreign.discard(user)
        self.states[user] = self.texts[user] = None

    @rule(user=ANY_USER)
    def leave_notes(self, user: str) -> None:
        """Someone keeps another file beside a fleet."""
        (self._directory(user) / _FOREIGN).write_text("mine", encoding="utf-8")
        self.foreign.add(user)

    @rule(user=ANY_USER)
    def die_writing(self, user: str) -> None:
        """A writer dies with its marker set and its temporary file half written."""
        self._lock_file(user)
        leave_dead_writer(self._path(user))

    @rule(at=ANY_STORE, user=ANY_USER, call=CALLS)
    def hold(self, at: int, user: str, call: Call) -> None:
        """While someone else holds the lock, an impatient call is out of time and has done nothing; peek answers."""
        impatient = FleetStore(self.root, lock_timeout=0)
        with open(self._lock_file(user), "rb") as held:
            assert filelock.lock_descriptor(held.fileno(), blocking=False)
            reply = self.loops[at].call(perform, impatient, user, call)
            filelock.unlock_descriptor(held.fileno())
        self.loops[at].call(impatient.aclose)
        _, expected = model.step(self.states[user], call)
        assert reply == (expected if isinstance(call, model.Peek) else "LockTimeoutError")
        self._look(user, self.states[user])

    def _call(self, at: int, user: str, call: Call) -> None:
        any_traces = {"fleet.toml", "fleet.toml.lock"} & self._entries(user)
        super()._call(at, user, call)
        if isinstance(call, model.Delete) or (any_traces and not isinstance(call, model.Peek)):
            self._look_around(user, call)

    def _look_around(self, user: str, call: Call) -> None:
        """Fail unless the user's directory holds what it should after a call."""
        found = self._entries(user)
        state = self.states[user]
        own = {"fleet.toml", "fleet.toml.lock"} if isinstance(state, Fleet) else set()
        foreign = {_FOREIGN} if user in self.foreign else set()
        if not isinstance(state, Broken):
            assert found == own | foreign, f"{call} of {user} has left {found}"
        if isinstance(call, model.Delete) and not found:
            assert not self._path(user).parent.exists()

    def _entries(self, user: str) -> set[str]:
        directory = self._path(user).parent
        return set(os.listdir(directory)) if directory.exists() else set()

    def _path(self, user: str) -> Path:
        return fleet_path(user, self.root)

    def _directory(self, user: str) -> Path:
        directory = self._path(user).parent
        directory.mkdir(parents=True, exist_ok=True)
        return directory

    def _lock_file(self, user: str) -> Path:
        path = self._directory(user) / "fleet.toml.lock"
        path.touch()
        return path

    def _put(self, user: str, text: bytes, *, by_renaming: bool) -> None:
        path = self._directory(user) / "fleet.toml"
        if path.is_symlink():
            path.unlink()
        if by_renaming:
            other = path.with_name("fleet.toml~")
            other.write_bytes(text)
            other.replace(path)
        else:
            path.write_bytes(text)
        self.texts[user] = text
