"""Every place in the sources that syncs, found in their syntax trees, and copies of the sources without one of them."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from tests.support.mutate import copy_package, sources

# A function of such a name syncs, or leads to what does. Not F_FULLFSYNC, which only macOS has.
_SYNCS: Final = re.compile(r"_?(f|fdata)?sync(fs|_\w+)?")


class Site(NamedTuple):
    """A statement that syncs: in which file of the package and which function, where there, and how it reads."""

    module: str
    function: str
    text: str
    line: int

    def __str__(self) -> str:
        return f"{self.module}: {self.function}: {self.text}"


def sites() -> list[Site]:
    """Return the statements that sync.

    Raises:
        AssertionError: something syncs in another way than by a statement of its own that is a call.
    """
    package = sources()
    modules = [path.relative_to(package).as_posix() for path in sorted((package / "_backends").rglob("*.py"))]
    return [site for module in modules for site in _sites(module, (package / module).read_text("utf-8"))]


def without(site: Site, directory: Path) -> None:
    """Copy the package into a directory, with ``pass`` in the place of that statement."""
    path = copy_package(sources(), directory) / site.module
    lines = path.read_text("utf-8").splitlines()
    line = lines[site.line - 1]
    assert line.strip().partition("  #")[0] == site.text, f"{site}: not a line of its own, {line!r}"
    lines[site.line - 1] = line[: len(line) - len(line.lstrip())] + "pass"
    path.write_text("\n".join(lines) + "\n", "utf-8")


def _sites(module: str, source: str) -> Iterator[Site]:
    def visit(node: ast.AST, function: str, statement: ast.stmt | None) -> Iterator[Site]:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            function = f"{function}.{node.name}".lstrip(".")
        elif isinstance(node, ast.stmt):
            statement = node
        name = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
        # The name alone is a flag of files.py.
        if _SYNCS.fullmatch(name) and not (isinstance(node, ast.Name) and name == "sync"):
            assert isinstance(statement, ast.Expr), f"{module}: {function}: {name} is not in a statement of its own"
            yield Site(module, function, ast.unparse(statement), statement.lineno)
        for child in ast.iter_child_nodes(node):
            yield from visit(child, function, statement)

    return visit(ast.parse(source), "", None)
