"""Whether a command line asked for JSON, as its parser found."""

from __future__ import annotations


class ReportFormat:
    """Whether errors are printed as JSON. It is made before the command line is parsed, and the parser sets ``json``.

    It has a module of its own that imports nothing: main makes it before it knows whether typer is installed.
    """

    json: bool = False
