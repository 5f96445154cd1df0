"""Requests and answers that get lost, come late or in pieces: no result is false, and nothing happens twice."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from petfleet import FleetStore, ObjectBackend, PetFleet, UnconfirmedCommitError
from tests.conftest import BACKENDS, pet, wait_until
from tests.support import proxy
from tests.support.backends import ObjectStorage
from tests.support.proxy import HeldRequest, Proxy
from tests.support.seaweedfs import SeaweedFS
from tests.torture.object_processes import names

BEFORE = PetFleet("u", [pet("mira"), pet("nova")], "mira")
_NO_RETRIES = {"max_retries": 0}
_IMPATIENT = {"allow_http": True, "timeout": "0.5s"}

Call = Callable[[FleetStore], Awaitable[object]]


@pytest.fixture(params=BACKENDS[:1])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    """One event loop is enough: the network is reached from threads."""
    return request.param


@pytest.fixture
def network(seaweedfs: SeaweedFS) -> Iterator[Proxy]:
    """The proxy between the store and gateway 0."""
    with Proxy(seaweedfs.endpoints[0]) as between:
        yield between


@pytest.fixture
def through(network: Proxy, object_storage: ObjectStorage) -> Callable[..., FleetStore]:
    """A function that makes stores behind that network."""

    def make(*, lock_timeout: float = 60, **options: Any) -> FleetStore:
        return FleetStore(object_storage.backend(endpoint=network.endpoint, **options), lock_timeout=lock_timeout)

    return make


@pytest.fixture
def other(object_storage: ObjectStorage) -> FleetStore:
    """Someone else's store, through gateway 1 and a good network."""
    return FleetStore(object_storage.backend(1))


def _accepted(network: Proxy) -> int:
    """Return how many puts the gateway has carried out."""
    return sum(each.statuses.count(200) for each in network.requests("PUT"))


@asynccontextmanager
async def _meanwhile(call: Awaitable[object]) -> AsyncIterator[list[object]]:
    """Make a call during the block; what it returned is in the list afterwards."""
    returned: list[object] = []

    async def await_it() -> None:
        returned.append(await call)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(await_it)
        yield returned


async def _in_thread(wait: Callable[[], object]) -> None:
    await anyio.to_thread.run_sync(wait)


CHANGES: dict[str, tuple[PetFleet | None, Call, PetFleet | None]] = {
    "create": (None, lambda store: store.add("u", pet("mira")), PetFleet("u", [pet("mira")], "mira")),
    "save new": (None, lambda store: store.save(BEFORE), BEFORE),
    "save replacing": (
        BEFORE,
        lambda store: store.save(BEFORE.with_active("nova"), replacing=BEFORE),
        BEFORE.with_active("nova"),
    ),
    "add": (BEFORE, lambda store: store.add("u", pet("kira")), BEFORE.with_pet(pet("kira"))),
    "switch": (BEFORE, lambda store: store.switch("u", "nova"), BEFORE.with_active("nova")),
    "remove": (BEFORE, lambda store: store.remove("u", "nova"), BEFORE.without_pet("nova")),
    "touch": (BEFORE, lambda store: store.touch("u", last_active=5), BEFORE.with_last_active("mira", 5)),
    "update": (
        BEFORE,
        lambda store: store.update("u", lambda fleet: fleet.with_pet(pet("k"))),
        BEFORE.with_pet(pet("k")),
    ),
    "delete": (BEFORE, lambda store: store.delete("u"), None),
}


@pytest.mark.parametrize(
    "behaviour",
    [proxy.drop_reply, proxy.tear_reply, proxy.cut, proxy.tear, proxy.twice, proxy.slow(0.001)],
    ids=["reply dropped", "reply torn", "request cut", "request torn", "request repeated", "slow"],
)
@pytest.mark.parametrize("name", CHANGES)
async def test_a_change_over_a_bad_connection_happens_once(
    network: Proxy, through: Callable[..., FleetStore], other: FleetStore, name: str, behaviour: proxy.Behaviour
) -> None:
    """Whatever becomes of the first put, the call returns what its one change has led to."""
    before, call, after = CHANGES[name]
    store = through()
    if before is not None:
        await store.save(before)
    network.forget()
    network.on(behaviour, "PUT")
    returned = await call(store)
    assert returned == (after if after is not None else True)
    assert await other.load("u") == (after or PetFleet("u"))
    assert [user_id async for user_id in other.users()] == ([] if after is None else ["u"])
    assert _accepted(network) == 1


@pytest.mark.parametrize("name", ["create", "add", "delete"])
async def test_a_lost_answer_is_found_below_the_commits_of_others(
    network: Proxy, through: Callable[..., FleetStore], other: FleetStore, name: str
) -> None:
    """Others have changed the fleet before the outcome is looked up: the change is not done once more."""
    before, call, after = CHANGES[name]
    store, looking = through(), HeldRequest()
    if before is not None:
        await store.save(before)
    else:
        await store.load("u")
    network.forget()
    network.on(proxy.drop_reply, "PUT")
    network.on(looking, "GET")
    async with _meanwhile(call(store)) as returned:
        await _in_thread(looking.reach)
        for number in range(3):
            fleet = await other.add("u", pet(f"other-{number}"))
        await _in_thread(looking.let_go)
    found = await other.load("u")
    assert found == fleet
    assert names(found) == [*names(after or PetFleet("u")), "other-0", "other-1", "other-2"]
    assert returned == [True] if after is None else isinstance(returned[0], PetFleet)
    assert _accepted(network) == 1


async def test_a_lost_answer_is_found_below_the_commits_of_another_store_of_the_same_backend(
    network: Proxy, object_storage: ObjectStorage
) -> None:
    """Of two stores that share a backend, one commits after the other: each finds what it has done itself."""
    backend, looking = object_storage.backend(endpoint=network.endpoint), HeldRequest()
    store, sharing = FleetStore(backend), FleetStore(backend)
    await store.save(BEFORE)
    network.forget()
    network.on(proxy.drop_reply, "PUT")
    network.on(looking, "GET")
    async with _meanwhile(store.add("u", pet("kira"))) as returned:
        await _in_thread(looking.reach)
        async with _meanwhile(sharing.add("u", pet("other"))) as shared:
            # It is either done, or refused before it has put anything.
            await _in_thread(
                lambda: wait_until(
                    lambda: shared or (sharing.statistics().lock_waits and len(network.requests("PUT")) == 1)
                )
            )
            await _in_thread(looking.let_go)
    assert names(await store.load("u")) == ["mira", "nova", "kira", "other"]
    assert [names(fleet) for fleet in (*returned, *shared) if isinstance(fleet, PetFleet)] == [
        ["mira", "nova", "kira"],
        ["mira", "nova", "kira", "other"],
    ]


@pytest.mark.parametrize("name", ["create", "save new", "add", "delete"])
async def test_a_put_that_arrives_late_is_refused(
    network: Proxy, through: Callable[..., FleetStore], other: FleetStore, name: str
) -> None:
    """A put that was given up and done again changes nothing when it is delivered at last."""
    before, call, after = CHANGES[name]
    store, late = through(client_options=_IMPATIENT), HeldRequest()
    if before is not None:
        await store.save(before)
    network.forget()
    network.on(late, "PUT")
    assert await call(store) == (after if after is not None else True)
    fleet = await other.add("u", pet("other"))
    await _in_thread(late.let_go)
    assert network.requests("PUT")[0].statuses == [412]
    assert await other.load("u") == await store.load("u") == fleet


async def test_a_put_that_arrives_after_the_commits_of_others_is_refused(
    network: Proxy, through: Callable[..., FleetStore], other: FleetStore
) -> None:
    """Others went on while a put was under way: it is done again on what is there now, and refused when delivered."""
    store, late = through(client_options=_IMPATIENT), HeldRequest()
    await store.save(BEFORE)
    network.forget()
    network.on(late, "PUT")
    async with _meanwhile(store.add("u", pet("kira"))) as returned:
        await _in_thread(late.reach)
        await other.add("u", pet("other"))
    assert returned == [await other.load("u")]
    await _in_thread(late.let_go)
    assert names(await other.load("u")) == ["mira", "nova", "other", "kira"]
    assert network.requests("PUT")[0].statuses == [412]


async def test_a_put_that_arrives_after_it_was_looked_up_is_found(
    network: Proxy, through: Callable[..., FleetStore], other: FleetStore
) -> None:
    """The look found nothing, and only then the put was carried out: the second try is refused, and seen to be done."""
    store, late, looked = through(client_options=_IMPATIENT), HeldRequest(), HeldRequest(forwards=True)
    await store.save(BEFORE)
    network.forget()
    network.on(late, "PUT")
    network.on(looked, "GET")
    async with _meanwhile(store.add("u", pet("kira"))) as returned:
        await _in_thread(looked.reach)
        await _in_thread(late.let_go)
        await _in_thread(looked.let_go)
    assert returned == [await other.load("u")]
    assert names(await other.load("u")) == ["mira", "nova", "kira"]
    assert _accepted(network) == 1


@pytest.mark.parametrize(
    ("behaviour", "after"),
    [
        (proxy.drop_reply, ["mira", "nova", "kira"]),
        (proxy.twice, ["mira", "nova", "kira"]),
        (proxy.cut, ["mira", "nova"]),
    ],
)
async def test_what_cannot_be_looked_up_is_unconfirmed(
    monkeypatch: pytest.MonkeyPatch,
    network: Proxy,
    through: Callable[..., FleetStore],
    other: FleetStore,
    object_storage: ObjectStorage,
    behaviour: proxy.Behaviour,
    after: list[str],
) -> None:
    """No put is answered and nothing can be read until the time is over: the error says so, and the store goes on."""
    monkeypatch.setattr(ObjectBackend, "_settle_seconds", 0.1)
    store = through(lock_timeout=1, retry_config=_NO_RETRIES)
    await store.save(BEFORE)
    network.on(behaviour, "PUT", times=None)
    network.on(proxy.cut, "GET", times=None)
    with pytest.raises(UnconfirmedCommitError, match=object_storage.where("u")):
        await store.add("u", pet("kira"))
    network.pass_all()
    assert names(await other.load("u")) == after
    assert names(await store.add("u", pet("lira"))) == [*after, "lira"]


async def test_a_fleet_that_cannot_be_read_is_not_an_empty_one(
    network: Proxy, through: Callable[..., FleetStore], other: FleetStore, object_storage: ObjectStorage
) -> None:
    """Where nothing can be read, calls fail with the object's URL, and put nothing."""
    await other.save(BEFORE)
    store = through(retry_config=_NO_RETRIES)
    network.on(proxy.cut, "GET", times=None)
    calls: list[Call] = [
        lambda store: store.load("u"),
        lambda store: store.peek("u"),
        lambda store: store.add("u", pet("kira")),
        lambda store: store.delete("u"),
    ]
    for call in calls:
        with pytest.raises(OSError, match=object_storage.where("u")):
            await call(store)
    with pytest.raises(OSError, match=object_storage.url):
        [user_id async for user_id in store.users()]
    assert network.requests("PUT") == []
    network.pass_all()
    assert await store.load("u") == BEFORE


@pytest.mark.parametrize("behaviour", [proxy.cut, proxy.drop_reply, proxy.tear_reply])
async def test_a_read_that_is_cut_off_is_read_again(
    network: Proxy, through: Callable[..., FleetStore], other: FleetStore, behaviour: proxy.Behaviour
) -> None:
    """A read that breaks once does not reach the caller."""
    await other.save(BEFORE)
    store = through()
    network.on(behaviour, "GET")
    assert await store.load("u") == BEFORE
    network.on(behaviour, "GET")
    assert await store.peek("u") == BEFORE
    assert len(network.requests("GET")) == 4


async def test_a_call_that_is_cancelled_in_its_put_happens_whole(
    network: Proxy, through: Callable[..., FleetStore], other: FleetStore
) -> None:
    """Cancelled while its put is under way, it disturbs no one else, and is there when the put has come through."""
    store, slow = through(), HeldRequest()
    await store.save(BEFORE)
    network.on(slow, "PUT")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(store.add, "u", pet("kira"))
        await _in_thread(slow.reach)
        tasks.cancel_scope.cancel()
    await _in_thread(slow.let_go)
    assert names(await store.add("u", pet("lira"))) == ["mira", "nova", "kira", "lira"]
    assert names(await other.load("u")) == ["mira", "nova", "kira", "lira"]
