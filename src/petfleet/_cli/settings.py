"""What every command is given: the root and the report format; and the error for a command that is used wrongly."""

from __future__ import annotations

import logging
import os
import stat
from typing import NamedTuple

import typer

from petfleet._cli.report_format import ReportFormat


class Misuse(typer.TyperException):
    """The command cannot be carried out as it was given."""

    exit_code = 2


class Settings(NamedTuple):
    """What every command is given.

    Attributes:
        root: the directory of all fleets, absolute; or the URL of a bucket.
        json: whether to print JSON, one value a line.
    """

    root: str
    json: bool

    @property
    def in_bucket(self) -> bool:
        """Whether the root is the URL of a bucket."""
        return "://" in self.root


def report_format(ctx: typer.Context) -> ReportFormat:
    """Return the report format of the command line that is being parsed."""
    return ctx.ensure_object(ReportFormat)


def find_root(ctx: typer.Context, root: str | None) -> str | None:
    """Return the root that the command, the options before it, or the environment name."""
    above = ctx.find_root().params.get("root")
    return root or above or os.environ.get("PETFLEET_ROOT")


def read_settings(ctx: typer.Context, root: str | None, *, may_be_missing: bool = False) -> Settings:
    """Return the settings of a command.

    Args:
        root: what the command's own ``--root`` names.
        may_be_missing: whether the root directory may not exist yet.

    Raises:
        Misuse: no root is named, or it is not a directory.
        OSError: the system refuses to look at it.
    """
    found = find_root(ctx, root)
    if not found:
        raise Misuse("which fleets? pass --root DIRECTORY, or set PETFLEET_ROOT")
    settings = Settings(found, report_format(ctx).json)
    if not settings.in_bucket:
        _check_directory(found, may_be_missing=may_be_missing)
        settings = settings._replace(root=os.path.abspath(found))
    # A command reports errors itself, in its own format.
    logging.getLogger("petfleet").setLevel(logging.ERROR)
    return settings


def _check_directory(root: str, *, may_be_missing: bool) -> None:
    try:
        is_directory = stat.S_ISDIR(os.stat(root).st_mode)
        missing = False
    except (FileNotFoundError, NotADirectoryError):
        is_directory, missing = False, True
    if not is_directory and not (may_be_missing and missing):
        raise Misuse(f"{root} is no directory: pass the root of all fleets as --root, or in PETFLEET_ROOT")
