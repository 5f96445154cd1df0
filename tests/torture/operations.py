"""The operations whose every system call is made to fail: what was there before, the call, and what is there after."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from petfleet import FleetStore, PetFleet, dumps
from petfleet._backends.files.backend import FileBackend
from tests.conftest import pet
from tests.support.commits import FLEET, LOCK, add, commit, leave_dead_writer
from tests.torture.ledger import Ledger

MIRA: Final = PetFleet("u", [pet("mira")], "mira")
OTTO: Final = PetFleet("u", [pet("otto"), pet("pia")], "pia")
BOTH: Final = MIRA.with_pet(pet("nova"))
_NOBODY: Final = 65534


def text(fleet: PetFleet | None) -> bytes | None:
    """Return what the file of that fleet holds; None where there is none."""
    return None if fleet is None else dumps(fleet).encode()


# --- what was there before -------------------------------------------------------------------------------------------


def nothing(root: Path, ledger: Ledger) -> None:
    """Nothing exists, not even the root."""


def _others(root: Path, ledger: Ledger) -> None:
    """The fleet of someone else."""
    (root / "v").mkdir(parents=True)
    (root / "v" / "fleet.toml").write_text(dumps(PetFleet("v")))


def _left_empty(root: Path, ledger: Ledger) -> None:
    """An empty directory: its writer died at once."""
    (root / "u").mkdir(parents=True)
    ledger.names |= {"u", "."}


def _clean(root: Path, ledger: Ledger) -> None:
    """A fleet as a commit leaves it."""
    commit(FileBackend(str(root)), add("mira"))


def _shared(root: Path, ledger: Ledger) -> None:
    """A fleet with another mode and, where permitted, another owner."""
    _clean(root, ledger)
    (root / FLEET).chmod(0o640)
    if os.geteuid() == 0:
        for path in (root / "u", root / FLEET, root / LOCK):
            os.chown(path, _NOBODY, _NOBODY)


def _anothers(root: Path, ledger: Ledger) -> None:
    """A root that belongs to another account, where permitted."""
    root.mkdir()
    if os.geteuid() == 0:
        os.chown(root, _NOBODY, _NOBODY)


def _dead_writer(root: Path, ledger: Ledger) -> None:
    """A writer died beside its temporary file, or could not sync the one before."""
    _clean(root, ledger)
    leave_dead_writer(root / FLEET)
    ledger.tainted.add(FLEET)
    ledger.names |= {FLEET, "u", "."}


def _dead_remover(root: Path, ledger: Ledger) -> None:
    """A writer died after it had removed the fleet."""
    _dead_writer(root, ledger)
    (root / FLEET).unlink()


def _foreign(root: Path, ledger: Ledger) -> None:
    """The file of a program that knows no lock file."""
    (root / "u").mkdir(parents=True)
    (root / FLEET).write_text(dumps(MIRA))
    ledger.data.add(FLEET)
    ledger.names |= {FLEET, "u", "."}


def _emptied(root: Path, ledger: Ledger) -> None:
    """A marker that another program's locking has wiped out."""
    _clean(root, ledger)
    (root / LOCK).write_bytes(b"")
    ledger.data.add(FLEET)
    ledger.names |= {FLEET, "u", "."}


# --- the calls -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Operation:
    """One call of a store.

    Attributes:
        name: what to call it.
        prepare: brings about what is there before.
        before: the fleet then; None if there is none.
        call: makes the call.
        after: the fleet afterwards.
        result: what the call returns.
        durable: whether it promises that what it returns is synced.
        warm: whether the store has loaded the fleet before.
    """

    name: str
    prepare: Callable[[Path, Ledger], None]
    before: PetFleet | None
    call: Callable[[FleetStore], Awaitable[object]]
    after: PetFleet | None
    result: object
    durable: bool = True
    warm: bool = False


async def _users(store: FleetStore) -> list[str]:
    return sorted([user_id async for user_id in store.users()])


def _add(name: str, prepare: Callable[[Path, Ledger], None], before: PetFleet | None, warm: bool = False) -> Operation:
    after = PetFleet("u", [pet("nova")], "nova") if before is None else BOTH
    return Operation(name, prepare, before, lambda store: store.add("u", pet("nova")), after, after, warm=warm)


def load(name: str, fleet: PetFleet | None, prepare: Callable[[Path, Ledger], None] = nothing) -> Operation:
    """A load, which leaves everything as it is."""
    return Operation(name, prepare, fleet, lambda store: store.load("u"), fleet, fleet or PetFleet("u"))


def _delete(name: str, prepare: Callable[[Path, Ledger], None], before: PetFleet | None) -> Operation:
    return Operation(name, prepare, before, lambda store: store.delete("u"), None, before is not None)


OPERATIONS: Final = (
    _add("create", nothing, None),
    _add("create in another account's root", _anothers, None),
    _add("create where a creator died", _left_empty, None),
    Operation("save new", _others, None, lambda store: store.save(OTTO), OTTO, OTTO),
    _add("add", _clean, MIRA),
    _add("add once more", _clean, MIRA, warm=True),
    _add("add to another account's fleet", _shared, MIRA),
    Operation("save replacing", _clean, MIRA, lambda store: store.save(OTTO, replacing=MIRA), OTTO, OTTO),
    Operation("save overwriting", _clean, MIRA, lambda store: store.save(OTTO, overwrite=True), OTTO, OTTO),
    Operation("touch", _clean, MIRA, lambda store: store.touch("u", last_active=1_700_000_000), MIRA, MIRA),
    load("load", MIRA, _clean),
    load("load no fleet", None, _others),
    _delete("delete", _clean, MIRA),
    _delete("delete no fleet", _others, None),
    _delete("delete what a creator left", _left_empty, None),
    load("load after a dead writer", MIRA, _dead_writer),
    _add("add after a dead writer", _dead_writer, MIRA),
    _delete("delete after a dead writer", _dead_writer, MIRA),
    load("load after a dead remover", None, _dead_remover),
    _add("create after a dead remover", _dead_remover, None),
    load("load a foreign fleet", MIRA, _foreign),
    _add("add to a foreign fleet", _foreign, MIRA),
    _delete("delete a foreign fleet", _foreign, MIRA),
    load("load with an empty lock file", MIRA, _emptied),
    Operation("peek", _dead_writer, MIRA, lambda store: store.peek("u"), MIRA, MIRA, durable=False),
    Operation("users", _clean, MIRA, _users, MIRA, ["u"], durable=False),
)
