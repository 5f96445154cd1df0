"""What README.md shows is true: its Python runs, its commands exist."""

from __future__ import annotations

import ast
import asyncio
import inspect
import re
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from petfleet._cli.app import app

PROJECT = Path(__file__).parent.parent
FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class Block(NamedTuple):
    """One fenced block, and where it stands."""

    section: str
    language: str
    line: int
    code: str


def blocks(text: str) -> list[Block]:
    """Return the fenced blocks of a Markdown text."""
    found = []
    for fence in FENCE.finditer(text):
        headings = re.findall(r"^#+ +(.+)$", FENCE.sub("", text[: fence.start()]), re.MULTILINE)
        line = text.count("\n", 0, fence.start()) + 2
        found.append(Block(headings[-1] if headings else "", fence[1], line, fence[2]))
    return found


def python_sections(text: str) -> dict[str, list[Block]]:
    """Return the Python blocks by section, in order: later ones may build on earlier ones."""
    sections: dict[str, list[Block]] = {}
    for block in blocks(text):
        if block.language in ("python", "py"):
            sections.setdefault(block.section, []).append(block)
    return sections


def execute(section: list[Block]) -> dict[str, Any]:
    """Run the blocks of one section in one namespace, those that await in one event loop, and return the namespace."""
    names: dict[str, Any] = {"__name__": "__main__"}
    with asyncio.Runner() as runner:
        for block in section:
            source = "\n" * (block.line - 1) + block.code  # so that a traceback has README's line
            code = compile(source, "README.md", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
            result = eval(code, names)
            if inspect.iscoroutine(result):
                runner.run(result)
    return names


def sessions(source: str) -> set[str]:
    """Return the names of the sessions in a noxfile, without running it."""
    found = set()
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef):
            for decorator in node.decorator_list:
                call = decorator.func if isinstance(decorator, ast.Call) else decorator
                if ast.unparse(call) == "nox.session":
                    named = [k.value for k in getattr(decorator, "keywords", ()) if k.arg == "name"]
                    found.add(ast.literal_eval(named[0]) if named else node.name)
    return found


def sessions_in(command: str) -> list[str]:
    """Return the sessions that a line of shell has nox run."""
    found: list[str] = []
    for part in re.split(r"&&|\|\||[;|]", command.partition("#")[0]):
        words = part.split()
        for option in ("-s", "--sessions", "--session", "-e"):
            if any(word.rpartition("/")[2] == "nox" for word in words) and option in words:
                for word in words[words.index(option) + 1 :]:
                    if word.startswith("-"):
                        break
                    found.append(re.sub(r"-\d.*$", "", word))  # tests-3.11 is the session tests
    return found


@pytest.fixture(scope="module")
def readme() -> str:
    """The text of README.md."""
    return (PROJECT / "README.md").read_text(encoding="utf-8")


def test_every_python_block_runs(readme: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Section by section, in an empty directory, on an event loop as a bot has it."""
    found = python_sections(readme)
    assert found, "README.md shows no Python"
    for number, section in enumerate(found.values()):
        directory = tmp_path / str(number)
        directory.mkdir()
        monkeypatch.chdir(directory)
        execute(section)


def test_every_command_names_sessions_that_exist(readme: str) -> None:
    """What follows `nox -s` is in noxfile.py, and the demonstration and the tests are among it."""
    lines = [
        line
        for b in blocks(readme)
        if b.language in ("bash", "sh", "console", "shell", "")
        for line in b.code.splitlines()
    ]
    named = {name for line in lines for name in sessions_in(line)}
    assert {"demo", "tests"} <= named
    assert named <= sessions((PROJECT / "noxfile.py").read_text(encoding="utf-8"))


EXAMPLE = """\
# One

```python
a = 1
```

```bash
# no heading
```

```python
b = a + 1
```

## Two

```text
```
"""


def test_blocks_of_one_section_build_on_each_other() -> None:
    """The reader of blocks finds the section, the line, and each block's own language."""
    assert blocks(EXAMPLE) == [
        Block("One", "python", 4, "a = 1\n"),
        Block("One", "bash", 8, "# no heading\n"),
        Block("One", "python", 12, "b = a + 1\n"),
        Block("Two", "text", 18, ""),
    ]
    assert execute(python_sections(EXAMPLE)["One"])["b"] == 2


def test_a_block_may_await_and_fails_with_its_line() -> None:
    """A block awaits as in a task; an error is reported at README's own line."""
    block = Block("One", "python", 4, "import asyncio\nx = await asyncio.sleep(0, 0)\n1 / x\n")
    with pytest.raises(ZeroDivisionError) as raised:
        execute([block])
    assert [entry.lineno + 1 for entry in raised.traceback if str(entry.path).endswith("README.md")] == [6]


def test_a_block_may_start_an_event_loop_of_its_own() -> None:
    """A whole program with its `if __name__` runs as it is."""
    program = "import asyncio\nif __name__ == '__main__':\n    x = asyncio.run(asyncio.sleep(0, 1))\n"
    assert execute([Block("One", "python", 1, program)])["x"] == 1


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("python3 -m venv .venv && .venv/bin/nox -s tests-3.11 lint -- -k x  # nox -s no", ["tests", "lint"]),
        ("pip install nox; nox -s demo", ["demo"]),
        ("nox -l", []),
        ("grep -s nothing", []),
    ],
)
def test_commands_are_understood(command: str, expected: list[str]) -> None:
    """Paths, several sessions, arguments after `--`, comments and chains."""
    assert sessions_in(command) == expected


def test_sessions_are_found_without_running_the_noxfile() -> None:
    """With and without arguments of the decorator, under a name of their own too."""
    noxfile = "@nox.session(name='a')\ndef b(s): ...\n@nox.session\ndef c(s): ...\ndef d(s): ...\n"
    assert sessions(noxfile) == {"a", "c"}


PAGES = [PROJECT / "README.md", *sorted((PROJECT / "docs").glob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_a_page_links_to_is_there(page: Path) -> None:
    """Pictures and other pages."""
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8")):
        assert "://" in target or (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_a_page_has_the_command_line_do_exists(page: Path) -> None:
    """Every `petfleet ...` in blocks and in the text is a command, and its options are options of it."""
    text = page.read_text(encoding="utf-8")
    shown = [line for block in blocks(text) if block.language == "sh" for line in block.code.splitlines()]
    shown += re.findall(r"`([^`\n]*)`", FENCE.sub("", text))
    known = {command.name or getattr(command.callback, "__name__", ""): command for command in app.registered_commands}
    for line in shown:
        for name, rest in re.findall(r"(?<![\w'.=/])petfleet +([\w-]+)([^|&;#]*)", line):
            if name.startswith("--"):
                assert name in ("--help", "--install-completion", "--version")
                continue
            assert name in known, line
            callback = known[name].callback
            assert callback is not None
            options = inspect.signature(callback).parameters
            assert {option.replace("-", "_") for option in re.findall(r"(?<!\S)--([\w-]+)", rest)} <= {*options}, line
