"""The HTTP client that huggingface_hub and ``datasets`` share: the Hub's address, limits of time, what has arrived."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from contextvars import ContextVar
from functools import lru_cache, wraps
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from hf_emms.errors import EmmsError

Kind = Literal["model", "dataset", "space"]

# Set by whoever makes requests in a thread: once the event is set, a request ends at its next piece.
CANCELLED: ContextVar[threading.Event | None] = ContextVar("CANCELLED", default=None)

# Statuses after which the same request may succeed.
TRANSIENT = (408, 429, 500, 502, 503, 504)

_PUBLIC = "https://huggingface.co"
_PAGES = {"model": "", "dataset": "datasets/", "space": "spaces/"}
# The Hub counts requests in windows of five minutes: a client that has to wait is admitted again within one.
_DEADLINE_SECONDS = 420.0
_CONNECT_SECONDS, _READ_SECONDS = 10.0, 60.0
_SLOWEST_UPLOAD = 256 << 10  # bytes a second
# Seconds without an answer after which it is reported what is waited for; then after twice as long each time.
_REPORTED_SECONDS = 10.0
# huggingface_hub keeps this much of a file in memory, which a broken connection loses. Its own number is 10 MiB.
_CHUNK = 256 << 10
_LOG = logging.getLogger(__name__)


class TooSlowError(EmmsError):
    """The Hub takes longer, or asks to wait longer, than the deadline allows."""


class CancelledError(Exception):
    """The answer is no longer needed."""


def deadline() -> float:
    """Seconds without an answer or a byte of a file after which a request is given up: HF_EMMS_DEADLINE, or 420.

    Raises:
        EmmsError: the variable holds no number.
    """
    given = os.environ.get("HF_EMMS_DEADLINE", "")
    try:
        return float(given) if given else _DEADLINE_SECONDS
    except ValueError:
        raise EmmsError(f"HF_EMMS_DEADLINE is {given!r}", "it takes seconds: HF_EMMS_DEADLINE=120") from None


def endpoint() -> str:
    """The address of the Hub: HF_ENDPOINT as it is now; huggingface_hub itself reads it once, when it is imported."""
    from huggingface_hub import constants

    return os.environ.get("HF_ENDPOINT", "").rstrip("/") or constants.ENDPOINT


def endpoint_environment() -> dict[str, str]:
    """The environment variable of a program that is to use the same Hub; none for huggingface.co."""
    return {} if endpoint() == _PUBLIC else {"HF_ENDPOINT": endpoint()}


def page(id: str, kind: Kind) -> str:
    """The address of a repository's page."""
    return f"{endpoint()}/{_PAGES[kind]}{id}"


class Watch:
    """Knows how long the Hub has been waited for, and ends requests that are no longer needed. A context manager.

    Answers and further bytes of a file end the wait; bytes that have arrived before do not, nor do parts of an answer
    of the API.

    Args:
        what: is asked for, in words.
        waiting: whether there is nothing but the Hub to wait for; else the wait begins with the first request.
        sends: bytes that are uploaded, of which the Hub answers nothing for long.

    Attributes:
        what: is asked for.
        problem: what was wrong with the last answer that did not end the wait.
    """

    def __init__(self, what: str, *, waiting: bool = False, sends: int = 0) -> None:
        self.what = what
        self._sends = sends
        self.problem = ""
        self._waiting = waiting
        self._since = time.monotonic() if waiting else None
        self._received: dict[tuple[str, str | None], int] = {}
        self._stopped = threading.Event()
        self._cancelled = CANCELLED.get()

    def __enter__(self) -> Watch:
        limit_requests()
        _open.append(self)
        self._report_after(min(_REPORTED_SECONDS, deadline() / 2))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()
        self._stopped.set()
        _open.remove(self)

    @property
    def waited(self) -> float:
        """Seconds that the Hub has been waited for."""
        if self._since is None:
            return 0.0
        waited = time.monotonic() - self._since
        # Some files come by Xet, which makes requests of its own.
        return waited if waited < min(_REPORTED_SECONDS, deadline()) else min(waited, _since_last_write())

    @property
    def left(self) -> float:
        """Seconds until the deadline."""
        return self._most - self.waited

    def check(self) -> None:
        """Ends a request that is no longer needed, or that comes too late.

        Raises:
            CancelledError: it is no longer needed.
            TooSlowError: the deadline is over.
        """
        if self._stopped.is_set() or (self._cancelled is not None and self._cancelled.is_set()):
            raise CancelledError
        if self.left <= 0:
            raise self.too_slow()

    def too_slow(self) -> TooSlowError:
        """The error of a deadline that is over."""
        last = f" (the last answer: {self.problem})" if self.problem else ""
        return TooSlowError(f"nothing arrived for {self._most:g} s{last}")

    @property
    def _most(self) -> float:
        return deadline() + round(self._sends / _SLOWEST_UPLOAD)

    def asked(self) -> None:
        """A request is sent."""
        if self._since is None:
            self._since = time.monotonic()

    def answered(self) -> None:
        """An answer is complete, or a file has got further."""
        self._since = time.monotonic() if self._waiting else None
        self.problem = ""

    def received(self, path: str, part: str | None, count: int) -> None:
        """So many bytes of a file, or of the part of it that was asked for, have arrived."""
        if count > self._received.get((path, part), 0):
            self._received[path, part] = count
            self.answered()

    def progress_bar(self) -> type[Any]:
        """A progress bar for huggingface_hub whose downloads this watch can end."""
        from huggingface_hub.utils import tqdm

        watch = self

        class Bar(tqdm):
            def __init__(self, *args: Any, **options: Any) -> None:
                # A download in the background must not draw over what the foreground prints.
                hidden = watch._cancelled is not None or options.get("disable")
                super().__init__(*args, **{**options, "disable": hidden})

            @classmethod
            def set_lock(cls, lock: Any) -> None:
                """Called at the start of each thread that downloads."""
                CURRENT.set(watch)
                super().set_lock(lock)

            def update(self, n: float | None = 1) -> bool | None:
                watch.check()
                return super().update(n)

        return Bar

    def _report_after(self, seconds: float) -> None:
        self._timer = threading.Timer(seconds, self._report, (seconds,))
        self._timer.daemon = True
        self._timer.start()

    def _report(self, seconds: float) -> None:
        if self._stopped.is_set():
            return
        if self.waited >= seconds:
            _LOG.warning(
                "waiting for %s: %s (%.0f s; given up after %g s)", endpoint(), self.what, self.waited, self._most
            )
            seconds *= 2
        self._report_after(seconds)


# The watch of the requests that this thread makes; those of other threads belong to the latest one that is open.
CURRENT: ContextVar[Watch | None] = ContextVar("CURRENT", default=None)
_open: list[Watch] = []


def current_watch() -> Watch | None:
    """The watch that requests of this thread belong to."""
    return CURRENT.get() or next(reversed(_open), None)


def limit_requests() -> None:
    """Has every HTTP client that huggingface_hub makes from now on keep to the limits of time."""
    from huggingface_hub import constants, set_client_factory
    from huggingface_hub.utils import _http

    make = _http._GLOBAL_CLIENT_FACTORY
    if not getattr(make, "limited", False):
        set_client_factory(_limited(make))
        constants.DOWNLOAD_CHUNK_SIZE = min(constants.DOWNLOAD_CHUNK_SIZE, _CHUNK)


def asked_to_wait(response: Any) -> float:
    """Seconds that an answer asks to wait before the next request."""
    from huggingface_hub.utils import parse_ratelimit_headers

    limits = parse_ratelimit_headers(response.headers) if response.status_code == 429 else None
    if limits is not None and limits.remaining == 0:
        return float(limits.reset_in_seconds)
    asked = response.headers.get("Retry-After", "")
    return float(asked) if asked.isdecimal() else 0.0


def _limited(make: Callable[[], Any]) -> Callable[[], Any]:
    @wraps(make)
    def make_limited() -> Any:
        client = make()
        hooks = client.event_hooks
        client.event_hooks = {
            "request": [*hooks["request"], _before_request],
            "response": [*hooks["response"], _after_headers],
        }
        return client

    vars(make_limited)["limited"] = True
    return make_limited


def _before_request(request: Any) -> None:
    """Many requests of huggingface_hub would wait for ever."""
    limits = {"connect": _CONNECT_SECONDS, "read": _READ_SECONDS, "write": _READ_SECONDS, "pool": _READ_SECONDS}
    given = {name: seconds for name, seconds in request.extensions.get("timeout", {}).items() if seconds is not None}
    limits |= given
    watch = current_watch()
    if watch is not None:
        watch.check()
        watch.asked()
        left = max(watch.left, 0.01)
        limits = {name: min(seconds, left) for name, seconds in limits.items()}
    request.extensions["timeout"] = limits


def _after_headers(response: Any) -> None:
    """Fails where huggingface_hub would sleep beyond the deadline, in threads that nobody can wake."""
    watch = current_watch()
    if watch is None:
        return
    if response.status_code in TRANSIENT:
        watch.problem = f"{response.status_code} {response.reason_phrase}"
        seconds = asked_to_wait(response)
        if seconds > watch.left:
            raise TooSlowError(
                f"the Hub asks to wait {seconds:,.0f} s ({response.status_code}), longer than {deadline():g} s"
            )
        if seconds > _REPORTED_SECONDS:
            _LOG.warning("%s asks to wait %.0f s: %s", endpoint(), seconds, watch.what)
    response.stream = _watched_stream()(response, watch)


@lru_cache(1)
def _watched_stream() -> type[Any]:
    from huggingface_hub.utils import httpx

    class WatchedStream(httpx.SyncByteStream):
        """The body of an answer; what arrives is reported to the watch."""

        def __init__(self, response: Any, watch: Watch) -> None:
            self._stream, self._watch, self._status = response.stream, watch, response.status_code
            self._path, self._range = str(response.url.path), response.request.headers.get("Range")
            self._of_file = self._status < 300 and ("/api/" not in self._path or "/resolve" in self._path)

        def __iter__(self) -> Iterator[bytes]:
            count = 0
            try:
                for chunk in self._stream:
                    count += len(chunk)
                    if self._of_file:
                        self._watch.received(self._path, self._range, count)
                    self._watch.check()
                    yield chunk
            except httpx.ReadError as error:
                # huggingface_hub resumes a file after a broken protocol, and begins anew after a reset.
                self._watch.problem = "the connection was reset"
                raise httpx.RemoteProtocolError(f"the connection was reset: {error}") from error
            except httpx.TransportError as error:
                self._watch.problem = str(error)
                raise
            if self._status not in TRANSIENT:
                self._watch.answered()

        def close(self) -> None:
            self._stream.close()

    return WatchedStream


def _since_last_write() -> float:
    """Seconds since a file that is being downloaded into the Hub's cache has grown."""
    from huggingface_hub import constants

    latest = 0.0
    for path in Path(constants.HF_HUB_CACHE).glob("*/blobs/*.incomplete"):
        with suppress(OSError):  # it is complete
            latest = max(latest, path.stat().st_mtime)
    return time.time() - latest
