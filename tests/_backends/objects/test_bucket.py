"""What obstore's answers mean: tried with a small server whose answers the test chooses, and with a real store."""

from __future__ import annotations

import errno
import http.server
import re
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest

from petfleet import ObjectBackend
from petfleet._backends.objects import bucket
from petfleet._backends.objects.bucket import (
    Bucket,
    ConflictError,
    Listed,
    UnansweredError,
    UnchangedError,
    UnsentError,
    Version,
)
from tests.conftest import wait_until
from tests.support.seaweedfs import SeaweedFS

SIGNED: dict[str, Any] = {"region": "us-east-1", "skip_signature": True}


def here(endpoint: str, **client: Any) -> Bucket:
    """Return a bucket behind an endpoint, whose reads are not repeated."""
    options = {**SIGNED, "endpoint": endpoint, "client_options": {"allow_http": True, **client}}
    return Bucket("s3://pets/fleets", {**options, "retry_config": {"max_retries": 0}})


class Answering:
    """A server that gives every request the same answer, which the test chooses, and records the requests."""

    def __init__(self) -> None:
        self.status = 200
        self.body = b""
        self.requests: list[str] = []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                outer.requests.append(self.command)
                self.rfile.read(int(self.headers.get("content-length", 0)))
                self.send_response(outer.status)
                self.send_header("content-length", str(len(outer.body)))
                self.send_header("etag", '"x"')
                self.end_headers()
                self.wfile.write(outer.body)

            do_GET = do_PUT = answer  # noqa: N815 - the names that http.server calls

            def log_message(self, *arguments: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        self.endpoint = f"http://127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def answering() -> Iterator[Answering]:
    server = Answering()
    yield server
    server.close()


def error_text(code: str) -> bytes:
    return f"<?xml version='1.0'?>\n<Error><Code>{code}</Code><Message>no</Message></Error>".encode()


@pytest.mark.parametrize(
    ("status", "code", "kind", "number"),
    [
        (412, "PreconditionFailed", ConflictError, None),
        (409, "ConditionalRequestConflict", ConflictError, None),
        (404, "NoSuchKey", ConflictError, None),
        (404, "NoSuchBucket", OSError, errno.ENOENT),
        (403, "AccessDenied", OSError, errno.EACCES),
        (401, "Unauthorized", OSError, errno.EACCES),
        (400, "EntityTooLarge", OSError, errno.EIO),
        (408, "RequestTimeout", UnansweredError, errno.EIO),
        (429, "SlowDown", UnansweredError, errno.EIO),
        (500, "InternalError", UnansweredError, errno.EIO),
        (501, "NotImplemented", OSError, errno.EIO),
        (503, "SlowDown", UnansweredError, errno.EIO),
    ],
)
@pytest.mark.parametrize("replacing", [None, Version('"x"', None)])
def test_what_an_answer_to_a_put_means(
    answering: Answering, status: int, code: str, kind: type[Exception], number: int | None, replacing: Version | None
) -> None:
    """A conflict, a refusal or no answer; whatever it is, obstore does not repeat the put by itself."""
    answering.status, answering.body = status, error_text(code)
    with pytest.raises(kind) as raised:
        here(answering.endpoint).put("u/fleet.toml", b"x", "note", replacing)
    if isinstance(raised.value, OSError):
        assert type(raised.value) in (kind, PermissionError, FileNotFoundError)
        assert (raised.value.errno, raised.value.filename) == (number, "s3://pets/fleets/u/fleet.toml")
        assert (code if status < 500 else str(status)) in str(raised.value)
        assert "Debug source" not in str(raised.value)
        assert "\n" not in str(raised.value)
    assert answering.requests == ["PUT"]


@pytest.mark.parametrize(
    ("status", "code", "number"),
    [(404, "NoSuchBucket", errno.ENOENT), (403, "AccessDenied", errno.EACCES), (500, "InternalError", errno.EIO)],
)
def test_only_no_such_object_means_none(answering: Answering, status: int, code: str, number: int) -> None:
    """Any other failure to read or to list is an error that names what was asked for."""
    answering.status, answering.body = status, error_text(code)
    pets = here(answering.endpoint)
    shown = code if status < 500 else str(status)  # an older obstore shows no body of a server's error
    with pytest.raises(OSError, match=shown) as raised:
        pets.get("u/fleet.toml", 10)
    assert (raised.value.errno, raised.value.filename) == (number, "s3://pets/fleets/u/fleet.toml")
    with pytest.raises(OSError, match=shown) as raised:
        list(pets.list())
    assert (raised.value.errno, raised.value.filename) == (number, "s3://pets/fleets")


@pytest.mark.parametrize(
    "user", ["NoSuchBucket", "kind: Connect,", "bucket does not exist", "non-2xx status code: 403"]
)
def test_a_user_id_decides_nothing(answering: Answering, real: Bucket, user: str) -> None:
    """Although it occurs in error messages."""
    assert real.get(f"{user}/fleet.toml", 1) is None
    version = real.put(f"{user}/fleet.toml", b"x", "note", None)
    with pytest.raises(ConflictError):
        real.put(f"{user}/fleet.toml", b"x", "note", None)
    assert real.put(f"{user}/fleet.toml", b"y", "note", version)
    answering.status, answering.body = 500, error_text(f"InternalError</Code><Key>{user}</Key><Code>")
    with pytest.raises(UnansweredError):
        here(answering.endpoint).put(f"{user}/fleet.toml", b"x", "note", None)


def test_conditions_that_are_switched_off_are_told(seaweedfs: SeaweedFS) -> None:
    """By obstore's own option: nothing was written."""
    pets = Bucket(f"s3://{seaweedfs.bucket}/off", {**seaweedfs.options(), "conditional_put": "disabled"})
    with pytest.raises(OSError, match="implemented") as raised:
        pets.put("u/fleet.toml", b"x", "note", None)
    assert raised.value.errno == errno.ENOTSUP


@pytest.mark.parametrize("url", ["s3://b/p#x", "s3://b/p?x", "s3://b/a/../p", "s3://b/./p", "s3://b/a%20b"])
def test_urls_that_would_mean_another_are_refused(url: str) -> None:
    """Two that look different must not share fleets."""
    with pytest.raises(ValueError, match="which would change its meaning"):
        ObjectBackend(url)


def test_no_such_object(answering: Answering) -> None:
    """It is no error."""
    answering.status, answering.body = 404, error_text("NoSuchKey")
    assert here(answering.endpoint).get("u/fleet.toml", 10) is None


def test_reads_are_repeated_and_puts_are_not(answering: Answering) -> None:
    """The options of the caller hold for reads; a put is for us to look up."""
    answering.status = 503
    quick = {"init_backoff": timedelta(milliseconds=1), "max_backoff": timedelta(milliseconds=1), "base": 2}
    options = {**SIGNED, "endpoint": answering.endpoint, "client_options": {"allow_http": True}}
    pets = Bucket("s3://pets/fleets/", {**options, "retry_config": {"max_retries": 3, "backoff": quick}})
    with pytest.raises(OSError, match="503"):
        pets.get("u", 10)
    with pytest.raises(UnansweredError, match="503"):
        pets.put("u", b"x", "note", None)
    assert answering.requests == ["GET"] * 4 + ["PUT"]


def test_no_connection_and_no_answer_differ() -> None:
    """What was never sent was never written."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{listening.getsockname()[1]}"
        with pytest.raises(UnsentError):
            here(endpoint).put("u", b"x", "note", None)
        listening.listen()
        with pytest.raises(UnansweredError):
            here(endpoint, timeout=timedelta(seconds=1)).put("u", b"x", "note", None)


def test_an_answer_that_breaks_off_is_none() -> None:
    """A connection that is closed in the place of an answer leaves it open."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def hang_up() -> None:
            connection, _ = listening.accept()
            connection.recv(1)
            connection.close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        with pytest.raises(UnansweredError):
            here(f"http://127.0.0.1:{listening.getsockname()[1]}").put("u", b"x", "note", None)
        thread.join()


# --- the real store --------------------------------------------------------------------------------------------------


@pytest.fixture
def real(seaweedfs: SeaweedFS, request: pytest.FixtureRequest) -> Bucket:
    return Bucket(f"s3://{seaweedfs.bucket}/{re.sub('[^a-z]', '-', request.node.name)}", seaweedfs.options())


def test_a_put_names_what_it_replaces(real: Bucket) -> None:
    """Nothing, or one version; everything else is a conflict that writes nothing."""
    first = real.put("u/a", b"1", "note 1", None)
    for wrong in (None, Version('"nonsense"', None)):
        with pytest.raises(ConflictError):
            real.put("u/a", b"2", "note 2", wrong)
    with pytest.raises(ConflictError):
        real.put("u/b", b"2", "note 2", first)
    found = real.get("u/a", 10)
    assert found is not None
    assert (found.data, found.size, found.version, found.note) == (b"1", 1, first, "note 1")
    second = real.put("u/a", b"22", "note 2", first)
    with pytest.raises(ConflictError):
        real.put("u/a", b"3", "note 3", first)
    with pytest.raises(UnchangedError):
        real.get("u/a", 10, second)
    again = real.get("u/a", 1, first)
    assert again is not None
    assert (again.data, again.size, again.version, again.note) == (None, 2, second, "note 2")
    assert real.get("u/b", 10) is None
    assert list(real.list()) == [Listed("u/a", 2, second)]


@pytest.mark.parametrize("named", ["AWS_ENDPOINT", "AWS_ENDPOINT_URL"])
def test_the_environment_may_hold_all_options(
    seaweedfs: SeaweedFS, monkeypatch: pytest.MonkeyPatch, named: str
) -> None:
    """Those of the client too, which obstore does not read beside our own; what a program says goes before them."""
    monkeypatch.setenv(named, seaweedfs.endpoints[0])
    monkeypatch.setenv("AWS_SKIP_SIGNATURE", "true")
    found = Bucket(f"s3://{seaweedfs.bucket}/none", {"retry_config": {"max_retries": 0}})
    with pytest.raises(OSError, match="builder error"):
        found.get("u", 10)
    monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
    monkeypatch.setenv("GOOGLE_TIMEOUT", "no time")
    assert Bucket(f"s3://{seaweedfs.bucket}/none", {}).get("u", 10) is None
    monkeypatch.setenv("AWS_TIMEOUT", "no time")
    with pytest.raises(ValueError, match="no time"):
        Bucket(f"s3://{seaweedfs.bucket}/none", {})
    assert Bucket(f"s3://{seaweedfs.bucket}/none", {"client_options": {"timeout": "9s"}}).get("u", 10) is None


def test_the_same_outage_is_the_same_error(answering: Answering) -> None:
    """The message leaves out seconds and tries, so that a watch raises it once."""
    answering.status = 503
    for retries in ({"max_retries": 0}, {"max_retries": 1, "backoff": {"init_backoff": timedelta(milliseconds=1)}}):
        options = {**SIGNED, "endpoint": answering.endpoint, "client_options": {"allow_http": True}}
        with pytest.raises(OSError, match="503") as raised:
            Bucket("s3://pets/fleets", {**options, "retry_config": retries}).get("u/fleet.toml", 10)
        assert raised.value.strerror == (
            f"Generic S3 error: Error performing GET {answering.endpoint}/pets/fleets/u/fleet.toml"
            " - Server returned non-2xx status code: 503 Service Unavailable:"
        )
    assert answering.requests == ["GET"] * 3


def test_a_large_put_is_one_put(real: Bucket) -> None:
    """Of several parts none would be conditional."""
    data = b"x" * (6 * 1024 * 1024)
    version = real.put("large", data, "note", None)
    with pytest.raises(ConflictError):
        real.put("large", b"y", "note", None)
    found = real.get("large", len(data))
    assert found is not None
    assert (found.data, found.version) == (data, version)


def test_a_list_of_many(real: Bucket) -> None:
    """More than the store tells in one answer."""
    for number in range(1010):
        real.put(f"{number}/fleet.toml", b"", "note", None)
    assert sorted(each.key for each in real.list()) == sorted(f"{number}/fleet.toml" for number in range(1010))


# --- what it is made of ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url", ["", "bucket", "s3:/bucket", "s3://", "s3:///", "http://bucket/x", "file:///tmp/x", "memory:///"]
)
def test_other_urls_are_refused(url: str) -> None:
    """The error shows what it should look like."""
    with pytest.raises(
        ValueError, match=re.escape(f"url must be like s3://bucket/prefix, gs://... or az://..., not {url!r}")
    ):
        ObjectBackend(url)


def test_options_that_mean_nothing_are_refused() -> None:
    """A misspelt option is an error at once."""
    with pytest.raises(ValueError, match="s3://bucket/prefix: Configuration key: 'regoin' is not valid for store 'S3'"):
        ObjectBackend("s3://bucket/prefix", regoin="us-east-1")


def test_a_url_is_text() -> None:
    """The error names the type."""
    with pytest.raises(TypeError, match="url must be str, not bytes"):
        ObjectBackend(b"s3://bucket")  # type: ignore[arg-type] # that is the point


@pytest.mark.parametrize("url", ["gs://bucket/prefix", "az://container/prefix"])
def test_other_stores(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are made without a request: whether they work, only their documentation says."""
    monkeypatch.setattr(socket, "create_connection", None)
    options: dict[str, Any] = {"account_name": "pets"} if url.startswith("az") else {}
    assert str(ObjectBackend(f"{url}/", **options)) == url


def test_obstore_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says what to install."""
    monkeypatch.setitem(sys.modules, "obstore", None)
    with pytest.raises(ModuleNotFoundError) as raised:
        ObjectBackend("s3://bucket/prefix")
    assert str(raised.value) == "ObjectBackend needs obstore: pip install 'petfleet[objects]'"
    assert raised.value.name == "obstore"


def test_another_process_has_used_it(real: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every request of a forked child is refused at once."""
    monkeypatch.setattr(bucket, "_used_in", -1)
    calls: list[Callable[[], object]] = [
        lambda: real.get("u", 1),
        lambda: real.put("u", b"", "", None),
        lambda: list(real.list()),
    ]
    for call in calls:
        with pytest.raises(OSError, match="cannot be used in a process forked from one that has used it"):
            call()
    monkeypatch.setattr(bucket, "_used_in", None)
    wait_until(lambda: real.get("u", 1) is None)
    assert bucket._used_in is not None
