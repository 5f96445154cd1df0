"""The figures of a run, as the table that the documentation shows."""

from __future__ import annotations

from typing import Any

Report = dict[str, Any]


def table(report: Report) -> str:
    """Return the figures of a run as a Markdown table."""
    lines = [
        "| part | what it tries | rounds | counted |",
        "| --- | --- | ---: | --- |",
    ]
    for part in report["parts"]:
        counted = ", ".join(f"{number:,} {name}" for name, number in part["counted"].items()) or "-"
        lines.append(f"| {part['name']} | {part['about']} | {part['rounds']:,} | {counted} |")
    conditions = f"{report['date']}, {report['minutes']:g} minutes, seed {report['seed']}"
    return "\n".join([*lines, "", f"{conditions}, Python {report['python']}, {report['system']}"])
