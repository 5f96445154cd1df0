"""A whole run: scenarios, syncs, targets. Failures are noted, and the rest goes on."""

from __future__ import annotations

import contextlib
import datetime
import math
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from benchmarks import object_targets, scenarios, targets, turn_targets
from benchmarks.figures import Report, Result, Scenario, Target
from benchmarks.machine import machine, versions
from benchmarks.revisions import Revision
from benchmarks.runs import ADDS, Deployments, measure
from benchmarks.syscalls import CannotCountError, syncs_per_change
from benchmarks.tables import wrongs
from benchmarks.targets import Effort
from benchmarks.work import peer_class

DISK: Final = Path("/var/tmp")
MEMORY: Final = Path("/dev/shm")
LONGER: Final = 5  # milliseconds: a run whose syncs are longer by this lasts twice as long


class Kind(NamedTuple):
    """The size of a kind of run.

    Attributes:
        runs: the scenarios, in measuring order.
        seconds: of each of them.
        adds: how many an add scenario makes.
        effort: for the targets.
        counted: the number of changes while syncs are counted.
        judged: whether the figures mean anything; if not, only lost updates are reported.
        on_demand: parts that are left out unless named.
    """

    runs: Callable[[], scenarios.Runs]
    seconds: float
    adds: int
    effort: Effort
    counted: int
    judged: bool = True
    on_demand: tuple[str, ...] = ()


TARGETS: Final = "targets"
TURNS: Final = "turns"  # with the related targets
STARTUP: Final = "startup"  # one of the targets, alone
SYNCS: Final = "syncs"
OBJECTS: Final = "objects"  # the targets of object storage, against a server
_GROUPS: Final[Mapping[str, Sequence[targets.Group]]] = {
    TARGETS: targets.GROUPS,
    STARTUP: (targets.startup,),
    TURNS: turn_targets.GROUPS,
    OBJECTS: object_targets.GROUPS,
}

KINDS: Final[Mapping[str, Kind]] = {
    "quick": Kind(scenarios.quick, 0.4, ADDS, Effort(3, 0.3, 1000, 10_000), 50, on_demand=(OBJECTS, TURNS)),
    "full": Kind(scenarios.full, 1.5, ADDS, Effort(9, 1.0, 1000, 100_000), 200),
    "smoke": Kind(scenarios.smoke, 0.1, 16, Effort(1, 0.1, 20, 200), 5, judged=False),
}

_NOTHING: Final = Result(
    peer="",
    scenario=Scenario(""),
    seconds=0.0,
    calls=0,
    changes=0,
    rate=math.nan,
    p50_ms=math.nan,
    p99_ms=math.nan,
    max_ms=math.nan,
    jain_processes=math.nan,
    jain_tasks=math.nan,
    stall_ms=None,
    cpu_s=math.nan,
    peak_mb=math.nan,
    lost=None,
    errors=0,
    error=None,
    durability="",
)


def parts(kind: str) -> list[str]:
    """Return the parts of a run of that kind, for ``--only``."""
    return [*dict.fromkeys(scenario.group for _, scenario in KINDS[kind].runs()), SYNCS, *_GROUPS]


def groups(wanted: Collection[str]) -> list[targets.Group]:
    """Return the groups of targets that those parts have, each once."""
    return list(dict.fromkeys(group for part in _GROUPS if part in wanted for group in _GROUPS[part]))


def run(
    kind: str,
    only: Collection[str],
    peers: Collection[str],
    directory: Path | None,
    earlier: Revision | None = None,
) -> tuple[Report, list[str]]:
    """Measure, and return the report and what went wrong.

    Args:
        kind: one of ``KINDS``.
        only: some of :func:`parts`; empty: all.
        peers: the peers to measure; empty: all.
        directory: on the disk that is to be measured; None: a temporary one.
        earlier: a revision that is measured after petfleet in each of petfleet's scenarios.
    """
    with _places(directory) as (disk, memory), Deployments(disk, memory or disk, earlier) as deployments:
        one = _Run(deployments, KINDS[kind], peers)
        when = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        about = machine(disk)
        if about.get("file system") in ("tmpfs", "ramfs"):
            one.say("this directory is in memory, where nothing is durable: --directory names one on a disk")
        wanted = only or [part for part in parts(kind) if part not in KINDS[kind].on_demand]
        runs = [(peer, s) for peer, s in KINDS[kind].runs() if s.group in wanted and peer in peers]
        one.scenarios(runs if earlier is None else scenarios.with_earlier(runs, earlier.peer), memory is not None)
        if SYNCS in wanted:
            one.count_syncs()
        one.measure_targets(groups(wanted))
        one.end()
        one.say("measured")
        shown = [*peers, *(object_targets.PEERS if OBJECTS in wanted else ())]
        of_what = {**versions(_packages(shown)), **deployments.server_versions()}
        return Report(kind, when, about, of_what, one.results, one.targets, one.syncs), one.wrong


class _Run:
    def __init__(self, deployments: Deployments, kind: Kind, peers: Collection[str]) -> None:
        self._deployments = deployments
        self._kind = kind
        self._peers = peers
        self._begin = time.monotonic()
        self._checked = self._lost = 0
        self.results: list[Result] = []
        self.targets: list[Target] = []
        self.syncs: dict[str, float] = {}
        self.wrong: list[str] = []

    def say(self, text: str) -> None:
        print(f"{time.monotonic() - self._begin:4.0f} s  {text}", file=sys.stderr, flush=True)

    def scenarios(self, runs: scenarios.Runs, has_memory: bool) -> None:
        """Measure these, one after another."""
        for number, (peer, scenario) in enumerate(runs, start=1):
            self.say(f"{number} of {len(runs)}, {scenario.group}: {scenario.name}: {peer}")
            if scenario.place == "memory" and not has_memory:
                self.say(f"left out: there is no {MEMORY}")
                continue
            result = self._measure(peer, scenario, self._kind.seconds)
            if result is not None:
                self.results.append(result)

    def count_syncs(self) -> None:
        """Count the syncs of each peer, as far as that is possible here."""
        for peer in scenarios.ALL:
            if peer not in self._peers:
                continue
            self.say(f"syncs: {peer}")
            try:
                stage = self._deployments.stage(peer, Scenario(SYNCS))
                self.syncs[peer] = syncs_per_change(peer, stage.directory, stage.server, self._kind.counted)
            except CannotCountError as error:
                self.say(f"no figure: {error}")
            except Exception as error:  # noqa: BLE001 - shown at the end
                self._failed(f"syncs, {peer}", error)

    def measure_targets(self, groups: Iterable[targets.Group]) -> None:
        """Measure these targets."""
        if "petfleet" not in self._peers:
            return
        for group in groups:
            effort = self._kind.effort
            if group in turn_targets.LONG:
                effort = effort._replace(rounds=math.ceil(effort.rounds / 3))
            try:
                self.targets += targets.in_rounds(group, self._deployments, self._measure_target, effort, self.say)
            except Exception as error:  # noqa: BLE001 - shown at the end
                self._failed(f"targets, {group.__name__}", error)

    def end(self) -> None:
        """Add the lost updates of all runs."""
        if not self._checked:
            return
        if not self._kind.judged:
            self.targets.clear()
        name = "lost updates, all runs together"
        self.targets.append(Target(name, 0, True, self._lost, self._lost, self._lost, self._checked))

    def _measure_target(self, peer: str, scenario: Scenario) -> Result:
        if peer not in self._peers and peer in scenarios.ALL:
            return _NOTHING
        return self._measure(peer, scenario, self._kind.effort.seconds) or _NOTHING

    def _measure(self, peer: str, scenario: Scenario, seconds: float) -> Result | None:
        name = f"{scenario.group}: {scenario.name}: {peer}"
        try:
            seconds *= 1 + scenario.sync_ms / LONGER  # or there would be too few commits
            result = measure(self._deployments, peer, scenario, seconds, self._kind.adds)
        except Exception as error:  # noqa: BLE001 - shown at the end
            self._failed(name, error)
            return None
        if result.lost is not None:
            self._checked += 1
            self._lost += result.lost
        what = wrongs(result)
        if what is not None:
            self.wrong.append(f"{name}: {what}" + (f"; the first error: {result.error}" if result.error else ""))
        return result

    def _failed(self, what: str, error: Exception) -> None:
        self.wrong.append(f"{what}: {type(error).__name__}: {error}")
        self.say(self.wrong[-1])


@contextlib.contextmanager
def _places(directory: Path | None) -> Iterator[tuple[Path, Path | None]]:
    """Make directories on a disk and, if there is such a place, in memory."""
    if directory is None:
        # The usual place of temporary files may be in memory; this one outlives a boot.
        directory = DISK if os.access(DISK, os.W_OK) else Path(tempfile.gettempdir())
    with contextlib.ExitStack() as stack:

        def make(place: Path) -> Path:
            made = Path(tempfile.mkdtemp(prefix="petfleet-bench-", dir=place))
            stack.callback(shutil.rmtree, made, ignore_errors=True)
            return made

        yield make(directory), make(MEMORY) if os.access(MEMORY, os.W_OK) else None


def _packages(peers: Collection[str]) -> list[str]:
    found = {"uvloop": None, "trio": None}
    for peer in peers:
        try:
            found.update(dict.fromkeys(peer_class(peer).packages))
        except ImportError:
            pass  # noted when it failed
    return list(found)
