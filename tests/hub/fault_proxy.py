"""A proxy between a client and the stand-in Hub that spoils what passes through it: real sockets, real bytes."""

from __future__ import annotations

import json
import socket
import struct
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

from .server import Hub, request_body

LOGIN_PAGE = b"<!doctype html><title>Log in to the network</title>"
_HOP_BY_HOP = ("connection", "transfer-encoding", "content-length", "date", "server")


@dataclass(frozen=True)
class Answer:
    """An answer on its way to the client: the Hub's, or what a fault makes of it."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Fault:
    """What goes wrong with a request.

    Attributes:
        spoil: makes the answer that is sent of the Hub's.
        ending: how the answer is sent: "whole", "silent" (never), "reset" (the connection is reset in the middle of the
            body), "cut" (it is closed there).
        carried_out: whether the Hub sees the request at all.
    """

    spoil: Callable[[Answer], Answer] = lambda answer: answer
    ending: str = "whole"
    carried_out: bool = True


def status(code: int, body: bytes = b'{"error": "a bad day"}', **headers: str) -> Fault:
    """Another answer; underscores in names of headers are hyphens."""
    named = {"Content-Type": "application/json", **{name.replace("_", "-"): text for name, text in headers.items()}}
    return Fault(lambda answer: Answer(code, named, body), carried_out=False)


def body(content: bytes) -> Fault:
    """Another answer, of somebody who knows nothing of the Hub and finds nothing wrong."""
    return status(200, content)


def without(name: str) -> Fault:
    """The Hub's JSON without a field, wherever it is in it."""

    def strip(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: strip(inner) for key, inner in value.items() if key != name}
        return [strip(inner) for inner in value] if isinstance(value, list) else value

    return Fault(
        lambda answer: Answer(answer.status, answer.headers, json.dumps(strip(json.loads(answer.body))).encode())
    )


def _flip(answer: Answer) -> Answer:
    middle = len(answer.body) // 2
    flipped = bytes([answer.body[middle] ^ 1]) if answer.body else b""
    return Answer(answer.status, answer.headers, answer.body[:middle] + flipped + answer.body[middle + 1 :])


def _halve(answer: Answer) -> Answer:
    return Answer(answer.status, answer.headers, answer.body[: len(answer.body) // 2])


SILENT = Fault(ending="silent", carried_out=False)
RESET = Fault(ending="reset")
CUT = Fault(ending="cut")
FLIPPED = Fault(_flip)
# Shorter than the Hub says elsewhere, and yet a whole answer.
HALF = Fault(_halve)
EXPIRED = status(403, b"<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>")


@dataclass
class FaultProxy:
    """A running proxy."""

    hub: Hub
    url: str = ""
    lines: list[str] = field(default_factory=list)
    closed: threading.Event = field(default_factory=threading.Event)
    _faults: list[tuple[str, Fault, list[None]]] = field(default_factory=list)

    def fail(self, pattern: str, fault: Fault, times: int = 1_000_000) -> None:
        """Spoils so many requests that match a shell pattern for "METHOD /path"."""
        self._faults.append((pattern, fault, [None] * times))

    def clear(self) -> None:
        """Lets everything pass again."""
        self._faults.clear()

    def count(self, pattern: str) -> int:
        """How many requests match the pattern."""
        return sum(fnmatchcase(line, pattern) for line in self.lines)

    def due(self, line: str) -> Fault:
        """The fault of a request; one that does nothing by default."""
        for pattern, fault, left in self._faults:
            if fnmatchcase(line, pattern):
                with suppress(IndexError):
                    left.pop()
                    return fault
        return Fault()


@contextmanager
def running_proxy(hub: Hub) -> Iterator[FaultProxy]:
    """Runs a proxy on loopback until the block ends."""
    proxy = FaultProxy(hub)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"proxy": proxy}))
    server.daemon_threads, server.block_on_close = True, False
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    proxy.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield proxy
    finally:
        proxy.closed.set()
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    proxy: FaultProxy

    def log_message(self, format: str, *args: Any) -> None:
        """The log is `FaultProxy.lines`."""

    def do_GET(self) -> None:
        line = f"{self.command} {unquote(urlsplit(self.path).path)}"
        content = request_body(self)
        self.proxy.lines.append(line)
        fault = self.proxy.due(line)
        answer = self._passed_on(content) if fault.carried_out else Answer(200, {}, b"")
        answer = fault.spoil(answer)
        if fault.ending == "silent":
            self.proxy.closed.wait()
            self.close_connection = True
            return
        with suppress(ConnectionError):
            self._send(answer, fault.ending)

    do_HEAD = do_POST = do_PUT = do_DELETE = do_GET  # noqa: N815

    def _passed_on(self, content: bytes) -> Answer:
        parts = urlsplit(self.proxy.hub.url)
        connection = HTTPConnection(str(parts.hostname), parts.port)
        headers = {name: text for name, text in self.headers.items() if name.lower() not in _HOP_BY_HOP}
        connection.request(self.command, self.path, content or None, headers)
        response = connection.getresponse()
        passed = {name: text for name, text in response.headers.items() if name.lower() not in _HOP_BY_HOP}
        answer = Answer(response.status, passed, response.read())
        if self.command == "HEAD" and "Content-Length" in response.headers:
            answer = Answer(answer.status, {**passed, "Content-Length": response.headers["Content-Length"]}, b"")
        connection.close()
        return answer

    def _send(self, answer: Answer, ending: str) -> None:
        self.send_response(answer.status)
        for name, text in {"Content-Length": str(len(answer.body)), **answer.headers}.items():
            self.send_header(name, text)
        self.end_headers()
        if self.command == "HEAD":
            return
        if ending == "whole" or not answer.body:
            self.wfile.write(answer.body)
        else:
            self.wfile.write(answer.body[: len(answer.body) // 2])
            self.close_connection = True
            if ending == "reset":
                linger = struct.pack("ii", 1, 0)
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                self.connection.close()
