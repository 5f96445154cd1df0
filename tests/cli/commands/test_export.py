"""`petfleet export`: the file is complete and durable, or the older one stays."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from petfleet import ObjectBackend, PetFleet, dumps
from petfleet._backends.files import disk
from petfleet._backends.files.backend import FileBackend
from petfleet._cli.commands import export
from petfleet._cli.settings import Settings
from tests.cli.conftest import CommandRoot
from tests.cli.running import COMMAND, Done, environment, put, records
from tests.conftest import pet, wait_until


def test_an_export_of_a_bucket_sends_requests_in_parallel(
    bucket: CommandRoot, run: Callable[..., Done], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each request mostly waits for the network."""
    for number in range(16):
        bucket.put(f"user-{number}", dumps(PetFleet(f"user-{number}")))
    met = threading.Barrier(8)

    def meet(backend: ObjectBackend, user_id: str) -> str:
        met.wait(30)  # broken, and an error of ours, if fewer of them come
        return user_id

    monkeypatch.setattr(ObjectBackend, "text", meet)
    assert run("export", "/dev/null", "--root", bucket.argument).err == "16 exported\n"


def test_an_export_can_be_interrupted_between_any_two_failures(
    bucket: CommandRoot, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each failure may take seconds while a store does not answer."""
    for number in range(40):
        bucket.put(f"user-{number}", dumps(PetFleet(f"user-{number}")))
    count: Counter[str] = Counter()
    monkeypatch.setattr(ObjectBackend, "text", lambda *_: (_ for _ in ()).throw(OSError("no answer")))
    chunks = export._chunks(ObjectBackend(bucket.argument), Settings(bucket.argument, json=False), count)
    for failures in range(1, 41):
        assert (next(chunks), count["failed"]) == ("", failures)
    assert next(chunks, None) is None


def test_an_export_replaces_an_older_one(two_pets_root: Path, tmp_path: Path, run: Callable[..., Done]) -> None:
    """It follows a link, and leaves nothing beside it."""
    file, link = tmp_path / "all.jsonl", tmp_path / "link"
    file.write_text("old\n")
    link.symlink_to(file)
    assert run("export", link, "--root", two_pets_root, "--json").value == {"exported": 2, "failed": 0}
    assert len(records(file)) == 2
    assert link.is_symlink()
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["all.jsonl", "fleets", "link"]


def test_an_export_into_a_device(two_pets_root: Path, run: Callable[..., Done]) -> None:
    """It writes to the device, and does not replace it."""
    assert run("export", "/dev/null", "--root", two_pets_root) == ("", "2 exported\n")  # it may be standard output
    assert not Path("/dev/null").is_file()


def test_fleets_that_cannot_be_exported(two_pets_root: Path, tmp_path: Path, run: Callable[..., Done]) -> None:
    """They are reported; the others are in a file with another name, and the exit code is 1."""
    (two_pets_root / "x::y").mkdir()
    put(two_pets_root, "x::y", dumps(PetFleet("x::y")))
    (two_pets_root / "lin").symlink_to(two_pets_root / "ada")
    (two_pets_root / "lost+found").symlink_to(two_pets_root / "ada")  # a mounted disk's own, often closed to all
    broken = put(two_pets_root, "eve", "user_id = ")
    (two_pets_root / "pip").mkdir()
    os.mkfifo(two_pets_root / "pip" / "fleet.toml")
    file = tmp_path / "all.jsonl"
    file.write_text("the last whole one\n")
    done = run("export", file, "--root", two_pets_root, code=1)
    assert done.out == "2 exported, 4 failed\n"
    assert f"petfleet: {file}.incomplete: not complete, and so it has this name\n" in done.err
    assert "petfleet: x::y: not exported: invalid name 'x::y': " in done.err
    assert (
        f"petfleet: lin: not exported: {two_pets_root}/lin: A user's directory must not be a symbolic link" in done.err
    )
    assert f"petfleet: eve: not exported: {broken}, line 1, column 11: expected" in done.err
    assert "petfleet: pip: not exported: " in done.err
    assert file.read_text() == "the last whole one\n"
    assert set(records(tmp_path / "all.jsonl.incomplete")) == {"ada", "bob"}
    assert run("list", "--root", two_pets_root, code=1).out.count("\n") == 1 + 6
    error = json.loads(run("export", "-", "--root", two_pets_root, "--json", code=1).err.splitlines()[0])
    assert (error["error"], "not exported" in error["message"]) == ("failed", True)


def test_objects_that_cannot_be_exported(bucket: CommandRoot, tmp_path: Path, run: Callable[..., Done]) -> None:
    """They are reported like files."""
    bucket.put("ada", dumps(PetFleet("ada")))
    bucket.put("x::y", dumps(PetFleet("x::y")))
    broken = bucket.put("eve", "user_id = ")
    file = tmp_path / "all.jsonl"
    done = run("export", file, "--root", bucket.argument, code=1)
    assert done.out == "1 exported, 2 failed\n"
    assert "petfleet: x::y: not exported: invalid name 'x::y': " in done.err
    assert f"petfleet: eve: not exported: {broken}, line 1, column 11: expected" in done.err
    assert set(records(tmp_path / "all.jsonl.incomplete")) == {"ada"}


def test_a_fleet_deleted_during_the_export_is_left_out(
    two_pets_root: Path, run: Callable[..., Done], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It still existed when the users were listed."""
    monkeypatch.setattr(FileBackend, "text", lambda *_: None)
    assert run("export", "/dev/null", "--root", two_pets_root).err == "0 exported\n"


def test_an_export_that_fails_changes_nothing(
    two_pets_root: Path, tmp_path: Path, run: Callable[..., Done], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The older file stays, and nothing is left beside it."""
    file = tmp_path / "all.jsonl"
    file.write_text("old\n")
    monkeypatch.setattr(
        "petfleet._backends.files.disk.sync_file", lambda path: (_ for _ in ()).throw(OSError(5, "Input error", path))
    )
    assert "Input error" in run("export", file, "--root", two_pets_root, code=1).err
    assert file.read_text() == "old\n"
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["all.jsonl", "fleets"]


def test_an_export_is_durable_before_it_is_done(
    two_pets_root: Path, tmp_path: Path, run: Callable[..., Done], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It syncs the file, then its name."""
    steps: list[str] = []
    for name in ("sync_file", "rename", "sync_directory"):
        real = getattr(disk, name)

        def step(*arguments: str, name: str = name, real: Callable[..., None] = real) -> None:
            steps.append(name)
            real(*arguments)

        monkeypatch.setattr(f"petfleet._backends.files.disk.{name}", step)
    run("export", tmp_path / "all.jsonl", "--root", two_pets_root)
    assert steps == ["sync_file", "rename", "sync_directory"]


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_export_leaves_the_older_one(two_pets_root: Path, tmp_path: Path, sent: signal.Signals) -> None:
    """After Ctrl-C or SIGTERM the exit code is 130, and nothing is left beside it."""
    for number in range(2000):
        put(two_pets_root, f"user-{number}", dumps(PetFleet(f"user-{number}", [pet("x" * 1000)])))
    file = tmp_path / "all.jsonl"
    file.write_text("old\n")
    command = [*COMMAND, "export", str(file), "--root", str(two_pets_root)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment()) as process:
        try:
            wait_until(lambda: any(path.stat().st_size for path in tmp_path.glob(".all.jsonl.*.tmp")))
            process.send_signal(sent)
            _, error = process.communicate(timeout=60)
        finally:
            process.kill()
    assert (process.returncode, "interrupted" in error, "Traceback" in error) == (130, True, False)
    assert file.read_text() == "old\n"
    assert list(tmp_path.glob(".all*")) == []


def test_an_export_in_small_pieces(
    two_pets_root: Path, tmp_path: Path, run: Callable[..., Done], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No more is in memory than is written together."""
    monkeypatch.setattr("petfleet._cli.commands.export.MAX_CHARACTERS", 0)
    assert run("export", tmp_path / "all.jsonl", "--root", two_pets_root).out == "2 exported\n"
    assert set(records(tmp_path / "all.jsonl")) == {"ada", "bob"}
