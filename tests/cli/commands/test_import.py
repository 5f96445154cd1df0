"""`petfleet import`: all exported fleets arrive, and none is overwritten without --overwrite."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from petfleet import PetFleet, dumps, fleet_path
from tests.cli.conftest import MIRA, REX, CommandRoot
from tests.cli.running import COMMAND, Done, environment, petfleet, records
from tests.conftest import wait_until


def test_an_import_restores_an_export(any_root: CommandRoot, tmp_path: Path, run: Callable[..., Done]) -> None:
    """It works through a file and through pipes; the export has the exact text, with comments."""
    text = dumps(PetFleet("ada", [MIRA, REX], "mira")) + "\n# written by hand\n"
    any_root.put("ada", text)
    file = tmp_path / "all.jsonl"
    assert petfleet("export", file, "--root", any_root.argument) == ("2 exported\n", "")
    assert records(file) == {"ada": text, "bob": dumps(PetFleet("bob"))}
    assert file.stat().st_mode & 0o777 == 0o600
    done = petfleet("export", "-", "--root", any_root.argument)
    assert (sorted(done.out.splitlines()), done.err) == (sorted(file.read_text().splitlines()), "2 exported\n")
    one, two = any_root.beside("one"), any_root.beside("two")
    assert run("import", file, "--root", one.argument) == ("2 imported\n", "")
    assert petfleet("import", "-", "--root", two.argument, given=done.out) == ("2 imported\n", "")
    for other in (one, two):
        assert other.fleets() == any_root.fleets()
        assert run("import", file, "--root", other.argument).out == "0 imported, 2 unchanged\n"


def test_from_a_directory_into_a_bucket_and_back(
    two_pets_root: Path, bucket: CommandRoot, tmp_path: Path, run: Callable[..., Done]
) -> None:
    """The bytes are the same afterwards; a fleet that was deleted on the way is not in the export."""
    file, again = tmp_path / "there.jsonl", tmp_path / "back.jsonl"
    run("export", file, "--root", two_pets_root)
    run("import", file, "--root", bucket.argument)
    assert bucket.text("ada") == fleet_path("ada", two_pets_root).read_text()
    run("add", "eve", "tom", "--root", bucket.argument)
    run("delete", "eve", "--yes", "--root", bucket.argument)
    assert run("export", again, "--root", bucket.argument).out == "2 exported\n"
    assert records(again) == records(file)
    assert run("import", again, "--root", two_pets_root).out == "0 imported, 2 unchanged\n"


def test_an_import_overwrites_only_when_told(any_root: CommandRoot, tmp_path: Path, run: Callable[..., Done]) -> None:
    """Without --overwrite it refuses to replace other fleets and broken files."""
    file = tmp_path / "all.jsonl"
    run("export", file, "--root", any_root.argument)
    any_root.put("ada", dumps(PetFleet("ada", [REX])))
    where = any_root.put("bob", "user_id = ")
    done = run("import", file, "--root", any_root.argument, code=1)
    assert done.out == "0 imported, 2 refused\n"
    way_out = "--overwrite replaces it, unless it is another user's"
    expected = "expected valid TOML (Invalid value)"
    assert sorted(done.err.splitlines()) == [
        f"petfleet: ada: not imported over another fleet: {way_out}",
        f"petfleet: bob: not imported over {where}, line 1, column 11: {expected}: {way_out}",
    ]
    assert any_root.text("bob") == "user_id = "
    counts = {"imported": 2, "unchanged": 0, "refused": 0, "failed": 0}
    assert run("import", file, "--root", any_root.argument, "--overwrite", "--json").value == counts
    assert any_root.fleets() == {"ada": PetFleet("ada", [MIRA, REX], "mira"), "bob": PetFleet("bob")}


def test_lines_that_are_no_fleets(any_root: CommandRoot, tmp_path: Path, run: Callable[..., Done]) -> None:
    """They are reported by their number; the others are imported."""
    any_root = any_root.beside("new")
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
    done = run("import", file, "--root", any_root.argument, code=1)
    no_record = 'no JSON object with the strings "user_id" and "toml"'
    assert done.out == "1 imported, 7 failed\n"
    assert done.err.splitlines() == [
        *(f"petfleet: {file}, line {number}: {no_record}" for number in (1, 2, 3, 4, 5)),
        f"petfleet: {file}, line 6: the fleet of 'bob': fleet text, line 1: expected user_id = 'bob', found 'ada'",
        "petfleet: a/b: invalid name 'a/b': a user id must not contain '/'",
    ]
    assert any_root.fleets() == {"ada": PetFleet("ada", [MIRA])}


def test_of_two_lines_of_one_user_the_last_counts(
    any_root: CommandRoot, tmp_path: Path, run: Callable[..., Done]
) -> None:
    """With --overwrite the last one counts; without it the first one stays."""
    any_root = any_root.beside("new")
    file = tmp_path / "all.jsonl"
    both = [{"user_id": "ada", "toml": dumps(PetFleet("ada", [one]))} for one in (MIRA, REX)]
    file.write_text("".join(f"{json.dumps(record)}\n" for record in both))
    assert run("import", file, "--root", any_root.argument, code=1).out == "1 imported, 1 refused\n"
    assert any_root.fleets() == {"ada": PetFleet("ada", [MIRA])}
    assert run("import", file, "--root", any_root.argument, "--overwrite").out == "1 imported, 1 unchanged\n"
    assert any_root.fleets() == {"ada": PetFleet("ada", [REX])}


def test_an_interrupted_import_leaves_whole_fleets_and_goes_on(any_root: CommandRoot, tmp_path: Path) -> None:
    """After Ctrl-C each fleet is complete or missing; the same import again saves the rest."""
    any_root = any_root.beside("new")
    file = tmp_path / "all.jsonl"
    many = {f"user-{number}": PetFleet(f"user-{number}", [MIRA, REX]) for number in range(1000)}
    file.write_text("".join(f"{json.dumps({'user_id': u, 'toml': dumps(f)})}\n" for u, f in many.items()))
    command = [*COMMAND, "import", str(file), "--root", any_root.argument]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment()) as process:
        try:
            backend = any_root.storage.backend()
            wait_until(lambda: sum(1 for _ in backend.users()) > 100)
            process.send_signal(signal.SIGINT)
            _, error = process.communicate(timeout=60)
        finally:
            process.kill()
    assert (process.returncode, "Traceback" in error) == (130, False), error
    found = any_root.fleets()
    assert 100 < len(found) < 1000
    assert all(fleet == many[user_id] for user_id, fleet in found.items())
    assert list(Path(any_root.argument).glob("*/.*.tmp")) == []
    counts = f"{1000 - len(found):,} imported, {len(found):,} unchanged\n"
    assert petfleet("import", file, "--root", any_root.argument).out == counts
    assert any_root.fleets() == many


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_import_that_waits_for_its_input_can_be_interrupted(any_root: CommandRoot, number: signal.Signals) -> None:
    """It ends although a thread waits for a pipe; fleets that were saved stay."""
    any_root = any_root.beside("new")
    line = json.dumps({"user_id": "ada", "toml": dumps(PetFleet("ada", [MIRA]))})
    command = [*COMMAND, "import", "-", "--root", any_root.argument]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment()
    ) as process:
        try:
            assert process.stdin is not None
            assert process.stderr is not None
            process.stdin.write(f"{line}\n" * 2)  # the second has the first saved
            process.stdin.flush()
            wait_until(lambda: any_root.text("ada") is not None)
            process.send_signal(number)
            assert process.wait(60) == 130
            error = process.stderr.read()
        finally:
            process.kill()
    assert error == "petfleet: interrupted; what was reported as done is done, and nothing is half done\n"
    assert any_root.fleets() == {"ada": PetFleet("ada", [MIRA])}


def test_nohup_is_respected(root: Path) -> None:
    """An ignored SIGHUP stays ignored: the import goes on after the terminal has closed."""
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
