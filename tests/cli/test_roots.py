"""Reads of many users in parallel."""

from __future__ import annotations

from petfleet import ObjectBackend
from petfleet._cli import roots
from tests.cli.conftest import CommandRoot


def test_no_more_results_are_held_than_there_are_parallel_reads(bucket: CommandRoot) -> None:
    """Neither all names nor all texts of a large bucket are in memory."""
    backend = ObjectBackend(bucket.argument)
    numbers = iter(range(10_000))
    results = roots.map_concurrently(backend, lambda number: number, numbers)
    assert [next(results) for _ in range(5)] == [0, 1, 2, 3, 4]
    assert next(numbers) <= 5 + backend.snapshots_at_once
    results.close()
