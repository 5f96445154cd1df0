"""One commit, held before calls of the operating system while others interfere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from unittest import mock

from petfleet import FleetFormatError, PetFleet, dumps
from petfleet._backends.files import backend, disk, lock, reader
from petfleet._backends.files.backend import FileBackend
from petfleet._commit.change import Change, Kind
from tests.conftest import pet
from tests.support.commits import add, attempt, commit, delete, leave_dead_writer, load
from tests.support.recording_os import RecordingOS
from tests.torture.interferences import Pets, Site

OURS: Final = "ours"  # the pet that the commit adds
_INSTANT: Final = 4  # calls: to open the file, to read it, to compare, and then to rename
Call = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Operation:
    """A commit, and what it finds.

    Attributes:
        found: ``nothing``; a ``clean`` file of our own; a ``foreign`` one; or what a ``dead`` writer has left.
        change: what it does to the fleet, as the kind says it may.
        means: from the pets that were stored to those that are then.
    """

    found: str
    change: Callable[[PetFleet | None], PetFleet | None]
    kind: Kind
    means: Callable[[Pets], Pets]


def _with_ours(pets: Pets) -> Pets:
    return (*(pets or ()), OURS)


def _same(pets: Pets) -> Pets:
    return pets


OPERATIONS: Final = {
    "create": Operation("nothing", add(OURS), Kind.CREATE, _with_ours),
    "add": Operation("clean", add(OURS), Kind.CREATE, _with_ours),
    "delete": Operation("clean", delete, Kind.DELETE, lambda pets: None),
    "load": Operation("clean", load, Kind.READ, _same),
    "load of a foreign file": Operation("foreign", load, Kind.READ, _same),
    "recovery and load": Operation("dead", load, Kind.READ, _same),
    "recovery and add": Operation("dead", add(OURS), Kind.CREATE, _with_ours),
}


@dataclass(slots=True)
class Trial:
    """The outcome of one held commit.

    Attributes:
        calls: its system calls.
        done: whether every interference was possible.
        seen: what the change was given last; None of None where it was given nothing.
        error: what the call raised.
    """

    calls: list[Call]
    done: bool = True
    seen: tuple[Pets] | None = None
    error: BaseException | None = None


def prepare(site: Site, found: str) -> Pets:
    """Prepare what the operation finds, and return the pets in it."""
    if found == "nothing":
        return None
    if found == "foreign":
        site.directory.mkdir(parents=True)
        site.path.write_text(dumps(PetFleet("u", [pet("mira")])), encoding="utf-8")
    else:
        commit(FileBackend(str(site.root)), add("mira"))
    if found == "dead":
        leave_dead_writer(site.path)
    return ("mira",)


def carry_out(
    backend: FileBackend, site: Site, operation: Operation, points: dict[int, Callable[[Site], bool]]
) -> Trial:
    """Commit, and interfere before the calls of these numbers; afterwards, if the commit never makes that call."""
    trial = Trial([])
    waiting = dict(points)

    def before(name: str, path: str) -> None:
        number = len(trial.calls)
        trial.calls.append((name, path))
        if number in waiting:
            system.before = lambda name, path: None  # what others do is not part of the commit
            trial.done = waiting.pop(number)(site) and trial.done
            system.before = before

    def watched(fleet: PetFleet | None) -> PetFleet | None:
        trial.seen = (None if fleet is None else tuple(handle.pet_name for handle in fleet.pets),)
        return operation.change(fleet)

    change = Change(watched, operation.kind)
    with _interposed(site.root) as system:
        system.before = before
        try:
            assert attempt(backend, change), "the lock counts as busy"
            trial.error = change.error
        except (OSError, FleetFormatError) as error:
            trial.error = error
    for _, act in sorted(waiting.items()):
        trial.done = act(site) and trial.done
    return trial


@contextmanager
def _interposed(root: Path) -> Iterator[RecordingOS]:
    """Put a recording ``os`` under petfleet's blocking rooms."""
    system = RecordingOS(root)
    with ExitStack() as patches:
        for module in (disk, lock, backend, reader):
            patches.enter_context(mock.patch.object(module, "os", system))
        yield system


def moments(calls: list[Call]) -> list[str]:
    """Return for each call what must become of an interference just before it.

    ``seen``: the commit has yet to look, and must find it. ``instant``: between the last look at the file and the
    rename or unlink, where nothing can tell. ``after``: the file is in place.
    """
    named = ["after"] * len(calls)
    look = 0
    for number, (name, path) in enumerate(calls):
        if path == "u/fleet.toml" and name in ("lstat", "open"):
            look = number
        elif (name, path) == ("unlink", "u/fleet.toml") or (name == "replace" and path.endswith("-> u/fleet.toml")):
            assert number - look <= _INSTANT, f"the last look at the file is {number - look} calls before {name}"
            first = next((at for at, moment in enumerate(named) if moment == "after"), 0)
            named[first : look + 1] = ["seen"] * (look + 1 - first)
            named[look + 1 : number + 1] = ["instant"] * (number - look)
    return named
