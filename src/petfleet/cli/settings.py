"""What every command is told: the root, and how to print; and the error of a command that was given wrongly."""

from __future__ import annotations

import logging
import os
import stat
from typing import NamedTuple

import typer


class Misuse(typer.TyperException):
    """The command cannot be carried out as it was given."""

    exit_code = 2


class Settings(NamedTuple):
    """What each command is told.

    Attributes:
        root: the directory of all fleets, absolute; or the URL of a bucket.
        json: whether to print JSON, one value a line.
    """

    root: str
    json: bool

    @property
    def in_bucket(self) -> bool:
        """Whether the root is a URL, and no directory."""
        return "://" in self.root


def find_root(ctx: typer.Context, root: str | None) -> str | None:
    """Return the root that the command, the options before it, or the environment name."""
    above = ctx.find_root().params.get("root")
    return root or above or os.environ.get("PETFLEET_ROOT")


def read_settings(ctx: typer.Context, root: str | None, json: bool, *, may_be_missing: bool = False) -> Settings:
    """Return the settings of a command; Misuse if there is no such root."""
    found = find_root(ctx, root)
    if not found:
        raise Misuse("which fleets? pass --root DIRECTORY, or set PETFLEET_ROOT")
    settings = Settings(found, json or bool(ctx.find_root().params.get("json")))
    if not settings.in_bucket:
        _check_directory(found, may_be_missing=may_be_missing)
    # A command says itself what there is to say, in its own form.
    logging.getLogger("petfleet").setLevel(logging.ERROR)
    return settings._replace(root=found if settings.in_bucket else os.path.abspath(found))


def _check_directory(root: str, *, may_be_missing: bool) -> None:
    try:
        there = stat.S_ISDIR(os.stat(root).st_mode)
        missing = False
    except (FileNotFoundError, NotADirectoryError):
        there, missing = False, True
    if not there and not (may_be_missing and missing):
        raise Misuse(f"{root} is no directory: pass the root of all fleets as --root, or in PETFLEET_ROOT")
