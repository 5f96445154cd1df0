"""The pictures of the command line are drawn by running it."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

PICTURES = Path(__file__).parent.parent.parent / "docs" / "pictures.py"


def words(picture: Path) -> set[str]:
    """Return the words of a picture that do not change when it is drawn again."""
    return set(re.findall(r"(?<![\w.])[A-Za-z-]+(?![\w.])", re.sub(r"<[^>]*>|&#160;", " ", picture.read_text())))


def test_the_pictures_show_what_the_command_line_prints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`nox -s pictures` draws the same words, and a picture fetches nothing."""
    spec = importlib.util.spec_from_file_location("pictures", PICTURES)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "PICTURES", tmp_path)
    module.main()
    for name in ("check.svg", "list.svg", "watch.svg"):
        kept = PICTURES.parent / "terminal" / name
        missing = words(kept) - words(tmp_path / name)  # more there may be: a warning of another file system
        assert not missing, f"{name} is not what is printed now: nox -s pictures"
        assert set(re.findall(r"https?://[^\s\"]+", kept.read_text())) <= {"http://www.w3.org/2000/svg"}
