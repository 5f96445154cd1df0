"""How the holder of a lock is found where the kernel does not name it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import filelock
import pytest

from petfleet._backends.files import lock
from petfleet._backends.protocol import Holder

pytestmark = pytest.mark.anyio


def test_where_the_kernel_lists_no_locks_the_last_writer_is_named(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on macOS: the process whose mark says that it writes; without such a mark the holder is unknown."""
    path = root / "user" / "fleet.toml.lock"
    path.parent.mkdir(parents=True)
    monkeypatch.setattr(lock, "_KERNEL_LOCKS", str(root / "missing"))
    writer = lock.UserLock(str(path), create=True)
    try:
        assert writer.try_acquire()
        assert lock.holder(str(path)) == Holder(None)
        writer.mark_writing()
        assert lock.holder(str(path)) == Holder(f"pid {os.getpid()} on {socket.gethostname()}")
    finally:
        writer.close()


def test_a_holder_is_found_where_the_kernel_lists_another_device(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on btrfs and overlay: by the inode, and then by the descriptors of that process; another's is not taken."""
    path = root / "user" / "fleet.toml.lock"
    path.parent.mkdir(parents=True)
    path.touch()
    listed = tmp_path / "locks"
    monkeypatch.setattr(lock, "_KERNEL_LOCKS", str(listed))
    with filelock.FileLock(path), subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        line = "{}: FLOCK  ADVISORY  WRITE {} 00:2a:{} 0 EOF\n"
        inode = path.stat().st_ino
        listed.write_text(line.format(1, other.pid, inode) + line.format(2, os.getpid(), inode))
        assert lock.holder(str(path)) == Holder(f"pid {os.getpid()} on {socket.gethostname()}")
        listed.write_text(line.format(1, other.pid, inode) + line.format(2, 2**22 + 1, inode))
        assert lock.holder(str(path)) == Holder(None)
        other.communicate(b"\n")
    assert lock.holder(str(path)) is None
    path.unlink()
    assert lock.holder(str(path)) is None
    path.mkdir()
    assert lock.holder(str(path)) == Holder(None)
