"""The address of the Hub, and its errors in words.

Waiting for the Hub: what is tried again, how long, and when it is given up.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from multiprocessing import TimeoutError as WaitTimeoutError
from multiprocessing.pool import ThreadPool
from typing import Any, Literal, TypeVar

from hf_emms.errors import EmmsError

Kind = Literal["model", "dataset", "space"]
_PAGES = {"model": "", "dataset": "datasets/", "space": "spaces/"}


class RepoNotFoundError(EmmsError):
    """The Hub answered that it has no such repository, or none that this user may see."""


def page(id: str, kind: Kind) -> str:
    """The address of a repository's page on the Hub in use."""
    from huggingface_hub import constants

    return f"{endpoint() or constants.ENDPOINT}/{_PAGES[kind]}{id}"


def endpoint() -> str | None:
    """HF_ENDPOINT as it is now; huggingface_hub itself reads it once, when it is imported."""
    return os.environ.get("HF_ENDPOINT", "").rstrip("/") or None


@contextmanager
def translate_hub_errors(id: str, kind: Kind, revision: str | None) -> Iterator[None]:
    """Turns the Hub client's errors into one line that says what to do."""
    from huggingface_hub import errors

    what = f"{kind} {id!r}" + (f" at {revision!r}" if revision else "")
    try:
        yield
    except errors.GatedRepoError as error:
        hint = f"accept its terms at {page(id, kind)}, then log in: hf auth login"
        raise EmmsError(f"{what} is gated: its owner asks who uses it", hint) from error
    except errors.RevisionNotFoundError as error:
        hint = f"branches and tags are listed at {page(id, kind)}/tree/main; a pull request is refs/pr/N"
        raise EmmsError(f"{kind} {id!r} has no revision {revision!r}", hint) from error
    except errors.RepositoryNotFoundError as error:
        hint = f"check the name at {page(id, kind)}; for a private one log in: hf auth login"
        raise RepoNotFoundError(f"there is no {kind} {id!r} on the Hub, or it is private", hint) from error
    except (
        errors.RevisionResolutionError,
        errors.LocalEntryNotFoundError,
        errors.OfflineModeIsEnabled,
        errors.HfHubHTTPError,
    ) as error:
        # The client looks into its cache when the Hub fails, and then complains about the cache.
        status = status_of(error)
        raise (_unreachable(what) if status is None else _refused(what, page(id, kind), status, error)) from error
    except errors.HTTPError as error:
        raise EmmsError(f"the Hub cannot be reached for {what}: {error}", "check the network and proxy") from error
    except errors.HFValidationError as error:
        raise EmmsError(f"{id!r} is not a Hub id: {error}", "write ORG/NAME[@REVISION] or ./FOLDER") from error


def _refused(what: str, address: str, status: int, error: BaseException) -> EmmsError:
    message = getattr(error, "server_message", None) or getattr(error.__cause__, "server_message", None)
    detail = f"{status}: {message}" if message else str(status)
    if status == 429 or status >= 500:
        hint = "run the same command again later: what is finished is kept"
        return EmmsError(f"the Hub could not serve {what} ({detail})", hint)
    hint = f"look at {address}" + ("; log in: hf auth login" if status in (401, 403) else "")
    return EmmsError(f"the Hub refused {what} ({detail})", hint)


def _unreachable(what: str) -> EmmsError:
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return EmmsError(
            f"{what} is not (or not wholly) in the local cache, and HF_HUB_OFFLINE is set",
            "unset HF_HUB_OFFLINE and run once online, or pass a folder: ./FOLDER",
        )
    host = endpoint() or constants.ENDPOINT
    return EmmsError(
        f"{host} cannot be reached, and {what} is not (or not wholly) in the local cache",
        "check the network (or HF_ENDPOINT), or pass a folder: ./FOLDER",
    )


T = TypeVar("T")

# Set by whoever starts requests in a thread: once the event is set, what they download ends at its next piece.
CALLED_OFF: ContextVar[threading.Event | None] = ContextVar("CALLED_OFF", default=None)

# The Hub counts requests in windows of five minutes: whoever is told to wait is let in again within one.
_DEADLINE_SECONDS = 420.0
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 30.0
_PASSING = (408, 429, 500, 502, 503, 504)


_LATER = "run the same command again later: what is finished is kept; HF_EMMS_DEADLINE=SECONDS waits longer"


class LongWaitError(EmmsError):
    """The Hub asks for more patience than there is."""


class StoppedError(Exception):
    """Nobody waits for the download any more."""


class Watch:
    """Knows when bytes last arrived, and ends a download that nobody waits for any more."""

    def __init__(self) -> None:
        self._moved = time.monotonic()
        self._stopped = threading.Event()
        self._called_off = CALLED_OFF.get() or self._stopped

    def moved(self) -> None:
        """Called for every piece that arrives.

        Raises:
            StoppedError: the download is to end here.
        """
        if self._stopped.is_set() or self._called_off.is_set():
            raise StoppedError
        self._moved = time.monotonic()

    def stop(self) -> None:
        """Lets the download end at its next piece."""
        self._stopped.set()

    @property
    def idle(self) -> float:
        """Seconds since bytes last arrived."""
        return time.monotonic() - self._moved

    def bar(self) -> type[Any]:
        """A progress bar for huggingface_hub that reports to this watch."""
        from huggingface_hub.utils import tqdm

        watch, silent = self, CALLED_OFF.get() is not None

        class Bar(tqdm):
            def __init__(self, *args: Any, **options: Any) -> None:
                # What arrives in the background must not draw over what is told in the foreground.
                super().__init__(*args, **{**options, "disable": silent or options.get("disable")})

            def update(self, n: float | None = 1) -> bool | None:
                watch.moved()
                return super().update(n)

        return Bar


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


def with_deadline(what: str, call: Callable[[Watch], T]) -> T:
    """Makes a request of huggingface_hub that changes nothing, again if need be; see `retried`.

    The client's own retries come on top. It may sleep longer than the deadline, so it works in a thread that can be
    left behind.

    Args:
        what: names the request, for the error.
        call: makes the request; is given the watch that its progress bars report to.

    Raises:
        EmmsError: nothing arrived for `deadline` seconds.
        Exception: what `call` raised, where trying again is of no use or the deadline has passed.
    """
    watch, longest = Watch(), deadline()
    _refuse_long_waits()
    pool = ThreadPool(1)  # its thread is a daemon, which does not keep the program from ending
    try:
        return retried(lambda: _result(pool.apply_async(call, (watch,)), what, watch, longest), watch)
    finally:
        watch.stop()
        pool.close()


def retried(call: Callable[[], T], watch: Watch | None = None) -> T:
    """Calls again after passing failures: 408, 429, 5xx, timeouts, cut connections.

    It waits for what Retry-After says, or twice as long each time, until nothing has arrived for `deadline` seconds.

    Raises:
        Exception: what `call` raised, where trying again is of no use or the deadline has passed.
    """
    watch, pause = watch or Watch(), _FIRST_PAUSE
    while True:
        try:
            return call()
        except _client_errors() as error:
            wait = _wait(error, pause)
            if wait is None or watch.idle + wait > deadline():
                raise
        time.sleep(wait)
        pause = min(2 * pause, _LONGEST_PAUSE)


def status_of(error: BaseException) -> int | None:
    """The HTTP status behind an error of the client, if the Hub answered at all."""
    return next((status for status, _ in _answers(error)), None)


def retry_after_of(error: BaseException) -> float:
    """The seconds that the Hub asks to wait behind an error of the client; 0 where it names none."""
    return next((asked for _, asked in _answers(error)), 0.0)


def hub_error_behind(error: BaseException) -> Exception | None:
    """The Hub client's error that another library's error was raised from."""
    kinds = _client_errors()
    return next((one for one in _chain(error) if isinstance(one, kinds)), None)


def _refuse_long_waits() -> None:
    """Makes the client fail where it would sleep beyond the deadline, in threads that nobody can wake."""
    from huggingface_hub import get_session

    hooks = get_session().event_hooks
    if _refuse_long_wait not in hooks["response"]:
        get_session().event_hooks = {**hooks, "response": [*hooks["response"], _refuse_long_wait]}


def _refuse_long_wait(response: Any) -> None:
    asked = _retry_after(response)
    if response.status_code in _PASSING and asked > deadline():
        waits = f"asks to wait {asked:,.0f} s ({response.status_code})"
        raise LongWaitError(f"the Hub {waits}, longer than {deadline():g} s", _LATER)


def _result(running: Any, what: str, watch: Watch, longest: float) -> Any:
    while True:
        try:
            return running.get(max(0.01, longest - watch.idle))
        except WaitTimeoutError:
            if watch.idle >= longest:
                raise EmmsError(
                    f"the Hub let us wait too long for {what}: nothing arrived for {longest:g} s", _LATER
                ) from None
        except LongWaitError as error:
            raise EmmsError(f"{what}: {error.message}", error.hint) from None


def _wait(error: BaseException, pause: float) -> float | None:
    """Seconds until another try; None where it is of no use."""
    from huggingface_hub.errors import HTTPError

    for status, retry_after in _answers(error):
        if status not in _PASSING:
            return None
        return max(pause, retry_after)
    # Without any connection the client has fallen back on its cache, and that has nothing.
    dropped = [one for one in _chain(error) if isinstance(one, HTTPError)]
    return pause if dropped and not any("Connect" in type(one).__name__ for one in dropped) else None


def _answers(error: BaseException) -> Iterator[tuple[int, float]]:
    from huggingface_hub.errors import HfHubHTTPError

    for one in _chain(error):
        if isinstance(one, HfHubHTTPError) and one.response is not None:
            yield one.response.status_code, _retry_after(one.response)


def _retry_after(response: Any) -> float:
    asked = response.headers.get("Retry-After", "")
    return float(asked) if asked.isdecimal() else 0.0


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


def _client_errors() -> tuple[type[Exception], ...]:
    from huggingface_hub import errors

    return (errors.HTTPError, errors.LocalEntryNotFoundError, errors.RevisionResolutionError)
