"""Describe the machine of a run. Reports are published, so nothing here names the host, a user or a path."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import re
import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

# Among options with a value only these: others name directories (overlay), servers (NFS) and people (CIFS).
_TELLING = {"barrier", "cache", "commit", "compress", "compress-force", "data", "discard", "errors", "proto", "vers"}


class _Mount(NamedTuple):
    device: str  # major:minor
    kind: str
    source: str
    options: list[str]


def machine(directory: Path) -> dict[str, str]:
    """Return the known facts about the machine, and the disk and file system under the directory."""
    about = {"processor": _processor(), "cores": _cores()}
    if memory := _memory():
        about["memory"] = memory
    about["kernel"] = f"{platform.system()} {platform.release()}"
    flags = _cpuinfo("flags")
    if flags is not None:
        about["virtual"] = "yes" if "hypervisor" in flags.split() else "no"
    mount = _mount(os.path.realpath(directory))
    if mount is not None:
        about["file system"] = mount.kind
        about["mount options"] = ", ".join(mount.options)
        about.update(_disk(mount))
    return about


def versions(packages: Iterable[str]) -> dict[str, str]:
    """Return the versions of Python, of SQLite and of each distribution."""
    found = {
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
        "SQLite": sqlite3.sqlite_version,
    }
    for package in packages:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            imported = importlib.util.find_spec(package.replace("-", "_")) is not None
            found[package] = "from its source tree" if imported else "not installed"
    return found


def _text(path: str) -> str | None:
    """Return the text of a file in /proc or /sys; None if there is none."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read().strip()
    except OSError:
        return None


def _cpuinfo(key: str) -> str | None:
    found = re.search(rf"^{key}\s*:\s*(.*)$", _text("/proc/cpuinfo") or "", re.MULTILINE)
    return found.group(1) if found else None


def _processor() -> str:
    return _cpuinfo("model name") or platform.processor() or platform.machine() or "unknown"


def _cores() -> str:
    there = os.cpu_count() or 1
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else there
    return str(there) if allowed == there else f"{allowed} of {there}"


def _memory() -> str | None:
    try:
        return f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 2**30:.1f} GiB"
    except (AttributeError, OSError, ValueError):
        return None


def _mount(path: str) -> _Mount | None:
    """Return the mount of a directory; None if the system does not tell."""
    best, found = -1, None
    for line in (_text("/proc/self/mountinfo") or "").splitlines():
        ours, _, theirs = line.partition(" - ")
        _, _, device, _, point, options, *_ = ours.split(" ")
        kind, source, more = theirs.split(" ", 2)
        point = re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal.group(1), 8)), point)
        # Of several mounts on one point the last covers the others.
        if len(point) >= best and (path + "/").startswith(point.rstrip("/") + "/"):
            kept = dict.fromkeys(option for option in (*options.split(","), *more.split(",")) if _is_telling(option))
            best, found = len(point), _Mount(device, kind, source, list(kept))
    return found


def _is_telling(option: str) -> bool:
    name, has_value, value = option.partition("=")
    return "/" not in option and (not has_value or (name in _TELLING and value != ""))


def _disk(mount: _Mount) -> dict[str, str]:
    """Return what the kernel tells about the block device, if there is one."""
    device = f"/sys/dev/block/{mount.device}"
    if mount.device.startswith("0:"):  # btrfs, for one, has a number of its own and names the device
        try:
            number = os.stat(mount.source).st_rdev
        except OSError:
            return {}
        device = f"/sys/dev/block/{os.major(number)}:{os.minor(number)}"
    device = os.path.realpath(device)
    if not os.path.isdir(device):
        return {}
    if os.path.exists(f"{device}/partition"):
        device = os.path.dirname(device)
    layers = []
    # Names of LVM and encrypted volumes may contain the host's name; those of the disks below do not.
    while len(below := _listing(f"{device}/slaves")) == 1:
        layers.append("mapped")
        device = os.path.realpath(f"{device}/slaves/{below[0]}")
        if os.path.exists(f"{device}/partition"):
            device = os.path.dirname(device)
    name = "several disks" if below else os.path.basename(device)
    model = " ".join(filter(None, (_text(f"{device}/device/vendor"), _text(f"{device}/device/model"))))
    if model.startswith("0x"):  # virtio gives a number for a vendor, and no model
        model = ""
    about = {"disk": ", ".join(filter(None, (name, model or "no model given", *layers[:1])))}
    rotational = _text(f"{device}/queue/rotational")
    if rotational is not None:
        about["rotational"] = "yes" if rotational == "1" else "no"
    write_cache = _text(f"{device}/queue/write_cache")
    if write_cache is not None:
        about["write cache"] = write_cache
    return about


def _listing(directory: str) -> list[str]:
    try:
        return sorted(os.listdir(directory))
    except OSError:
        return []
