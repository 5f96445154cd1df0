"""`petfleet export` and `import`: everything arrives, nothing is overwritten unasked, no file is left half written."""

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

from petfleet import ObjectBackend, PetFleet, dumps, fleet_path
from petfleet._backends.files import disk
from petfleet._backends.files.backend import FileBackend
from petfleet.cli import roots
from petfleet.cli.commands import transfer
from petfleet.cli.settings import Settings
from tests.cli.conftest import MIRA, REX, Place
from tests.cli.running import COMMAND, Done, environment, petfleet, put
from tests.conftest import pet, wait_until


def records(path: Path) -> dict[str, str]:
    found = [json.loads(line) for line in path.read_text().splitlines()]
    assert all(list(record) == ["user_id", "toml"] for record in found)
    return {record["user_id"]: record["toml"] for record in found}


def test_there_and_back(place: Place, tmp_path: Path, run: Callable[..., Done]) -> None:
    """Through a file, and through pipes; the text is the file's own, comments and all."""
    text = dumps(PetFleet("ada", [MIRA, REX], "mira")) + "\n# written by hand\n"
    place.put("ada", text)
    file = tmp_path / "all.jsonl"
    assert petfleet("export", file, "--root", place.root) == ("2 exported\n", "")
    assert records(file) == {"ada": text, "bob": dumps(PetFleet("bob"))}
    assert file.stat().st_mode & 0o777 == 0o600
    done = petfleet("export", "-", "--root", place.root)
    assert (sorted(done.out.splitlines()), done.err) == (sorted(file.read_text().splitlines()), "2 exported\n")
    one, two = place.beside("one"), place.beside("two")
    assert run("import", file, "--root", one.root) == ("2 imported\n", "")
    assert petfleet("import", "-", "--root", two.root, given=done.out) == ("2 imported\n", "")
    for other in (one, two):
        assert other.fleets() == place.fleets()
        assert run("import", file, "--root", other.root).out == "0 imported, 2 unchanged\n"


def test_from_a_directory_into_a_bucket_and_back(
    kennel: Path, bucket: Place, tmp_path: Path, run: Callable[..., Done]
) -> None:
    """What was moved is byte for byte what it was; what was deleted on the way stays so."""
    file, again = tmp_path / "there.jsonl", tmp_path / "back.jsonl"
    run("export", file, "--root", kennel)
    run("import", file, "--root", bucket.root)
    assert bucket.text("ada") == fleet_path("ada", kennel).read_text()
    run("add", "eve", "tom", "--root", bucket.root)
    run("delete", "eve", "--yes", "--root", bucket.root)
    assert run("export", again, "--root", bucket.root).out == "2 exported\n"
    assert records(again) == records(file)
    assert run("import", again, "--root", kennel).out == "0 imported, 2 unchanged\n"


def test_an_export_of_a_bucket_reads_with_several_requests_at_once(
    bucket: Place, run: Callable[..., Done], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each waits for the network, so that one after another would take as long as all of them."""
    for number in range(16):
        bucket.put(f"user-{number}", dumps(PetFleet(f"user-{number}")))
    met = threading.Barrier(8)

    def meet(backend: ObjectBackend, user_id: str) -> str:
        met.wait(30)  # broken, and an error of ours, if fewer of them come
        return user_id

    monkeypatch.setattr(ObjectBackend, "text", meet)
    assert run("export", "/dev/null", "--root", bucket.root).err == "16 exported\n"


def test_an_export_can_be_interrupted_between_any_two_failures(bucket: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a store does not answer, each of them takes seconds, and nothing comes that could be written."""
    for number in range(40):
        bucket.put(f"user-{number}", dumps(PetFleet(f"user-{number}")))
    count: Counter[str] = Counter()
    monkeypatch.setattr(ObjectBackend, "text", lambda *_: (_ for _ in ()).throw(OSError("no answer")))
    chunks = transfer._chunks(Settings(bucket.root, json=False), count)
    for failures in range(1, 41):
        assert (next(chunks), count["failed"]) == ("", failures)
    assert next(chunks, None) is None


def test_an_export_holds_no_more_than_is_read_at_once(bucket: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a large bucket neither all names nor all texts are in memory."""
    backend = ObjectBackend(bucket.root)
    numbers = iter(range(10_000))
    results = roots.map_concurrently(backend, lambda number: number, numbers)
    assert [next(results) for _ in range(5)] == [0, 1, 2, 3, 4]
    assert next(numbers) <= 5 + backend.snapshots_at_once
    results.close()


def test_an_export_replaces_an_older_one(kennel: Path, tmp_path: Path, run: Callable[..., Done]) -> None:
    """Through a link, too; nothing is left beside it."""
    file, link = tmp_path / "all.jsonl", tmp_path / "link"
    file.write_text("old\n")
    link.symlink_to(file)
    assert run("export", link, "--root", kennel, "--json").value == {"exported": 2, "failed": 0}
    assert len(records(file)) == 2
    assert link.is_symlink()
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["all.jsonl", "fleets", "link"]


def test_an_export_into_a_device(kennel: Path, run: Callable[..., Done]) -> None:
    """Is written there and does not replace it."""
    assert run("export", "/dev/null", "--root", kennel) == ("", "2 exported\n")  # it may be standard output
    assert not Path("/dev/null").is_file()


def test_what_cannot_be_exported_is_said(kennel: Path, tmp_path: Path, run: Callable[..., Done]) -> None:
    """The others are there, under another name than that of a whole export, and it is exit code 1."""
    (kennel / "x::y").mkdir()
    put(kennel, "x::y", dumps(PetFleet("x::y")))
    (kennel / "lin").symlink_to(kennel / "ada")
    (kennel / "lost+found").symlink_to(kennel / "ada")  # a mounted disk's own, often closed to all
    broken = put(kennel, "eve", "user_id = ")
    (kennel / "pip").mkdir()
    os.mkfifo(kennel / "pip" / "fleet.toml")
    file = tmp_path / "all.jsonl"
    file.write_text("the last whole one\n")
    done = run("export", file, "--root", kennel, code=1)
    assert done.out == "2 exported, 4 failed\n"
    assert f"petfleet: {file}.incomplete: not complete, and so it has this name\n" in done.err
    assert "petfleet: x::y: not exported: invalid name 'x::y': " in done.err
    assert f"petfleet: lin: not exported: {kennel}/lin: A symbolic link is not followed" in done.err
    assert f"petfleet: eve: not exported: {broken}, line 1, column 11: expected" in done.err
    assert "petfleet: pip: not exported: " in done.err
    assert file.read_text() == "the last whole one\n"
    assert set(records(tmp_path / "all.jsonl.incomplete")) == {"ada", "bob"}
    assert run("list", "--root", kennel, code=1).out.count("\n") == 1 + 6
    error = json.loads(run("export", "-", "--root", kennel, "--json", code=1).err.splitlines()[0])
    assert (error["error"], "not exported" in error["message"]) == ("failed", True)


def test_what_cannot_be_exported_of_a_bucket_is_said(bucket: Place, tmp_path: Path, run: Callable[..., Done]) -> None:
    """As of a directory."""
    bucket.put("ada", dumps(PetFleet("ada")))
    bucket.put("x::y", dumps(PetFleet("x::y")))
    broken = bucket.put("eve", "user_id = ")
    file = tmp_path / "all.jsonl"
    done = run("export", file, "--root", bucket.root, code=1)
    assert done.out == "1 exported, 2 failed\n"
    assert "petfleet: x::y: not exported: invalid name 'x::y': " in done.err
    assert f"petfleet: eve: not exported: {broken}, line 1, column 11: expected" in done.err
    assert set(records(tmp_path / "all.jsonl.incomplete")) == {"ada"}


def test_a_fleet_deleted_meanwhile_is_left_out(
    kennel: Path, run: Callable[..., Done], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was there when the users were listed."""
    monkeypatch.setattr(FileBackend, "text", lambda *_: None)
    assert run("export", "/dev/null", "--root", kennel).err == "0 exported\n"


def test_an_export_that_fails_changes_nothing(
    kennel: Path, tmp_path: Path, run: Callable[..., Done], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The older file stands, and nothing is beside it."""
    file = tmp_path / "all.jsonl"
    file.write_text("old\n")
    monkeypatch.setattr(
        "petfleet._backends.files.disk.sync_file", lambda path: (_ for _ in ()).throw(OSError(5, "Input error", path))
    )
    assert "Input error" in run("export", file, "--root", kennel, code=1).err
    assert file.read_text() == "old\n"
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["all.jsonl", "fleets"]


def test_an_export_is_durable_before_it_is_done(
    kennel: Path, tmp_path: Path, run: Callable[..., Done], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file, then its name."""
    steps: list[str] = []
    for name in ("sync_file", "rename", "sync_directory"):
        real = getattr(disk, name)

        def step(*arguments: str, name: str = name, real: Callable[..., None] = real) -> None:
            steps.append(name)
            real(*arguments)

        monkeypatch.setattr(f"petfleet._backends.files.disk.{name}", step)
    run("export", tmp_path / "all.jsonl", "--root", kennel)
    assert steps == ["sync_file", "rename", "sync_directory"]


def test_an_import_overwrites_only_when_told(place: Place, tmp_path: Path, run: Callable[..., Done]) -> None:
    """Refused are fleets that differ, and files that are no fleets."""
    file = tmp_path / "all.jsonl"
    run("export", file, "--root", place.root)
    place.put("ada", dumps(PetFleet("ada", [REX])))
    where = place.put("bob", "user_id = ")
    done = run("import", file, "--root", place.root, code=1)
    assert done.out == "0 imported, 2 refused\n"
    way_out = "--overwrite replaces it, unless it is another user's"
    expected = "expected valid TOML (Invalid value)"
    assert sorted(done.err.splitlines()) == [
        f"petfleet: ada: not imported over another fleet: {way_out}",
        f"petfleet: bob: not imported over {where}, line 1, column 11: {expected}: {way_out}",
    ]
    assert place.text("bob") == "user_id = "
    counts = {"imported": 2, "unchanged": 0, "refused": 0, "failed": 0}
    assert run("import", file, "--root", place.root, "--overwrite", "--json").value == counts
    assert place.fleets() == {"ada": PetFleet("ada", [MIRA, REX], "mira"), "bob": PetFleet("bob")}


def test_lines_that_are_no_fleets(place: Place, tmp_path: Path, run: Callable[..., Done]) -> None:
    """Are named by their number; the others are imported."""
    place = place.beside("new")
    file = tmp_path / "all.jsonl"
    good = {"user_id": "ada", "toml": dumps(PetFleet("ada", [MIRA]))}
    lines: list[object] = [
        "no json",
        [],
        {"user_id": "ada"},
        {"user_id": "ada", "toml": 3},
        {"user_id": None, "toml": good["toml"]},
        {"user_id": "bob", "toml": good["toml"]},
        {"user_id": "a/b", "toml": dumps(PetFleet("a/b"))},
        good,
    ]
    file.write_text("".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines))
    done = run("import", file, "--root", place.root, code=1)
    no_record = 'no JSON object with the strings "user_id" and "toml"'
    assert done.out == "1 imported, 7 failed\n"
    assert done.err.splitlines() == [
        *(f"petfleet: {file}, line {number}: {no_record}" for number in (1, 2, 3, 4, 5)),
        f"petfleet: {file}, line 6: the fleet of 'bob': fleet text, line 1: expected user_id = 'bob', found 'ada'",
        "petfleet: a/b: invalid name 'a/b': a user id must not contain '/'",
    ]
    assert place.fleets() == {"ada": PetFleet("ada", [MIRA])}


def test_of_two_lines_of_one_user_the_last_counts(place: Place, tmp_path: Path, run: Callable[..., Done]) -> None:
    """If it may overwrite; else the first stays."""
    place = place.beside("new")
    file = tmp_path / "all.jsonl"
    both = [{"user_id": "ada", "toml": dumps(PetFleet("ada", [one]))} for one in (MIRA, REX)]
    file.write_text("".join(f"{json.dumps(record)}\n" for record in both))
    assert run("import", file, "--root", place.root, code=1).out == "1 imported, 1 refused\n"
    assert place.fleets() == {"ada": PetFleet("ada", [MIRA])}
    assert run("import", file, "--root", place.root, "--overwrite").out == "1 imported, 1 unchanged\n"
    assert place.fleets() == {"ada": PetFleet("ada", [REX])}


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_export_leaves_the_older_one(kennel: Path, tmp_path: Path, sent: signal.Signals) -> None:
    """Ctrl-C, or a service manager's word, in the middle: exit code 130, and nothing beside it."""
    for number in range(2000):
        put(kennel, f"user-{number}", dumps(PetFleet(f"user-{number}", [pet("x" * 1000)])))
    file = tmp_path / "all.jsonl"
    file.write_text("old\n")
    command = [*COMMAND, "export", str(file), "--root", str(kennel)]
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


def test_an_interrupted_import_leaves_whole_fleets_and_goes_on(place: Place, tmp_path: Path) -> None:
    """Ctrl-C in the middle: each fleet is there or not, and running it again does the rest."""
    place = place.beside("new")
    file = tmp_path / "all.jsonl"
    many = {f"user-{number}": PetFleet(f"user-{number}", [MIRA, REX]) for number in range(1000)}
    file.write_text("".join(f"{json.dumps({'user_id': u, 'toml': dumps(f)})}\n" for u, f in many.items()))
    command = [*COMMAND, "import", str(file), "--root", place.root]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment()) as process:
        try:
            backend = place.home.backend()
            wait_until(lambda: sum(1 for _ in backend.users()) > 100)
            process.send_signal(signal.SIGINT)
            _, error = process.communicate(timeout=60)
        finally:
            process.kill()
    assert (process.returncode, "Traceback" in error) == (130, False), error
    found = place.fleets()
    assert 100 < len(found) < 1000
    assert all(fleet == many[user_id] for user_id, fleet in found.items())
    assert list(Path(place.root).glob("*/.*.tmp")) == []
    counts = f"{1000 - len(found):,} imported, {len(found):,} unchanged\n"
    assert petfleet("import", file, "--root", place.root).out == counts
    assert place.fleets() == many


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_import_that_waits_for_its_input_can_be_interrupted(place: Place, number: signal.Signals) -> None:
    """Though a thread of it reads from a pipe that says no more; what it had saved is there."""
    place = place.beside("new")
    line = json.dumps({"user_id": "ada", "toml": dumps(PetFleet("ada", [MIRA]))})
    command = [*COMMAND, "import", "-", "--root", place.root]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment()
    ) as process:
        try:
            assert process.stdin is not None
            assert process.stderr is not None
            process.stdin.write(f"{line}\n" * 2)  # the second has the first saved
            process.stdin.flush()
            wait_until(lambda: place.text("ada") is not None)
            process.send_signal(number)
            assert process.wait(60) == 130
            error = process.stderr.read()
        finally:
            process.kill()
    assert error == "petfleet: interrupted; what was reported as done is done, and nothing is half done\n"
    assert place.fleets() == {"ada": PetFleet("ada", [MIRA])}


@pytest.mark.parametrize(
    "raised", [KeyboardInterrupt(), BaseExceptionGroup("", [KeyboardInterrupt(), ValueError()])], ids=["main", "a task"]
)
async def test_a_signal_may_come_at_any_moment(
    raised: BaseException, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever the event loop is just doing, what waits for a stream ends at once; other errors stay what they are."""
    ended: list[int] = []

    async def run(error: BaseException) -> Counter[str]:
        raise error

    monkeypatch.setattr(os, "_exit", ended.append)
    await transfer._ending_at_once(run, raised)
    assert ended == [130]
    assert capsys.readouterr().err.startswith("petfleet: interrupted; ")
    with pytest.raises(ExceptionGroup):
        await transfer._ending_at_once(run, ExceptionGroup("", [ValueError()]))


def test_nohup_is_respected(root: Path) -> None:
    """What the caller has ignored stays ignored: the import goes on after the terminal has gone."""
    line = json.dumps({"user_id": "ada", "toml": dumps(PetFleet("ada", [MIRA]))})
    command = ["sh", "-c", 'trap "" HUP; exec "$@"', "sh", *COMMAND, "import", "-", "--root", str(root)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment()
    ) as process:
        try:
            assert process.stdin is not None
            process.stdin.write(f"{line}\n" * 2)
            process.stdin.flush()
            wait_until(lambda: fleet_path("ada", root).exists())
            process.send_signal(signal.SIGHUP)
            out, _ = process.communicate(timeout=60)
        finally:
            process.kill()
    assert (process.returncode, out) == (0, "1 imported, 1 unchanged\n")


def test_an_export_in_small_pieces(
    kennel: Path, tmp_path: Path, run: Callable[..., Done], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No more is in memory than is written together."""
    monkeypatch.setattr("petfleet.cli.commands.transfer._MUCH", 0)
    assert run("export", tmp_path / "all.jsonl", "--root", kennel).out == "2 exported\n"
    assert set(records(tmp_path / "all.jsonl")) == {"ada", "bob"}
