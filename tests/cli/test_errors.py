"""Whatever goes wrong is one line with the way out and an exit code, never a traceback."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import filelock
import pytest

from petfleet import FleetStore, PetFleet, dumps
from petfleet._backends.objects.bucket import ConflictError
from petfleet._cli.commands import change
from tests.cli.conftest import CommandRoot
from tests.cli.running import COMMAND, Done, environment, petfleet, put
from tests.conftest import pet

COMMANDS = [
    "list",
    "show",
    "add",
    "switch",
    "remove",
    "touch",
    "delete",
    "edit",
    "check",
    "watch",
    "export",
    "import",
    "demo",
]
NO_ROOT = "petfleet: which fleets? pass --root DIRECTORY, or set PETFLEET_ROOT\n"


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("show", "eve"), 1, "fleet not found for user eve"),
        (("switch", "eve", "mira"), 1, "fleet not found for user eve"),
        (("edit", "eve"), 1, "fleet not found for user eve"),
        (("delete", "eve", "--yes"), 1, "fleet not found for user eve"),
        (("switch", "ada", "tom"), 1, "pet tom not in fleet"),
        (("touch", "ada", "to\x1bm"), 1, "pet to\\x1bm not in fleet"),
        (
            ("add", "ada", "rex"),
            1,
            "pet rex already in fleet of user ada: choose another name, or change that pet with `petfleet edit ada`",
        ),
        (("add", "a/b", "rex"), 2, "invalid name 'a/b': a user id must not contain '/'"),
        (("show", ""), 2, "invalid name '': a user id must not be empty"),
        (("watch", ".."), 2, "invalid name '..': a user id must not be '.' or '..'"),
        (("add", "ada", ""), 2, "invalid name '': a pet name must not be empty"),
        (("add", "ada", "tom", "--at", 2**63), 2, f"last_active {2**63} does not fit into 64 bits"),
        (("delete", "eve"), 1, "fleet not found for user eve"),
        (("delete", "ada"), 2, "there is no terminal to ask on: pass --yes to go on without asking"),
        (("list", "--colour"), 2, "No such option: --colour; see petfleet list --help"),
        (("lost",), 2, "No such command 'lost'. Did you mean 'list'?; see petfleet --help"),
        (("switch", "ada"), 2, "Missing argument 'PET'; see petfleet switch --help"),
        (("import", "/no/such/file"), 1, "/no/such/file: No such file or directory"),
        (("export", "/no/such/directory/file"), 1, "/no/such/directory: No such file or directory"),
    ],
    ids=lambda value: " ".join(map(repr, value)) if isinstance(value, tuple) else "",
)
def test_an_error_is_one_line(
    any_root: CommandRoot, run: Callable[..., Done], arguments: tuple[object, ...], code: int, message: str
) -> None:
    """It is on standard error, and nothing is on standard output."""
    done = run("--root", any_root.argument, *arguments, code=code)
    assert done == ("", f"petfleet: {message}\n")


def test_an_error_as_json(two_pets_root: Path) -> None:
    """It is one object on standard error."""
    done = petfleet("show", "eve", "--json", "--root", two_pets_root, code=1)
    assert json.loads(done.err) == {"error": "FleetNotFoundError", "message": "fleet not found for user eve"}
    done = petfleet("list", "--json", code=2)
    assert json.loads(done.err)["error"] == "Misuse"


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("--json", "show", "nobody"), "FleetNotFoundError"),
        (("show", "nobody", "--json"), "FleetNotFoundError"),
        (("--json", "lost"), "UsageError"),
        (("show", "--json"), "MissingParameter"),
        (("list", "--colour", "--json"), "NoSuchOption"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_json_is_an_option_before_or_after_the_command(
    two_pets_root: Path, run: Callable[..., Done], arguments: tuple[str, ...], error: str
) -> None:
    """It counts even if something else on the command line is wrong."""
    code = 1 if error == "FleetNotFoundError" else 2
    assert json.loads(run("--root", two_pets_root, *arguments, code=code).err)["error"] == error


def test_json_may_be_a_user(two_pets_root: Path, run: Callable[..., Done]) -> None:
    """After ``--`` it is no option."""
    done = run("--root", two_pets_root, "show", "--", "--json", code=1)
    assert done == ("", "petfleet: fleet not found for user --json\n")


def test_a_root_is_required_and_must_exist(root: Path, run: Callable[..., Done]) -> None:
    """A mistyped name creates no directory, except for a first fleet."""
    assert petfleet("list", code=2).err == NO_ROOT
    missing = f"petfleet: {root} is no directory: pass the root of all fleets as --root, or in PETFLEET_ROOT\n"
    for command in (("list",), ("switch", "ada", "mira"), ("check",), ("export", "-")):
        assert run(*command, "--root", root, code=2).err == missing
    assert not root.exists()
    root.write_text("")
    assert run("add", "ada", "mira", "--root", root, code=2).err == missing


@pytest.mark.parametrize(
    ("root", "message"),
    [
        ("ftp://host/fleets", "url must be like s3://bucket/prefix, gs://... or az://..., not 'ftp://host/fleets'"),
        ("s3://", "url must be like s3://bucket/prefix, gs://... or az://..., not 's3://'"),
        (
            "s3://no-such-bucket/fleets/",
            "{root}: no such bucket: pass the URL of one that exists as --root, or in PETFLEET_ROOT",
        ),
    ],
)
@pytest.mark.usefixtures("bucket")
def test_a_bucket_must_exist(run: Callable[..., Done], root: str, message: str) -> None:
    """Its URL must be valid, and neither a first fleet nor an import creates one."""
    of_all, of_one = (message.format(root=root.rstrip("/") + about) for about in ("", "/ada/fleet.toml"))
    for command in ("list", "check", "watch", "export -"):
        assert run(*command.split(), "--root", root, code=2).err == f"petfleet: {of_all}\n"
    for command in ("add ada mira", "show ada", "delete ada", "edit ada"):
        assert run(*command.split(), "--root", root, code=2).err == f"petfleet: {of_one}\n"


@pytest.mark.usefixtures("bucket")
def test_a_bucket_that_does_not_answer(
    run: Callable[..., Done], monkeypatch: pytest.MonkeyPatch, unused_port: int
) -> None:
    """The message names the request, and the exit code is 1; a wrong environment variable is misuse."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{unused_port}")
    for command, about in ((("list",), ""), (("add", "ada", "mira"), "/ada/fleet.toml")):
        error = run(*command, "--root", "s3://fleets/x", code=1).err
        assert error.startswith(f"petfleet: s3://fleets/x{about}: Generic S3 error: Error performing ")
        assert error.endswith(" - HTTP error: error sending request\n")
        assert error.count("\n") == 1
    monkeypatch.setenv("AWS_ALLOW_HTTP", "perhaps")
    error = run("list", "--root", "s3://fleets/x", code=2).err
    assert error == 'petfleet: s3://fleets/x: Generic Config error: failed to parse "perhaps" as boolean\n'


def test_an_interval_is_for_buckets(two_pets_root: Path, run: Callable[..., Done]) -> None:
    """For a directory it is refused with the reason, and 0 is no interval."""
    error = "petfleet: --interval is for buckets: of a directory, the system tells what changes\n"
    assert run("watch", "--interval", 1, "--root", two_pets_root, code=2) == ("", error)
    assert "'--interval'" in run("watch", "--interval", 0, "--root", "s3://fleets/x", code=2).err


def test_a_bucket_where_others_always_win(
    bucket: CommandRoot, run: Callable[..., Done], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody holds a lock there; the message says what to do."""

    def conflict(*_: object) -> None:
        raise ConflictError

    monkeypatch.setattr(change, "FleetStore", partial(FleetStore, lock_timeout=0))
    monkeypatch.setattr("petfleet._backends.objects.bucket.Bucket.put", conflict)
    error = run("add", "ada", "mira", "--root", bucket.argument, code=1).err
    where = f"petfleet: {bucket.argument}/ada/fleet.toml"
    assert re.fullmatch(rf"{where} was changed by others at each of our tries, for \S+ s: try again\n", error), error


def test_a_broken_file(any_root: CommandRoot, run: Callable[..., Done]) -> None:
    """The message says where it is broken, and names `check`."""
    where = any_root.put("ada", 'user_id = "ada"\npets = 3\n')
    assert run("switch", "ada", "mira", "--root", any_root.argument, code=1).err == (
        f"petfleet: {where}, line 2: expected pets to be an array of tables, found 3: correct it; "
        "`petfleet check` says more\n"
    )


def test_a_lock_that_another_program_holds(
    two_pets_root: Path, run: Callable[..., Done], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message names the holder."""
    monkeypatch.setattr(change, "FleetStore", partial(FleetStore, lock_timeout=0))
    lock = two_pets_root / "ada" / "fleet.toml.lock"
    with filelock.FileLock(lock):
        error = run("switch", "ada", "rex", "--root", two_pets_root, code=1).err
    holder = rf"(, held by pid {os.getpid()} on \S+)?"  # not every system tells
    way_out = "try again, or see what the holder does"
    assert re.fullmatch(rf"petfleet: {lock} not locked within \S+ s{holder}: {way_out}\n", error)


def test_an_error_of_the_system(two_pets_root: Path, run: Callable[..., Done]) -> None:
    """The message has the file and the system's text."""
    (two_pets_root / "eve").symlink_to(two_pets_root / "ada")
    assert run("show", "eve", "--root", two_pets_root, code=1).err == (
        f"petfleet: {two_pets_root / 'eve'}: A user's directory must not be a symbolic link\n"
    )


def test_an_error_of_the_system_without_a_file(
    two_pets_root: Path, run: Callable[..., Done], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message has the system's text."""
    monkeypatch.setattr(
        "petfleet._cli.commands.show.Printer", lambda: (_ for _ in ()).throw(OSError("no more threads"))
    )
    assert run("show", "ada", "--root", two_pets_root, code=1).err == "petfleet: no more threads\n"


def test_a_bug_is_one_line_too(two_pets_root: Path, run: Callable[..., Done], monkeypatch: pytest.MonkeyPatch) -> None:
    """It asks for a report."""
    monkeypatch.setattr("petfleet._cli.commands.show.Printer", lambda: [].pop())
    error = run("show", "ada", "--root", two_pets_root, code=1).err
    assert error == "petfleet: a mistake of petfleet's own, please report it: IndexError('pop from empty list')\n"


@pytest.mark.parametrize(
    ("missing", "arguments", "extra"),
    [
        ("typer", ("--help",), "cli"),
        ("rich", ("list",), "cli"),
        ("aiofiles", ("export", "-"), "cli"),
        ("watchfiles", ("watch",), "watch"),
        ("obstore", ("list", "--root", "s3://fleets/x"), "objects"),
        ("obstore", ("watch", "--root", "s3://fleets/x"), "objects"),
    ],
)
def test_an_extra_that_is_not_installed(
    two_pets_root: Path, missing: str, arguments: tuple[str, ...], extra: str
) -> None:
    """The message says what to install."""
    program = f"import sys; sys.modules[{missing!r}] = None; from petfleet._cli.main import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        capture_output=True,
        text=True,
        env=environment(PETFLEET_ROOT=str(two_pets_root)),
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"petfleet: this needs {missing}: pip install 'petfleet[{extra}]'\n"


def test_a_reader_that_goes_away(two_pets_root: Path) -> None:
    """In `petfleet list | head -0` it prints nothing, and the exit code is 1."""
    read, write = os.pipe()
    os.close(read)
    with subprocess.Popen(
        [*COMMAND, "list", "--root", str(two_pets_root)], stdout=write, stderr=subprocess.PIPE
    ) as process:
        os.close(write)
        assert process.communicate(timeout=60)[1] == b""
    assert process.returncode == 1


def test_help_without_a_command() -> None:
    """It is the output of --help: a line for each command."""
    done = petfleet()
    assert done == petfleet("--help")
    assert re.findall(r"^  ([a-z]+)  ", done.out, re.MULTILINE) == COMMANDS


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_takes_json(run: Callable[..., Done], command: str) -> None:
    """All but the demonstration take a root, too."""
    options = run(command, "--help").out
    assert "--json" in options
    assert ("--root" in options) == (command != "demo")


@pytest.mark.parametrize(
    ("closed", "arguments", "code"),
    [(1, ("list",), 0), (2, ("show", "eve"), 1), (0, ("import", "-"), 0), (0, ("delete", "ada"), 2)],
)
def test_standard_streams_may_be_closed(
    two_pets_root: Path, closed: int, arguments: tuple[str, ...], code: int
) -> None:
    """In `petfleet list >&-` the output is dropped, and closed input is empty."""
    command = [*COMMAND, *arguments, "--root", str(two_pets_root)]
    done = subprocess.run(
        ["sh", "-c", f'exec "$@" {closed}>&-', "sh", *command],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env=environment(),
    )
    assert (done.returncode, "Traceback" in done.stderr, "mistake" in done.stderr) == (code, False, False), done


def test_json_is_json_in_any_encoding(two_pets_root: Path) -> None:
    """Characters that the encoding lacks are escaped as JSON escapes."""
    put(two_pets_root, "ada", dumps(PetFleet("ada", [pet("\U0001f600é")])))
    out = petfleet("show", "ada", "--json", "--root", two_pets_root, PYTHONIOENCODING="latin-1").value
    assert out["pets"][0]["pet_name"] == "\U0001f600é"


def test_a_root_that_may_not_be_read_is_not_missing(
    two_pets_root: Path, run: Callable[..., Done], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message has the system's text, and the exit code is 1."""

    def refuse(path: str) -> None:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr("petfleet._cli.settings.os.stat", refuse)
    assert run("list", "--root", two_pets_root, code=1).err == f"petfleet: {two_pets_root}: Permission denied\n"
