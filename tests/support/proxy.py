"""A TCP proxy for HTTP/1.1 that loses, delays and cuts what a test tells it to, and remembers all requests."""

from __future__ import annotations

import http.client
import random
import re
import select
import socket
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from types import TracebackType
from typing import BinaryIO, Final, Self

from tests.conftest import wait_until

_PIECE: Final = 64  # bytes, of what is slow
_SECONDS: Final = 60  # what anything is waited for
_HOP_BY_HOP: Final = ("connection", "transfer-encoding", "keep-alive")


class CutError(Exception):
    """The connection to the client is to be closed."""


class Exchange:
    """One request, and its way to the gateway and back.

    Attributes:
        method, path, body: the request; the path with its query.
        headers: those of the request, by names in small letters.
        statuses: what the gateway has answered, each time that it got the request.
        replied: whether the answer was handed to the client.
    """

    def __init__(self, proxy: Proxy, client: socket.socket, head: list[bytes], body: bytes) -> None:
        self.method, self.path, _ = head[0].decode("latin-1").split(" ", 2)
        pairs = [line.decode("latin-1").split(":", 1) for line in head[1:]]
        self.headers = {name.strip().lower(): value.strip() for name, value in pairs}
        self.body = body
        self.statuses: list[int] = []
        self.replied = False
        self._proxy = proxy
        self._client = client
        self._answer = b""

    def forward(self, pause: float = 0.0) -> None:
        """Send the request to the gateway, with a pause after each few bytes of its body, and take the answer."""
        # A connection for each request: one that is kept might have died with the gateway of before.
        upstream = http.client.HTTPConnection(*self._proxy.upstream, timeout=_SECONDS)
        try:
            self._send_head(upstream)
            self._in_pieces(upstream.send, self.body, pause)
            answer = upstream.getresponse()
            self._answer = _raw(answer, self.method)
            self.statuses.append(answer.status)
        except (OSError, http.client.HTTPException) as error:
            raise CutError from error
        finally:
            upstream.close()

    def forward_half(self) -> None:
        """Send the request to the gateway, but only half of its body, and close that connection."""
        upstream = http.client.HTTPConnection(*self._proxy.upstream, timeout=_SECONDS)
        self._send_head(upstream)
        upstream.send(self.body[: len(self.body) // 2])
        upstream.close()

    def reply(self, pause: float = 0.0) -> None:
        """Hand the answer to the client, with a pause after each few bytes."""
        self._in_pieces(self._client.sendall, self._answer, pause)
        self.replied = True

    def reply_half(self) -> None:
        """Hand the answer to the client without its end."""
        self._client.sendall(self._answer[: -max(1, len(self._answer) // 4)])

    def await_client_gone(self) -> None:
        """Wait until the client has closed the connection."""
        readable, _, _ = select.select([self._client], [], [], _SECONDS)
        assert readable, "the client did not close the connection"

    @property
    def is_over(self) -> bool:
        """Whether the proxy closes."""
        return self._proxy.closed.is_set()

    def _send_head(self, upstream: http.client.HTTPConnection) -> None:
        upstream.putrequest(self.method, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            if name not in _HOP_BY_HOP and name != "content-length":
                upstream.putheader(name, value)
        if self.body or self.method in ("PUT", "POST"):
            upstream.putheader("content-length", str(len(self.body)))
        upstream.endheaders()

    def _in_pieces(self, send: Callable[[bytes], object], data: bytes, pause: float) -> None:
        piece = _PIECE if pause else len(data) or 1
        for start in range(0, len(data), piece):
            send(data[start : start + piece])
            self._proxy.closed.wait(pause)


Behaviour = Callable[[Exchange], None]


def passing(exchange: Exchange) -> None:
    """Do what a good network does."""
    exchange.forward()
    exchange.reply()


def drop_reply(exchange: Exchange) -> None:
    """Close the client's connection once the gateway has answered."""
    exchange.forward()
    raise CutError


def twice(exchange: Exchange) -> None:
    """Deliver the request twice, and hand over the second answer, as what repeats a request by itself does."""
    exchange.forward()
    exchange.forward()
    exchange.reply()


def cut(exchange: Exchange) -> None:
    """Close the client's connection before anything reaches the gateway."""
    raise CutError


def tear(exchange: Exchange) -> None:
    """Cut the connection in the middle of the request."""
    exchange.forward_half()
    raise CutError


def tear_reply(exchange: Exchange) -> None:
    """Cut the connection in the middle of the answer."""
    exchange.forward()
    exchange.reply_half()
    raise CutError


def slow(pause: float = 0.01) -> Behaviour:
    """Return what waits so many seconds after every few bytes, of the request's body and of the answer."""

    def behave(exchange: Exchange) -> None:
        exchange.forward(pause)
        exchange.reply(pause)

    return behave


def late(exchange: Exchange) -> None:
    """Deliver the request after the client has given it up."""
    exchange.await_client_gone()
    exchange.forward()


def mixed(rng: random.Random, behaviours: Mapping[Behaviour, float]) -> Behaviour:
    """Return what behaves in one of these ways at random, each with its weight."""
    return lambda exchange: rng.choices(list(behaviours), list(behaviours.values()))[0](exchange)


class HeldRequest:
    """Holds one request, or its answer, until it is let go; a client that has gone meanwhile gets no answer.

    Attributes:
        forwards: whether the request goes to the gateway at once, and only the answer is held.
    """

    def __init__(self, *, forwards: bool = False) -> None:
        self.forwards = forwards
        self._arrived = threading.Event()
        self._let_go = threading.Event()
        self._over = threading.Event()

    def __call__(self, exchange: Exchange) -> None:
        """Hold it."""
        try:
            if self.forwards:
                exchange.forward()
            self._arrived.set()
            while not self._let_go.wait(0.05):
                if exchange.is_over:
                    raise CutError
            if not self.forwards:
                exchange.forward()
            exchange.reply()
        finally:
            self._over.set()

    def reach(self) -> None:
        """Wait until it is held."""
        assert self._arrived.wait(_SECONDS), "no such request came"

    def let_go(self) -> None:
        """Let it go on, and wait until it has reached the gateway."""
        self._let_go.set()
        assert self._over.wait(_SECONDS), "it was not delivered"


class _Rule:
    def __init__(self, behaviour: Behaviour, method: str, path: str, times: int | None) -> None:
        self.behaviour = behaviour
        self.method = method
        self.path = re.compile(path)
        self.left = times


class Proxy:
    """A proxy before a gateway, on a free port of 127.0.0.1; a context manager.

    Attributes:
        exchanges: all requests, in the order in which they came.
        upstream: the host and the port of the gateway.
    """

    def __init__(self, endpoint: str) -> None:
        host, _, port = endpoint.removeprefix("http://").partition(":")
        self.upstream = (host, int(port))
        self.exchanges: list[Exchange] = []
        self.closed = threading.Event()
        self._rules: list[_Rule] = []
        self._lock = threading.Lock()
        self._clients: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._server = socket.create_server(("127.0.0.1", 0))
        self._accepting = threading.Thread(target=self._accept, name="proxy")

    def __enter__(self) -> Self:
        self._accepting.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.closed.set()
        self._server.shutdown(socket.SHUT_RDWR)  # closing alone would not wake the thread that waits on it
        self._accepting.join(_SECONDS)
        self._server.close()
        self.cut_all()
        for thread in self._threads:
            thread.join(_SECONDS)
            assert not thread.is_alive(), "a request is still held"

    @property
    def endpoint(self) -> str:
        """Return the URL of the proxy."""
        return f"http://127.0.0.1:{self._server.getsockname()[1]}"

    def on(self, behaviour: Behaviour, method: str = "", path: str = "", times: int | None = 1) -> None:
        """Apply a behaviour to this many (None: all) further requests with a method ("": any) and a path.

        Args:
            behaviour: the way.
            method: the method.
            path: a regular expression that is found in the path.
            times: how many of them; then they pass, or go the way of an earlier rule.
        """
        with self._lock:
            self._rules.insert(0, _Rule(behaviour, method, path, times))

    def pass_all(self) -> None:
        """Forget all rules."""
        with self._lock:
            self._rules.clear()

    def cut_all(self) -> None:
        """Close all connections to clients that there are now."""
        with self._lock:
            for client in self._clients:
                with suppress(OSError):
                    client.shutdown(socket.SHUT_RDWR)

    def requests(self, method: str = "", path: str = "") -> list[Exchange]:
        """Return the requests of a method and with something in the path, in the order in which they came."""
        with self._lock:
            found = list(self.exchanges)
        return [each for each in found if each.method.startswith(method) and re.search(path, each.path)]

    def await_requests(self, count: int, method: str = "", path: str = "") -> None:
        """Wait until there were so many such requests."""
        wait_until(lambda: len(self.requests(method, path)) >= count, _SECONDS)

    def forget(self) -> None:
        """Begin the list of requests anew."""
        with self._lock:
            self.exchanges.clear()

    # --- threads -----------------------------------------------------------------------------------------------------

    def _accept(self) -> None:
        while not self.closed.is_set():
            try:
                client, _ = self._server.accept()
            except OSError:
                return  # it is shut down
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            thread = threading.Thread(target=self._serve, args=(client,), name="proxy-client", daemon=True)
            with self._lock:
                self._clients.add(client)
                self._threads = [one for one in self._threads if one.is_alive()]
            self._threads.append(thread)
            thread.start()

    def _serve(self, client: socket.socket) -> None:
        try:
            with client, client.makefile("rb") as reader:
                while (read := _read(reader)) is not None:
                    exchange = Exchange(self, client, *read)
                    self._behaviour(exchange)(exchange)
                    if exchange.headers.get("connection", "").lower() == "close":
                        return
        except (CutError, OSError):
            pass  # it is closed, by us or by the client
        finally:
            with self._lock:
                self._clients.discard(client)

    def _behaviour(self, exchange: Exchange) -> Behaviour:
        with self._lock:
            self.exchanges.append(exchange)
            for rule in self._rules:
                if rule.left != 0 and exchange.method.startswith(rule.method) and rule.path.search(exchange.path):
                    if rule.left is not None:
                        rule.left -= 1
                    return rule.behaviour
        return passing


def _read(reader: BinaryIO) -> tuple[list[bytes], bytes] | None:
    """Return the lines of a request's head, and its body; None at the end of the connection."""
    head = []
    while (line := reader.readline()) not in (b"\r\n", b""):
        head.append(line.rstrip(b"\r\n"))
    if not head or not line:
        return None
    fields = {line.partition(b":")[0].strip().lower(): line.partition(b":")[2].strip() for line in head[1:]}
    if fields.get(b"transfer-encoding", b"").lower() != b"chunked":
        return head, reader.read(int(fields.get(b"content-length", b"0")))
    body = b""
    while size := int(reader.readline().partition(b";")[0], 16):
        body += reader.read(size)
        reader.readline()
    while reader.readline() not in (b"\r\n", b""):
        pass  # trailers
    return head, body


def _raw(answer: http.client.HTTPResponse, method: str) -> bytes:
    """Return an answer as it goes over the network, in one piece with its length."""
    body = answer.read()
    has_body = method != "HEAD" and answer.status not in (204, 304)
    lines = [f"HTTP/1.1 {answer.status} {answer.reason}"]
    for name, value in answer.getheaders():
        if name.lower() not in _HOP_BY_HOP and not (has_body and name.lower() == "content-length"):
            lines.append(f"{name}: {value}")
    if has_body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body
