"""The bot as a process that polls the server of bot_api.py (this module is also the program that forks such ones)."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import json
import os
import runpy
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from tests.examples.bot_api import TOKEN, BotApi

BOT: Final = Path(__file__).parent.parent.parent / "examples" / "telegram_bot.py"


@dataclass
class BotProcess:
    """A bot that runs, in a process group of its own."""

    pid: int
    ended: asyncio.Task[int]  # the exit code


def log_of(data: Path) -> str:
    """Return what the bots of a data directory have logged."""
    return _log(data).read_text()


async def stop(process: BotProcess) -> int:
    """Ask the bot to end, and return its exit code."""
    os.kill(process.pid, signal.SIGTERM)
    return await process.ended


async def kill(api: BotApi, process: BotProcess) -> None:
    """Kill the bot, with all that it started."""
    os.killpg(process.pid, signal.SIGKILL)
    await process.ended
    await api.bot_died()


@asynccontextmanager
async def run(api: BotApi, data: Path) -> AsyncIterator[BotProcess]:
    """Run ``python examples/telegram_bot.py`` during the block, which begins when it polls."""
    process = await asyncio.create_subprocess_exec(
        *("sh", "-c", 'exec "$0" "$1" > "$2" 2>&1', sys.executable, str(BOT), str(_log(data))),
        env=os.environ | _environment(api, data),
        stdin=asyncio.subprocess.DEVNULL,
        start_new_session=True,
    )
    async with _polling(api, data, BotProcess(process.pid, asyncio.create_task(process.wait()))) as bot:
        yield bot


class Forks:
    """Bots by the same script, one at a time, without the seconds of computing that importing aiogram costs each."""

    async def __aenter__(self) -> Self:
        pipe = asyncio.subprocess.PIPE
        self._program = await asyncio.create_subprocess_exec(sys.executable, "-m", __name__, stdin=pipe, stdout=pipe)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._program.kill()
        await self._program.communicate()

    @asynccontextmanager
    async def run(self, api: BotApi, data: Path) -> AsyncIterator[BotProcess]:
        """Run a bot during the block, which begins when it polls."""
        assert self._program.stdin is not None
        order = {"environment": _environment(api, data), "log": str(_log(data))}
        self._program.stdin.write(json.dumps(order).encode() + b"\n")
        pid = await self._number()
        async with _polling(api, data, BotProcess(pid, asyncio.create_task(self._number()))) as bot:
            yield bot

    async def _number(self) -> int:
        assert self._program.stdout is not None
        return int(await self._program.stdout.readline())


@asynccontextmanager
async def _polling(api: BotApi, data: Path, bot: BotProcess) -> AsyncIterator[BotProcess]:
    polled = asyncio.create_task(api.until(lambda: api.polled))
    try:
        await asyncio.wait([bot.ended, polled], return_when=asyncio.FIRST_COMPLETED)
        assert not bot.ended.done(), log_of(data)
        yield bot
    finally:
        polled.cancel()
        if not bot.ended.done():
            with contextlib.suppress(ProcessLookupError):  # it ends at this moment
                os.killpg(bot.pid, signal.SIGKILL)
        await bot.ended


def _environment(api: BotApi, data: Path) -> dict[str, str]:
    return {"BOT_TOKEN": TOKEN, "BOT_API": api.url, "PETFLEET_DATA": str(data)}


def _log(data: Path) -> Path:
    return data.with_suffix(".log")


def main() -> None:
    """For each line on stdin, fork a bot; print its pid, and when it has ended its exit code."""
    sys.path.insert(0, str(BOT.parent))
    runpy.run_path(str(BOT), run_name="imported_only")
    # On a busy machine, two seconds pass before a call of one of hundreds of users is taken.
    importlib.import_module("companions").Companions.__init__.__kwdefaults__["lock_timeout"] = 60
    for line in sys.stdin:
        order = json.loads(line)
        pid = os.fork()
        if pid == 0:
            os.setpgid(0, 0)
            os.environ |= order["environment"]
            log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            for descriptor in (1, 2):
                os.dup2(log, descriptor)
            runpy.run_path(str(BOT), run_name="__main__")
            return
        os.setpgid(pid, pid)  # whoever comes first: it is a group when its pid is known
        print(pid, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


if __name__ == "__main__":
    main()
