"""The processes at work on one file system: started, listened to, stopped, killed."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Final

from tests.torture.cut_child import Orders, own_users
from tests.torture.cut_ledger import Ledger, Standing
from tests.torture.cut_script import script

_SHARED: Final = ("hot", "warm")
_IN_COMMIT: Final = ("marked", "written", "renamed", "removed", "synced")
_UNSYNCED: Final = ("renamed", "removed")  # those of them after which a recovery has something to sync
_AFTER_KILL: Final = ("swept", "marked", "written", "renamed", "synced")
_AFTER_CUT: Final = ("swept", "synced")  # the markers were never synced: the other points are seldom reached
_WAIT_SECONDS: Final = 60


class _Process:
    """One process."""

    def __init__(self, orders: Orders) -> None:
        self._popen = subprocess.Popen(orders.command(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        assert self._popen.stdout is not None
        self._pipe = self._popen.stdout.fileno()
        os.set_blocking(self._pipe, False)
        self._unfinished = b""

    def lines(self) -> list[bytes]:
        """Return the lines that it has written since the last call."""
        read = [self._unfinished]
        while some := self._read():
            read.append(some)
        *lines, self._unfinished = b"".join(read).split(b"\n")
        return lines

    def _read(self) -> bytes:
        try:
            return os.read(self._pipe, 65536)
        except BlockingIOError:
            return b""

    def has_ended(self) -> bool:
        """Return whether it has ended; AssertionError if neither with success nor by being killed."""
        code = self._popen.poll()
        assert code in (None, 0, -signal.SIGKILL), f"the process ended with {code}"
        return code is not None

    def stands(self) -> bool:
        """Return whether it has ended, or all of its threads are stopped."""
        if self.has_ended():
            return True
        tasks = f"/proc/{self._popen.pid}/task"
        try:
            threads = os.listdir(tasks)
            return all(_state(f"{tasks}/{thread}/stat") == "T" for thread in threads) and threads == os.listdir(tasks)
        except (FileNotFoundError, ProcessLookupError):
            return False  # a thread has just ended

    def signal(self, number: int) -> None:
        """Send it a signal."""
        self._popen.send_signal(number)

    def kill(self) -> None:
        """Kill it, and wait until it is gone."""
        self._popen.kill()
        self._popen.wait(_WAIT_SECONDS)

    def close(self) -> None:
        """Close its pipe."""
        assert self._popen.stdout is not None
        self._popen.stdout.close()


def _state(path: str) -> str:
    with open(path, "rb") as file:
        return file.read().rpartition(b") ")[2][:1].decode()


class Writers:
    """The processes on one file system, and the ledger of what they were told; all decisions come from ``rng``.

    A context manager that leaves none of them alive.
    """

    def __init__(self, root: Path, ledger: Ledger, rng: random.Random, without: str | None) -> None:
        self.ledger = ledger
        self._root = str(root)
        self._rng = rng
        self._without = without
        self._processes: list[_Process] = []
        self._recovering = False
        self._busy = False

    def __enter__(self) -> Writers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._kill()

    def work(self, *, busy: bool) -> None:
        """Let several writers work until a random moment, or one that pauses until it does."""
        if busy != self._busy or not self._processes:
            self._kill()
            self._busy = busy
            for _ in range(self._rng.randint(1, 3) if busy else 1):
                self._start_writer()
        goal = self.ledger.acknowledged + self._rng.randint(10, 30)
        self._wait(lambda: self.ledger.acknowledged >= goal)
        if busy:
            time.sleep(self._rng.random() * 0.005)

    def die_in_mid_commit(self, *, alone: bool) -> None:
        """Kill all writers while one of them is in the middle of a commit; it may be the only one."""
        if alone:
            self._kill()
            self._busy = False
        point = self._rng.choice(_UNSYNCED if alone else _IN_COMMIT)
        writer = self._start_writer(halt=(point, self._rng.randint(1, 10)))
        self._wait(writer.stands)
        self._kill()

    def recover(self, *, from_kill: bool) -> bool:
        """Load all users in a new process; return whether it stands at a random point of its recoveries.

        If it does not come to that point, it has ended.
        """
        self._recovering = True
        # After a kill, one user is known to need a recovery; after a cut, all users with a fleet do.
        points, most = (_AFTER_KILL, 1) if from_kill else (_AFTER_CUT, 3)
        halt = (self._rng.choice(points), self._rng.randint(1, most))
        users = tuple(self.ledger.users())
        process = self._start(Orders(self._root, self._backend(), loads=users, halt=halt, without=self._without))
        self._wait(process.stands)
        return not process.has_ended()

    def stand_still(self) -> None:
        """Stop all processes, and return when every thread of them stands."""
        self._signal(signal.SIGSTOP)
        self._wait(self._stand)

    def go_on(self) -> None:
        """Let the stopped processes go on; wait for the end of one that recovers."""
        self._signal(signal.SIGCONT)
        if self._recovering:
            self._wait(lambda: all(process.has_ended() for process in self._processes))
            self._kill()

    def listen(self) -> None:
        """Enter into the ledger what the processes have reported."""
        for process in self._processes:
            for line in process.lines():
                self.ledger.enter(line)

    def _start(self, orders: Orders) -> _Process:
        self._processes.append(process := _Process(orders))
        return process

    def _start_writer(self, halt: tuple[str, int] | None = None) -> _Process:
        """Start a writer of several tasks, or of one that pauses, so that no later fsync makes up for a missing one."""
        seed = self._rng.getrandbits(32)
        own = self._rng.choice((1, 8))
        first = len(self.ledger.standings)
        tasks = tuple(f"task-{first + index}" for index in range(self._rng.randint(1, 4) if self._busy else 1))
        for task in tasks:
            users = own_users(task, own)
            self.ledger.standings[task] = Standing(task, _SHARED, users, script(seed, task, _SHARED, users))
        return self._start(
            Orders(
                self._root,
                self._backend(),
                seed=seed,
                tasks=tasks,
                shared=_SHARED,
                own=own,
                pauses=not self._busy,
                halt=halt,
                without=self._without,
            )
        )

    def _backend(self) -> str:
        return self._rng.choice(("asyncio", "trio"))

    def _wait(self, state: Callable[[], bool]) -> None:
        give_up = time.monotonic() + _WAIT_SECONDS
        while not state():
            assert time.monotonic() < give_up, "the processes hang"
            time.sleep(0.001)
            self.listen()

    def _stand(self) -> bool:
        return all(process.stands() for process in self._processes)

    def _signal(self, number: int) -> None:
        for process in self._processes:
            if not process.has_ended():
                process.signal(number)

    def _kill(self) -> None:
        for process in self._processes:
            process.kill()
        self.listen()
        for process in self._processes:
            process.close()
        self._processes.clear()
        self._recovering = False
