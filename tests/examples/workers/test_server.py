"""The server as it runs: four uvicorn workers over one directory, and clients and workers that go wrong."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import random
import signal
import socket
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from filelock import FileLock

from petfleet import FleetStore, fleet_path
from tests.conftest import pet, wait_until
from tests.examples.serving import Server, serving


def client(server: Server) -> httpx.AsyncClient:
    """Return a client that opens a connection for each request, so that any worker may get it."""
    limits = httpx.Limits(max_keepalive_connections=0)
    return httpx.AsyncClient(base_url=server.url, limits=limits, timeout=60, trust_env=False)


def body(name: str) -> dict[str, Any]:
    """Return a pet as the server takes it."""
    return {"pet_name": name, "role": "friend", "manifest_path": f"pets/{name}.toml", "last_active": 1_700_000_000}


async def added(http: httpx.AsyncClient, user_id: str, name: str) -> int:
    """Add a pet, and return the status of the answer."""
    return (await http.post(f"/users/{user_id}/pets", json=body(name))).status_code


async def test_every_worker_has_the_same_etag(server: Server, root: Path) -> None:
    """Whoever answers."""
    await FleetStore(root).add("etag", pet("mira"))
    tags: dict[str, str] = {}
    async with client(server) as http:
        while len(tags) < 4:
            for answer in await asyncio.gather(*(http.get("/users/etag/fleet") for _ in range(16))):
                tags[answer.headers["x-worker"]] = answer.headers["etag"]
    assert {int(worker) for worker in tags} == server.worker_pids()
    assert len(set(tags.values())) == 1


@asynccontextmanager
async def stream(http: httpx.AsyncClient, user_id: str) -> AsyncIterator[tuple[int, AsyncIterator[dict[str, Any]]]]:
    """Open a stream, and return which worker it comes from and an iterator over its fleets."""
    async with http.stream("GET", f"/users/{user_id}/events") as response:
        assert response.status_code == 200
        events = _events(response)
        worker, pid = await anext(events)
        assert worker == "worker"
        yield pid, (data async for event, data in events if event == "fleet")


async def _events(response: httpx.Response) -> AsyncIterator[tuple[str, Any]]:
    event = ""
    async for line in response.aiter_lines():
        field, _, value = line.partition(": ")
        if field == "event":
            event = value
        elif field == "data":
            yield event, json.loads(value)


async def test_streams_of_different_workers_follow(server: Server, root: Path) -> None:
    """Each shows the fleet now, and the change that another program made."""
    store = FleetStore(root)
    async with client(server) as http, AsyncExitStack() as stack:
        streams: dict[int, AsyncIterator[dict[str, Any]]] = {}
        while len(streams) < 2:
            worker, fleets = await stack.enter_async_context(stream(http, "followed"))
            streams[worker] = fleets
        for fleets in streams.values():
            assert (await anext(fleets))["pets"] == []
        await store.add("followed", pet("mira"))
        for fleets in streams.values():
            assert (await anext(fleets))["active_pet"] == "mira"


async def test_a_broken_file_does_not_end_a_stream(server: Server, root: Path) -> None:
    """It tells of the problem, and goes on when the file is mended."""
    path = fleet_path("broken", root)
    await FleetStore(root).add("broken", pet("mira"))
    whole = path.read_bytes()
    async with client(server) as http, http.stream("GET", "/users/broken/events") as response:
        events = _events(response)
        assert [event for event, _ in [await anext(events), await anext(events)]] == ["worker", "fleet"]
        path.write_text("no TOML")
        assert await anext(events) == (
            "problem",
            {"status": 500, "title": "The fleet cannot be read or written; the operator has to look", "detail": ""},
        )
        path.write_bytes(whole.replace(b"mira", b"rex"))
        assert (await anext(events))[1]["active_pet"] == "rex"


class Storm:
    """Clients that do everything at once, and know what was acknowledged."""

    def __init__(self, server: Server, number: int, users: int) -> None:
        self._server = server
        self._users = users
        self.number = number
        self.statuses: Counter[int] = Counter()
        self.broken = 0
        self.there: set[tuple[str, str]] = set()  # user and pet, acknowledged

    async def run(self, rounds: int, over: Callable[[], bool] = lambda: True) -> None:
        """Have all clients do that many rounds each, and more until it is over."""
        async with client(self._server) as http, asyncio.TaskGroup() as group:
            for index in range(self.number):
                group.create_task(self._live(http, index, rounds, over))

    async def _live(self, http: httpx.AsyncClient, index: int, rounds: int, over: Callable[[], bool]) -> None:
        rng = random.Random(index)
        for turn in itertools.count():
            if turn >= rounds and over():
                return
            user = rng.choice(["hot", f"user-{rng.randrange(self._users)}"])
            name = f"pet-{index}-{turn}"
            if rng.random() < 0.3:
                await self._put(http, user, name)
            else:
                # A broken connection leaves open whether it was added: then the second time says so.
                assert await self._send(http, "POST", f"/users/{user}/pets", body(name)) in (201, 409)
            self.there.add((user, name))
            answer = await self._send(http, "PUT", f"/users/{user}/active", {"pet_name": name})
            assert answer == 200, "an acknowledged pet is there"

    async def _put(self, http: httpx.AsyncClient, user: str, name: str) -> None:
        """Add a pet by storing the whole fleet, as it was just read with one more."""
        while True:
            read = await self._answer(http, "GET", f"/users/{user}/fleet", None)
            fleet = {"pets": read.json()["pets"], "active_pet": read.json()["active_pet"]}
            if any(pet["pet_name"] == name for pet in fleet["pets"]):
                return  # the one whose connection broke was stored
            fleet["pets"].append(body(name))
            headers = {"If-Match": read.headers["etag"]}
            try:
                answer = await http.put(f"/users/{user}/fleet", json=fleet, headers=headers)
            except httpx.TransportError:
                self.broken += 1
                continue
            self.statuses[answer.status_code] += 1
            assert answer.status_code in (200, 412, 503), answer.text
            if answer.status_code == 200:
                return

    async def _send(self, http: httpx.AsyncClient, method: str, path: str, content: object) -> int:
        return (await self._answer(http, method, path, content)).status_code

    async def _answer(self, http: httpx.AsyncClient, method: str, path: str, content: object) -> httpx.Response:
        """Send until there is an answer that is not 503."""
        while True:
            try:
                answer = await http.request(method, path, json=content)
            except httpx.TransportError:
                self.broken += 1
                continue
            self.statuses[answer.status_code] += 1
            if answer.status_code != 503:
                return answer
            assert answer.headers["retry-after"] == "1"

    async def check(self, root: Path) -> None:
        """Look everything up in the files: what was acknowledged is there, once, and nothing else."""
        store = FleetStore(root)
        users = {user for user, _ in self.there}
        found = [(user, each.pet_name) for user in users for each in (await store.load(user)).pets]
        assert sorted(found) == sorted(self.there)


async def test_a_storm(server: Server, root: Path) -> None:
    """24 clients on one hot user and ten others: nothing is lost, and nothing but 200, 201, 412 and 503 is answered."""
    storm = Storm(server, 24, 10)
    await storm.run(6)
    await storm.check(root)
    assert storm.broken == 0
    assert set(storm.statuses) <= {200, 201, 412, 503}
    assert storm.statuses[412], "no two clients met"


@pytest.mark.timeout(300)
async def test_workers_that_are_killed(tmp_path: Path) -> None:
    """uvicorn starts others in their place; clients see broken connections, and every 2xx is found."""
    root = tmp_path / "fleets"
    # A supervisor that was just asking the worker whether it is well notices its death only after this time.
    with serving(root, "--timeout-worker-healthcheck", "10") as server:
        storm = Storm(server, 16, 8)
        over = False
        running = asyncio.create_task(storm.run(1, lambda: over))
        for started in (6, 8, 10):
            await until_answers(storm, 40)
            for worker in sorted(server.worker_pids())[:2]:
                os.kill(worker, signal.SIGKILL)
            await until(lambda started=started: server.started() >= started or running.done())  # type: ignore[misc]
        await until_answers(storm, 40)
        over = True
        await running
        assert storm.broken, "no kill met a request"
        assert set(storm.statuses) <= {200, 201, 409, 412, 503}
        await storm.check(root)
        assert len(server.worker_pids()) == 4
        assert server.started() == 10
    # And the traces of those that were killed are gone: the next call for each user has cleared them up.
    checked = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "petfleet", "check", "--root", root), stdout=asyncio.subprocess.PIPE
    )
    said, _ = await checked.communicate()
    assert checked.returncode == 0, said.decode()


async def until(state: Callable[[], object]) -> None:
    """Wait for a state without keeping the clients from running."""
    await asyncio.to_thread(wait_until, state, 120)


async def until_answers(storm: Storm, number: int) -> None:
    """Wait for that many answers more."""
    wanted = storm.statuses.total() + number
    await until(lambda: storm.statuses.total() >= wanted)


async def test_a_held_lock(server: Server, root: Path) -> None:
    """503 with Retry-After after two seconds; afterwards all is well."""
    await FleetStore(root).add("held", pet("mira"))
    async with client(server) as http:
        with FileLock(f"{fleet_path('held', root)}.lock"):
            answer = await http.post("/users/held/pets", json=body("rex"))
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        assert await added(http, "held", "rex") == 201


def descriptors(server: Server, kind: str) -> int:
    """Return how many descriptors of a kind the workers have open, as /proc/<pid>/fd calls it."""
    open_now = [entry for worker in server.worker_pids() for entry in Path(f"/proc/{worker}/fd").iterdir()]
    return sum(_meaning(entry).startswith(kind) for entry in open_now)


def _meaning(entry: Path) -> str:
    try:
        return os.readlink(entry)
    except FileNotFoundError:
        return ""  # closed a moment ago


def inotify(server: Server) -> int:
    """Return how often workers have the system tell them of changes."""
    return descriptors(server, "anon_inode:inotify")


async def test_streams_that_are_left(server: Server) -> None:
    """Their watches end with them: no worker keeps a thread or a descriptor for a client that has gone."""
    await until(lambda: inotify(server) == 0)
    async with client(server) as http, AsyncExitStack() as stack:
        for number in range(20):
            _, fleets = await stack.enter_async_context(stream(http, f"left-{number}"))
            assert (await anext(fleets))["pets"] == []
        assert inotify(server) > 0
    await until(lambda: inotify(server) == 0)


def sent(server: Server, request: bytes) -> None:
    """Send that, and hang up at once."""
    url = httpx.URL(server.url)
    with socket.create_connection((url.host, url.port)) as connection:
        connection.sendall(request)


async def test_clients_that_hang_up(server: Server, root: Path) -> None:
    """Half a request does nothing, a whole one all or nothing; no worker keeps a connection, and the server goes on."""
    store = FleetStore(root)
    connections = descriptors(server, "socket:")
    for number in range(40):
        content = json.dumps(body(f"pet-{number}")).encode()
        head = "POST /users/gone/pets HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        request = f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content
        await asyncio.to_thread(sent, server, request if number % 2 else request[:-10])
    async with client(server) as http:
        assert await added(http, "gone", "last") == 201
        fleet = (await http.get("/users/gone/fleet")).json()
        whole = [body(f"pet-{number}") for number in range(1, 40, 2)]
        assert all(each in [*whole, body("last")] for each in fleet["pets"])
        assert (await store.load("gone")).pet("last")
    await until(lambda: descriptors(server, "socket:") <= connections)
    assert len(server.worker_pids()) == 4
    assert server.started() == 4


def state(pid: int) -> str:
    """Return the state of a process; Z if it has ended."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


async def test_stopping(tmp_path: Path) -> None:
    """SIGTERM ends the server with 0 although streams are open and requests under way; what was answered is there."""
    root = tmp_path / "fleets"
    there: list[str] = []
    stopping = asyncio.Event()

    async def adding(http: httpx.AsyncClient, index: int) -> None:
        for turn in range(10_000):
            try:
                status = await added(http, f"user-{index % 3}", f"pet-{index}-{turn}")
            except httpx.TransportError:
                assert stopping.is_set()
                return
            assert status == 201
            there.append(f"pet-{index}-{turn}")

    with serving(root, workers=2) as server:
        async with client(server) as http, stream(http, "watched") as (_, fleets):
            await anext(fleets)
            clients = [asyncio.create_task(adding(http, index)) for index in range(6)]
            await until(lambda: len(there) > 30)
            stopping.set()
            os.kill(server.pid, signal.SIGTERM)
            await asyncio.gather(*clients)
            with pytest.raises((httpx.TransportError, StopAsyncIteration)):
                await anext(fleets)
        await until(lambda: state(server.pid) == "Z")  # a second SIGTERM would end it otherwise
    store = FleetStore(root)
    found = [each.pet_name for number in range(3) for each in (await store.load(f"user-{number}")).pets]
    assert set(there) <= set(found)
    assert len(set(found)) == len(found)
