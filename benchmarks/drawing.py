"""How charts look: bars, lines and dots with their numbers beside them, so that readers need no axis."""

from __future__ import annotations

import contextlib
import math
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, LogLocator, NullLocator

from benchmarks.tables import number

PETFLEET: Final = "#d9480f"
LOST: Final = "#c92a2a"
INK: Final = "#212529"
FAINT: Final = "#5c636a"
GRID: Final = "#e3e6e9"

# Colour and marker: peers can be told apart without colours, too.
PEERS: Final[Mapping[str, tuple[str, str]]] = {
    "petfleet": (PETFLEET, "o"),
    "raw": ("#495057", "x"),
    "step by step": ("#a07700", "v"),
    "aiosqlite": ("#1688ad", "s"),
    "aiosqlite, batched": ("#1b4f9c", "D"),
    "diskcache": ("#8e5bb0", "^"),
    "PostgreSQL": ("#2f7d32", "P"),
}

SETTINGS: Final[Any] = {
    # Verdana, where DejaVu Sans is missing, is as wide: labels stay where they were placed.
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Verdana"],
    "font.size": 10,
    "text.color": INK,
    "axes.edgecolor": "#adb5bd",
    "axes.labelcolor": FAINT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "svg.fonttype": "none",
    "svg.hashsalt": "petfleet",
}

WIDTH: Final = 8.0  # inches: 800 pixels at 100 a inch
DPI: Final = 100
DPI_OF_PNG: Final = 160


class Bar(NamedTuple):
    """One bar: its peer, the two lines of its label, its length, and a warning."""

    peer: str
    label: str
    below: str
    value: float
    warning: str


def style(peer: str) -> tuple[str, str]:
    """Return a peer's colour and marker."""
    return PEERS.get(peer, ("#868e96", "h"))


def needs_log(values: Sequence[float]) -> bool:
    """Whether the largest of the values is more than ten times the smallest."""
    positive = [value for value in values if value > 0]
    return bool(positive) and max(positive) > 10 * min(positive)


class Page:
    """A figure with a title, a subtitle, and footnotes."""

    def __init__(self, title: str, subtitle: str, notes: Sequence[str], height: float, panels: int = 1) -> None:
        lines = [line for note in notes for line in textwrap.wrap(note, 118)]
        top, bottom = 0.95, 0.60 + 0.16 * len(lines)
        height += top + bottom
        self.figure = Figure(figsize=(WIDTH, height), dpi=DPI)
        self.axes = list(self.figure.subplots(1, panels, sharey=True, squeeze=False)[0])
        self.figure.subplots_adjust(top=1 - top / height, bottom=bottom / height)
        self.figure.text(0.02, 1 - 0.14 / height, title, fontsize=13, fontweight="bold", va="top")
        self.figure.text(0.02, 1 - 0.44 / height, subtitle, fontsize=8.5, color=FAINT, va="top")
        for place, line in enumerate(reversed(lines)):
            self.figure.text(0.02, (0.08 + 0.16 * place) / height, line, fontsize=8, color=FAINT, va="bottom")

    def margins(self, left: float, right: float, between: float = 0.0) -> None:
        """Leave these shares of the width at the sides for labels, and of a panel's width between panels."""
        self.figure.subplots_adjust(left=left, right=1 - right, wspace=between)

    def save(self, path: Path) -> list[Path]:
        """Write it as SVG and as PNG, without date and version: the same numbers give the same files."""
        svg, png = path.with_suffix(".svg"), path.with_suffix(".png")
        self.figure.savefig(svg, metadata={"Date": None, "Creator": None})
        self.figure.savefig(png, dpi=DPI_OF_PNG, metadata={"Software": None})
        return [svg, png]


@contextlib.contextmanager
def settings() -> Iterator[None]:
    """Use this style inside the block, whatever the user's own settings are."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(SETTINGS)
        yield


def bars(axes: Axes, entries: Sequence[Bar], unit: str) -> None:
    """Draw horizontal bars, the longest on top, with their numbers at their ends."""
    entries = sorted(entries, key=lambda bar: -bar.value)
    values = [bar.value for bar in entries]
    log = needs_log(values)
    start = 10.0 ** math.floor(math.log10(min(value for value in values if value > 0) * 0.6)) if log else 0.0
    if log:
        axes.set_xscale("log")
    for place, bar in enumerate(entries):
        colour = style(bar.peer)[0]
        # A peer that is no store is drawn as an outline: it is a limit, not a competitor.
        look: dict[str, Any] = (
            {"facecolor": "white", "edgecolor": colour, "hatch": "////", "linewidth": 1}
            if bar.peer == "raw"
            else {"facecolor": colour}
        )
        axes.barh(place, max(bar.value - start, 0), left=start, height=0.62, **look)
        bold = "bold" if bar.peer == "petfleet" else "normal"
        axes.annotate(
            number(bar.value),
            (max(bar.value, start), place),
            (5, 5 if bar.warning else 0),
            textcoords="offset points",
            va="center",
            fontweight=bold,
        )
        if bar.warning:
            axes.annotate(
                bar.warning,
                (max(bar.value, start), place),
                (5, -7),
                textcoords="offset points",
                va="center",
                fontsize=8,
                color=LOST,
            )
        beside = axes.get_yaxis_transform()
        offset: dict[str, Any] = {"xycoords": beside, "textcoords": "offset points", "ha": "right", "va": "center"}
        axes.annotate(bar.label, (0, place), (-7, 6 if bar.below else 0), fontweight=bold, color=colour, **offset)
        axes.annotate(bar.below, (0, place), (-7, -7), fontsize=7.5, color=FAINT, **offset)
    room = 0.35 if any(bar.warning for bar in entries) else 0.22
    axes.set_xlim(start, max(values) * (max(values) / start) ** room if log else max(values) * (1 + room))
    axes.set_ylim(len(entries) - 0.45, -0.55)
    axes.set_yticks([])
    axes.xaxis.grid(True, color=GRID)
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(plain)
    axes.set_axisbelow(True)
    axes.set_xlabel(unit + (" (logarithmic)" if log else ""))


def plain(value: float, place: object = None) -> str:
    """Return a tick's number without an exponent."""
    return f"{value:,.0f}" if value >= 100 else f"{value:g}"


def lines(axes: Axes, points: Mapping[str, Mapping[int, float]], ticks: Sequence[int], log: bool) -> None:
    """Draw one line per peer over ticks, at equal distances if the ticks grow by factors."""
    axes.set_xscale("log")
    values = [value for line in points.values() for value in line.values()]
    if log:
        axes.set_yscale("log")
        # One decade has room for more ticks, and needs them.
        narrow = max(values) < 100 * min(values)
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if narrow else (1,)))
    for peer, line in points.items():
        colour, marker = style(peer)
        ours = peer == "petfleet"
        axes.plot(
            list(line),
            list(line.values()),
            color=colour,
            marker=marker,
            markersize=6 if ours else 5,
            linewidth=2.8 if ours else 1.4,
            linestyle="--" if peer == "raw" else "-",
            zorder=4 if ours else 3,
        )
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(plain)
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(plain)
    axes.yaxis.grid(True, color=GRID)
    axes.set_axisbelow(True)
    if not log:
        axes.set_ylim(bottom=0)


def name_lines(axes: Axes, points: Mapping[str, Mapping[int, float]]) -> None:
    """Write each line's last number and peer at the right, so that no two overlap.

    The margins of the page must be final, and all lines drawn.
    """
    axes.get_ylim()  # until it is asked for, transData is that of empty axes
    ends = {peer: list(line.items())[-1] for peer, line in points.items()}
    height = axes.get_window_extent().height * 72 / DPI
    to_axes = axes.transData + axes.transAxes.inverted()
    wanted = {peer: float(to_axes.transform(end)[1]) * height for peer, end in ends.items()}
    order = sorted(ends, key=lambda peer: (wanted[peer], peer))
    places = spread([wanted[peer] for peer in order], 13, height)
    for peer, place in zip(order, places, strict=True):
        colour, _ = style(peer)
        bold = "bold" if peer == "petfleet" else "normal"
        text = f"{number(ends[peer][1])}  {peer}"
        line = {"arrowstyle": "-", "color": colour, "linewidth": 0.6, "shrinkA": 1, "shrinkB": 5, "relpos": (0, 0.5)}
        axes.annotate(
            text,
            ends[peer],
            (1.07, place / height),
            textcoords="axes fraction",
            va="center",
            fontsize=9,
            color=colour,
            fontweight=bold,
            annotation_clip=False,
            arrowprops=line,
        )


def spread(wanted: Sequence[float], gap: float, most: float) -> list[float]:
    """Return places near the wanted ones, which ascend, that are at least a gap apart and stay within 0 to most."""
    blocks: list[list[float]] = []  # each a run of labels that touch: its wanted places, less their place in the run
    for place in wanted:
        blocks.append([place])
        while len(blocks) > 1 and _start(blocks[-2], gap, most) + gap * len(blocks[-2]) > _start(blocks[-1], gap, most):
            last = blocks.pop()
            blocks[-1] += [value - gap * len(blocks[-1]) for value in last]
    return [_start(block, gap, most) + gap * place for block in blocks for place in range(len(block))]


def _start(block: Sequence[float], gap: float, most: float) -> float:
    return max(0.0, min(sum(block) / len(block), most - gap * (len(block) - 1)))


def dots(axes: Axes, rows: Sequence[tuple[str, Sequence[float]]], unit: str) -> None:
    """Draw, for each peer, its median, 99th percentile and maximum on a line."""
    axes.set_xscale("log")
    for place, (peer, values) in enumerate(rows):
        colour = style(peer)[0]
        bold = "bold" if peer == "petfleet" else "normal"
        axes.plot(values, [place] * 3, color=colour, linewidth=3 if bold == "bold" else 1.6, zorder=2)
        # Left of the first, above the second, right of the third: they never meet, however near the dots are.
        sides: list[tuple[str, tuple[float, float], str]] = [
            ("o", (-8, 0), "right"),
            ("D", (0, 11), "center"),
            ("|", (8, 0), "left"),
        ]
        for value, (marker, offset, side) in zip(values, sides, strict=True):
            size = 13 if marker == "|" else 7
            axes.plot([value], [place], marker=marker, markersize=size, color=colour, markeredgewidth=1.8, zorder=3)
            where: dict[str, Any] = {"textcoords": "offset points", "va": "center", "ha": side, "fontsize": 9}
            axes.annotate(number(value), (value, place), offset, fontweight=bold, **where)
        beside: dict[str, Any] = {
            "xycoords": axes.get_yaxis_transform(),
            "textcoords": "offset points",
            "ha": "right",
            "va": "center",
        }
        axes.annotate(peer, (0, place), (-7, 0), fontweight=bold, color=colour, **beside)
    low = min(values[0] for _, values in rows)
    high = max(values[-1] for _, values in rows)
    room = max(high / low, 10) ** 0.12
    axes.set_xlim(low / room, high * room)
    axes.set_ylim(len(rows) - 0.4, -0.65)
    axes.set_yticks([])
    axes.xaxis.grid(True, color=GRID)
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(plain)
    axes.set_axisbelow(True)
    axes.set_xlabel(unit)


def name_ends(axes: Axes, points: Mapping[str, Mapping[int, float]]) -> None:
    """Write the peer beside the last point of each line, within the axes."""
    for peer, line in points.items():
        end = list(line.items())[-1]
        axes.annotate(peer, end, (4, 7), textcoords="offset points", ha="right", fontsize=9, color=style(peer)[0])


def warn(axes: Axes, points: Sequence[tuple[float, float]]) -> None:
    """Put a red ring around points."""
    for point in points:
        axes.plot(*point, marker="o", markersize=12, color=LOST, fillstyle="none", markeredgewidth=1.6, zorder=5)
