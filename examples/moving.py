"""Moves the users of a directory to another store, one by one, while programs go on writing.

    python examples/moving.py data/fleets s3://bucket/prefix

docs/scaling.md says in which order to do what. In short: every program uses a MovingStore in the place of its
FleetStore; when all do, they are started again with ``moving=True``, and this script moves whom no call concerned.

A user is moved under the user's lock. First the file is replaced by a *mark* that holds what it held: from then on no
FleetStore takes it for a fleet, and none replaces it. Then the fleet is saved in the other store, where there is none
yet; then the mark says that this is done. Whoever finds a mark that does not say so does the rest. So at every moment
there is one place where the fleet is, and whoever looks in the wrong one is told.
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
_HEAD: Final = b'user_id = "::moved"\n'  # no user can have this id, so every FleetStore refuses the file
_AT_ONCE: Final = 16  # users that the script moves together


class Mark(NamedTuple):
    """What stands in the place of a fleet that is moved: its text, if there was one, and whether it has arrived."""

    text: str | None
    done: bool


class MovingStore:
    """The calls of a FleetStore, in the directory for users who are not moved, in the other store for those who are.

    Not offered: ``watch``. All programs that use the directory run on its machine, as before.

    Args:
        root: the directory.
        target: the store that takes its place. Nothing but MovingStores may write there before everyone is moved.
        moving: move a user before the first call that concerns the user. Only when no program is left that uses the
            directory by itself.
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
        """Yield the ids that have a fleet here or there, each once."""
        here = set()
        async for user_id in self._source.users():  # first: who is moved meanwhile is met there
            mark = await anyio.to_thread.run_sync(_mark, self._path(user_id))
            if mark is None or (mark.text is not None and not mark.done):
                here.add(user_id)
                yield user_id
        async for user_id in self._target.users():
            if user_id not in here:
                yield user_id

    async def move(self, user_id: str) -> None:
        """Move a user, if that is not done; when it returns, the fleet is in the other store.

        Raises:
            FleetConflictError: another fleet is there already, which something else must have written.
            FleetFormatError: the file is broken, and stays where it is.
            LockTimeoutError, OSError: not moved, or not known to be; call it again.
        """
        await anyio.to_thread.run_sync(self._move, user_id)

    async def move_everyone(self) -> tuple[int, int]:
        """Move all who have a fleet or a mark in the directory; return how many are moved, and how many are not."""
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
        """Wait for what is under way."""
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
        if mark is not None and mark.done:  # it stays so: no lock is needed to see it
            return
        path.parent.mkdir(mode=0o700, exist_ok=True)
        try:
            # Other writers of the user let it go for an instant only.
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
            _write(path, mark)  # before the fleet is saved: from now on it does not change here
            try:
                anyio.from_thread.run(self._target.save, fleet)
            except FleetConflictError as error:
                # The same one is there if someone was killed before the mark said so.
                if error.current is None or dumps(error.current) != dumps(fleet):
                    raise
        _write(path, Mark(mark.text, True))


def _mark(path: Path) -> Mark | None:
    """Return the mark in the place of a fleet, None if there is none."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    if not data.startswith(_HEAD):
        return None
    fields = tomllib.loads(data.decode())
    return Mark(fields.get("fleet"), fields["done"])


def _write(path: Path, mark: Mark) -> None:
    """Put a mark in the place of a fleet, durably."""
    fields = {"done": mark.done, "pets": []} | ({} if mark.text is None else {"fleet": mark.text})
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".moving-", delete=False) as file:
        file.write(_HEAD + tomli_w.dumps(fields).encode())
        file.flush()
        os.fsync(file.fileno())
    os.replace(file.name, path)
    for directory in (path.parent, path.parent.parent):  # the user's may be new
        descriptor = os.open(directory, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)


async def main(root: str, url: str) -> int:
    """Move everyone, and return the exit code: 0 when no one is left."""
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
