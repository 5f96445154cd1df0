"""The kinds of event loops, for tests that run several of them, or run one in a thread of its own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

import anyio

Loop = tuple[str, dict[str, Any]]
ASYNCIO: Final[Loop] = ("asyncio", {"use_uvloop": False})
UVLOOP: Final[Loop] = ("asyncio", {"use_uvloop": True})
TRIO: Final[Loop] = ("trio", {})
LOOPS: Final = [ASYNCIO, UVLOOP, TRIO]
LOOP_IDS: Final = ["asyncio", "uvloop", "trio"]


def run(loop: Loop, main: Callable[..., Awaitable[Any]], *arguments: object) -> Any:
    """Run an async function in an event loop of its own."""
    backend, options = loop
    return anyio.run(main, *arguments, backend=backend, backend_options=options)
