"""Files that are nearly fleets: real ones, cut, spliced, and filled with text that readers stumble over."""

from __future__ import annotations

import base64
import json
import random
import re
import tomllib
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Final

import anyio

from petfleet import FleetFormatError, FleetStore, dumps, loads
from petfleet._toml import decode
from tests.support.store_calls import CAREFUL, OVERWRITE, Call, put

_DATA: Final = Path(__file__).parent.parent / "data"
_VALUES: Final = [
    *rb"1 -0 0x1F 0o7 0b1 9223372036854775808 1_000 1e400 inf -nan 1.5e-9 . true TRUE [] [1, {} {a={b=1}}".split(),
    *rb""" "" '' "\u0000" "\ud800" "\U0010FFFF" "\U00110000" "\x41" "\ {a=1,} """.split(),
    *[b'"""\n"""', b"'''\n'''", b'"""\\\n \n"""', b'""""""""', b"[{}, [[]], {a = [{}]}]"],
    *b"1979-05-27T07:32:00.1234567Z 07:32:00 0000-00-00 9999-12-31T23:59:59+23:59 1979-05-27T07:32:60".split(),
    *[b"[" * 64 + b"]" * 64, b"{a=" * 70 + b"1" + b"}" * 70, b"[" * 3000, b"1" * 5000],
]
_LINES: Final = [
    *["", "[[pets]]", " [[ pets ]] # x", "[pets]", "[[pets.toys]]", "[pets.home]", "[a.b]", "<<<<<<< HEAD"],
    *['user_id = "user"', 'user_id = "other"', '"user_id" = "user"', "user_id.x = 1", "pets = []", "pets = [{}]"],
    *["pets.x = 1", 'active_pet = "a"', "active_pet = []", "last_active = true", "x = [", 'x = """', "x = '''"],
    *[f"{'.'.join('a' * 64)} = 1", f"{'.'.join('a' * 500)} = 1"],
]
_FRAGMENTS: Final = [
    *[f"{line}\n".encode() for line in _LINES],
    *[b"\xef\xbb\xbf", b"\xff\xfe", b"\0", b"\r", b"\r\n", b"\x85", b"\xc2\x85", b"\xe2\x80\xa8", b"\x0b", b"\x0c"],
    *[b"\xed\xa0\x80", b"\xc0\xaf", b"\xf4\x90\x80\x80", b"\xf0\x9f\x90\x88", b"e\xcc\x81", b"\xe2\x80\xae", b"\x7f"],
    *[b'"', b"'", b'"""', b"'''", b"#", b"=", b".", b",", b"[", b"]", b"{", b"}", b"\\", b"\n", b" ", b"\t"],
]
_USER_ID: Final = re.compile(rb'user_id = ".*?"')
_FOREIGN_HEAD: Final = re.compile(rb'user_id = "(?!user")[^"\\\n]*"\n')
_KEPT_CALLS: Final = list(CAREFUL.items())


@cache
def samples() -> list[bytes]:
    """Return the files that the older program wrote or had an opinion on; each as it is, and as one of ``user``."""
    found: list[bytes] = []
    for line in (_DATA / "written_by_original.jsonl").read_text(encoding="utf-8").splitlines():
        found.append(json.loads(line)["toml"].encode())
    for line in (_DATA / "verdicts_of_original.jsonl").read_text(encoding="utf-8").splitlines():
        found.append(base64.b64decode(json.loads(line)["toml_base64"]))
    return [*found, *(_USER_ID.sub(b'user_id = "user"', data, count=1) for data in found)]


def text(rng: random.Random) -> bytes:
    """Return a text that may or may not be a fleet."""
    data = rng.choice(samples())
    for _ in range(rng.choice([1, 1, 1, 1, 2, 4])):
        data = _mutated(rng, data)
    return data


def _mutated(rng: random.Random, data: bytes) -> bytes:
    first, last = sorted(rng.randrange(len(data) + 1) for _ in "12")
    before, within, after = data[:first], data[first:last], data[last:]
    match rng.randrange(12):
        case 0:  # a bit flipped
            return before + bytes([data[first] ^ 1 << rng.randrange(8)]) + data[first + 1 :] if data[first:] else data
        case 1:  # cut off
            return before
        case 2:
            return before + after
        case 3:  # a block doubled
            return before + within * rng.choice([2, 2, 3, 50]) + after
        case 4:
            return before + rng.choice(_FRAGMENTS) + data[first:]
        case 5:
            return before + rng.choice(_FRAGMENTS) * rng.choice([2, 10, 500]) + data[first:]
        case 6:  # the value of a line replaced
            lines = data.split(b"\n")
            number = rng.randrange(len(lines))
            lines[number] = lines[number].partition(b"=")[0] + b"= " + rng.choice(_VALUES)
            return b"\n".join(lines)
        case 7:  # lines moved, those of another file among them
            lines = [*data.splitlines(keepends=True), *rng.choice(samples()).splitlines(keepends=True)[:3]]
            rng.shuffle(lines)
            return b"".join(lines)
        case 8:  # spliced
            other = rng.choice(samples())
            return before + other[rng.randrange(len(other) + 1) :]
        case 9:  # a token of kilobytes
            return before + data[first : first + 1] * rng.randrange(1, 20_000) + data[first:]
        case 10:
            return data.replace(b"\n", b"\r\n")
        case _:
            return data.decode(errors="replace").encode(rng.choice(["utf-16", "utf-8-sig", "utf-32", "utf-7"]))


def check_read(data: bytes) -> bool:
    """Check that bytes are a fleet, which can be written and read again, or no fleet; return which."""
    refused = None
    try:
        decode.user_id_in(data)
        written = dumps(loads(data))
        assert dumps(loads(written)) == written, f"{data!r} reads back differently"
    except FleetFormatError as error:
        refused = error
    except Exception as error:
        raise AssertionError(f"{error!r} came of {data!r}") from error
    if refused is None:
        return True
    assert len(str(refused)) < 1000, f"the message quotes too much of {data!r}: {refused}"
    assert refused.line is None or 1 <= refused.line <= data.count(b"\n") + 1, f"no such line in {data!r}: {refused}"
    return False


def check_kept(rng: random.Random, root: Path, number: int) -> Counter[str]:
    """Check that only a call with overwrite=True overwrites files that are no fleet."""
    return anyio.run(_check_kept, rng, root, number, backend=rng.choice(["asyncio", "trio"]))


async def _check_kept(rng: random.Random, root: Path, number: int) -> Counter[str]:
    counted: Counter[str] = Counter()
    path = put(root, b"")
    async with FleetStore(root) as store:
        while counted["files that no call overwrote"] < number:
            data = text(rng)
            try:
                loads(data, user_id="user")
                continue
            except FleetFormatError:
                counted["files that no call overwrote"] += 1
            path.write_bytes(data)
            before = path.stat()
            calls = rng.sample(_KEPT_CALLS, 3)
            foreign = is_foreign(data)
            if foreign:
                calls.append(("save overwrite", OVERWRITE))
            for name, call in calls:
                blamed = await _blamed(call, store)
                assert blamed == str(path), f"{name} speaks of {blamed} where there is {data!r}"
                now = path.stat()
                assert path.read_bytes() == data, f"{name} overwrote {data!r}"
                assert (now.st_ino, now.st_mtime_ns) == (before.st_ino, before.st_mtime_ns), (
                    f"{name} wrote {data!r} anew"
                )
            if not foreign and decode.user_id_in(data) in (None, "user"):
                await OVERWRITE(store, "user")
                assert path.read_bytes() == dumps(await store.load("user")).encode()
                counted["files that overwrite=True replaced"] += 1
    return counted


async def _blamed(call: Call, store: FleetStore) -> str | None:
    try:
        await call(store, "user")
    except FleetFormatError as error:
        return error.path
    return None


def is_foreign(data: bytes) -> bool:
    """Return whether anyone can see that the file is of another user than ``user``."""
    try:
        found = tomllib.loads(data.decode().removeprefix("\ufeff")).get("user_id")
    except (ValueError, RecursionError):
        return False
    if data.count(b"[") + data.count(b"{") > 100 or data.count(b".") > 100:
        # Perhaps refused unparsed: then only what stands above that is read.
        return _FOREIGN_HEAD.match(data) is not None
    return isinstance(found, str) and found != "user"
