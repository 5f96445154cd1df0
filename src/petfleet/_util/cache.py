"""A bounded cache for values that are costly to recompute."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class BoundedCache(Generic[K, V]):
    """A dict that drops entries not used lately; bounded in entries and in bytes.

    Two generations: when the young one is full, it becomes the old one, and the old one is dropped. An entry that is
    used again moves to the young one. There is no lock on purpose: each dict operation is atomic, a race between
    threads can only count a few bytes wrong or drop an entry early, and a fork could leave a lock locked.
    """

    __slots__ = ("_bytes", "_max_bytes", "_max_entries", "_old", "_young")

    def __init__(self, max_entries: int, max_bytes: int) -> None:
        # Half of each bound for each of the two generations.
        self._max_entries = max_entries // 2
        self._max_bytes = max_bytes // 2
        self.clear()

    def clear(self) -> None:
        """Remove everything."""
        self._young: dict[K, tuple[V, int]] = {}
        self._old: dict[K, tuple[V, int]] = {}
        self._bytes = 0

    def get(self, key: K) -> V | None:
        """Return the value of ``key``, or None if it is not there (any more)."""
        entry = self._young.get(key)
        if entry is None:
            entry = self._old.get(key)
            if entry is None:
                return None
            self.put(key, *entry)
        return entry[0]

    def get_all(self, keys: Sequence[K]) -> list[V | None]:
        """Return what :meth:`get` returns for each key."""
        young = self._young
        return [self.get(key) if (entry := young.get(key)) is None else entry[0] for key in keys]

    def put(self, key: K, value: V, size: int) -> None:
        """Store ``value``, which takes about ``size`` bytes."""
        if size > self._max_bytes:
            self.forget(key)
            return
        young = self._young
        if len(young) >= self._max_entries or self._bytes + size > self._max_bytes:
            self._old, self._young, self._bytes = young, {}, 0
            young = self._young
        replaced = young.get(key)
        young[key] = (value, size)
        self._bytes += size - (replaced[1] if replaced is not None else 0)

    def forget(self, key: K) -> None:
        """Remove ``key``, if it is there."""
        self._young.pop(key, None)
        self._old.pop(key, None)

    def __len__(self) -> int:
        return len(self._young.keys() | self._old.keys())
