"""Show a run, or the comparison of two, on the terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import Final

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from benchmarks.comparison import Comparison, Ratio, compare
from benchmarks.figures import Report, Result, Target
from benchmarks.tables import (
    SYNCS,
    durabilities,
    goal,
    group_title,
    groups,
    markdown_tables,
    number,
    reached,
    share,
    syncs,
    wrongs,
)
from benchmarks.work import PEERS

__all__ = ["compare", "markdown_tables", "print_comparison", "print_report"]

WIDTH: Final = 132  # if the output is no terminal
NARROWEST: Final = 120  # in a narrower terminal lines wrap: better than numbers cut short

_COLUMNS: Final = (
    "calls\n/s",
    "p50\nms",
    "p99\nms",
    "max\nms",
    "Jain\nproc.",
    "Jain\ntasks",
    "stall\nms",
    "CPU s\n/1,000",
    "peak\nMB",
    "syncs\n/chg.*",
    "lost",
    "errors",
)
_PEER_WIDTH: Final = max(map(len, PEERS))
_STYLES: Final = {"better": "green", "worse": "red", "same": ""}


def print_report(report: Report) -> None:
    """Print the conditions, the targets, and a table for each group of scenarios."""
    console = _console()
    console.rule(f"petfleet benchmarks: {report.kind} run of {report.when}")
    console.print(_pairs(report.machine))
    console.print(_pairs(report.versions))
    if report.targets:
        console.print(_targets(report.targets))
    for group, results in groups(report.results).items():
        console.print(_group(group, results, report.syncs))
        _print_errors(console, results)
    if report.syncs:
        console.print(Text(f"* {SYNCS}:", style="dim"))
        console.print(_pairs(syncs(report)))
    if report.results:
        console.print(Text("\nOn disk when a call returns", style="bold"))
        for peer, text in durabilities(report.results).items():
            console.print(Text(f"  {peer}: {text}"))


def print_comparison(comparison: Comparison) -> None:
    """Print the ratios new / old, with marks at notable ones, and the conditions that differ."""
    console = _console()
    console.rule("new run / old run")
    if comparison.differences:
        console.print(Text("The conditions differ, and figures may for their sake:", style="bold yellow"))
        table = _table("", ("", "old", "new"), texts=3)
        for difference in comparison.differences:
            table.add_row(*(Text(text) for text in difference))
        console.print(table)
    if comparison.targets:
        table = _table("Targets", ("figure", "old", "new", "new/old", "goal", "reached"))
        for target in comparison.targets:
            old, new = target
            said = reached(new) if old.reached == new.reached else f"{reached(old)}, now {reached(new)}"
            row = [Text(new.name), *(Text(number(one.median)) for one in target), _ratio(target.ratio)]
            table.add_row(*row, Text(goal(new)), Text(said, style="green" if new.reached else "red"))
        console.print(table)
    pairs = {id(change.new): change for change in comparison.changes}
    for group, results in groups(change.new for change in comparison.changes).items():
        columns = ("scenario", "peer", *pairs[id(results[0])].ratios, "lost", "errors")
        table = _table(group_title(group), columns, texts=2)
        for named, result in _named(results):
            ratios = pairs[id(result)].ratios.values()
            table.add_row(named, _peer(result), *(_ratio(ratio) for ratio in ratios), _lost(result), _errors(result))
        console.print(table)
    for run, names in (("old", comparison.only_old), ("new", comparison.only_new)):
        if names:
            console.print(Text(f"Only in the {run} run:", style="bold"))
            for name in names:
                console.print(Text(f"  {name}"))


def _console() -> Console:
    width = Console().width if sys.stdout.isatty() else WIDTH
    return Console(width=max(width, NARROWEST), highlight=False)


def _table(title: str, columns: Iterable[str], texts: int = 1) -> Table:
    """Return an empty table with so many columns of text, followed by columns of numbers."""
    table = Table(
        title=Text(title, style="bold") if title else None,
        title_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    for place, column in enumerate(columns):
        if place < texts:
            table.add_column(column, no_wrap=column == "peer", min_width=_PEER_WIDTH if column == "peer" else None)
        else:
            table.add_column(column, justify="right", no_wrap=True)
    return table


def _pairs(texts: dict[str, str]) -> Text:
    line = Text()
    for key, text in texts.items():
        line.append("  " if line else "").append(f"{key}: ", style="dim").append(text.replace(" ", "\u00a0"))
    return line


def _targets(targets: Sequence[Target]) -> Table:
    table = _table("Targets", ("figure", "goal", "median", "quartiles", "rounds", "reached"))
    for target in targets:
        quartiles = f"{number(target.low)} to {number(target.high)}"
        texts = (target.name, goal(target), number(target.median), quartiles, str(target.rounds))
        table.add_row(*map(Text, texts), Text(reached(target), style="green" if target.reached else "bold red"))
    return table


def _group(group: str, results: Sequence[Result], per_change: dict[str, float]) -> Table:
    table = _table(group_title(group), ("scenario", "peer", *_COLUMNS), texts=2)
    for named, result in _named(results):
        texts = (
            number(result.rate),
            number(result.p50_ms),
            number(result.p99_ms),
            number(result.max_ms),
            share(result.jain_processes),
            share(result.jain_tasks),
            number(result.stall_ms),
            number(result.cpu_s),
            number(result.peak_mb),
            number(per_change.get(result.peer)) if result.changes else "-",
        )
        table.add_row(named, _peer(result), *map(Text, texts), _lost(result), _errors(result))
    return table


def _named(results: Sequence[Result]) -> Iterable[tuple[Text, Result]]:
    """Yield each result with its scenario's name; the name is empty if it repeats."""
    before = None
    for result in results:
        yield Text("" if result.scenario.name == before else result.scenario.name), result
        before = result.scenario.name


def _print_errors(console: Console, results: Sequence[Result]) -> None:
    for result in results:
        if result.errors:
            text = f"{result.peer}, {result.scenario.name}: {wrongs(result)}; the first error: {result.error}"
            console.print(Text(text, style="red"))


def _peer(result: Result) -> Text:
    return Text(result.peer, style="bold" if result.peer == "petfleet" else "")


def _lost(result: Result) -> Text:
    return Text("-") if result.lost is None else Text(f"{result.lost:,}", style="bold red" if result.lost else "")


def _errors(result: Result) -> Text:
    return Text(f"{result.errors:,}", style="bold red" if result.errors else "")


def _ratio(ratio: Ratio) -> Text:
    text = number(ratio.value)
    return Text(text if text == "-" else f"{ratio.value:.2f}", style=_STYLES[ratio.verdict])
