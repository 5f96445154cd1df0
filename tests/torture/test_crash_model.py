"""The model of a disk loses what may be lost, and what is understood of a trace is what was done."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from petfleet import dumps
from tests.torture.crash import Disk
from tests.torture.disk_state import FileState, Tree, canonical, look, put
from tests.torture.states import Crash, Recording, Script, crashes, examine
from tests.torture.states_check import Expectation, Promise
from tests.torture.states_child import old_fleet
from tests.torture.trace import (
    Label,
    MakeDirectory,
    Open,
    Operation,
    Remove,
    Rename,
    SetMode,
    Sync,
    Truncate,
    Write,
    join,
    read,
)

START: Tree = frozenset({("f", FileState(b"old", 0o600))})
FLEET = old_fleet("u", ["mira"])


def left(start: Tree, *operations: Operation) -> set[Tree]:
    """Return what a crash may leave after these operations, each of which is a line of the trace."""
    disk = Disk(start)
    for line, operation in enumerate(operations):
        disk.apply(line, operation)
    return set(disk.states())


def contents(trees: set[Tree], path: str = "f") -> set[bytes | None]:
    """Return what that file may hold in them; None: there is none."""
    files = [dict(tree).get(path) for tree in trees]
    return {None if file is None else file.data for file in files}


def opened(path: str, handle: int = 1, *, creates: bool = False, truncates: bool = False) -> Open:
    return Open(handle, path, creates, truncates, 0o600)


def test_what_was_written_may_be_lost_torn_or_zero() -> None:
    """Until the file is synced, any part of a write may be missing."""
    found = contents(left(START, opened("f"), Write(1, 0, b"newer")))
    assert found >= {b"old", b"newer", b"nld", b"n\0\0\0\0", b"\0\0\0\0\0", b"newe", b"newe\0"}


def test_writes_may_reach_the_disk_in_another_order() -> None:
    """The first may be lost although the second is there."""
    found = contents(left(START, opened("f"), Write(1, 0, b"AAA"), Write(1, 3, b"BBB")))
    assert {b"oldBBB", b"AAA", b"AAABBB", b"old"} <= found


def test_a_truncated_file_may_be_old_empty_or_new() -> None:
    """The old program writes in that way."""
    assert {b"old", b"", b"N", b"Nld"} <= contents(left(START, opened("f", truncates=True), Write(1, 0, b"N")))
    assert contents(left(START, opened("f"), Truncate(1, 1))) == {b"old", b"o"}


def test_a_mode_may_be_lost() -> None:
    """It is kept by a sync of the file, as data are."""
    for operation in (SetMode("f", -1, 0o640), SetMode("", 1, 0o640)):
        assert {state.mode for tree in left(START, opened("f"), operation) for _, state in tree if state} == {
            0o600,
            0o640,
        }
        assert len(left(START, opened("f"), operation, Sync(1, 2))) == 1


def test_a_sync_keeps_what_had_ended_before_it_began() -> None:
    """It keeps nothing that another thread wrote meanwhile."""
    assert contents(left(START, opened("f"), Write(1, 0, b"new"), Sync(1, 2))) == {b"new"}
    assert b"old" in contents(left(START, opened("f"), Write(1, 0, b"new"), Sync(1, 1)))
    assert b"old" in contents(left(START, opened("f"), Remove("f"), opened("f", 2, creates=True), Sync(1, 3)))


def test_names_may_be_lost_in_any_combination() -> None:
    """Only a sync of their own directory keeps them, not one of the file or of the directory above."""
    made: list[Operation] = [
        MakeDirectory("d"),
        opened("d/a", 1, creates=True),
        opened("d/b", 2, creates=True),
        Sync(1, 3),
        Sync(2, 4),
    ]
    top, inner = opened("", 3), opened("d", 4)
    paths = [{path for path, _ in tree} for tree in left(frozenset(), *made)]
    assert sorted(map(sorted, paths)) == [[], ["d"], ["d", "d/a"], ["d", "d/a", "d/b"], ["d", "d/b"]]
    assert {"d"} in [{path for path, _ in tree} for tree in left(frozenset(), *made, top, Sync(3, 6))]
    assert set() in [{path for path, _ in tree} for tree in left(frozenset(), *made, inner, Sync(4, 6))]
    assert len(left(frozenset(), *made, top, inner, Sync(3, 7), Sync(4, 7))) == 1


def test_a_renamed_file_may_lack_its_data() -> None:
    """A name may be durable before the data of its file."""
    done: list[Operation] = [opened("t", creates=True), Write(1, 0, b"new"), Rename("t", "f")]
    assert {b"old", b"new", b""} <= contents(left(START, *done))
    synced = left(START, *done[:2], Sync(1, 2), done[2])
    assert contents(synced) == {b"old", b"new"}
    assert not any("f" not in dict(tree) for tree in synced)


def test_a_removed_name_may_come_back() -> None:
    """It comes back with what was in the file or in the directory."""
    start = frozenset({("d", None), ("d/f", FileState(b"old", 0o600))})
    done: list[Operation] = [Remove("d/f"), Remove("d")]
    assert {frozenset(), frozenset({("d", None)}), start} == left(start, *done)
    assert left(start, done[0], opened("d"), Sync(1, 2), done[1]) == {frozenset(), frozenset({("d", None)})}


def test_too_many_names_at_once_are_an_error() -> None:
    """Trying only some of the possible states would be too little."""
    with pytest.raises(AssertionError, match="split the scenario"):
        left(frozenset(), *(MakeDirectory(str(number)) for number in range(13)))


def test_a_state_is_laid_out_as_it_is(tmp_path: Path) -> None:
    """A marker that notes the file beside it does so of the new file, and another one does not."""
    text = b"\0petfleet clean %d:3:%d:352441c2            \n"
    for number, noted in {7: True, 8: False}.items():
        tree = frozenset(
            {("u", None), ("u/f", FileState(b"abc", 0o640, 7, 5)), ("u/f.lock", FileState(text % (number, 5), 0o600))}
        )
        for name, state in {"put": tree, "canonical": canonical(tree)}.items():
            place = tmp_path / f"{name} {number}"
            place.mkdir()
            put(state, place)
            found = dict(look(place))
            file, lock = found["u/f"], found["u/f.lock"]
            assert file is not None
            assert lock is not None
            assert (file.data, file.mode) == (b"abc", 0o640)
            assert (b"clean %d:3:%d:" % (file.number, file.changed_ns) in lock.data) is noted


def test_states_are_equal_that_differ_in_arbitrary_values() -> None:
    """Process ids, times, temporary names and numbers of inodes; and in nothing else."""

    def state(pid: int, random: str, data: bytes = b"x") -> Tree:
        marker = b"\0petfleet writing pid %d on vm since %d.5".ljust(80) % (pid, pid)
        lock = FileState(marker.ljust(100) + b"\n", 0o600, pid, pid)
        return canonical(frozenset({("f.lock", lock), (f".f.{random * 16}.tmp", FileState(data, 0o600, pid + 1))}))

    assert state(1234, "a") == state(4321, "b")
    assert state(1234, "a") != state(1234, "a", b"y")


@pytest.mark.parametrize(
    ("call", "error"),
    [
        ("fallocate(3[/d/0/f], 0, 0, 10) = 0", "not in the model"),
        ("mmap(NULL, 10, PROT_WRITE, MAP_SHARED, 3[/d/0/f], 0) = 0x7f", "not in the model"),
        ("link('/d/0/f', '/d/0/g') = 0", "not in the model"),
        ("openat(AT_FDCWD[/], '/d/0/f', O_WRONLY|O_APPEND) = 3[/d/0/f]", "not in the model"),
        ("rename('/d/0/f', '/d/1/f') = 0", "not in the model"),
        ("sync() = 0", "not in the model"),
        ("write(3[/d/0/f], 'ab'..., 9) = 9", "cut short"),
        ("unlink('/d/0/f'", "not a system call"),
    ],
)
def test_a_call_that_is_not_understood_is_an_error(call: str, error: str) -> None:
    """Whatever could change a file unseen would make the model a description of something else."""
    with pytest.raises(AssertionError, match=error):
        understood("7 openat(AT_FDCWD[/], '/d/0/f', O_WRONLY) = 3[/d/0/f]", f"7 {call}")


def test_calls_are_understood_in_the_order_of_their_ends() -> None:
    """A label counts from its beginning, a sync covers what had ended by its beginning, and what failed is nothing."""
    assert understood(
        "7 openat(AT_FDCWD[/], '/d/0/f', O_RDWR|O_CREAT, 0600) = 3[/d/0/f]",
        "7 fsync(3[/d/0/f] <unfinished ...>",
        "8 write(3[/d/0/f], 'abcd', 4) = 2",
        "8 read(0x3, 0x7f00, 0x4) = 0x1",
        "8 write(3[/d/0/f], 'e', 1) = 1",
        "9 write(9[/d/0.labels], 'l' <unfinished ...>",
        "8 rename('/d/0/f', '/d/0/g') = 0",
        "9 <... write resumed>, 1) = 1",
        "7 <... fsync resumed>) = 0",
        "7 unlink('/d/0/g') = -1 EACCES (Permission denied)",
        "7 unlink('/elsewhere') = 0",
    ) == [
        Open(0, "f", True, False, 0o600),
        Write(0, 0, b"ab"),
        Write(0, 3, b"e"),
        Label("l"),
        Rename("f", "g"),
        Sync(0, 1),
    ]


def understood(*lines: str) -> list[Operation]:
    """Return what is read from these lines, in which ``'x'`` stands for strace's string, and ``[x]`` for its path."""

    def hexadecimal(found: re.Match[str]) -> str:
        return {"'": '"%s"', "[": "<%s>"}[found[0][0]] % "".join(f"\\x{ord(letter):02x}" for letter in found[1])

    lines_of_strace = [re.sub(r"['[](.*?)['\]]", hexadecimal, line) for line in lines]
    return [operation for _, operation in read(join(lines_of_strace), "/d/0", "/d/0.labels")]


def test_a_recording_that_misses_something_is_an_error() -> None:
    """In the end the model has to have what the disk has."""
    made = [(0, MakeDirectory("a")), (1, MakeDirectory("b"))]
    recording = Recording(Script("two", []), frozenset(), list(made), frozenset({("a", None), ("b", None)}))
    assert list(crashes(recording, set()))
    with pytest.raises(AssertionError, match="in truth"):
        list(crashes(replace(recording, trace=list(made[:1])), set()))


def test_an_answer_that_no_order_explains_is_an_error() -> None:
    """The calls themselves have to be right before their durability counts."""
    promise = Promise({})
    promise.hear('["begun", ["u", "add", "mira"]]')
    with pytest.raises(AssertionError, match="was possible"):
        promise.hear('["ended", ["u", "add", "mira"], "user_id = \\"u\\"\\npets = []\\n"]')


def test_what_may_be_left_follows_from_what_was_said() -> None:
    """Before or after while a call is under way, only after when it has returned, and nothing after a deletion."""
    call, promise = '["u", "add", "mira"]', Promise({})
    assert promise.expect() == {}
    promise.hear(f'["begun", {call}]')
    assert promise.expect()["u"].fleets == {None, FLEET.with_active("mira")}
    promise.hear(f'["ended", {call}, {json.dumps(dumps(FLEET.with_active("mira")))}]')
    assert promise.expect()["u"].fleets == {FLEET.with_active("mira")}
    promise.hear('["begun", ["u", "delete", ""]]')
    assert not promise.expect()["u"].gone
    promise.hear('["ended", ["u", "delete", ""], null]')
    assert promise.expect()["u"] == Expectation(gone=True)


@pytest.mark.parametrize(
    ("file", "expected", "error"),
    [
        (FileState(b"", 0o600), Expectation(frozenset([FLEET])), "required field user_id"),
        (FileState(dumps(FLEET).encode(), 0o600), Expectation(frozenset([None])), "and not one of"),
        (FileState(dumps(FLEET).encode(), 0o644), Expectation(frozenset([FLEET])), "mode"),
        (FileState(dumps(FLEET).encode(), 0o600), Expectation(frozenset([FLEET]), gone=True), "deleted user"),
    ],
)
def test_a_state_that_is_not_as_promised_is_reported(
    file: FileState, expected: Expectation, error: str, tmp_path: Path
) -> None:
    """Whatever is wrong with it, together with how it came about."""
    above = ("srv", "srv/pets", "srv/pets/fleets", "srv/pets/fleets/u")
    tree: Tree = frozenset([*((path, None) for path in above), ("srv/pets/fleets/u/fleet.toml", file)])
    recording = Recording(Script("planted", []), frozenset(), [(0, MakeDirectory("srv"))], tree)
    with pytest.raises(AssertionError, match=error) as caught:
        examine([Crash(recording, tree, frozenset([("u", expected)]), 0)], tmp_path)
    assert "MakeDirectory(path='srv')\nand may be left" in str(caught.value)
    assert not list(tmp_path.iterdir())
