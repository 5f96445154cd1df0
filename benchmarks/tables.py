"""A report's numbers as text, for the terminal and for the documentation. Standard library only."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from benchmarks.figures import Report, Result, Target
from benchmarks.work import PEERS

TITLES: Final = {
    "hot": "One hot user",
    "many": "Many users",
    "sizes": "By the number of pets",
    "users": "By the number of users",
    "slow": "On slower disks: each sync so much longer",
}
"""The groups that the documentation shows, with the titles of their tables."""

SYNCS: Final = "Syncs for each acknowledged change of one task alone, counted by strace"

_OTHER_TITLES: Final = {
    "operations": "Adding, loading, and 90 loads to 10 touches",
    "beside": "With others beside",
    "loops": "Other event loops",
    "memory": "Without the disk: tmpfs, where nothing is durable",
}

_MEASURES: Final[dict[str, Callable[[Result], str]]] = {
    "Calls per second": lambda result: number(result.rate),
    "Latency in ms: median / 99th percentile / maximum": lambda result: " / ".join(
        number(value) for value in (result.p50_ms, result.p99_ms, result.max_ms)
    ),
    "Fairness among tasks (Jain's index, 1 is even)": lambda result: share(result.jain_tasks),
    "CPU seconds for 1,000 calls": lambda result: number(result.cpu_s),
}


def number(value: float | None) -> str:
    """Return a measured number with about three significant digits; "-" for an unknown one."""
    if value is None or not math.isfinite(value):
        return "-"
    if value == 0:
        return "0"
    digits = max(0, min(4, 2 - math.floor(math.log10(abs(value)))))
    return f"{value:,.{digits}f}"


def share(value: float) -> str:
    """Return a share of 1 with two digits, rounded down, so that only an even one reads 1.00."""
    return f"{math.floor(value * 100 + 1e-9) / 100:.2f}" if math.isfinite(value) else "-"


def goal(target: Target) -> str:
    """Return a target's bound with its direction; "-" if there is none."""
    if target.goal is None:
        return "-"
    return f"{'≤' if target.at_most else '≥'} {target.goal:g}"


def reached(target: Target) -> str:
    """Return whether the bound was reached, as a word; "-" if there is none."""
    return "-" if target.goal is None else "yes" if target.reached else "no"


def group_title(group: str) -> str:
    """Return the title of a group's table."""
    return TITLES.get(group) or _OTHER_TITLES.get(group) or group.capitalize()


def peer_order(results: Iterable[Result]) -> list[str]:
    """Return the peers of the results: the known ones in their usual order, then the others."""
    there = dict.fromkeys(result.peer for result in results)
    return [*(peer for peer in PEERS if peer in there), *(peer for peer in there if peer not in PEERS)]


def groups(results: Iterable[Result]) -> dict[str, list[Result]]:
    """Return the results of each group: scenarios as they were first measured, peers in their usual order."""
    results = list(results)
    peers = {peer: place for place, peer in enumerate(peer_order(results))}
    found: dict[str, list[Result]] = {}
    for result in results:
        found.setdefault(result.scenario.group, []).append(result)
    for members in found.values():
        names = list(dict.fromkeys(result.scenario.name for result in members))
        members.sort(key=lambda result: (names.index(result.scenario.name), peers[result.peer]))
    return found


def syncs(report: Report) -> dict[str, str]:
    """Return, for each peer, its syncs for one change, as text."""
    return {peer: number(report.syncs[peer]) for peer in PEERS if peer in report.syncs}


def durabilities(results: Iterable[Result]) -> dict[str, str]:
    """Return, for each peer, what has reached the disk when a call returns."""
    results = list(results)
    on_disk = {result.peer for result in results if result.scenario.place == "disk"}
    results = [result for result in results if result.scenario.place == "disk" or result.peer not in on_disk]
    found: dict[str, dict[str, None]] = {peer: {} for peer in peer_order(results)}
    for result in results:
        found[result.peer][result.durability] = None
    return {peer: " or ".join(texts) for peer, texts in found.items()}


def markdown_tables(report: Report) -> str:
    """Return the conditions, the targets and the main groups as GitHub Markdown, the same for the same report."""
    conditions = {**report.machine, **report.versions}
    parts = [f"Measured on {report.when[:10]} ({report.kind} run). {_pairs(conditions, '; ')}."]
    if report.results:
        parts.append("What has reached the disk when a call returns:")
        parts.append("- " + _pairs(durabilities(report.results), "\n- "))
    if report.syncs:
        parts.append(f"{SYNCS}: {_pairs(syncs(report), '; ')}.")
    if report.targets:
        parts += ["### Targets", targets_table(report.targets)]
    grouped = groups(report.results)
    for group in TITLES:
        if group in grouped:
            parts += [f"### {group_title(group)}", *_group(grouped[group])]
    return "\n\n".join(parts) + "\n"


def targets_table(targets: Sequence[Target]) -> str:
    """Return the targets as a Markdown table."""
    rows = [
        [
            target.name,
            goal(target),
            number(target.median),
            f"{number(target.low)} to {number(target.high)}",
            str(target.rounds),
            reached(target) if target.reached else "**no**",
        ]
        for target in targets
    ]
    return _table(["figure", "goal", "median", "quartiles", "rounds", "reached"], rows)


def _group(results: Sequence[Result]) -> list[str]:
    """Return a table for each measure, with a row per scenario and a column per peer; then the failures."""
    peers = peer_order(results)
    cells = {(result.scenario.name, result.peer): result for result in results}
    parts = []
    for measure, text in _MEASURES.items():
        rows = []
        for name in dict.fromkeys(result.scenario.name for result in results):
            row = [cells.get((name, peer)) for peer in peers]
            rows.append([name, *("" if result is None else text(result) for result in row)])
        parts += [f"{measure}:", _table(["", *peers], rows)]
    wrong = [
        f"- {_plain(result.peer)}, {_plain(result.scenario.name)}: {what}"
        for result in results
        if (what := wrongs(result)) is not None
    ]
    checked = sum(result.lost is not None for result in results)
    if wrong:
        parts += ["What went wrong:", "\n".join(wrong)]
    elif checked:
        parts.append(f"No acknowledged change was lost ({checked} of {len(results)} results can tell), no call failed.")
    return parts


def wrongs(result: Result) -> str | None:
    """Return how many changes were lost and how many calls failed, None if neither happened."""
    said = []
    if result.lost:
        said.append(f"{result.lost:,} acknowledged {'change' if result.lost == 1 else 'changes'} lost")
    if result.errors:
        said.append(f"{result.errors:,} {'call' if result.errors == 1 else 'calls'} failed")
    return ", ".join(said) or None


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [
        [_plain(cell) for cell in head],
        ["---", *["---:"] * (len(head) - 1)],
        *([_plain(cell) for cell in row] for row in rows),
    ]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _pairs(texts: Mapping[str, str], between: str) -> str:
    return between.join(_plain(f"{key}: {text}") for key, text in texts.items())


def _plain(text: str) -> str:
    """Escape a text for a cell of a Markdown table."""
    return text.replace("|", "\\|").replace("\n", " ")
