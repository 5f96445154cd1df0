"""Move the users of a directory to another store, one by one, while programs go on writing.

    python examples/moving.py data/fleets s3://bucket/prefix

docs/scaling.md lists the steps. In short: every program uses a MovingStore instead of its FleetStore; when all do,
they are restarted with ``moving=True``, and this script moves the users without calls.

A user is moved under the user's lock. First a *mark* that contains the fleet's text replaces the file: every FleetStore
refuses to read or replace it. Then the fleet is saved in the other store, which must have none; then the mark is set to
done. A program that finds an unfinished mark finishes the move. So at every moment the fleet is in one place, and calls
that look in the other one fail.
"""

from __future__ import annotations

import os
import sys
import tempfile
import tomllib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

import anyio
import anyio.from_thread
import anyio.to_thread
import tomli_w
from anyio.streams.memory import MemoryObjectReceiveStream
from filelock import FileLock, Timeout

from petfleet import (
    FleetConflictError,
    FleetFormatError,
    FleetStore,
    LockTimeoutError,
    ObjectBackend,
    PetFleet,
    PetHandle,
    dumps,
    fleet_path,
    loads,
)

T = TypeVar("T")
_HEAD: Final = b'user_id = "::moved"\n'  # an impossible user id, so that every FleetStore refuses the file
_AT_ONCE: Final = 16  # users that the script moves concurrently


class Mark(NamedTuple):
    """The file that replaces a moved fleet: the fleet's text, if there was one, and whether the move is done."""

    text: str | None
    done: bool


class MovingStore:
    """The calls of a FleetStore: in the other store for moved users, in the directory for all others.

    Without ``watch``. As before, all programs that use the directory run on its machine.

    Args:
        root: the directory.
        target: the store that replaces it. Until all users are moved, only MovingStores may write there.
        moving: move a user before the user's first call. Set it only when every program uses a MovingStore.
    """

    def __init__(self, root: str, target: FleetStore, *, moving: bool = False, lock_timeout: float = 10.0) -> None:
        self._root = os.path.abspath(root)
        self._source = FleetStore(self._root, lock_timeout=lock_timeout)
        self._target = target
        self._moving = moving
        self._lock_timeout = lock_timeout

    async def load(self, user_id: str) -> PetFleet:
        return await self._at_home(user_id, lambda store: store.load(user_id))

    async def peek(self, user_id: str) -> PetFleet:
        return await self._at_home(user_id, lambda store: store.peek(user_id))

    async def add(self, user_id: str, handle: PetHandle) -> PetFleet:
        return await self._at_home(user_id, lambda store: store.add(user_id, handle))

    async def switch(self, user_id: str, pet_name: str) -> PetFleet:
        return await self._at_home(user_id, lambda store: store.switch(user_id, pet_name))

    async def touch(self, user_id: str, pet_name: str | None = None, *, last_active: int | None = None) -> PetFleet:
        return await self._at_home(user_id, lambda store: store.touch(user_id, pet_name, last_active=last_active))

    async def remove(self, user_id: str, pet_name: str) -> PetFleet:
        return await self._at_home(user_id, lambda store: store.remove(user_id, pet_name))

    async def update(self, user_id: str, change: Callable[[PetFleet], PetFleet]) -> PetFleet:
        return await self._at_home(user_id, lambda store: store.update(user_id, change))

    async def save(self, fleet: PetFleet, **how: Any) -> PetFleet:
        return await self._at_home(fleet.user_id, lambda store: store.save(fleet, **how))

    async def delete(self, user_id: str) -> bool:
        return await self._at_home(user_id, lambda store: store.delete(user_id))

    async def users(self) -> AsyncIterator[str]:
        """Yield the ids of all users with a fleet, each once."""
        here = set()
        async for user_id in self._source.users():  # first: users who are moved meanwhile are found there
            mark = await anyio.to_thread.run_sync(_mark, self._path(user_id))
            if mark is None or (mark.text is not None and not mark.done):
                here.add(user_id)
                yield user_id
        async for user_id in self._target.users():
            if user_id not in here:
                yield user_id

    async def move(self, user_id: str) -> None:
        """Move a user who is not moved yet; afterwards the fleet is in the other store.

        Raises:
            FleetConflictError: the other store has another fleet of the user.
            FleetFormatError: the file is broken; it is not moved.
            LockTimeoutError, OSError: perhaps not moved; call it again.
        """
        await anyio.to_thread.run_sync(self._move, user_id)

    async def move_everyone(self) -> tuple[int, int]:
        """Move all users with a fleet or a mark in the directory; return how many are moved, and how many failed."""
        moved = failed = 0
        send, receive = anyio.create_memory_object_stream[str]()

        async def work(users: MemoryObjectReceiveStream[str]) -> None:
            nonlocal moved, failed
            async with users:
                async for user_id in users:
                    try:
                        await self.move(user_id)
                        moved += 1
                    except (FleetConflictError, FleetFormatError, OSError) as error:
                        print(f"{user_id}: not moved: {error}", file=sys.stderr)
                        failed += 1

        async with anyio.create_task_group() as group, send:
            for _ in range(_AT_ONCE):
                group.start_soon(work, receive.clone())
            receive.close()
            async for user_id in self._source.users():
                await send.send(user_id)
            await send.aclose()
        return moved, failed

    async def aclose(self) -> None:
        """Wait for the calls under way."""
        await self._source.aclose()
        await self._target.aclose()

    async def _at_home(self, user_id: str, call: Callable[[FleetStore], Awaitable[T]]) -> T:
        if not self._moving:
            try:
                return await call(self._source)
            except FleetFormatError:
                if await anyio.to_thread.run_sync(_mark, self._path(user_id)) is None:
                    raise
        await self.move(user_id)
        return await call(self._target)

    def _path(self, user_id: str) -> Path:
        return fleet_path(user_id, self._root)

    def _move(self, user_id: str) -> None:
        path = self._path(user_id)
        mark = _mark(path)
        if mark is not None and mark.done:  # it stays done, so no lock is needed
            return
        path.parent.mkdir(mode=0o700, exist_ok=True)
        try:
            # Polled quickly: other writers release the lock only for an instant.
            with FileLock(f"{path}.lock", timeout=self._lock_timeout, poll_interval=0.001, mode=0o600):
                self._move_locked(user_id, path)
        except Timeout:
            raise LockTimeoutError(f"{path}.lock", self._lock_timeout, None) from None

    def _move_locked(self, user_id: str, path: Path) -> None:
        mark = _mark(path)
        if mark is None:
            try:
                mark = Mark(path.read_bytes().decode("utf-8-sig"), False)
            except FileNotFoundError:
                mark = Mark(None, False)
            except UnicodeDecodeError as error:
                raise FleetFormatError(str(path), "UTF-8") from error
        fleet = None if mark.text is None else loads(mark.text, user_id=user_id)
        if fleet is not None and not mark.done:
            _write(path, mark)  # before the fleet is saved: from now on it does not change in the directory
            try:
                anyio.from_thread.run(self._target.save, fleet)
            except FleetConflictError as error:
                # The same fleet is there if a program was killed before it set the mark to done.
                if error.current is None or dumps(error.current) != dumps(fleet):
                    raise
        _write(path, Mark(mark.text, True))


def _mark(path: Path) -> Mark | None:
    """Return a user's mark; None if there is none."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    if not data.startswith(_HEAD):
        return None
    fields = tomllib.loads(data.decode())
    return Mark(fields.get("fleet"), fields["done"])


def _write(path: Path, mark: Mark) -> None:
    """Replace a fleet by a mark, durably."""
    fields = {"done": mark.done, "pets": []} | ({} if mark.text is None else {"fleet": mark.text})
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".moving-", delete=False) as file:
        file.write(_HEAD + tomli_w.dumps(fields).encode())
        file.flush()
        os.fsync(file.fileno())
    os.replace(file.name, path)
    for directory in (path.parent, path.parent.parent):  # the user's directory may be new
        descriptor = os.open(directory, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)


async def main(root: str, url: str) -> int:
    """Move all users, and return the exit code: 0 if none is left."""
    target = FleetStore(ObjectBackend(url)) if "://" in url else FleetStore(url)
    store = MovingStore(root, target, moving=True)
    moved, failed = await store.move_everyone()
    await store.aclose()
    print(f"{moved:,} moved, {failed:,} not")
    return 1 if failed else 0


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: moving.py ROOT URL")
    sys.exit(anyio.run(main, sys.argv[1], sys.argv[2]))
