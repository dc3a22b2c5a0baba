"""Requests to the Hub, again where that helps. Everything that asks the Hub goes through here."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import copy_context
from multiprocessing import TimeoutError as ResultTimeoutError
from multiprocessing.pool import AsyncResult, ThreadPool
from typing import TYPE_CHECKING, TypeVar

from hf_emms.hub.refusals import (
    Hints,
    chain,
    client_errors,
    is_about_an_answer,
    is_expired,
    is_incomplete,
    named,
    response_behind,
    translated,
)
from hf_emms.hub.session import (
    CURRENT,
    TRANSIENT,
    Kind,
    Watch,
    asked_to_wait,
    current_watch,
    deadline,
    endpoint,
)

if TYPE_CHECKING:
    from huggingface_hub import HfApi

T = TypeVar("T")

_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 30.0
# Of what another request may mend: an answer that is no JSON, a signed address that has expired, an incomplete file.
_TRIES = 3
_TRIES_OF_FILE = 2
_POLL_SECONDS = 1.0
_STREAMING_PAUSES = (
    "STREAMING_READ_RETRY_INTERVAL",
    "STREAMING_READ_SERVER_UNAVAILABLE_RETRY_INTERVAL",
    "STREAMING_READ_RATE_LIMIT_RETRY_INTERVAL",
    "STREAMING_OPEN_RETRY_INTERVAL",
)
_STREAMING_TRIES = ("STREAMING_READ_MAX_RETRIES", "STREAMING_OPEN_MAX_RETRIES")
_STREAMING_SECONDS_PER_TRY = 60


def request(
    call: Callable[[HfApi], T],
    id: str,
    kind: Kind | None = None,
    revision: str | None = None,
    *,
    tries: int | None = None,
    hints: Hints | None = None,
    sends: int = 0,
) -> T:
    """Makes requests of huggingface_hub, again if need be; see `retried` and `translate_hub_errors`.

    Not every wait in the client has a limit, so it works in a thread that can be left behind.

    Args:
        call: makes the requests; called again after a failure, so it must have no effect or the same one each time.
        id: the repository, or what is asked for in words.
        kind: of the repository; None where it is none.
        revision: of the repository.
        tries: how often at most; None: until the deadline.
        hints: for errors.
        sends: bytes that are uploaded; the deadline is later by the time that they may take.

    Raises:
        EmmsError: nothing arrived for `deadline` seconds, refused, unreachable, or not the answer of a Hub.
    """
    from huggingface_hub import HfApi

    api = HfApi(endpoint=endpoint())
    pool = ThreadPool(1)  # its thread is a daemon, which does not keep the program from ending
    watch = Watch(named(id, kind, revision), waiting=True, sends=sends)
    with translate_hub_errors(id, kind, revision, hints), watch:

        def work() -> T:
            CURRENT.set(watch)
            return call(api)

        try:
            return retried(lambda: _result(pool.apply_async(copy_context().run, (work,)), watch), tries, watch)
        finally:
            pool.close()


def retried(call: Callable[[], T], tries: int | None = None, watch: Watch | None = None) -> T:
    """Calls again after failures that may pass, as long as the deadline of a watch allows, by default the current one.

    These are 408, 429, 500, 502 to 504, timeouts, broken connections and answers, incomplete files and signed addresses
    that have expired. It waits as long as the Hub asks to, or twice as long each time.

    Raises:
        Exception: what `call` raised, where trying again is of no use, or `tries` or the deadline is reached.
    """
    watch, pause, tried = watch or current_watch(), _FIRST_PAUSE, 0
    retryable: tuple[type[Exception], ...] = (*client_errors(), json.JSONDecodeError, OSError)
    while True:
        tried += 1
        try:
            return call()
        except retryable as error:
            wait, most = _again(error, pause)
            if watch is not None and watch.left < _FIRST_PAUSE and "Timeout" in type(error).__name__:
                raise watch.too_slow() from error  # the limit of the last request was what was left
            if wait is None or tried in (most, tries) or (watch is not None and wait > watch.left):
                raise
        time.sleep(wait)
        pause = min(2 * pause, _LONGEST_PAUSE)


@contextmanager
def translate_hub_errors(
    id: str, kind: Kind | None = None, revision: str | None = None, hints: Hints | None = None
) -> Iterator[None]:
    """Turns what huggingface_hub raises, itself or behind an error of ``datasets``, into an EmmsError.

    The arguments are those of `request`.
    """
    try:
        yield
    except Exception as error:
        in_words = translated(error, id, kind, revision, hints or {})
        if in_words is None:
            raise
        raise in_words from error


@contextmanager
def limited_streaming(what: str) -> Iterator[None]:
    """Holds the requests of ``datasets`` within the deadline; its own retries take up to twenty minutes.

    Args:
        what: is read, in words.
    """
    from datasets import config

    most = deadline()
    limited = {name: min(getattr(config, name), most) for name in _STREAMING_PAUSES}
    tries = 1 + int(most // _STREAMING_SECONDS_PER_TRY)
    limited |= {name: min(getattr(config, name), tries) for name in _STREAMING_TRIES}
    before = {name: getattr(config, name) for name in limited}
    vars(config).update(limited)
    try:
        with Watch(what):
            yield
    finally:
        vars(config).update(before)


def _result(running: AsyncResult[T], watch: Watch) -> T:
    while True:
        try:
            return running.get(max(0.01, min(watch.left, _POLL_SECONDS)))
        except ResultTimeoutError:
            if watch.left <= 0:
                raise watch.too_slow() from None


def _again(error: BaseException, pause: float) -> tuple[float | None, int | None]:
    """Seconds until another try, None where it is of no use; and how many tries there are at most, None for any."""
    from huggingface_hub.errors import HTTPError

    if is_incomplete(error):
        return pause, _TRIES_OF_FILE
    response = response_behind(error)
    if response is not None and is_expired(response):
        return pause, _TRIES
    if response is not None:
        return (max(pause, asked_to_wait(response)) if response.status_code in TRANSIENT else None), None
    if isinstance(error, json.JSONDecodeError):
        return (pause if is_about_an_answer(error) else None), _TRIES
    # Without any connection the client has fallen back on its cache, which has nothing either.
    broken = [one for one in chain(error) if isinstance(one, HTTPError)]
    return (pause if broken and not any("Connect" in type(one).__name__ for one in broken) else None), None
