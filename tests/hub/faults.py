"""Faults on demand: wrong or corrupted responses, and connections that break, are slow or do not respond."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .messages import Response

LOGIN_PAGE = b"<!doctype html><title>Log in to the network</title>"


@dataclass(frozen=True)
class Fault:
    """A fault of a request.

    Attributes:
        kind: "cut" closes the connection in the middle of the body, "reset" resets it there, "silent" never responds,
            "call" calls a function first, and "" does none of these.
        answer: The response instead of the Hub's. The Hub does not receive the request.
        spoil: Function that corrupts the Hub's body.
        after: Bytes before a cut; by default half of the body.
        call: The function for "call", which runs in the thread of the response.
    """

    kind: str = ""
    answer: Response | None = None
    spoil: Callable[[bytes], bytes] | None = None
    after: int | None = None
    call: Callable[[], Any] = lambda: None


def status(code: int, body: bytes = b'{"error": "a bad day"}', **headers: str) -> Fault:
    """Return a fault with another response. Underscores in header names become hyphens."""
    named = {"Content-Type": "application/json", **{name.replace("_", "-"): text for name, text in headers.items()}}
    return Fault(answer=Response(code, body, named))


def body(content: bytes) -> Fault:
    """Return a fault with a successful response that is not from the Hub."""
    return status(200, content)


def _flip(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


SILENT = Fault("silent")
RESET = Fault("reset")
CUT = Fault("cut")
FLIPPED = Fault(spoil=_flip)
# Shorter than the size in the metadata, but a complete response.
HALF = Fault(spoil=lambda content: content[: len(content) // 2])
