"""SQLite through aiosqlite: one row a user, with the fleet as JSON."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from typing import NamedTuple

import aiosqlite

from benchmarks import work
from benchmarks.work import DocumentPeer, Fleet

Change = Callable[[Fleet], None]


class Sqlite(DocumentPeer):
    """A transaction for each change, one after another on one connection; reads on a second one.

    With more connections for writing, they would wait for one another in SQLite, which sleeps and tries again, instead
    of in an asyncio.Lock, which wakes the next one at once.
    """

    durability = "write-ahead log synced at each commit"
    packages = ("aiosqlite",)

    async def prepare(self, users: Sequence[str], pets: int) -> None:
        async with self._connection() as database:
            # Its row must be fetched: an unfinished statement locks the tables. The file keeps the setting.
            await database.execute_fetchall("PRAGMA journal_mode = WAL")
            await database.execute("DROP TABLE IF EXISTS fleets")
            await database.execute("CREATE TABLE fleets (user_id TEXT PRIMARY KEY, fleet TEXT NOT NULL)")
            rows = [(user_id, json.dumps(work.fleet(user_id, pets))) for user_id in users]
            await database.execute("BEGIN IMMEDIATE")
            await database.executemany("INSERT INTO fleets VALUES (?, ?)", rows)
            await database.commit()

    async def open(self) -> None:
        self._writer = await self._connection()
        await self._writer.execute("PRAGMA synchronous = FULL")  # the default of most builds, not of all
        self._reader = await self._connection()
        self._lock = asyncio.Lock()

    async def close(self) -> None:
        await self._reader.close()
        await self._writer.close()

    def _connection(self) -> aiosqlite.Connection:
        # A transaction that begins by reading fails at its first write if another one came between, however long the
        # timeout: so no implicit ones, but BEGIN IMMEDIATE.
        return aiosqlite.connect(self.directory / "fleets.db", timeout=60, isolation_level=None)

    async def _read(self, user_id: str) -> Fleet:
        return await self._read_through(self._reader, user_id)

    async def _read_through(self, database: aiosqlite.Connection, user_id: str) -> Fleet:
        rows = await database.execute_fetchall("SELECT fleet FROM fleets WHERE user_id = ?", (user_id,))
        ((text,),) = rows
        fleet: Fleet = json.loads(text)
        return fleet

    async def _change(self, user_id: str, change: Change) -> None:
        async with self._lock:
            try:
                await self._writer.execute("BEGIN IMMEDIATE")
                fleet = await self._read_through(self._writer, user_id)
                change(fleet)
                await self._writer.execute(
                    "UPDATE fleets SET fleet = ? WHERE user_id = ?", (json.dumps(fleet), user_id)
                )
                await self._writer.commit()
            except BaseException:
                await self._writer.rollback()
                raise


class _Waiting(NamedTuple):
    user_id: str
    change: Change
    done: asyncio.Future[None]


class BatchedSqlite(Sqlite):
    """The same with group commit by hand: all waiting changes of a process go into one transaction."""

    async def open(self) -> None:
        await super().open()
        self._queue: asyncio.Queue[_Waiting] = asyncio.Queue()
        self._committer = asyncio.create_task(self._commit_forever())

    async def close(self) -> None:
        self._committer.cancel()
        await asyncio.wait([self._committer])
        await super().close()

    async def _change(self, user_id: str, change: Change) -> None:
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.put_nowait(_Waiting(user_id, change, done))
        await done

    async def _commit_forever(self) -> None:
        while True:
            batch = [await self._queue.get()]
            try:
                refused = await self._commit(batch)
            except Exception as error:  # noqa: BLE001 - every error belongs to the callers
                refused = dict.fromkeys(range(len(batch)), error)
            for number, waiting in enumerate(batch):
                if waiting.done.done():
                    continue  # its caller was cancelled
                if number in refused:
                    waiting.done.set_exception(refused[number])
                else:
                    waiting.done.set_result(None)

    async def _commit(self, batch: list[_Waiting]) -> dict[int, Exception]:
        """Commit these changes and those that arrive before the transaction begins; return the errors by index."""
        try:
            await self._writer.execute("BEGIN IMMEDIATE")
            while not self._queue.empty():
                batch.append(self._queue.get_nowait())
            fleets = await self._read_all({waiting.user_id for waiting in batch})
            refused: dict[int, Exception] = {}
            for number, waiting in enumerate(batch):
                try:
                    waiting.change(fleets[waiting.user_id])
                except LookupError as error:
                    refused[number] = error
            rows = [(json.dumps(fleet), user_id) for user_id, fleet in fleets.items()]
            await self._writer.executemany("UPDATE fleets SET fleet = ? WHERE user_id = ?", rows)
            await self._writer.commit()
        except BaseException:
            await self._writer.rollback()
            raise
        return refused

    async def _read_all(self, user_ids: set[str]) -> dict[str, Fleet]:
        marks = ", ".join("?" * len(user_ids))
        query = f"SELECT user_id, fleet FROM fleets WHERE user_id IN ({marks})"
        rows = await self._writer.execute_fetchall(query, list(user_ids))
        return {user_id: json.loads(text) for user_id, text in rows}
