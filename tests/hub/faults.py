"""Misbehaviour on demand."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from .messages import Response, Slice, reply

KINDS = ("call", "cut", "drop", "slow")


@dataclass
class Fault:
    """Something that goes wrong with the requests that match a pattern.

    Attributes:
        pattern: shell pattern for "METHOD /path", e.g. "POST */commit/*" (the path is decoded, without its query).
        kind: a status (429, 503, 412, …), answered instead of the real answer; "drop": the connection is closed
            before the request is looked at; "cut": the request is carried out and the connection closed in the
            middle of the answer's body; "slow": the body takes its time; "call": something else happens first.
        times: how often; None for ever.
        retry_after: the Retry-After header of a status.
        message: the error text of a status.
        after: the bytes that a cut lets through; half of them by default.
        seconds: how long a slow body takes.
        call: what happens at a "call", in the thread that answers.
        headers: further headers of a status.
        body: what a status is answered with, in place of an error in JSON.
    """

    pattern: str
    kind: int | str
    times: int | None = 1
    retry_after: int | str | None = None
    message: str = "The server is having a bad day"
    after: int | None = None
    seconds: float = 1.0
    call: Callable[[], Any] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.kind, int) and self.kind not in KINDS:
            raise ValueError(f"unknown fault {self.kind!r}: a status, or one of {', '.join(KINDS)}")

    def response(self) -> Response:
        """The answer of a status fault."""
        waits = {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}
        assert isinstance(self.kind, int)
        if self.body is not None:
            return Response(self.kind, self.body, self.headers)
        return reply({"error": self.message}, self.kind, {"X-Error-Message": self.message, **waits, **self.headers})


class Faults:
    """The faults that are still to happen."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []
        self._lock = threading.Lock()

    def add(self, fault: Fault) -> None:
        with self._lock:
            self._faults.append(fault)

    def clear(self) -> None:
        with self._lock:
            self._faults.clear()

    def before(self, line: str) -> Fault | None:
        """The fault that replaces the answer to this request or comes before it, if one is due."""
        return self._take(line, lambda fault: isinstance(fault.kind, int) or fault.kind in ("call", "drop"))

    def after(self, line: str, response: Response) -> Fault | None:
        """The fault that spoils this answer. Only bodies can be cut or slow."""
        body = response.body
        length = body.length if isinstance(body, Slice) else len(body) if isinstance(body, bytes) else 0
        has_body = bool(length) and response.status < 300 and not line.startswith("HEAD")
        return self._take(line, lambda fault: has_body and fault.kind in ("cut", "slow"))

    def _take(self, line: str, fits: Callable[[Fault], bool]) -> Fault | None:
        with self._lock:
            for fault in self._faults:
                if fnmatchcase(line, fault.pattern) and fits(fault):
                    if fault.times is not None:
                        fault.times -= 1
                        if fault.times == 0:
                            self._faults.remove(fault)
                    return fault
        return None
