"""The stand-in Hub as a running server."""

from __future__ import annotations

import itertools
import socket
import struct
import sys
import tempfile
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from . import (  # noqa: F401  (each registers its routes)
    account,
    files,
    jobs,
    read,
    write,
)
from .access import Token
from .faults import Fault, status
from .jobs import Job
from .messages import HubError, Request, Response, dispatch
from .store import Store

_CHUNK = 1 << 16


@dataclass
class Entry:
    """A logged request."""

    line: str  # method and decoded path without its query, which patterns match
    path: str
    range: str | None
    authorized: bool
    status: int = 0
    sent: int = 0


class Hub:
    """A running stand-in Hub."""

    def __init__(self, folder: Path) -> None:
        self.url = ""
        self.store = Store(folder)
        self.tokens: dict[str, Token] = {}
        self.requests: list[Entry] = []
        self.faults: list[tuple[str, Iterator[Fault]]] = []
        self.paid: set[str] = set()
        self.jobs: dict[str, Job] = {}
        self.closed = threading.Event()

    def token(
        self,
        *,
        user: str = "user",
        role: str = "write",
        orgs: Iterable[str] | Mapping[str, str] = (),
    ) -> str:
        roles = dict(orgs) if isinstance(orgs, Mapping) else dict.fromkeys(orgs, "write")
        token = Token(user, role, roles)
        self.tokens[token.value] = token
        return token.value

    def fail(self, pattern: str, fault: Fault | int | str, times: int | None = 1, **options: Any) -> None:
        """Let requests fail that match a shell pattern for "METHOD /path", `times` times, or always if None.

        A number as a fault is the status of the response, and a text is a kind of `Fault` with options.
        """
        if isinstance(fault, int):
            fault = status(fault, **options)
        elif isinstance(fault, str):
            fault = Fault(fault, **options)
        self.faults.append((pattern, itertools.repeat(fault) if times is None else itertools.repeat(fault, times)))

    def due(self, line: str) -> Fault:
        """Return the next fault of a request. Without one, return a fault that does nothing."""
        fitting = (next(left, None) for pattern, left in list(self.faults) if fnmatchcase(line, pattern))
        return next(filter(None, fitting), Fault())

    def count(self, pattern: str = "*") -> int:
        """Return the number of requests that match a pattern."""
        return sum(fnmatchcase(entry.line, pattern) for entry in self.requests)

    def bytes_sent(self, pattern: str = "*") -> int:
        """Return the number of body bytes in the responses to requests that match a pattern."""
        return sum(entry.sent for entry in self.requests if fnmatchcase(entry.line, pattern))


@contextmanager
def running_hub(folder: Path | None = None, *, demo: bool = False) -> Iterator[Hub]:
    """Run a stand-in Hub on loopback until the block ends."""
    with tempfile.TemporaryDirectory(prefix="hub-") as temporary:
        hub = Hub(Path(folder or temporary))
        if demo:
            from .seed import seed

            seed(hub.store)
        server = _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        hub.url = f"http://127.0.0.1:{server.server_port}"
        try:
            yield hub
        finally:
            hub.closed.set()
            for job in hub.jobs.values():
                job.end("CANCELED", "the Hub has gone")
            server.shutdown()
            server.server_close()
            thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print errors, except that a client closed its connection."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Headers and body are two writes. Nagle's algorithm would delay the second.
    disable_nagle_algorithm = True
    timeout = 60
    hub: Hub

    def log_message(self, format: str, *args: Any) -> None:
        """Do not print. `Hub.requests` is the log."""

    def do_GET(self) -> None:
        content = self.rfile.read(int(self.headers["Content-Length"] or 0))
        parts = urlsplit(self.path)
        path = unquote(parts.path)
        entry = Entry(f"{self.command} {path}", path, self.headers["Range"], "Authorization" in self.headers)
        self.hub.requests.append(entry)
        fault = self.hub.due(entry.line)
        fault.call()
        if fault.kind == "silent":
            self.hub.closed.wait()
            self.close_connection = True
            return
        response = fault.answer or self._answer(parts.path, parts.query, content)
        if fault.spoil is not None and self.command != "HEAD":
            assert isinstance(response.body, bytes)
            response = replace(response, body=fault.spoil(response.body))
        self._send(response, entry, fault)

    do_HEAD = do_POST = do_PUT = do_DELETE = do_GET  # noqa: N815

    def _answer(self, path: str, query: str, content: bytes) -> Response:
        try:
            token = None
            if authorization := self.headers["Authorization"]:
                token = self.hub.tokens.get(authorization.removeprefix("Bearer "))
                if token is None:
                    raise HubError(401, "Invalid credentials in Authorization header")
            values = parse_qs(query, keep_blank_values=True)
            base = f"http://{self.headers['Host']}"
            request = Request(self.hub, self.command, path, values, self.headers, content, base, token)
            with self.hub.store.lock:
                return dispatch(request)
        except HubError as error:
            return error.response()

    def _send(self, response: Response, entry: Entry, fault: Fault) -> None:
        body = response.body
        whole = isinstance(body, bytes)
        length = {"Content-Length": str(len(body))} if whole else {"Transfer-Encoding": "chunked"}
        entry.status = response.status
        self.send_response(response.status)
        for name, value in {**length, **response.headers}.items():
            self.send_header(name, value.encode("ascii", "replace").decode())
        self.end_headers()
        if self.command == "HEAD":
            return
        for piece in self._pieces(body, fault) if whole else body:
            entry.sent += len(piece)
            self.wfile.write(piece if whole else b"%x\r\n%b\r\n" % (len(piece), piece))
        if not whole:
            self.wfile.write(b"0\r\n\r\n")
        elif body and fault.kind in ("cut", "reset"):
            self.close_connection = True
            if fault.kind == "reset":
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.connection.close()

    @staticmethod
    def _pieces(body: bytes, fault: Fault) -> Iterator[bytes]:
        if fault.kind in ("cut", "reset"):
            body = body[: len(body) // 2 if fault.after is None else fault.after]
        for start in range(0, len(body), _CHUNK):
            yield body[start : start + _CHUNK]
