"""A place where a thread is held until a test lets it go."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any


class Gate:
    """Holds every thread that comes to it until ``open``; ``reached`` is set when the first one is there."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self._opened = threading.Event()

    def open(self) -> None:
        """Let the held thread, and all later ones, go on."""
        self._opened.set()

    def hold(self) -> None:
        """Wait here until the gate is opened."""
        self.reached.set()
        assert self._opened.wait(60), "the gate was never opened"

    def before(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return ``function`` with this gate in front of it."""

        def gated(*arguments: Any, **options: Any) -> Any:
            self.hold()
            return function(*arguments, **options)

        return gated

    def after(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return ``function`` with this gate behind it."""

        def gated(*arguments: Any, **options: Any) -> Any:
            result = function(*arguments, **options)
            self.hold()
            return result

        return gated
