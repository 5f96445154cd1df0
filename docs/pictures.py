"""Draws docs/terminal/*.svg: real sessions of the command line, on a terminal, over a root made for them.

nox -s pictures
"""

from __future__ import annotations

import asyncio
import io
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pexpect
from rich.console import Console
from rich.text import Text

from petfleet import FleetStore, PetHandle, fleet_path

PICTURES = Path(__file__).parent / "terminal"
ROOT = "/srv/bot/fleets"  # what the pictures show in the place of a temporary directory
COLUMNS = 110
NOW = int(time.time())

# rich's own format without its fonts, which a viewer would fetch from elsewhere.
SVG = """<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>
.{unique_id}-matrix {{ font-family: ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace; \
font-size: {char_height}px; line-height: {line_height}px; }}
.{unique_id}-title {{ font-size: 18px; font-weight: bold; font-family: sans-serif; }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal">\
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}"/></clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""


async def furnish(root: Path) -> None:
    """Make some fleets."""
    store = FleetStore(root)
    for user_id, pets in {
        "user-1001": [("mira", "friend", 40), ("rex", "guard", 7200)],
        "user-1002": [("bonny", "tutor", 86_400)],
        "user-1003": [("ovid", "storyteller", 300), ("pip", "friend", 90_000), ("kuro", "coach", 500_000)],
    }.items():
        for name, role, ago in pets:
            await store.add(user_id, PetHandle(name, role, f"pets/{name}.toml", NOW - ago))


def damage(root: Path) -> None:
    """Do to some files what happens to files."""
    path = fleet_path("user-1002", root)
    path.write_text(path.read_text().replace('role = "tutor"', 'role = "tutor'))  # a slip of an editor
    path = fleet_path("user-1003", root)
    path.write_text(path.read_text().replace('active_pet = "ovid"', 'active_pet = "ovide"'))
    # A writer that was killed in the middle.
    (root / "user-1001" / ".fleet.toml.0123456789abcdef.tmp").write_text("user_id = ")
    lock = root / "user-1001" / "fleet.toml.lock"
    lock.write_bytes(
        re.sub(rb"clean [^\n]*", f"writing pid 4242 on web-3 since {NOW - 60}.000".encode(), lock.read_bytes())
    )
    copy = root / "user-1001 (copy)"
    copy.mkdir(mode=0o700)
    (copy / "fleet.toml").write_bytes(fleet_path("user-1001", root).read_bytes())
    (copy / "fleet.toml").chmod(0o644)


@contextmanager
def session(root: Path, *arguments: str) -> Iterator[pexpect.spawn[str]]:
    """Run a command on a terminal."""
    environment = {**os.environ, "PETFLEET_ROOT": str(root), "TERM": "xterm-256color", "LC_ALL": "C.UTF-8"}
    process = pexpect.spawn(
        sys.executable, ["-m", "petfleet", *arguments], env=environment, encoding="utf-8", dimensions=(40, 400)
    )
    try:
        yield process
    finally:
        process.close(force=True)


def printed(root: Path, *arguments: str) -> str:
    """Return what a command prints on a terminal."""
    with session(root, *arguments) as process:
        process.expect(pexpect.EOF)
        return str(process.before)


def watched(root: Path) -> str:
    """Return what `petfleet watch` prints while others are at work."""
    with session(root, "watch", "user-1001") as process:
        process.expect_exact("is active")
        text = str(process.before) + str(process.after)
        for arguments, last in [
            (["switch", "user-1001", "rex"], "rex is active"),
            (["add", "user-1001", "tom", "--role", "friend"], "+ tom"),
            (["touch", "user-1001"], "rex touched"),
            (["remove", "user-1001", "rex"], "mira is active"),
        ]:
            subprocess.run([sys.executable, "-m", "petfleet", "--root", str(root), *arguments], check=True)
            process.expect_exact(last)
            text += str(process.before) + str(process.after)
        process.sendintr()
        process.expect(pexpect.EOF)
        return text + str(process.before)


def draw(name: str, root: Path, *sessions: tuple[str, str]) -> None:
    """Draw commands and what they printed."""
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True)
    for number, (command, text) in enumerate(sessions):
        if number:
            console.print()
        console.print(Text(f"$ {command}", style="bold bright_white"))
        plain = re.sub(r"\x1b\[\?25[lh]|\r", "", text).replace(str(root), ROOT).strip("\n")
        for line in plain.split("\n"):
            console.print(Text.from_ansi(line))
    svg = console.export_svg(title=f"petfleet {name}", code_format=SVG, unique_id=f"petfleet-{name}")
    (PICTURES / f"{name}.svg").write_text(svg, encoding="utf-8")
    print(PICTURES / f"{name}.svg")


def main() -> None:
    """Draw all of them."""
    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="petfleet-pictures-", dir="/var/tmp") as directory:
        root = Path(directory, "fleets")
        asyncio.run(furnish(root))
        draw(
            "list",
            root,
            ("petfleet list", printed(root, "list")),
            ("petfleet show user-1003", printed(root, "show", "user-1003")),
        )
        draw("watch", root, ("petfleet watch user-1001", watched(root)))
        damage(root)
        draw(
            "check",
            root,
            ("petfleet check", printed(root, "check")),
            ("petfleet check --repair", printed(root, "check", "--repair")),
        )


if __name__ == "__main__":
    main()
