"""The stand-in Hub as a running server."""

from __future__ import annotations

import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from . import (  # noqa: F401  (each registers its routes)
    account,
    benchmarks,
    discussions,
    files,
    jobs,
    read,
    spaces,
    write,
)
from .access import Tokens
from .faults import Fault, Faults
from .jobs import Job
from .messages import HubError, Request, Response, Slice, Stream, dispatch
from .store import Store

_CHUNK = 1 << 16
_SLOW_PIECES = 10


@dataclass
class Entry:
    """A request as it was logged."""

    method: str
    path: str
    query: str
    status: int = 0
    sent: int = 0
    received: int = 0
    range: str | None = None
    authorized: bool = False

    @property
    def line(self) -> str:
        """Method and path, what the patterns of faults and counts are matched with."""
        return f"{self.method} {self.path}"


class Hub:
    """A running stand-in."""

    def __init__(self, folder: Path) -> None:
        self.url = ""
        self.store = Store(folder)
        self.tokens = Tokens()
        self.requests: list[Entry] = []
        self.faults = Faults()
        self.paid: set[str] = set()
        self.jobs: dict[str, Job] = {}
        self.page_size = 1000

    def token(
        self,
        *,
        user: str = "user",
        role: str = "write",
        orgs: Iterable[str] | Mapping[str, str] = (),
        scopes: Mapping[str, Iterable[str]] | None = None,
    ) -> str:
        """Issues an access token."""
        return self.tokens.issue(user, role, orgs, scopes or {}).value

    def fail(self, pattern: str, kind: int | str, times: int | None = 1, **options: Any) -> None:
        """Lets requests go wrong; the arguments are those of `Fault`."""
        self.faults.add(Fault(pattern, kind, times, **options))

    def count(self, pattern: str = "*") -> int:
        """How many requests match the pattern."""
        return sum(fnmatchcase(entry.line, pattern) for entry in self.requests)

    def bytes_sent(self, pattern: str = "*") -> int:
        """How many bytes of bodies went out for the requests that match the pattern."""
        return sum(entry.sent for entry in self.requests if fnmatchcase(entry.line, pattern))


@contextmanager
def running_hub(folder: Path | None = None, *, port: int = 0, demo: bool = False) -> Iterator[Hub]:
    """Runs a stand-in Hub on loopback until the block ends."""
    with tempfile.TemporaryDirectory(prefix="hub-") as temporary:
        hub = Hub(Path(folder or temporary))
        if demo:
            from .seed import seed

            seed(hub.store)
        server = _Server(("127.0.0.1", port), type("Handler", (_Handler,), {"hub": hub}))
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        hub.url = f"http://127.0.0.1:{server.server_port}"
        try:
            yield hub
        finally:
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
        """Clients may hang up whenever they like; anything else is a bug and is shown."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


def request_body(handler: BaseHTTPRequestHandler) -> bytes:
    """The body of a request, in chunks or of the length that its headers give."""
    if "chunked" not in (handler.headers["Transfer-Encoding"] or ""):
        return handler.rfile.read(int(handler.headers["Content-Length"] or 0))
    pieces = []
    while size := int(handler.rfile.readline().split(b";")[0], 16):
        pieces.append(handler.rfile.read(size))
        handler.rfile.readline()
    handler.rfile.readline()
    return b"".join(pieces)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Headers and body go out in two writes: Nagle's algorithm would hold the second back.
    disable_nagle_algorithm = True
    timeout = 60
    hub: Hub

    def log_message(self, format: str, *args: Any) -> None:
        """The log is `Hub.requests`."""

    def do_GET(self) -> None:
        body = request_body(self)
        parts = urlsplit(self.path)
        entry = Entry(self.command, unquote(parts.path), parts.query, received=len(body), range=self.headers["Range"])
        entry.authorized = "Authorization" in self.headers
        self.hub.requests.append(entry)
        fault = self.hub.faults.before(entry.line)
        if fault is not None and fault.call is not None:
            fault.call()
            fault = None
        if fault is None:
            response = self._answer(parts.path, parts.query, body)
            fault = self.hub.faults.after(entry.line, response)
        elif fault.kind == "drop":
            self.close_connection = True
            return
        else:
            response = fault.response()
        self._send(response, entry, fault)

    do_HEAD = do_POST = do_PUT = do_DELETE = do_GET  # noqa: N815

    def _answer(self, path: str, query: str, body: bytes) -> Response:
        try:
            token = None
            if authorization := self.headers["Authorization"]:
                token = self.hub.tokens.find(authorization.removeprefix("Bearer "))
                if token is None:
                    raise HubError(401, "Invalid credentials in Authorization header")
            values = parse_qs(query, keep_blank_values=True)
            base = f"http://{self.headers['Host']}"
            request = Request(self.hub, self.command, path, values, self.headers, body, base, token)
            with self.hub.store.lock:
                return dispatch(request)
        except HubError as error:
            return error.response()

    def _send(self, response: Response, entry: Entry, fault: Fault | None) -> None:
        body = response.body
        if isinstance(body, Stream):
            self._stream(response, body, entry)
            return
        length = body.length if isinstance(body, Slice) else len(body)
        entry.status = response.status
        self.send_response(response.status)
        for name, value in {"Content-Length": str(length), **response.headers}.items():
            self.send_header(name, value.encode("ascii", "replace").decode())
        self.end_headers()
        if self.command == "HEAD":
            return
        limit, pause, chunk = length, 0.0, _CHUNK
        if fault is not None and fault.kind == "cut":
            limit = length // 2 if fault.after is None else min(fault.after, length)
        elif fault is not None and fault.kind == "slow":
            pause, chunk = fault.seconds / _SLOW_PIECES, max(1, length // _SLOW_PIECES)
        for piece in _pieces(body, limit, chunk):
            time.sleep(pause)
            entry.sent += len(piece)
            self.wfile.write(piece)
        if limit < length:
            self.close_connection = True

    def _stream(self, response: Response, body: Stream, entry: Entry) -> None:
        entry.status = response.status
        self.send_response(response.status)
        for name, value in {"Transfer-Encoding": "chunked", **response.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        for piece in body.pieces:
            entry.sent += len(piece)
            self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
        self.wfile.write(b"0\r\n\r\n")


def _pieces(body: bytes | Slice, limit: int, chunk: int) -> Iterator[bytes]:
    if isinstance(body, bytes):
        for start in range(0, limit, chunk):
            yield body[start : min(start + chunk, limit)]
        return
    with body.path.open("rb") as stream:
        stream.seek(body.start)
        while limit > 0 and (piece := stream.read(min(chunk, limit))):
            limit -= len(piece)
            yield piece
