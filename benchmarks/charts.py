"""Draws a run as charts for the documentation, each as SVG and PNG. They name no host, no user and no path."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks import drawing
from benchmarks.drawing import Bar, Page
from benchmarks.figures import Report, Result, Scenario
from benchmarks.tables import durabilities, groups, wrongs

ABOUT_RAW = "raw: write, sync, rename, sync, without lock, check or parser: no store, but a yardstick for the disk."


def draw(report: Report, directory: Path) -> list[Path]:
    """Draw each chart that the report has numbers for, and return the files, which are replaced if they exist."""
    directory.mkdir(parents=True, exist_ok=True)
    charts: dict[str, Callable[[Report], Page | None]] = {
        "hot": hot,
        "scaling": scaling,
        "latency": latency,
        "many": many,
        "sizes": sizes,
        "users": users,
    }
    paths: list[Path] = []
    with drawing.settings():
        for name, chart in charts.items():
            page = chart(report)
            if page is not None:
                paths += page.save(directory / name)
    return paths


def hot(report: Report) -> Page | None:
    """Rates of all peers when all tasks write one user."""
    return _bars(report, "One hot user", _of(report, "hot", processes=4, tasks=32, users=1, pets=5))


def many(report: Report) -> Page | None:
    """Rates of all peers when each call writes a random user; raw in one process, too."""
    touches = _of(report, "many")
    results = _fullest(_of(report, "many", processes=4, tasks=16)) or _fullest(touches)
    if not results:
        return None
    alone = dataclasses.replace(results[0].scenario, processes=1, tasks=16)
    results += [r for r in touches if r.peer == "raw" and r.scenario == alone and r not in results]
    return _bars(report, f"{results[0].scenario.users:,} users", results)


def scaling(report: Report) -> Page | None:
    """Rates over tasks, a panel for each number of processes."""
    results = [r for r in _of(report, "hot", users=1, pets=5) if r.rate > 0]
    panels = {count: [r for r in results if r.scenario.processes == count] for count in (1, 2, 4)}
    panels = {count: members for count, members in panels.items() if members}
    results = [r for members in panels.values() for r in members]
    ticks = sorted({r.scenario.tasks for r in results})
    if len(ticks) < 2:
        return None
    title = "One hot user: durable changes per second by tasks and processes"
    page = Page(title, _machine(report), _notes(results, rings=True), 3.4, len(panels))
    page.margins(0.085, 0.235, 0.1)
    log = drawing.needs_log([r.rate for r in results])
    lines = [_lines(members, lambda r: r.scenario.tasks, lambda r: r.rate) for members in panels.values()]
    for axes, points, (count, members) in zip(page.axes, lines, panels.items(), strict=True):
        drawing.lines(axes, points, ticks, log)
        drawing.warn(axes, [(r.scenario.tasks, r.rate) for r in members if r.lost])
        axes.set_title(_count(count, "process"), fontsize=10, color=drawing.FAINT)
        axes.set_xlabel("tasks in each" if count > 1 else "tasks")
    for place, (axes, points) in enumerate(zip(page.axes, lines, strict=True)):
        later = {peer for more in lines[place + 1 :] for peer in more}
        if place == len(lines) - 1:
            drawing.name_lines(axes, points)
        else:
            drawing.name_ends(axes, {peer: line for peer, line in points.items() if peer not in later})
    return page


def latency(report: Report) -> Page | None:
    """Medians, 99th percentiles and maxima of all peers when all tasks write one user."""
    results = _of(report, "hot", processes=4, tasks=8, users=1, pets=5) or _of(
        report, "hot", processes=4, tasks=32, users=1, pets=5
    )
    results = [r for r in results if 0 < r.p50_ms <= r.max_ms]
    if not results:
        return None
    results.sort(key=lambda r: (r.p99_ms, r.peer))
    title = f"One hot user: how long a durable change takes, {_size(results[0])}"
    page = Page(title, _machine(report), _notes(results, rings=False), 0.46 * len(results) + 0.1)
    page.margins(0.19, 0.04)
    rows = [(r.peer, (r.p50_ms, r.p99_ms, r.max_ms)) for r in results]
    drawing.dots(page.axes[0], rows, "milliseconds, logarithmic: ● median   ◆ 99th percentile   | maximum")
    return page


def sizes(report: Report) -> Page | None:
    """Medians over the number of pets, one task alone."""
    results = _of(report, "sizes", processes=1, tasks=1, users=1)
    title = "Larger fleets: how long a durable change takes, one task alone"
    return _curves(report, title, results, "pets", "pets in the fleet", lambda r: r.p50_ms, "median in ms")


def users(report: Report) -> Page | None:
    """Rates over the number of users."""
    results = _of(report, "users", pets=5)
    sizes = {(r.scenario.processes, r.scenario.tasks) for r in results}
    if not sizes:
        return None
    chosen = max(sizes, key=lambda size: (sum(_counts(r) == size for r in results), size))
    results = [r for r in results if _counts(r) == chosen]
    title = f"More users: durable changes per second, {_size(results[0])}"
    return _curves(report, title, results, "users", "users", lambda r: r.rate, "durable changes per second")


def _bars(report: Report, subject: str, results: Sequence[Result]) -> Page | None:
    if not any(r.rate > 0 for r in results):
        return None
    usual = _counts(results[0])
    entries = [
        Bar(
            r.peer,
            r.peer if _counts(r) == usual else f"{r.peer}, {_size(r)}",
            r.durability,
            r.rate,
            ", ".join(f"{many:,} {what}" for many, what in ((r.lost, "lost"), (r.errors, "failed")) if many),
        )
        for r in results
    ]
    title = f"{subject}: durable changes per second, {_size(results[0])}"
    notes = [ABOUT_RAW] if any(r.peer == "raw" for r in results) else []
    if any(r.lost for r in results):
        notes.append("lost: changes that were acknowledged and are not in the data afterwards.")
    if any(r.errors for r in results):
        notes.append("failed: calls that raised; they are not counted in the rate.")
    page = Page(title, _machine(report), notes, 0.46 * len(entries) + 0.1)
    page.margins(0.33, 0.03)
    drawing.bars(page.axes[0], entries, "changes per second")
    return page


def _curves(
    report: Report,
    title: str,
    results: Sequence[Result],
    field: str,
    across: str,
    value: Callable[[Result], float],
    up: str,
) -> Page | None:
    """Return a chart with one line per peer over one field of the scenario; None if the field has only one value."""
    results = [r for r in results if value(r) > 0]

    def place(result: Result) -> int:
        found: int = getattr(result.scenario, field)
        return found

    ticks = sorted(set(map(place, results)))
    if len(ticks) < 2:
        return None
    page = Page(title, _machine(report), _notes(results, rings=True), 3.4)
    page.margins(0.085, 0.25)
    (axes,) = page.axes
    points = _lines(results, place, value)
    drawing.lines(axes, points, ticks, drawing.needs_log([value(r) for r in results]))
    drawing.warn(axes, [(place(r), value(r)) for r in results if r.lost])
    axes.set_xlabel(across)
    axes.set_title(up, fontsize=9, color=drawing.FAINT, loc="left")
    drawing.name_lines(axes, points)
    return page


def _lines(
    results: Sequence[Result], place: Callable[[Result], int], value: Callable[[Result], float]
) -> dict[str, dict[int, float]]:
    found: dict[str, dict[int, float]] = {}
    for result in sorted(results, key=place):
        if value(result) > 0:
            found.setdefault(result.peer, {})[place(result)] = value(result)
    return found


def _of(report: Report, group: str, **fields: int) -> list[Result]:
    """Return a group's touches on asyncio and this disk, without other work, whose scenarios have these values."""
    usual = Scenario(group)
    alike = ("group", "operation", "loop", "place", "beside", "cold", "sync_ms")
    wanted = {name: getattr(usual, name) for name in alike} | fields
    return [
        result
        for result in groups(report.results).get(group, [])
        if not result.peer.startswith("petfleet, ")  # an earlier revision
        and all(getattr(result.scenario, name) == value for name, value in wanted.items())
    ]


def _fullest(results: Sequence[Result]) -> list[Result]:
    """Return the results of the one scenario that the most peers took part in."""
    found: dict[Scenario, list[Result]] = {}
    for result in results:
        found.setdefault(result.scenario, []).append(result)
    return max(found.values(), key=len, default=[])


def _counts(result: Result) -> tuple[int, int]:
    return result.scenario.processes, result.scenario.tasks


def _size(result: Result) -> str:
    processes, tasks = _counts(result)
    return f"{_count(processes, 'process')} x {_count(tasks, 'task')}"


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}{'es' if what.endswith('s') else 's'}"


def _machine(report: Report) -> str:
    """Return the few facts that the figures depend on most."""
    about = report.machine
    cores = f"{about['cores']} cores" if "cores" in about else None
    virtual = "virtual machine" if about.get("virtual") == "yes" else None
    cache = f"{about['write cache']} cache" if "write cache" in about else None
    disk = ", ".join(filter(None, (about.get("file system"), cache)))
    facts = (about.get("processor"), cores, virtual, disk, report.versions.get("Python"), report.when[:10])
    return " · ".join(filter(None, facts))


def _notes(results: Sequence[Result], *, rings: bool) -> list[str]:
    """Return what readers must know of these results."""
    alike: dict[str, list[str]] = {}
    for peer, durability in durabilities(results).items():
        alike.setdefault(durability, []).append(peer)
    notes = ["When a call returns: " + "; ".join(f"{' / '.join(peers)}: {text}" for text, peers in alike.items()) + "."]
    if any(r.peer == "raw" for r in results):
        notes.append(ABOUT_RAW)
    if rings and any(r.lost for r in results):
        notes.append("Red ring: acknowledged changes were lost.")
    if not rings:
        notes += [f"{r.peer}: {what}." for r in results if (what := wrongs(r)) is not None]
    return notes
