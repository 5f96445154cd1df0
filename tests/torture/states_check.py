"""What petfleet promises about a crash: which fleets a user may have after it, and how a state is checked."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

from petfleet import FleetFormatError, PetFleet, fleet_path, loads
from petfleet._backends.files import disk
from petfleet._backends.files.backend import FileBackend
from petfleet._commit.change import Change, Kind
from tests.support.commits import attempt
from tests.torture.disk_state import Tree, put
from tests.torture.states_child import OLD_MODE, REFUSED, ROOT, Call, after


class Expectation(NamedTuple):
    """What one user may have after a crash.

    Attributes:
        fleets: the fleets that may be loaded; None: no fleet.
        torn: anything may, since another program wrote without syncing, and no call has yet returned what it wrote.
        gone: a delete has returned, so nothing of the user may be left.
        modes: those that the fleet file may have.
    """

    fleets: frozenset[PetFleet | None] = frozenset([None])
    torn: bool = False
    gone: bool = False
    modes: frozenset[int] = frozenset([0o600])


class Promise:
    """Follows what a program says, and tells what each user may have if the power goes now."""

    def __init__(self, settled: Mapping[str, Expectation]) -> None:
        self._settled = dict(settled)
        self._in_flight: dict[str, list[Call]] = {}
        self._foreign: set[str] = set()  # in the middle of the old program's writing

    def hear(self, label: str) -> str | None:
        """Take what the program says, and return the user whose last call has returned with that.

        Raises:
            AssertionError: no order of the calls explains it.
        """
        what, *rest = json.loads(label)
        match what, rest:
            case "begun", [[user, call, name]]:
                self._in_flight.setdefault(user, []).append((user, call, name))
                if call not in ("load", "delete"):
                    self._settle(user, gone=False)
            case "ended", [[user, call, name], said]:
                self._end((user, call, name), said)
                return None if self._in_flight[user] else str(user)
            case "died", [[user, call, name]]:
                # It may have happened, but it will not happen later.
                now = self.expect()[user]
                modes = now.modes | {0o600} if call == "delete" else now.modes
                self._settle(user, fleets=now.fleets, modes=modes)
                self._in_flight[user].remove((user, call, name))
            case _:
                [user, text] = rest
                assert what == "old program", label
                self._settle(user, fleets=frozenset([loads(text)]), torn=True, gone=False, modes=frozenset([OLD_MODE]))
        return None

    def expect(self) -> dict[str, Expectation]:
        """Return what each user may have after a crash at this moment."""
        return {user: self._now(user) for user in self._settled.keys() | self._in_flight.keys()}

    def _now(self, user: str) -> Expectation:
        settled = self._settled.get(user, Expectation())
        possible = layer = settled.fleets
        for call in self._in_flight.get(user, []):  # those of one user happen in their order
            layer = frozenset(after(call, fleet) for fleet in layer)
            possible |= layer
        # Where there may be none, the next file may be a new one.
        return settled._replace(fleets=possible, modes=settled.modes | ({0o600} if None in possible else frozenset()))

    def _end(self, call: Call, said: str | None) -> None:
        user = call[0]
        expected = self._now(user)
        self._in_flight[user].remove(call)
        if said == REFUSED:
            return
        answer = None if said is None else loads(said)
        # Where there is no fleet, a load returns an empty one.
        means = frozenset([answer, None] if call[1] == "load" and answer == PetFleet(user) else [answer])
        fitting = means if expected.torn else means & expected.fleets
        assert fitting, f"{call} returned {answer}, and only {set(expected.fleets)} was possible"
        gone = (call[1] == "delete" or (call[1] == "load" and expected.gone)) and not self._in_flight[user]
        modes = frozenset([0o600]) if gone else expected.modes
        self._settled[user] = Expectation(fitting, torn=False, gone=gone, modes=modes)

    def _settle(self, user: str, **fields: Any) -> None:
        self._settled[user] = self._settled.get(user, Expectation())._replace(**fields)


def check(tree: Tree, expected: dict[str, Expectation], directory: Path) -> None:
    """Lay a state out in a new directory and see that each user has what is promised, and that all works on.

    Raises:
        AssertionError: something is not as promised.
    """
    directory.mkdir()
    try:
        put(tree, directory)
        root = directory / ROOT
        backend = FileBackend(str(root))
        for user, expectation in expected.items():
            _check_user(backend, fleet_path(user, root), user, expectation)
    finally:
        shutil.rmtree(directory)


def _check_user(backend: FileBackend, path: Path, user: str, expected: Expectation) -> None:
    assert not (expected.gone and path.parent.exists()), f"left of a deleted user: {_names(path)}"
    try:
        loaded = _commit(backend, user, lambda stored: stored, Kind.READ)
    except FleetFormatError:
        if not expected.torn:
            raise
        loaded = _commit(backend, user, lambda stored: PetFleet(user), Kind.OVERWRITE)
    else:
        assert expected.torn or loaded in expected.fleets, f"loaded {loaded}, and not one of {set(expected.fleets)}"
        if loaded is not None and not expected.torn:
            assert path.stat().st_mode & 0o777 in expected.modes, f"the file's mode is {path.stat().st_mode:o}"
    call = (user, "add", "after the crash")
    added = _commit(backend, user, lambda stored: after(call, stored), Kind.CREATE)
    assert added == after(call, loaded), f"adding to {loaded} gave {added}"
    assert _names(path) == {"fleet.toml", "fleet.toml.lock"}, f"after another change there are {_names(path)}"
    _commit(backend, user, lambda stored: None, Kind.DELETE)
    assert not path.parent.exists(), f"after a delete there are {_names(path)}"


def _names(path: Path) -> set[str]:
    return {entry.name for entry in path.parent.iterdir()}


def _commit(
    backend: FileBackend, user: str, change: Callable[[PetFleet | None], PetFleet | None], kind: Kind
) -> PetFleet | None:
    only = Change(change, kind)
    assert attempt(backend, only, user_id=user)
    if only.error is not None:
        raise only.error
    return only.result


@contextmanager
def quietly() -> Iterator[None]:
    """Check without waiting for the disk, which keeps its power meanwhile, and without a warning for each recovery."""
    logging.disable()
    try:
        with mock.patch.object(disk, "_sync", return_value=None):
            yield
    finally:
        logging.disable(logging.NOTSET)
