"""The pages of the project are there, and what they name is there too."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.test_readme import PROJECT, sessions

NAMED = [
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "README.md",
    "SECURITY.md",
    "docs/benchmarks.md",
    "docs/guarantees.md",
    "docs/guide.md",
    "docs/scaling.md",
    "tests/torture/README.md",
]
GENERATED = "docs/benchmarks/tables.md"  # by the benchmarks
PAGES = [*PROJECT.glob("*.md"), *(PROJECT / "docs").rglob("*.md"), *(PROJECT / "tests").rglob("*.md")]
FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^()\s#]*)(?:#([^()\s]*))?\)")


def name(page: Path) -> str:
    """Return a page's path in the project."""
    return page.relative_to(PROJECT).as_posix()


def anchors(page: Path) -> set[str]:
    """Return the names by which a link can lead to the page's headings."""
    headings = re.findall(r"^#+ +(.+)$", FENCE.sub("", page.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_page_is_there() -> None:
    """A page that others name has not been moved."""
    assert {*NAMED} <= {name(page) for page in PAGES}


@pytest.mark.parametrize("page", sorted(PAGES), ids=name)
def test_every_relative_link_resolves(page: Path) -> None:
    """Its file exists, and has the heading that the link names."""
    for target, anchor in LINK.findall(FENCE.sub("", page.read_text(encoding="utf-8"))):
        if "://" in target:
            continue
        linked = page.parent / target if target else page
        assert linked.exists(), target
        assert not anchor or anchor in anchors(linked), f"{target}#{anchor}"


@pytest.mark.parametrize("page", sorted(PAGES), ids=name)
def test_every_session_that_a_page_names_exists(page: Path) -> None:
    """In commands, and in the text."""
    named = {*re.findall(r"nox -s (\w+)", page.read_text(encoding="utf-8"))}
    assert named <= sessions((PROJECT / "noxfile.py").read_text(encoding="utf-8"))


@pytest.mark.parametrize("page", ["ARCHITECTURE.md", "CONTRIBUTING.md"])
def test_every_path_that_a_page_names_exists(page: str) -> None:
    """Modules may be named from the project, from the library or from one of its rooms."""
    text = FENCE.sub("", (PROJECT / page).read_text(encoding="utf-8"))
    library = PROJECT / "src" / "petfleet"
    places = [PROJECT, library, *(path for path in library.rglob("_*") if path.is_dir()), library / "_backends/files"]
    for path in re.findall(r"`([\w/]+(?:\.py|/))`", text):
        assert any((place / path).exists() for place in places), path


@pytest.mark.parametrize("page", sorted(page for page in PAGES if name(page) != GENERATED), ids=name)
def test_prose_ends_at_120_columns(page: Path) -> None:
    """Tables, code, pictures and lines of a single word, such as a long address, may be longer."""
    for line in FENCE.sub("", page.read_text(encoding="utf-8")).splitlines():
        if not line.startswith(("|", "![", "<!--")) and " " in line.strip():
            assert len(line) <= 120, line
