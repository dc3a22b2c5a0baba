"""Misbehaviour on demand: answers of somebody else, spoilt ones, and connections that break, crawl or fall silent."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .messages import Response

LOGIN_PAGE = b"<!doctype html><title>Log in to the network</title>"


@dataclass(frozen=True)
class Fault:
    """What goes wrong with a request.

    Attributes:
        kind: "cut": the connection is closed in the middle of the body; "reset": it is reset there; "silent": no answer
            ever comes; "slow": the body takes its time; "call": something else happens first; "": none of these.
        answer: what is sent in place of the Hub's answer. The Hub does not see the request.
        spoil: makes the body that is sent of the Hub's.
        after: the bytes that a cut lets through; half of them by default.
        seconds: how long a slow body takes.
        call: what happens at a "call", in the thread that answers.
    """

    kind: str = ""
    answer: Response | None = None
    spoil: Callable[[bytes], bytes] | None = None
    after: int | None = None
    seconds: float = 0.0
    call: Callable[[], Any] = lambda: None


def status(code: int, body: bytes = b'{"error": "a bad day"}', **headers: str) -> Fault:
    """Another answer; underscores in names of headers are hyphens."""
    named = {"Content-Type": "application/json", **{name.replace("_", "-"): text for name, text in headers.items()}}
    return Fault(answer=Response(code, body, named))


def body(content: bytes) -> Fault:
    """Another answer, of somebody who knows nothing of the Hub and finds nothing wrong."""
    return status(200, content)


def without(name: str) -> Fault:
    """The Hub's JSON without a field, wherever it is in it."""

    def strip(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: strip(inner) for key, inner in value.items() if key != name}
        return [strip(inner) for inner in value] if isinstance(value, list) else value

    return Fault(spoil=lambda content: json.dumps(strip(json.loads(content))).encode())


def _flip(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


SILENT = Fault("silent")
RESET = Fault("reset")
CUT = Fault("cut")
FLIPPED = Fault(spoil=_flip)
# Shorter than the Hub says elsewhere, and yet a whole answer.
HALF = Fault(spoil=lambda content: content[: len(content) // 2])
EXPIRED = status(403, b"<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>")
