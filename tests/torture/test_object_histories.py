"""What many processes were told over a bad network has an order that explains it."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

from tests.support import proxy
from tests.support.proxy import Proxy
from tests.support.seaweedfs import SeaweedFS
from tests.torture.histories import check, play
from tests.torture.history_processes import USERS, Objects

_BAD: dict[proxy.Behaviour, float] = {
    proxy.passing: 76,
    proxy.drop_reply: 4,
    proxy.tear_reply: 4,
    proxy.cut: 4,
    proxy.tear: 4,
    proxy.twice: 4,
    proxy.slow(0.002): 4,
}
_TRIALS = 3


def test_histories_over_a_bad_network_are_linearizable(seaweedfs: SeaweedFS, tmp_path: Path) -> None:
    """Random calls of three processes, some cancelled or killed, through two gateways and connections that break."""
    counted: Counter[str] = Counter()
    with Proxy(seaweedfs.endpoints[0]) as first, Proxy(seaweedfs.endpoints[1]) as second:
        for between in (first, second):
            between.on(proxy.mixed(random.Random(0), _BAD), times=None)
        ways = [seaweedfs.options(endpoint=between.endpoint) for between in (first, second)]
        fleets = Objects(f"s3://{seaweedfs.bucket}/{tmp_path.name}", ways)
        play("bucket", tmp_path, _TRIALS, fleets)
        for between in (first, second):
            between.pass_all()
        for number in range(_TRIALS):
            check(tmp_path / str(number), counted, fleets)
    assert counted["histories"] + counted["undecided histories"] == _TRIALS * len(USERS)
