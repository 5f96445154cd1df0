"""Every call of the public face, read by type checkers and never run.

A line with an ignore is a call that must be refused: the checkers report the ignore itself where it is not.
"""

# pyright: reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator, Generator, Iterable, Mapping
from pathlib import Path
from typing import Any, assert_type

import petfleet
from petfleet import (
    Backend,
    FleetConflictError,
    FleetFormatError,
    FleetStore,
    FleetStoreStatistics,
    InvalidNameError,
    LockTimeoutError,
    ObjectBackend,
    PetFleet,
    PetHandle,
    PetNotInFleetError,
    UnconfirmedCommitError,
    Watch,
)
from petfleet.backends import (
    ABSENT,
    Commit,
    FileBackend,
    Holder,
    NoNotices,
    Notices,
    OvertakenError,
    Snapshot,
    State,
    StopSignal,
    parse_state,
)


def values(path: os.PathLike[str], handles: list[PetHandle], extra: Mapping[str, Any]) -> None:
    """The two values."""
    handle = PetHandle("mira", "friend", "pets/mira.toml", 7)
    PetHandle("mira", role="friend", manifest_path=path, last_active=7, extra={"colour": "red"})
    PetHandle("mira", "friend", Path("pets"), 7, extra)
    assert_type(handle.pet_name, str)
    assert_type(handle.role, str)
    assert_type(handle.manifest_path, str)
    assert_type(handle.last_active, int)
    assert_type(handle.extra, Mapping[str, Any])
    hash(handle)

    fleet = PetFleet("ada")
    PetFleet("ada", handles, "mira", {"version": 2})
    PetFleet("ada", (handle for handle in handles), active_pet=None, extra=fleet.extra)
    assert_type(fleet.user_id, str)
    assert_type(fleet.pets, tuple[PetHandle, ...])
    assert_type(fleet.active_pet, str | None)
    assert_type(fleet.extra, Mapping[str, Any])
    hash(fleet)

    assert_type(fleet.pet("mira"), PetHandle)
    assert_type(fleet.get("mira"), PetHandle | None)
    assert_type(fleet.active_handle, PetHandle | None)
    assert_type(fleet.with_pet(handle), PetFleet)
    assert_type(fleet.with_replaced("mira", handle), PetFleet)
    assert_type(fleet.without_pet("mira"), PetFleet)
    assert_type(fleet.with_active("mira"), PetFleet)
    assert_type(fleet.with_last_active("mira", 7), PetFleet)


def wrong_values(handle: PetHandle, fleet: PetFleet) -> None:
    """What the two values refuse."""
    PetHandle(123, "friend", "pets", 7)  # type: ignore[arg-type]  # a name is text
    PetHandle("mira", "friend", b"pets", 7)  # type: ignore[arg-type]  # a path is text
    PetHandle("mira", "friend", "pets", 7.5)  # type: ignore[arg-type]  # whole seconds
    PetHandle("mira", "friend", "pets", "7")  # type: ignore[arg-type]  # nothing is coerced
    PetHandle("mira", "friend", "pets")  # type: ignore[call-arg]  # last_active has no default
    PetHandle("mira", "friend", "pets", 7, {1: "a"})  # type: ignore[dict-item]  # keys are text
    PetFleet(123)  # type: ignore[arg-type]  # a user id is text
    PetFleet("ada", ["mira"])  # type: ignore[list-item]  # pets are handles
    PetFleet("ada", [], 5)  # type: ignore[arg-type]  # a name is text
    PetFleet()  # type: ignore[call-arg]  # no user
    handle.role = "guide"  # type: ignore[misc]  # frozen
    fleet.active_pet = None  # type: ignore[misc]  # frozen
    fleet.extra["a"] = 1  # type: ignore[index]  # frozen
    fleet.pets.append(handle)  # type: ignore[attr-defined]  # a tuple
    fleet.with_pet("mira")  # type: ignore[arg-type]  # a handle, not a name
    fleet.with_active(None)  # type: ignore[arg-type]  # a name
    fleet.with_last_active("mira", 7.5)  # type: ignore[arg-type]  # whole seconds
    fleet.active_handle.role  # type: ignore[union-attr]  # noqa: B018  # may be None

    class Handle(PetHandle):  # type: ignore[misc]  # final
        pass

    class Fleet(PetFleet):  # type: ignore[misc]  # final
        pass

    print(Handle, Fleet)


def functions(fleet: PetFleet, path: os.PathLike[str]) -> None:
    """The module functions."""
    assert_type(petfleet.dumps(fleet), str)
    assert_type(petfleet.loads("text"), PetFleet)
    assert_type(petfleet.loads(b"text", user_id="ada"), PetFleet)
    assert_type(petfleet.loads("text", user_id=None), PetFleet)
    assert_type(petfleet.fleet_path("ada", "root"), Path)
    assert_type(petfleet.fleet_path("ada", path), Path)
    assert_type(petfleet.shared_memory_key("ada"), str)
    assert_type(petfleet.per_pet_memory_key("ada", "mira"), str)

    petfleet.dumps("text")  # type: ignore[arg-type]  # a fleet
    petfleet.loads(5)  # type: ignore[arg-type]  # text or bytes
    petfleet.loads("text", "ada")  # type: ignore[call-arg, misc, unused-ignore]  # user_id only by name
    petfleet.fleet_path("ada")  # type: ignore[call-arg]  # no root
    petfleet.fleet_path(5, "root")  # type: ignore[arg-type]  # a user id is text
    petfleet.per_pet_memory_key("ada")  # type: ignore[call-arg]  # no pet
    petfleet.shared_memory_key(5)  # type: ignore[arg-type]  # a user id is text
    petfleet.dump(fleet)  # type: ignore[attr-defined]  # no such name


def stores(path: os.PathLike[str]) -> None:
    """Making a store."""
    FleetStore("root")
    FleetStore(path, lock_timeout=1, threads=4)
    FleetStore(path, lock_timeout=0.5)
    bucket = ObjectBackend("s3://bucket/prefix", poll_seconds=5, region="us-east-1", client_options={"timeout": "5s"})
    FleetStore(bucket, lock_timeout=1)
    backend: Backend = bucket
    FleetStore(backend)

    ObjectBackend()  # type: ignore[call-arg]  # no URL
    ObjectBackend(path)  # type: ignore[arg-type]  # a URL is text
    FleetStore()  # type: ignore[call-arg]  # no root
    FleetStore(b"root")  # type: ignore[arg-type]  # a path is text
    FleetStore("root", lock_timeout=None)  # type: ignore[arg-type]  # no waiting for ever
    FleetStore("root", 5.0)  # type: ignore[call-arg, misc, unused-ignore]  # options only by name
    FleetStore("root", threads=1.5)  # type: ignore[arg-type]  # whole threads


def grown(fleet: PetFleet) -> PetFleet:
    """A change."""
    return fleet


async def grown_later(fleet: PetFleet) -> PetFleet:
    """No change: it would have to be awaited."""
    return fleet


async def calls(store: FleetStore, handle: PetHandle) -> None:
    """Every call of a store."""
    fleet = await store.load("ada")
    assert_type(fleet, PetFleet)
    assert_type(await store.peek("ada"), PetFleet)
    assert_type(await store.save(fleet), PetFleet)
    assert_type(await store.save(fleet, replacing=fleet), PetFleet)
    assert_type(await store.save(fleet, overwrite=True), PetFleet)
    assert_type(await store.add("ada", handle), PetFleet)
    assert_type(await store.switch("ada", "mira"), PetFleet)
    assert_type(await store.remove("ada", "mira"), PetFleet)
    assert_type(await store.touch("ada"), PetFleet)
    assert_type(await store.touch("ada", "mira", last_active=7), PetFleet)
    assert_type(await store.touch("ada", None, last_active=None), PetFleet)
    assert_type(await store.update("ada", grown), PetFleet)
    assert_type(await store.update("ada", lambda fleet: fleet.with_pet(handle)), PetFleet)
    assert_type(await store.delete("ada"), bool)
    assert_type(store.users(), AsyncIterator[str])
    async for user_id in store.users():
        assert_type(user_id, str)
    watch: AsyncIterator[PetFleet] = store.watch("ada")
    assert_type(store.watch("ada"), Watch)
    assert_type(await anext(watch), PetFleet)
    async with contextlib.aclosing(store.watch("ada")) as fleets:
        async for fleet in fleets:
            assert_type(fleet, PetFleet)
    assert_type(store.statistics(), FleetStoreStatistics)
    assert_type(store.statistics().commits, int)
    assert_type(store.statistics().changes, int)
    assert_type(store.statistics().largest_batch, int)
    assert_type(store.statistics().lock_waits, int)
    assert_type(store.statistics().lock_wait_seconds, float)
    async with store as same:
        assert_type(same, FleetStore)
    assert_type(await store.aclose(), None)


async def wrong_calls(store: FleetStore, handle: PetHandle, fleet: PetFleet) -> None:
    """What a store refuses."""
    await store.load(5)  # type: ignore[arg-type]  # a user id is text
    await store.peek(None)  # type: ignore[arg-type]  # a user id is text
    await store.save("ada")  # type: ignore[call-overload]  # a fleet
    await store.save(fleet, replacing=fleet, overwrite=True)  # type: ignore[call-overload]  # never both
    await store.save(fleet, replacing=None)  # type: ignore[call-overload]  # a fleet; an empty one matches no file
    await store.save(fleet, fleet)  # type: ignore[call-overload]  # options only by name
    await store.add("ada", "mira")  # type: ignore[arg-type]  # a handle
    await store.add(handle)  # type: ignore[call-arg, arg-type]  # no user
    await store.switch("ada", handle)  # type: ignore[arg-type]  # a name
    await store.switch("ada", None)  # type: ignore[arg-type]  # a name
    await store.remove("ada")  # type: ignore[call-arg]  # no pet
    await store.touch("ada", "mira", 7)  # type: ignore[call-arg, misc, unused-ignore]  # last_active only by name
    await store.touch("ada", last_active=7.5)  # type: ignore[arg-type]  # whole seconds
    await store.update("ada", grown_later)  # type: ignore[arg-type]  # an async def
    await store.update("ada", lambda fleet: None)  # type: ignore[arg-type, return-value]  # no fleet
    await store.delete()  # type: ignore[call-arg]  # no user
    store.watch(5)  # type: ignore[arg-type]  # a user id is text
    await store.watch("ada")  # type: ignore[misc]  # an iterator, not an awaitable
    await store.users()  # type: ignore[misc]  # an iterator, not an awaitable
    store.statistics().commits = 0  # type: ignore[misc]  # frozen


class OneCommit:
    """A try, as an author writes it."""

    path: str = "one:ada"

    def try_turn(self) -> bool:
        """A turn that is always free."""
        return True

    def wait_turn(self) -> None:
        """Nothing to wait for."""

    def read(self) -> State:
        """From bytes, from a fleet, or nothing."""
        assert_type(ABSENT, State)
        assert_type(State(), State)
        assert_type(State(PetFleet("ada")), State)
        return parse_state(b"text", "ada", self.path)

    def confirm(self, before: State) -> State:
        """What was read."""
        return before

    def write(self, before: State, after: State) -> None:
        """A state has all that it takes."""
        assert_type(after.encoded(), bytes | None)
        assert_type(after.readable(), PetFleet | None)
        assert_type(after.fleet, PetFleet | None)
        assert_type(after.error, FleetFormatError | None)
        assert_type(after.absent, bool)
        assert_type(after.overwritable, bool)
        raise OvertakenError

    def close(self) -> None:
        """Nothing to give back."""


class OneNotices:
    """Notices, as an author writes them."""

    def subscribe(self, users: Iterable[str]) -> bool:
        """Ids."""
        return False

    def invalidate(self) -> bool:
        """Nothing."""
        return False

    def wait(self, seconds: float) -> set[str] | None:
        """Ids, or all."""
        return {"ada"} if seconds else None

    def close(self) -> None:
        """Nothing."""


class OneBackend:
    """A backend, as an author writes it, with nothing but public names."""

    peeks_at_once = 1
    snapshots_at_once: int = 1
    poll_seconds: float = 1

    def begin(self, user_id: str, *, create: bool) -> OneCommit:
        """A try."""
        return OneCommit()

    def turn_path(self, user_id: str) -> str:
        """A path."""
        return f"one:{user_id}"

    def holder(self, user_id: str) -> Holder | None:
        """Nobody, an unknown holder, one with a name, one with a reason."""
        return [None, Holder(None), Holder("pid 7"), Holder(None, "held by a ghost"), Holder(None, reason=None)][0]

    def peek(self, user_id: str) -> PetFleet | None:
        """A fleet, or none."""
        return None

    def users(self) -> Generator[str, None, None]:
        """Ids."""
        yield "ada"

    def snapshot(self, user_id: str, seen: object) -> Snapshot | None:
        """Any object is a fingerprint."""
        assert_type(Snapshot(("version", 7), PetFleet(user_id)).fingerprint, object | None)
        return Snapshot(None, None)

    def check_notices(self) -> None:
        """Nothing is missing."""

    def notices(self, stop: StopSignal) -> Notices:
        """Own ones, or none."""
        assert_type(stop.is_set(), bool)
        return OneNotices() if stop.is_set() else NoNotices(stop)


class NoBackend:
    """Not a backend: it has no methods."""


def authors() -> None:
    """What is written against the protocols fits them."""
    backend: Backend = OneBackend()
    commit: Commit = OneCommit()
    files: Backend = FileBackend("/root")
    assert_type(commit.read(), State)
    FleetStore(backend)
    FleetStore(files)
    FleetStore(OneBackend())

    FleetStore(NoBackend())  # type: ignore[arg-type]  # neither a path nor a backend
    FileBackend(Path("root"))  # type: ignore[arg-type]  # a path as text
    parse_state(None, "ada", "one:ada")  # type: ignore[arg-type]  # no bytes are ABSENT
    State(b"text")  # type: ignore[arg-type]  # a fleet; bytes are for parse_state
    OvertakenError().user_id  # type: ignore[attr-defined]  # noqa: B018  # it has no fields


def errors(
    conflict: FleetConflictError,
    broken: FleetFormatError,
    invalid: InvalidNameError,
    late: LockTimeoutError,
    absent: PetNotInFleetError,
    unconfirmed: UnconfirmedCommitError,
) -> None:
    """The fields of errors."""
    assert_type(conflict.current, PetFleet | None)
    assert_type(conflict.user_id, str)
    assert_type(broken.path, str | None)
    assert_type(broken.expected, str)
    assert_type(broken.line, int | None)
    assert_type(broken.column, int | None)
    assert_type(invalid.name, str)
    assert_type(invalid.rule, str)
    assert_type(late.path, str)
    assert_type(late.waited, float)
    assert_type(late.holder, str | None)
    assert_type(absent.pet_name, str)
    assert_type(unconfirmed.path, str)
    builtins: tuple[LookupError, ValueError, RuntimeError, TimeoutError, OSError] = (
        absent,
        broken,
        conflict,
        late,
        unconfirmed,
    )
    print(builtins)
