"""Modules in the place of ``os``: one that records what petfleet asks of it, and others that change some functions."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

CHANGING = {"write", "fsync", "replace", "unlink", "mkdir", "rmdir", "chmod", "chown"}


class RecordingOS:
    """Calls through to ``os``; what changes something or syncs it is recorded as ``(call, path under root)``.

    ``before`` is asked before each call with its name and path, and may raise in its stead.
    """

    def __init__(self, root: Path) -> None:
        self.calls: list[tuple[str, str]] = []
        self.before: Callable[[str, str], None] = lambda name, path: None
        self._root = root
        self._paths: dict[int, str] = {}

    def __getattr__(self, name: str) -> Any:
        value = getattr(os, name)
        if not callable(value) or isinstance(value, type):
            return value

        def recorded(*arguments: Any, **options: Any) -> Any:
            path = self._path(name, arguments)
            result = self.perform(name, path, value, *arguments, **options)
            if name in CHANGING:
                self.calls.append((name, path))
            if name == "open":
                self._paths[result] = path
            return result

        return recorded

    def perform(self, name: str, path: str, value: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        """Make one call, on that path under root; or do something else in its stead."""
        try:
            self.before(name, path)
        except OSError:
            if name == "close":
                value(*arguments)  # a failing close() closes all the same
            raise
        return value(*arguments, **options)

    def _path(self, name: str, arguments: tuple[Any, ...]) -> str:
        target = arguments[0] if arguments else ""
        if name == "replace":
            return f"{self._short(target)} -> {self._short(arguments[1])}"
        if isinstance(target, int):
            return self._paths.get(target, f"descriptor {target}")
        return self._short(target) if isinstance(target, str) and target else ""

    def _short(self, path: str) -> str:
        short = os.path.relpath(path, self._root)
        if short.startswith(".."):
            return "above" if short.strip("./") == "" else short
        return "TEMPORARY" if short.endswith(".tmp") else short


def os_with(**functions: Any) -> Any:
    """Return a stand-in for the module ``os`` with other functions in it."""
    return _ChangedOS(functions)


class _ChangedOS:
    def __init__(self, functions: dict[str, Any]) -> None:
        self.__dict__.update(functions)

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)


def refuse(system: RecordingOS, call: str, path: str, error: int) -> None:
    """Have one call on one path fail with an errno, from now on."""

    def before(name: str, where: str) -> None:
        if (name, where) == (call, path):
            raise OSError(error, os.strerror(error))

    system.before = before
