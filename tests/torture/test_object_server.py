"""Many processes on a real object store, through two gateways: nothing is lost, and nothing happens twice."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.support import proxy
from tests.support.backends import ObjectStorage
from tests.support.proxy import Proxy
from tests.support.seaweedfs import SeaweedFS
from tests.torture import means
from tests.torture.object_processes import Processes, judge, orders, stored

MANY = [f"user-{number}" for number in range(64)]
FEW = [f"user-{number}" for number in range(6)]

BAD = {
    proxy.passing: 60,
    proxy.drop_reply: 10,
    proxy.tear_reply: 5,
    proxy.cut: 5,
    proxy.tear: 5,
    proxy.slow(0.002): 10,
    proxy.late: 1,
    proxy.twice: 4,
}


def test_one_user_of_four_processes(seaweedfs: SeaweedFS, object_storage: ObjectStorage) -> None:
    """Four processes of 32 tasks change one fleet through two gateways: each change is there once."""
    url = object_storage.url
    with Processes(orders(url, lambda number: seaweedfs.options(number % 2), ["hot"])) as processes:
        outcomes = processes.finish()
    results = judge(outcomes, stored(url, seaweedfs.options(1), ["hot"]))
    assert results == {"done": 4 * 32 * 2}


def test_many_users_of_four_processes(seaweedfs: SeaweedFS, object_storage: ObjectStorage) -> None:
    """Four processes of 32 tasks change 64 fleets through two gateways: each change is there once."""
    url = object_storage.url
    with Processes(orders(url, lambda number: seaweedfs.options(number % 2), MANY, calls=4)) as processes:
        outcomes = processes.finish()
    results = judge(outcomes, stored(url, seaweedfs.options(1), MANY))
    assert results == {"done": 4 * 32 * 4}


@pytest.mark.timeout(300)
def test_a_gateway_that_is_killed(seaweedfs: SeaweedFS, object_storage: ObjectStorage) -> None:
    """A gateway is killed in the middle and restarted: the others go on, and each acknowledged change is there once."""
    url = object_storage.url
    with Processes(orders(url, lambda number: seaweedfs.options(number % 2), FEW, calls=6)) as processes:
        processes.await_done(60, numbers=[1, 3])
        seaweedfs.kill_gateway(1)
        try:
            processes.await_done(processes.done([0, 2]) + 60, numbers=[0, 2])
        finally:
            seaweedfs.start_gateway(1)
        outcomes = processes.finish()
    results = judge(outcomes, stored(url, seaweedfs.options(1), FEW))
    assert results["done"] == 4 * 32 * 6


@pytest.mark.timeout(300)
def test_a_server_that_is_killed(tmp_path: Path) -> None:
    """The whole server is killed in the middle and restarted: each acknowledged change is there once."""
    means.need("seaweedfs")
    with SeaweedFS(tmp_path / "weed") as server:
        url = f"s3://{server.bucket}/prefix"
        with Processes(orders(url, lambda number: server.options(number % 2), FEW, calls=6)) as processes:
            processes.await_done(100)
            server.kill_server()
            server.start_server()
            outcomes = processes.finish()
        results = judge(outcomes, stored(url, server.options(1), FEW))
    assert results["done"] == 4 * 32 * 6


@pytest.mark.timeout(300)
def test_bad_connections(seaweedfs: SeaweedFS, object_storage: ObjectStorage) -> None:
    """Connections are slow, are cut, lose answers and deliver requests late: each acknowledged change is there once."""
    url = object_storage.url
    with Proxy(seaweedfs.endpoints[0]) as first, Proxy(seaweedfs.endpoints[1]) as second:
        for between in (first, second):
            between.on(proxy.mixed(random.Random(0), BAD), times=None)
        ways = [seaweedfs.options(endpoint=between.endpoint, timeout="1s") for between in (first, second)]
        with Processes(orders(url, lambda number: ways[number % 2], FEW, calls=4)) as processes:
            outcomes = processes.finish()
    results = judge(outcomes, stored(url, seaweedfs.options(), FEW))
    assert results["done"] == 4 * 32 * 4
