"""One run: a peer works on a scenario in several processes, and the outcome is counted."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NamedTuple

from benchmarks import outcome
from benchmarks.figures import Result, Scenario
from benchmarks.peers.petfleet_store import Petfleet
from benchmarks.processes import GRACE, child, in_child, receive
from benchmarks.revisions import Revision
from benchmarks.work import Count, Peer, peer_class
from benchmarks.worker import (
    HOT_USERS,
    STUCK_USERS,
    Measured,
    Worker,
    count_all,
    hot_user_name,
    run_in,
    stuck_user_name,
    user_name,
)

ADDS: Final = 1024  # in all, however long they take: a faster peer must not get a larger fleet
LEAD: Final = 0.1  # seconds from the last process's readiness to the common beginning
SETTLING: Final = 0.2  # more seconds, for other work to start
KEPT: Final = 1000  # users: from so many on, the data are used again, since preparing takes longer than measuring


class Deployed(NamedTuple):
    """A peer with its directory, and the processes of its server."""

    peer: Peer
    server: Sequence[int]


class Stage:
    """A peer's data, prepared for runs on the same users with as many pets.

    Attributes:
        name: what the peer is called.
        peer: not opened.
        directory: the place of the data.
        server: the processes of its server.
    """

    def __init__(self, name: str, deployed: Deployed, scenario: Scenario) -> None:
        self.name = name
        self.peer, self.server = deployed
        self.directory = self.peer.directory
        self._pets = scenario.pets
        self._found: dict[str, Count] = {}  # what the users' data held after the latest run that changed them
        in_child(lambda: run_in("asyncio", lambda: self.peer.prepare(_users(scenario), scenario.pets)))
        os.sync()  # or the prepared data would be written back during the measurement

    def run(self, scenario: Scenario, seconds: float, adds: int = ADDS) -> Result:
        """Do the same as :func:`measure`, with the data of this stage."""
        result, _ = self.run_beside(scenario, seconds, (), adds)
        return result

    def run_beside(
        self, scenario: Scenario, seconds: float, others: Sequence[Callable[[Connection], None]], adds: int = ADDS
    ) -> tuple[Result, list[Any]]:
        """Do the same while these functions run, and return what each of them sent, too.

        Each has a process of its own, sends None when it is ready, and receives the beginning and the end.
        """
        peer = self.peer
        calls = None
        if scenario.operation == "add":
            calls = max(1, adds // (scenario.processes * scenario.tasks))
            seconds = max(seconds, GRACE)
        lead = LEAD if scenario.beside in ("nothing", "pauses") else LEAD + SETTLING
        with _locks_held(peer, scenario), contextlib.ExitStack() as stack:
            workers = [Worker(peer, scenario, number, calls) for number in range(scenario.processes)]
            served = [*(worker.serve for worker in workers), *others]
            pipes = [stack.enter_context(child(serve)) for serve in served]
            for pipe in pipes:
                receive(pipe, GRACE)
            server_cpu = _cpu_of(self.server)
            begin = time.monotonic() + lead
            for pipe in pipes:
                pipe.send((begin, begin + seconds))
            received = [receive(pipe, seconds + GRACE) for pipe in pipes]
            server_cpu = _cpu_of(self.server) - server_cpu
        measured: list[Measured] = received[: scenario.processes]
        lost = self._lost(measured) if peer.keeps else None
        result = outcome.result(peer, self.name, scenario, begin, measured, server_cpu, lost)
        return result, received[scenario.processes :]

    def _lost(self, measured: Sequence[Measured]) -> int:
        told = outcome.acknowledged(measured)
        found: dict[str, Count] = in_child(lambda: run_in("asyncio", lambda: count_all(self.peer, list(told))))
        unchanged = Count(self._pets, 0)
        lost = sum(outcome.missing(self._found.get(user, unchanged), told[user], found[user]) for user in told)
        self._found.update(found)
        return lost


class Deployments:
    """The peers in use, each with a directory and, if it needs one, a server. Close it (``with``) in any case.

    Args:
        disk: the place for new directories.
        memory: the same for runs without a disk.
        earlier: a revision of petfleet that is a further peer.
    """

    def __init__(self, disk: Path, memory: Path, earlier: Revision | None = None) -> None:
        self.earlier = earlier
        self._places = {"disk": disk, "memory": memory}
        self._made: list[Path] = []
        self._servers: dict[tuple[str, str], Deployed] = {}
        self._kept: dict[tuple[str, str, int, int], Stage] = {}
        self._failed: dict[str, Exception] = {}

    def __enter__(self) -> Deployments:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with contextlib.ExitStack() as stack:
            for directory in self._made:
                stack.callback(shutil.rmtree, directory, ignore_errors=True)
            for deployed in self._servers.values():
                stack.callback(deployed.peer.stop_server)

    def directory(self, name: str, place: str = "disk") -> Path:
        """Return a new directory, which is removed at the end.

        Not sooner: some file systems look through the files removed in the last minutes whenever they make one.
        """
        directory = self._places[place] / f"{name.replace(' ', '-').replace(',', '')}-{len(self._made)}"
        directory.mkdir(parents=True)
        self._made.append(directory)
        return directory

    def deploy(self, name: str, place: str = "disk") -> Deployed:
        """Return a peer in a new directory; one with a server is always the same. Errors are raised again."""
        if name in self._failed:
            raise self._failed[name]
        if (name, place) in self._servers:
            return self._servers[name, place]
        try:
            peer = self._peer(name, self.directory(name, place))
            deployed = Deployed(peer, peer.start_server())
        except Exception as error:
            self._failed[name] = error
            raise
        if deployed.server:
            self._servers[name, place] = deployed
        return deployed

    def _peer(self, name: str, directory: Path) -> Peer:
        if self.earlier is not None and name == self.earlier.peer:
            return Petfleet(directory, self.earlier.source)
        return peer_class(name)(directory)

    def stage(self, name: str, scenario: Scenario) -> Stage:
        """Return a stage with the scenario's users: new ones, or many that were prepared before."""
        key = (name, scenario.place, scenario.users, scenario.pets)
        if key in self._kept:
            return self._kept[key]
        if (name, scenario.place) in self._servers:
            # It holds one set of users at a time.
            self._kept = {kept: stage for kept, stage in self._kept.items() if kept[:2] != key[:2]}
        stage = Stage(name, self.deploy(name, scenario.place), scenario)
        if scenario.users >= KEPT and scenario.beside == "nothing":
            self._kept[key] = stage
        return stage

    def server_versions(self) -> dict[str, str]:
        """Return the versions of the servers that were started, by peer."""
        versions = {name: deployed.peer.server_version() for (name, _), deployed in self._servers.items()}
        return {f"{name} server": version for name, version in versions.items() if version is not None}


def measure(deployments: Deployments, name: str, scenario: Scenario, seconds: float, adds: int = ADDS) -> Result:
    """Let a peer do the scenario's work for so many seconds (``add``: so many adds), and count the lost changes.

    Raises:
        RuntimeError: a process failed, or not one call came back; the result would mean nothing.
        Exception: the peer's own, if it cannot be made.
    """
    return deployments.stage(name, scenario).run(scenario, seconds, adds)


@contextlib.contextmanager
def _locks_held(peer: Peer, scenario: Scenario) -> Iterator[None]:
    """Hold the locks of the stuck users in a process that does nothing else."""
    if scenario.beside != "stuck":
        yield
        return

    def hold(pipe: Connection) -> None:
        held = []
        for number in range(STUCK_USERS):
            fd = os.open(peer.lock_path(stuck_user_name(number)), os.O_RDWR | os.O_CREAT, 0o600)
            fcntl.flock(fd, fcntl.LOCK_EX)
            held.append(fd)
        pipe.send(None)
        pipe.recv()

    with child(hold) as pipe:
        receive(pipe, GRACE)
        yield
        pipe.send(None)


def _users(scenario: Scenario) -> list[str]:
    users = [user_name(number) for number in range(scenario.users)]
    if scenario.beside == "hot":
        users += [hot_user_name(number) for number in range(HOT_USERS)]
    if scenario.beside == "stuck":
        users += [stuck_user_name(number) for number in range(STUCK_USERS)]
    return users


def _cpu_of(server: Sequence[int]) -> float:
    """Return the CPU seconds that a server's first process and its children have used so far."""
    if not server:
        return 0.0
    ticks = 0
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except (FileNotFoundError, ProcessLookupError):
                continue
            if int(entry.name) == server[0]:
                ticks += sum(map(int, fields[11:15]))  # with its children that have ended
            elif int(fields[1]) == server[0]:
                ticks += sum(map(int, fields[11:13]))
    return ticks / os.sysconf("SC_CLK_TCK")
