"""What a part needs of the machine. In CI a missing means is a failure, elsewhere a skip that says what is missing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from typing import Final

import pytest

from tests.support import seaweedfs

IN_CI: Final = bool(os.environ.get("CI"))


def program(name: str) -> str | None:
    """Return where a program is; /usr/sbin and /sbin count, although a user's PATH may leave them out."""
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")


def _program(name: str, package: str) -> Callable[[], str | None]:
    return lambda: None if program(name) else f"{name} is not installed (Debian's package {package})"


def _linux() -> str | None:
    return None if sys.platform == "linux" else "this is not Linux"


def _root() -> str | None:
    return None if os.geteuid() == 0 else "only root may do this"


def _strace() -> str | None:
    if not shutil.which("strace"):
        return "strace is not installed (Debian's package strace)"
    tried = subprocess.run(["strace", "-qq", "-e", "trace=none", "true"], capture_output=True, text=True)
    return f"strace may not look at processes ({tried.stderr.strip()})" if tried.returncode else None


def _loop() -> str | None:
    if os.geteuid() != 0:
        return "only root may mount a file system"
    if not os.path.exists("/dev/loop-control"):
        return "there are no loop devices"
    if not program("unshare"):
        return "unshare is not installed (Debian's package util-linux)"
    tried = subprocess.run(["unshare", "--mount", "true"], capture_output=True, text=True)
    return f"this root may not mount ({tried.stderr.strip()})" if tried.returncode else None


def _seaweedfs() -> str | None:
    try:
        seaweedfs.program()
    except seaweedfs.SeaweedFSError as error:
        return str(error)
    return None


_MEANS: Final[dict[str, Callable[[], str | None]]] = {
    "linux": _linux,
    "root": _root,
    "strace": _strace,
    "loop": _loop,
    "ext4": _program("mkfs.ext4", "e2fsprogs"),
    "xfs": _program("mkfs.xfs", "xfsprogs"),
    "btrfs": _program("mkfs.btrfs", "btrfs-progs"),
    "seaweedfs": _seaweedfs,
    "chromium": _program("chromium", "chromium"),
}


@cache
def missing(*means: str) -> str | None:
    """Return which of these means is missing, and why; None if all are there."""
    return next((why for mean in means if (why := _MEANS[mean]()) is not None), None)


def need(*means: str) -> None:
    """Skip the test, or in CI fail it, unless all these means are there."""
    why = missing(*means)
    if why is not None:
        if IN_CI:
            pytest.fail(f"CI has to have it: {why}")
        pytest.skip(why)
