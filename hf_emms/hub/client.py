"""Requests to the Hub: time limits, retries, and errors in words. Everything that asks the Hub goes through here."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from multiprocessing import TimeoutError as ResultTimeoutError
from multiprocessing.pool import AsyncResult, ThreadPool
from traceback import walk_tb
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from hf_emms.errors import EmmsError

if TYPE_CHECKING:
    from huggingface_hub import HfApi

T = TypeVar("T")
Kind = Literal["model", "dataset", "space"]
# HTTP status → hint, in place of that of `translate_hub_errors`; None: for any other status.
Hints = Mapping[int | None, str]

# Set by whoever makes requests in a thread: once the event is set, a download ends at its next chunk.
CANCELLED: ContextVar[threading.Event | None] = ContextVar("CANCELLED", default=None)

_PAGES = {"model": "", "dataset": "datasets/", "space": "spaces/"}
# The Hub counts requests in windows of five minutes: a client that has to wait is admitted again within one.
_DEADLINE_SECONDS = 420.0
_CONNECT_SECONDS, _READ_SECONDS = 10.0, 60.0
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 30.0
_TRANSIENT = (408, 429, 500, 502, 503, 504)
_TRIES_OF_BROKEN_JSON = 3
_AGAIN = "run the same command again later: what is finished is not done twice"
# Raised by code that reads an answer of another form than the API's.
_MALFORMED = (ValueError, LookupError, TypeError, AttributeError)
_STREAMING_PAUSES = (
    "STREAMING_READ_RETRY_INTERVAL",
    "STREAMING_READ_SERVER_UNAVAILABLE_RETRY_INTERVAL",
    "STREAMING_READ_RATE_LIMIT_RETRY_INTERVAL",
    "STREAMING_OPEN_RETRY_INTERVAL",
)
_STREAMING_TRIES = ("STREAMING_READ_MAX_RETRIES", "STREAMING_OPEN_MAX_RETRIES")
_STREAMING_SECONDS_PER_TRY = 60


class RepoNotFoundError(EmmsError):
    """The Hub has no such repository, or none that this user may see."""


class ConflictError(EmmsError):
    """Somebody else has committed since the commit that ours builds on."""


class TooSlowError(EmmsError):
    """The Hub takes longer, or asks to wait longer, than the deadline allows."""


class CancelledError(Exception):
    """The download is no longer needed."""


class Watch:
    """Knows when a request last received bytes, and ends a download that is no longer needed."""

    def __init__(self) -> None:
        self._latest = time.monotonic()
        self._stopped = threading.Event()
        self._cancelled = CANCELLED.get()

    @property
    def idle(self) -> float:
        """Seconds since bytes last arrived."""
        return time.monotonic() - self._latest

    def stop(self) -> None:
        """Lets the download end at its next chunk."""
        self._stopped.set()

    def progress_bar(self) -> type[Any]:
        """A progress bar for huggingface_hub that reports to this watch."""
        from huggingface_hub.utils import tqdm

        watch = self

        class Bar(tqdm):
            def __init__(self, *args: Any, **options: Any) -> None:
                # A download in the background must not draw over what the foreground prints.
                hidden = watch._cancelled is not None or options.get("disable")
                super().__init__(*args, **{**options, "disable": hidden})

            def update(self, n: float | None = 1) -> bool | None:
                if watch._stopped.is_set() or (watch._cancelled is not None and watch._cancelled.is_set()):
                    raise CancelledError
                watch._latest = time.monotonic()
                return super().update(n)

        return Bar


def request(
    call: Callable[[HfApi], T],
    id: str,
    kind: Kind | None = None,
    revision: str | None = None,
    *,
    tries: int | None = None,
    hints: Hints | None = None,
    watch: Watch | None = None,
) -> T:
    """Makes requests of huggingface_hub, again if need be; see `retried` and `translate_hub_errors`.

    The client may block for longer than the deadline, so it works in a thread that can be left behind.

    Args:
        call: makes the requests; called again after a failure, so it must have no effect or the same one each time.
        id: the repository, or what is asked for in words.
        kind: of the repository; None where it is none.
        revision: of the repository.
        tries: how often at most; None: until the deadline.
        hints: for errors.
        watch: where downloads report what arrives: the deadline then counts from the last chunk.

    Raises:
        EmmsError: nothing arrived for `deadline` seconds, refused, unreachable, or not the answer of a Hub.
    """
    from huggingface_hub import HfApi

    watch = watch or Watch()
    api = HfApi(endpoint=endpoint())
    pool = ThreadPool(1)  # its thread is a daemon, which does not keep the program from ending
    with translate_hub_errors(id, kind, revision, hints):
        try:
            return retried(lambda: _result(pool.apply_async(copy_context().run, (call, api)), watch), tries, watch)
        finally:
            watch.stop()
            pool.close()


def retried(call: Callable[[], T], tries: int | None = None, watch: Watch | None = None) -> T:
    """Calls again after transient failures: 408, 429, 500, 502 to 504, timeouts, broken connections and answers.

    It waits as long as Retry-After says, or twice as long each time, until nothing has arrived for `deadline` seconds.

    Raises:
        Exception: what `call` raised, where trying again is of no use, or `tries` or the deadline is reached.
    """
    watch, pause, tried = watch or Watch(), _FIRST_PAUSE, 0
    retryable: tuple[type[Exception], ...] = (*_client_errors(), json.JSONDecodeError)
    while True:
        tried += 1
        try:
            return call()
        except retryable as error:
            most = _TRIES_OF_BROKEN_JSON if isinstance(error, json.JSONDecodeError) else tries
            wait = _wait(error, pause)
            if wait is None or tried == most or watch.idle + wait > deadline():
                raise
        time.sleep(wait)
        pause = min(2 * pause, _LONGEST_PAUSE)


@contextmanager
def translate_hub_errors(
    id: str, kind: Kind | None = None, revision: str | None = None, hints: Hints | None = None
) -> Iterator[None]:
    """Turns what huggingface_hub raises, itself or behind an error of ``datasets``, into an EmmsError.

    Requests inside have time limits. The arguments are those of `request`.
    """
    _limit_session()
    try:
        yield
    except Exception as error:
        translated = _translated(error, id, kind, revision, hints or {})
        if translated is None:
            raise
        raise translated from error


@contextmanager
def limited_streaming() -> Iterator[None]:
    """Holds the retries of streams of ``datasets``, up to twenty minutes by default, within the deadline."""
    from datasets import config

    most = deadline()
    limited = {name: min(getattr(config, name), most) for name in _STREAMING_PAUSES}
    tries = 1 + int(most // _STREAMING_SECONDS_PER_TRY)
    limited |= {name: min(getattr(config, name), tries) for name in _STREAMING_TRIES}
    before = {name: getattr(config, name) for name in limited}
    vars(config).update(limited)
    try:
        yield
    finally:
        vars(config).update(before)


def deadline() -> float:
    """Seconds without an answer or a byte after which a request is given up: HF_EMMS_DEADLINE, or seven minutes.

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


def page(id: str, kind: Kind) -> str:
    """The address of a repository's page."""
    return f"{endpoint()}/{_PAGES[kind]}{id}"


# ---- time limits -----------------------------------------------------------------------------------------------------


def _limit_session() -> None:
    """Adds the time limits to the HTTP client that huggingface_hub and ``datasets`` share; it may be a new one."""
    from huggingface_hub import get_session

    session = get_session()
    hooks = session.event_hooks
    if _set_timeouts not in hooks["request"]:
        session.event_hooks = {
            "request": [*hooks["request"], _set_timeouts],
            "response": [*hooks["response"], _refuse_long_wait],
        }


def _set_timeouts(request: Any) -> None:
    """Many requests of huggingface_hub would wait for ever."""
    limits = {"connect": _CONNECT_SECONDS, "read": _READ_SECONDS, "write": _READ_SECONDS, "pool": _READ_SECONDS}
    given = {name: seconds for name, seconds in request.extensions.get("timeout", {}).items() if seconds is not None}
    request.extensions["timeout"] = {**limits, **given}


def _refuse_long_wait(response: Any) -> None:
    """Fails where huggingface_hub would sleep beyond the deadline, in threads that nobody can wake."""
    asked = _retry_after(response)
    if response.status_code in _TRANSIENT and asked > deadline():
        raise TooSlowError(
            f"the Hub asks to wait {asked:,.0f} s ({response.status_code}), longer than {deadline():g} s"
        )


def _result(running: AsyncResult[T], watch: Watch) -> T:
    most = deadline()
    while True:
        try:
            return running.get(max(0.01, most - watch.idle))
        except ResultTimeoutError:
            if watch.idle >= most:
                raise TooSlowError(f"nothing arrived for {most:g} s") from None


def _wait(error: BaseException, pause: float) -> float | None:
    """Seconds until another try; None where it is of no use."""
    from huggingface_hub.errors import HTTPError

    response = _response(error)
    if response is not None:
        return max(pause, _retry_after(response)) if response.status_code in _TRANSIENT else None
    if isinstance(error, json.JSONDecodeError):
        return pause if _while_reading_an_answer(error) else None
    # Without any connection the client has fallen back on its cache, which has nothing either.
    broken = [one for one in _chain(error) if isinstance(one, HTTPError)]
    return pause if broken and not any("Connect" in type(one).__name__ for one in broken) else None


def _retry_after(response: Any) -> float:
    asked = response.headers.get("Retry-After", "")
    return float(asked) if asked.isdecimal() else 0.0


# ---- errors ----------------------------------------------------------------------------------------------------------


def _client_errors() -> tuple[type[Exception], ...]:
    from huggingface_hub import errors

    return (
        errors.HTTPError,
        errors.LocalEntryNotFoundError,
        errors.RevisionResolutionError,
        errors.OfflineModeIsEnabled,
    )


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


def _response(error: BaseException) -> Any:
    """The Hub's answer behind an error, if it answered at all."""
    from huggingface_hub.errors import HfHubHTTPError

    answers = (one.response for one in _chain(error) if isinstance(one, HfHubHTTPError))
    return next((answer for answer in answers if answer is not None), None)


def _translated(error: Exception, id: str, kind: Kind | None, revision: str | None, hints: Hints) -> EmmsError | None:
    """The error in words; None for one that is not the Hub's."""
    from huggingface_hub import errors

    what = f"{kind} {id!r}" + (f" at {revision!r}" if revision else "") if kind else id
    if isinstance(error, TooSlowError):
        return EmmsError(f"{what}: {error.message}", f"{_AGAIN}; HF_EMMS_DEADLINE=SECONDS waits longer")
    if isinstance(error, EmmsError):
        return None
    if isinstance(error, errors.HFValidationError):
        return EmmsError(f"{id!r} is not a Hub id: {error}", "write ORG/NAME[@REVISION] or ./FOLDER")
    cause = next((one for one in _chain(error) if isinstance(one, _client_errors())), None)
    if cause is None:
        if not isinstance(error, _MALFORMED) or not _while_reading_an_answer(error):
            return None
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        return EmmsError(
            f"what {endpoint()} answers for {what} is not the answer of a Hub ({reason})",
            "check HF_ENDPOINT, and whether a proxy asks for a login",
        )
    response = _response(cause)
    if response is None:
        return _unreachable(cause, what, hints)
    if kind is not None and isinstance(cause, errors.GatedRepoError):
        hint = f"accept its terms at {page(id, kind)}, then log in: hf auth login"
        return EmmsError(f"{what} is gated: its owner asks who uses it", hint)
    if kind is not None and isinstance(cause, errors.RevisionNotFoundError):
        hint = f"branches and tags are listed at {page(id, kind)}/tree/main; a pull request is refs/pr/N"
        return EmmsError(f"{kind} {id!r} has no revision {revision!r}", hint)
    if kind is not None and isinstance(cause, errors.RepositoryNotFoundError):
        hint = f"check the name at {page(id, kind)}; for a private one log in: hf auth login"
        return RepoNotFoundError(f"there is no {kind} {id!r} on the Hub, or it is private", hint)
    return _refused(cause, response.status_code, what, page(id, kind) if kind else endpoint(), hints)


def _refused(error: BaseException, status: int, what: str, address: str, hints: Hints) -> EmmsError:
    messages = (getattr(one, "server_message", None) for one in _chain(error))
    message = next(filter(None, messages), None)
    detail = f"{status}: {message}" if message else str(status)
    hint = hints.get(status, hints.get(None))
    if status == 401 and message and "Invalid credentials" in message:
        return EmmsError("the Hub does not accept your token", "hf auth login, or check HF_TOKEN")
    if status == 412:
        return ConflictError(f"{what} was changed by somebody else each time we wrote to it", _AGAIN)
    if status == 429:
        return EmmsError(f"the Hub asks for a pause before it serves {what} ({detail})", hint or _AGAIN)
    if status in _TRANSIENT or status > 500:
        return EmmsError(f"the Hub could not serve {what} ({detail})", hint or _AGAIN)
    login = "; log in: hf auth login" if status in (401, 403) else ""
    return EmmsError(f"the Hub refused {what} ({detail})", hint or f"look at {address}{login}")


def _unreachable(error: BaseException, what: str, hints: Hints) -> EmmsError:
    from huggingface_hub import constants
    from huggingface_hub.errors import HTTPError

    if constants.HF_HUB_OFFLINE:
        return EmmsError(
            f"{what} is not (or not wholly) in the local cache, and HF_HUB_OFFLINE is set",
            "unset HF_HUB_OFFLINE and run once online, or pass a folder: ./FOLDER",
        )
    if isinstance(error, HTTPError):
        return EmmsError(
            f"the connection broke while asking the Hub for {what}: {error}",
            hints.get(None, f"check the network and proxy; then {_AGAIN}"),
        )
    return EmmsError(
        f"{endpoint()} cannot be reached, and {what} is not (or not wholly) in the local cache",
        "check the network (or HF_ENDPOINT), or pass a folder: ./FOLDER",
    )


def _while_reading_an_answer(error: BaseException) -> bool:
    """Whether huggingface_hub or this package's `hub` raised it, not code that they were given to call."""
    modules = [frame.f_globals.get("__name__", "") for frame, _ in walk_tb(error.__traceback__)]
    readers = [name for name in modules if name.startswith(("hf_emms.", "huggingface_hub")) and name != __name__]
    return bool(readers) and readers[-1].startswith(("hf_emms.hub.", "huggingface_hub"))
