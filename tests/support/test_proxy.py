"""The proxy that simulates a bad network behaves as its rules say, and records the requests."""

from __future__ import annotations

import http.client
import http.server
import threading
from collections.abc import Iterator

import pytest

from tests.conftest import wait_until
from tests.support import proxy
from tests.support.proxy import HeldRequest, Proxy


class _Echo(http.server.BaseHTTPRequestHandler):
    """Answers with the body of the request, in chunks if the path asks for them."""

    protocol_version = "HTTP/1.1"
    received: list[bytes]

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.received.append(body)  # type: ignore[attr-defined] # an attribute of ours
        self.send_response(412 if self.headers["If-Match"] else 200)
        if self.path == "/chunked":
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.wfile.write(f"{len(body):x}\r\n".encode() + body + b"\r\n0\r\n\r\n")
        else:
            self.send_header("ETag", '"tag"')
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    def do_GET(self) -> None:
        self.send_response(304)
        self.send_header("Content-Length", "700")
        self.end_headers()

    def log_message(self, *arguments: object) -> None:
        """Nothing is to be printed."""


class _Server(http.server.ThreadingHTTPServer):
    received: list[bytes]


@pytest.fixture
def server() -> Iterator[_Server]:
    """A server behind the proxy."""
    with _Server(("127.0.0.1", 0), _Echo) as found:
        found.received = []
        thread = threading.Thread(target=found.serve_forever, args=(0.01,))
        thread.start()
        yield found
        found.shutdown()
        thread.join()


@pytest.fixture
def between(server: _Server) -> Iterator[Proxy]:
    """The proxy."""
    with Proxy(f"http://127.0.0.1:{server.server_port}") as found:
        yield found


@pytest.fixture
def client(between: Proxy) -> Iterator[http.client.HTTPConnection]:
    """A client with one connection, which it opens again if it was closed."""
    connection = http.client.HTTPConnection("127.0.0.1", int(between.endpoint.rpartition(":")[2]), timeout=30)
    yield connection
    connection.close()


def _put(client: http.client.HTTPConnection, path: str = "/a", **headers: str) -> tuple[int, bytes]:
    client.request("PUT", path, b"some body" * 30, {name.replace("_", "-"): value for name, value in headers.items()})
    answer = client.getresponse()
    return answer.status, answer.read()


BODY = b"some body" * 30
LOST = (http.client.HTTPException, ConnectionError)


def test_what_is_not_ruled_passes_on_one_connection(between: Proxy, client: http.client.HTTPConnection) -> None:
    """Requests and answers go through unchanged, chunked ones and those without a body among them, and are noted."""
    assert _put(client) == (200, BODY)
    kept = client.sock
    assert _put(client, "/chunked") == (200, BODY)
    assert _put(client, If_Match='"old"') == (412, BODY)
    client.request("GET", "/a?list")
    assert client.getresponse().status == 304
    assert client.sock is kept
    found = [(each.method, each.path, each.headers.get("if-match"), each.statuses) for each in between.requests()]
    assert found == [
        ("PUT", "/a", None, [200]),
        ("PUT", "/chunked", None, [200]),
        ("PUT", "/a", '"old"', [412]),
        ("GET", "/a?list", None, [304]),
    ]


@pytest.mark.parametrize(
    ("behaviour", "statuses", "received"),
    [
        (proxy.drop_reply, [200], [BODY]),
        (proxy.tear_reply, [200], [BODY]),
        (proxy.cut, [], []),
        (proxy.tear, [], [BODY[: len(BODY) // 2]]),
    ],
)
def test_a_cut_connection_is_a_lost_answer(
    between: Proxy,
    server: _Server,
    client: http.client.HTTPConnection,
    behaviour: proxy.Behaviour,
    statuses: list[int],
    received: list[bytes],
) -> None:
    """The client gets no whole answer; the server has got the request, half of it, or nothing; the next one passes."""
    between.on(behaviour, "PUT", "/a$")
    with pytest.raises(LOST):
        _put(client)
    client.close()
    assert between.requests()[0].statuses == statuses
    wait_until(lambda: server.received == received)
    assert _put(client) == (200, BODY)


@pytest.mark.parametrize("forwards", [True, False])
def test_a_held_request_is_delivered_after_its_client_has_gone(
    between: Proxy, server: _Server, client: http.client.HTTPConnection, forwards: bool
) -> None:
    """A held request reaches the server when the test says so, with or without its client; others pass meanwhile."""
    held = HeldRequest(forwards=forwards)
    between.on(held, path="/held")
    client.request("PUT", "/held", b"late")
    held.reach()
    client.close()
    assert _put(client) == (200, BODY)
    assert server.received == ([b"late", BODY] if forwards else [BODY])
    held.let_go()
    assert sorted(server.received) == sorted([b"late", BODY])


def test_a_repeated_request_is_delivered_twice(
    between: Proxy, server: _Server, client: http.client.HTTPConnection
) -> None:
    """The client sees one answer."""
    between.on(proxy.twice)
    assert _put(client) == (200, BODY)
    assert server.received == [BODY, BODY]
    assert between.requests()[0].statuses == [200, 200]


def test_what_is_slow_comes_whole(between: Proxy, client: http.client.HTTPConnection) -> None:
    """A slow connection changes nothing but the time."""
    between.on(proxy.slow(0.001), times=None)
    assert _put(client) == (200, BODY)
    assert _put(client, "/chunked") == (200, BODY)


def test_a_rule_holds_for_so_many_requests_of_its_kind(between: Proxy, client: http.client.HTTPConnection) -> None:
    """Other methods and paths pass, and so does what comes after them."""
    between.on(proxy.drop_reply, "PUT", "/b$", times=2)
    assert _put(client) == (200, BODY)
    for _ in range(2):
        with pytest.raises(LOST):
            _put(client, "/b")
        client.close()
    assert _put(client, "/b") == (200, BODY)
    assert len(between.requests("PUT", "/b$")) == 3


def test_a_server_that_is_not_there_is_a_cut_connection(server: _Server) -> None:
    """No one listens any more, and the client's connection is closed."""
    with http.server.HTTPServer(("127.0.0.1", 0), _Echo) as gone:
        port = gone.server_port
    with Proxy(f"http://127.0.0.1:{port}") as between:
        client = http.client.HTTPConnection("127.0.0.1", int(between.endpoint.rpartition(":")[2]), timeout=30)
        with pytest.raises(LOST):
            _put(client)
        client.close()
