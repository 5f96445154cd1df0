"""A question to the user before a change."""

from __future__ import annotations

import sys

import typer

from petfleet._cli.settings import Misuse


def confirm(question: str, *, yes: bool) -> None:
    """Ask on the terminal, unless ``yes``.

    Raises:
        typer.Abort: the answer is no.
        Misuse: there is no terminal to ask on.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise Misuse("there is no terminal to ask on: pass --yes to go on without asking")
    typer.confirm(question, abort=True, err=True)
