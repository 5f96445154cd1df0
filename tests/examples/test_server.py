"""The server's routes: each answer that its description has."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import json
import os
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import httpx
import pytest
from filelock import FileLock

from petfleet import FleetStore, PetFleet, PetHandle, dumps, fleet_path
from petfleet._backends.files import disk
from petfleet._watch import Watch
from server import app as server
from server.models import etag
from tests.conftest import pet

MIRA = {"pet_name": "mira", "role": "friend", "manifest_path": "pets/mira.toml", "last_active": 1_700_000_000}
REX = {"pet_name": "rex", "role": "guard", "manifest_path": "pets/rex.toml", "last_active": 1_700_000_001}


@pytest.fixture
async def client(store: FleetStore, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the server, which runs in this process over the test's root."""
    monkeypatch.setattr(server, "store", store)
    transport = httpx.ASGITransport(server.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1", timeout=60) as client:
        yield client


def told(answer: httpx.Response, status: int) -> dict[str, Any]:
    """Return the problem that an answer tells of."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["cache-control"] == "no-store"
    problem = answer.json()
    assert problem.keys() == {"status", "title", "detail"}
    assert problem["status"] == status
    return dict(problem)


def made(root: Path) -> bool:
    """Return whether the server made anything."""
    return root.exists()


def put(path: Path, text: str) -> None:
    """Put a file there, as another program does."""
    path.parent.mkdir(parents=True)
    path.write_text(text)


async def test_an_unknown_user_has_an_empty_fleet(client: httpx.AsyncClient, root: Path) -> None:
    """200, with an ETag, and nothing is made on disk."""
    answer = await client.get("/users/ada/fleet")
    assert (answer.status_code, answer.json()) == (200, {"user_id": "ada", "pets": [], "active_pet": None})
    assert answer.headers["etag"] == etag(await server.store.load("ada"))
    assert not made(root)


async def test_a_pets_life(client: httpx.AsyncClient, store: FleetStore) -> None:
    """Added, read, switched to, removed; every ETag is the sha256 of what `dumps` makes of the fleet."""
    answer = await client.post("/users/ada/pets", json=MIRA)
    assert (answer.status_code, answer.json()) == (201, MIRA)
    answer = await client.post("/users/ada/pets", json={key: REX[key] for key in REX if key != "last_active"})
    assert answer.json()["last_active"] > 1_700_000_000
    answer = await client.put("/users/ada/active", json={"pet_name": "rex"})
    assert (answer.status_code, answer.json()["active_pet"]) == (200, "rex")
    stored = await store.load("ada")
    assert answer.headers["etag"] == f'"{hashlib.sha256(dumps(stored).encode()).hexdigest()}"'
    assert (await client.get("/users/ada/pets/mira")).json() == MIRA
    answer = await client.delete("/users/ada/pets/rex")
    assert (answer.status_code, answer.content) == (204, b"")
    assert [each.pet_name for each in (await store.load("ada")).pets] == ["mira"]
    assert answer.headers["etag"] == (await client.get("/users/ada/fleet")).headers["etag"]


@pytest.mark.parametrize("name", ["a/b", "...", "100%", "a b", "ö?&#", "\u202e", "x/events", "-", "a\nb", "\n", "x\n"])
async def test_any_pet_name_has_an_address(client: httpx.AsyncClient, name: str) -> None:
    """Percent-encoded, whatever it is."""
    assert (await client.post("/users/ada/pets", json={**MIRA, "pet_name": name})).status_code == 201
    address = httpx.URL("http://127.0.0.1").copy_with(raw_path=f"/users/ada/pets/{_quoted(name)}".encode())
    assert (await client.get(address)).json()["pet_name"] == name
    assert (await client.delete(address)).status_code == 204


def _quoted(name: str) -> str:
    return "".join(f"%{byte:02X}" for byte in name.encode())


async def test_a_line_break_makes_another_name(client: httpx.AsyncClient) -> None:
    """Who asks for `mira` and a line break neither gets nor removes mira."""
    await client.post("/users/ada/pets", json=MIRA)
    for method in ("GET", "DELETE"):
        told(await client.request(method, "/users/ada/pets/mira%0A"), 404)
    assert (await client.get("/users/ada/pets/mira")).json() == MIRA


async def test_what_is_not_there(client: httpx.AsyncClient) -> None:
    """404 for an absent pet, of a known user and of an unknown one."""
    await client.post("/users/ada/pets", json=MIRA)
    for user in ("ada", "bob"):
        for answer in (
            await client.get(f"/users/{user}/pets/rex"),
            await client.delete(f"/users/{user}/pets/rex"),
            await client.put(f"/users/{user}/active", json={"pet_name": "rex"}),
        ):
            assert told(answer, 404)["detail"] == "pet rex not in fleet"
    content, headers = b'{"pet_name": "\\ud800"}', {"Content-Type": "application/json"}
    told(await client.put("/users/ada/active", content=content, headers=headers), 422)
    assert told(await client.get("/nothing"), 404)["title"] == "Not Found"


async def test_a_method_that_is_not_there(client: httpx.AsyncClient) -> None:
    """405, with all methods of that address."""
    answer = await client.patch("/users/ada/fleet")
    assert told(answer, 405)["title"] == "Method Not Allowed"
    assert answer.headers["allow"] == "GET, PUT"


async def test_a_name_twice(client: httpx.AsyncClient, store: FleetStore) -> None:
    """409, and the first one stays."""
    await client.post("/users/ada/pets", json=MIRA)
    assert "mira" in told(await client.post("/users/ada/pets", json={**MIRA, "role": "cook"}), 409)["detail"]
    assert (await store.load("ada")).pet("mira").role == "friend"


async def test_a_whole_fleet_needs_if_match(client: httpx.AsyncClient, store: FleetStore, path: Path) -> None:
    """428 without, 412 with another fleet's, 200 with its own; keys that petfleet does not know stay."""
    put(path, dumps(await store.load("u")) + 'theme = "dark"\n')
    await store.add("u", pet("mira", extra={"colour": "red"}))
    old = (await client.get("/users/u/fleet")).headers["etag"]
    body = {"pets": [REX, MIRA], "active_pet": "rex"}
    assert told(await client.put("/users/u/fleet", json=body), 428)["title"] == "If-Match is missing"
    answer = await client.put("/users/u/fleet", json=body, headers={"If-Match": f'"other", {old}'})
    assert (answer.status_code, answer.json()) == (200, {"user_id": "u", **body})
    stored = await store.load("u")
    assert answer.headers["etag"] == etag(stored) != old
    assert (stored.extra, stored.pet("mira").extra, stored.pet("rex").extra) == (
        {"theme": "dark"},
        {"colour": "red"},
        {},
    )
    new = answer.headers["etag"]
    for tag in (old, '"other"', f"W/{new}", f"w/{new}", f"x{new}", f'"{new}', new[:-1], f'"a" {new}', "no tag", ""):
        told(await client.put("/users/u/fleet", json={"pets": []}, headers={"If-Match": tag}), 412)
    assert await store.load("u") == stored
    answer = await client.put("/users/u/fleet", json={"pets": []}, headers={"If-Match": "*"})
    assert answer.json() == {"user_id": "u", "pets": [], "active_pet": None}


async def test_a_time_that_is_not_said(client: httpx.AsyncClient) -> None:
    """A pet that was there keeps its own when the whole fleet is stored; a new one was active just now."""
    await client.post("/users/ada/pets", json=MIRA)
    body = {"pets": [{key: each[key] for key in each if key != "last_active"} for each in (MIRA, REX)]}
    pets = (await client.put("/users/ada/fleet", json=body, headers={"If-Match": "*"})).json()["pets"]
    assert pets[0] == MIRA
    assert pets[1]["last_active"] > 1_700_000_001


@pytest.mark.parametrize("call", ["add", "switch", "remove"])
async def test_every_change_heeds_if_match(client: httpx.AsyncClient, store: FleetStore, call: str) -> None:
    """412 for another fleet's ETag, and nothing has changed."""
    await store.add("u", PetHandle(**MIRA))  # type: ignore[arg-type]
    before = await store.load("u")
    headers = {"If-Match": '"other"'}
    if call == "add":
        answer = await client.post("/users/u/pets", json=REX, headers=headers)
    elif call == "switch":
        answer = await client.put("/users/u/active", json={"pet_name": "mira"}, headers=headers)
    else:
        answer = await client.delete("/users/u/pets/mira", headers=headers)
    told(answer, 412)
    assert await store.load("u") == before


async def test_what_the_client_has_already(client: httpx.AsyncClient) -> None:
    """304 without a body, for a weak ETag too; 200 once it has changed."""
    tag = (await client.get("/users/ada/fleet")).headers["etag"]
    for value in (tag, f"W/{tag}", f'"x", {tag}', "*"):
        answer = await client.get("/users/ada/fleet", headers={"If-None-Match": value})
        assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", tag)
        assert answer.headers["cache-control"] == "no-cache"
    await client.post("/users/ada/pets", json=MIRA)
    assert (await client.get("/users/ada/fleet", headers={"If-None-Match": tag})).status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        {**MIRA, "pet_name": ""},
        {**MIRA, "pet_name": ".."},
        {**MIRA, "pet_name": "\ud800"},
        {**MIRA, "role": "\udfff"},
        {**MIRA, "role": 3},
        {**MIRA, "last_active": 2**63},
        {**MIRA, "last_active": True},
        {**MIRA, "last_active": 1.5},
        {**MIRA, "other\ud800": 1},
        {"pet_name": "mira"},
        [],
    ],
    ids=lambda body: json.dumps(body)[:60],
)
async def test_impossible_pets(client: httpx.AsyncClient, root: Path, body: object) -> None:
    """422, whatever is wrong with it."""
    content = json.dumps(body)
    answer = await client.post("/users/ada/pets", content=content, headers={"Content-Type": "application/json"})
    assert told(answer, 422)["detail"]
    assert not made(root)


@pytest.mark.parametrize(
    "body",
    [{"pets": [MIRA, MIRA]}, {"pets": [MIRA], "active_pet": "rex"}, {"pets": [{**MIRA, "pet_name": ""}]}, {}],
    ids=["twice", "active", "name", "none"],
)
async def test_impossible_fleets(client: httpx.AsyncClient, body: object) -> None:
    """422: no call of petfleet would have made such a fleet."""
    told(await client.put("/users/ada/fleet", json=body, headers={"If-Match": "*"}), 422)


async def test_a_fleet_that_is_too_large(client: httpx.AsyncClient, root: Path) -> None:
    """422: petfleet stores 16 MiB at most."""
    body = {"pets": [{**MIRA, "role": "x" * (17 * 1024 * 1024)}]}
    assert "16" in told(await client.put("/users/ada/fleet", json=body, headers={"If-Match": "*"}), 422)["detail"]


@pytest.mark.parametrize("user", ["a%00b", "a%0A", "%2E%2E", "a::b", "a:", "x" * 256, "%C3%BC" * 128])
async def test_impossible_user_ids(client: httpx.AsyncClient, root: Path, user: str) -> None:
    """422 for every call, the stream included, before anything is made."""
    for answer in (
        await client.get(f"/users/{user}/fleet"),
        await client.put(f"/users/{user}/fleet", json={"pets": []}, headers={"If-Match": "*"}),
        await client.post(f"/users/{user}/pets", json=MIRA),
        await client.get(f"/users/{user}/pets/mira"),
        await client.delete(f"/users/{user}/pets/mira"),
        await client.put(f"/users/{user}/active", json={"pet_name": "mira"}),
        await client.get(f"/users/{user}/events"),
    ):
        assert "user id" in told(answer, 422)["detail"]
    assert not made(root)


async def test_bodies_that_cannot_be_read(client: httpx.AsyncClient) -> None:
    """422 for what is no JSON, or does not say that it is: a form of a foreign page is one; 400 for absurd numbers."""
    for content, kind in ((b"{", "application/json"), (json.dumps(MIRA).encode(), "text/plain")):
        told(await client.post("/users/ada/pets", content=content, headers={"Content-Type": kind}), 422)
    # A browser asks no one before it sends a body of no kind, either.
    told(await client.post("/users/ada/pets", content=json.dumps(MIRA)), 422)
    digits = b'{"last_active": ' + b"9" * 5000 + b"}"
    told(await client.post("/users/ada/pets", content=digits, headers={"Content-Type": "application/json"}), 400)


async def test_another_host_name(client: httpx.AsyncClient) -> None:
    """A page from elsewhere whose name was made to mean 127.0.0.1 reads nothing."""
    assert (await client.get("/users/ada/fleet", headers={"Host": "evil.example"})).status_code == 400
    assert (await client.get("/users/ada/fleet", headers={"Host": "localhost:8000"})).status_code == 200


async def test_the_page_is_in_no_frame(client: httpx.AsyncClient) -> None:
    """A page from elsewhere shows it in none of its own, where a click might be meant for something else."""
    answer = await client.get("/")
    assert answer.headers["content-security-policy"] == "frame-ancestors 'none'"
    assert answer.headers["cache-control"] == "no-cache"


async def test_a_held_lock(client: httpx.AsyncClient, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """503 with Retry-After, without a word about paths; afterwards all is well."""
    monkeypatch.setattr(server, "store", FleetStore(root, lock_timeout=0))
    await client.post("/users/ada/pets", json=MIRA)
    with FileLock(f"{fleet_path('ada', root)}.lock"):
        for answer in (await client.get("/users/ada/fleet"), await client.post("/users/ada/pets", json=REX)):
            assert str(root) not in told(answer, 503)["detail"]
            assert answer.headers["retry-after"] == "1"
    assert (await client.post("/users/ada/pets", json=REX)).status_code == 201


async def test_a_broken_file(client: httpx.AsyncClient, path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """500 without a word about paths; the log has them."""
    put(path, "no TOML")
    for answer in (await client.get("/users/u/fleet"), await client.post("/users/u/pets", json=MIRA)):
        assert str(path) not in told(answer, 500)["detail"]
    assert caplog.text.count(str(path)) == 2


async def test_a_fleet_without_an_etag(
    client: httpx.AsyncClient, store: FleetStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What would be too large in petfleet's layout is a problem to read, and may still be made smaller."""
    await store.add("u", pet("mira"))

    def without_mira(fleet: PetFleet) -> str:
        if fleet.get("mira"):
            raise ValueError("too large")
        return etag(fleet)

    monkeypatch.setattr(server, "etag", without_mira)
    told(await client.get("/users/u/fleet"), 500)
    assert (await client.delete("/users/u/pets/mira", headers={"If-Match": "*"})).status_code == 204
    assert (await client.get("/users/u/fleet")).json()["pets"] == []


@pytest.mark.parametrize(("number", "status"), [("ENOSPC", 507), ("EDQUOT", 507), ("EIO", 500)])
async def test_a_disk_that_fails(
    client: httpx.AsyncClient, store: FleetStore, monkeypatch: pytest.MonkeyPatch, number: str, status: int
) -> None:
    """507 when it is full, 500 otherwise; nothing has changed."""

    def failing(*_: object) -> None:
        raise OSError(getattr(errno, number), os.strerror(getattr(errno, number)))

    await store.add("u", pet("mira"))
    with monkeypatch.context() as patched:
        patched.setattr(disk, "write_all", failing)
        told(await client.post("/users/u/pets", json=REX), status)
    assert len((await client.get("/users/u/fleet")).json()["pets"]) == 1


async def test_a_change_that_may_not_last(
    client: httpx.AsyncClient, store: FleetStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """500 when the directory cannot be synced, and what to do: the next call says whether it was done."""

    def failing(*_: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    await store.add("u", pet("mira"))
    with monkeypatch.context() as patched:
        patched.setattr(disk.Directory, "sync", failing)
        assert "read the fleet again" in told(await client.post("/users/u/pets", json=REX), 500)["detail"]
    assert (await client.get("/users/u/pets/rex")).json() == REX


async def test_a_worker_that_stops_closes_its_store(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And so waits for the commits under way."""
    closed: list[FleetStore] = []

    async def aclose(store: FleetStore) -> None:
        closed.append(store)

    monkeypatch.setattr(FleetStore, "aclose", aclose)
    monkeypatch.setattr(server, "store", FleetStore(root))
    async with server.lifespan(server.app):
        assert closed == []
    assert closed == [server.store]


async def test_a_watch_that_fails_at_once_is_asked_now_and_then(
    store: FleetStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no thread is to be had, a stream tells of it now and then, and does not take what is left."""
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    async def failing(watch: Watch) -> PetFleet:
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setattr(asyncio, "sleep", sleep)
    monkeypatch.setattr(Watch, "__anext__", failing)
    stream = server.events(store.watch("u"))
    assert isinstance(stream, AsyncGenerator)
    async with aclosing(stream) as events:
        assert [(await anext(events)).event for _ in range(3)] == ["worker", "problem", "problem"]
    assert slept == [1]
