"""petfleet with one protection taken out, for the children that a test starts."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Final

import pytest

import petfleet

IN_PLACE: Final = (
    "disk.py",
    "return os.replace(source, target)",
    "fd = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC);"
    " write_all(fd, read(source, 2**24).data); os.close(fd); return os.unlink(source)",
)


def mutate(directory: Path, monkeypatch: pytest.MonkeyPatch, file: str, code: str, instead: str) -> None:
    """Have all processes started from now on import a copy of petfleet in which one piece of code is replaced."""
    shutil.copytree(Path(petfleet.__file__).parent, directory / "petfleet")
    module = directory / "petfleet" / file
    text = module.read_text(encoding="utf-8")
    assert text.count(code) == 1, f"{code!r} is there {text.count(code)} times, not once"
    module.write_text(text.replace(code, instead), encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(directory), prepend=os.pathsep)
    for name in os.environ:
        if name.startswith("COVERAGE_"):  # the copy's lines are none of petfleet's
            monkeypatch.delenv(name)
