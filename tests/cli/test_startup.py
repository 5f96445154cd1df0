"""What is imported when: a bot pays for no extra, and `petfleet --help` for neither the library nor rich."""

from __future__ import annotations

import subprocess
import sys

import pytest

EXTRAS = {"aiofiles", "rich", "typer", "watchfiles"}


def imported(program: str) -> set[str]:
    """Return the modules that a program has imported when it ends."""
    whole = f"import sys\ntry:\n    {program}\nfinally:\n    print('\\n' + ' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", whole], capture_output=True, text=True, timeout=60)
    assert "Traceback" not in done.stderr, done.stderr
    return set(done.stdout.splitlines()[-1].split())


def test_the_library_imports_no_extra() -> None:
    """It does not import asyncio either, which takes half as long as all its dependencies."""
    more = imported("from petfleet import *") - imported("import anyio, filelock, tomli_w")
    assert not more & {*EXTRAS, "asyncio", "petfleet._cli", "trio"}


def test_help_imports_neither_the_library_nor_rich() -> None:
    """It needs only typer."""
    program = "sys.argv[1:] = ['--help']; from petfleet._cli.main import main; main()"
    found = imported(program)
    assert "typer" in found
    assert not found & {
        "petfleet._store",
        "petfleet._model",
        "anyio",
        "filelock",
        "tomli_w",
        "asyncio",
        *EXTRAS - {"typer"},
    }


@pytest.mark.parametrize("module", ["list", "show", "change", "delete"])
def test_plain_commands_import_no_other_extra(module: str) -> None:
    """Only the commands that need them import aiofiles and watchfiles."""
    assert not imported(f"import petfleet._cli.commands.{module}") & {"aiofiles", "watchfiles"}
