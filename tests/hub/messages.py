"""Requests and responses of the stand-in Hub, and the table of routes."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from email.message import Message
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

if TYPE_CHECKING:
    from .access import Token
    from .server import Hub


@dataclass(frozen=True)
class Request:
    """A request."""

    hub: Hub
    method: str
    path: str
    query: Mapping[str, list[str]]
    headers: Message
    body: bytes
    base: str
    token: Token | None

    def json(self) -> Any:
        return json.loads(self.body)

    def one(self, name: str) -> str | None:
        """Return the first value of a query parameter."""
        return self.query.get(name, [None])[0]

    def flag(self, name: str) -> bool:
        return (self.one(name) or "").lower() in ("1", "true")

    def all(self, name: str) -> list[str]:
        """Return all values of a query parameter, written NAME or NAME[]."""
        return [*self.query.get(name, []), *self.query.get(f"{name}[]", [])]


@dataclass(frozen=True)
class Response:
    """A response. An iterator as its body is sent piece by piece."""

    status: int = 200
    body: bytes | Iterator[bytes] = b""
    headers: Mapping[str, str] = field(default_factory=dict)


class HubError(Exception):
    """An error response, with the headers that clients read."""

    def __init__(self, status: int, message: str, code: str | None = None, headers: Mapping[str, str] | None = None):
        super().__init__(message)
        self.status, self.message, self.code, self.headers = status, message, code, dict(headers or {})

    def response(self) -> Response:
        headers = {"X-Error-Message": self.message, **self.headers}
        if self.code:
            headers["X-Error-Code"] = self.code
        return reply({"error": self.message}, self.status, headers)


def reply(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return a JSON response."""
    return Response(status, json.dumps(value).encode(), {"Content-Type": "application/json", **(headers or {})})


Handler = Callable[..., Response]

_PATTERNS = {
    "kinds": "models|datasets|spaces",
    # Addresses outside /api have a prefix for the kind, except for models.
    "prefix": "(?:datasets/|spaces/)?",
    "repo": "[^/]+/[^/]+",
    "num": r"\d+",
    "path": ".+",
}
ROUTES: list[tuple[str, re.Pattern[str], Handler]] = []


def route(method: str, template: str) -> Callable[[Handler], Handler]:
    """Register a handler for a route such as /api/{kinds}/{repo}/tree/{rev}. It gets the decoded parts by name."""

    def piece(match: re.Match[str]) -> str:
        name = match[1]
        return f"(?P<{name}>{_PATTERNS.get(name, '[^/]+')})"

    pattern = re.compile(re.sub(r"\{(\w+)\}", piece, template))

    def register(handler: Handler) -> Handler:
        ROUTES.append((method, pattern, handler))
        return handler

    return register


def dispatch(request: Request) -> Response:
    method = "GET" if request.method == "HEAD" else request.method
    for route_method, pattern, handler in ROUTES:
        if route_method == method and (match := pattern.fullmatch(request.path)):
            pieces = {name: unquote(value) for name, value in match.groupdict().items()}
            return handler(request, **pieces)
    raise HubError(404, f"the stand-in Hub has no {request.method} {request.path}")
