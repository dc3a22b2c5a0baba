"""Requests to the Hub: its address, time-outs, retries, and errors as `EmmsError`."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from hf_emms.errors import EmmsError, Text, one_line

if TYPE_CHECKING:
    from hf_emms.hub.api import Api

Kind = Literal["model", "dataset", "space"]
Hints = Mapping[int | None, str | Text]
"""HTTP status → hint that replaces the usual one; None applies to any other status."""
T = TypeVar("T")

RETRY_HINT = "run the same command again later; finished work is kept"
_RETRY_LATER_HINT = f"{RETRY_HINT}; to wait longer, set HF_EMMS_DEADLINE=SECONDS"
_LOGIN = "hf auth login"

_PUBLIC = "https://huggingface.co"
_PAGES = {"model": "", "dataset": "datasets/", "space": "spaces/"}
# The Hub limits requests per five minutes, so a client waits at most five minutes.
_DEADLINE_SECONDS = 420.0
_CONNECT_SECONDS = 10.0
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 30.0
# After these statuses, the same request may succeed later. The others may mean that a signed URL has expired.
_TRANSIENT = (408, 429, 500, 502, 503, 504)
_EXPIRED = (400, 401, 403, 404, 410)
# Attempts after an expired URL, an incomplete file or a lost commit.
TRIES = 3
_MAX_REASON = 200
# Errors of huggingface_hub if the answer is not from the Hub, such as the login page of a proxy.
_MALFORMED = (ValueError, LookupError, TypeError, AttributeError, AssertionError)


class RepoNotFoundError(EmmsError):
    """The repository does not exist, or this user may not see it."""


class ConflictError(EmmsError):
    """Another commit was made since the parent of this commit."""


def deadline() -> float:
    """Return the number of seconds to repeat failing requests: HF_EMMS_DEADLINE, or 420."""
    text = os.environ.get("HF_EMMS_DEADLINE", "")
    try:
        return float(text) if text else _DEADLINE_SECONDS
    except ValueError:
        raise EmmsError(f"HF_EMMS_DEADLINE is {text!r}", "set seconds: HF_EMMS_DEADLINE=120") from None


def endpoint() -> str:
    """Return the current HF_ENDPOINT, which huggingface_hub reads only on import."""
    from huggingface_hub import constants

    return os.environ.get("HF_ENDPOINT", "").rstrip("/") or constants.ENDPOINT


def endpoint_environment() -> dict[str, str]:
    """Return the environment variable that makes another program use the same Hub; none for huggingface.co."""
    return {} if endpoint() == _PUBLIC else {"HF_ENDPOINT": endpoint()}


def repo_url(id: str, kind: Kind) -> str:
    """Return the address of a repository's page."""
    return f"{endpoint()}/{_PAGES[kind]}{id}"


def request(
    call: Callable[[Api], T],
    id: str,
    kind: Kind | None = None,
    revision: str | None = None,
    *,
    tries: int | None = None,
    hints: Hints | None = None,
) -> T:
    """Call huggingface_hub, and repeat the call after temporary failures.

    The call must be idempotent. Errors name the repository `id`. If `kind` is None, `id` is a description of the
    request. Without `tries`, the deadline ends the repetition.

    Raises:
        EmmsError: Refused, unreachable, no answer before the deadline, or an answer that is not the Hub's.
    """
    from hf_emms.hub.api import Api

    target = _Target(id, kind, revision)
    with translate_hub_errors(id, kind, revision, hints):
        api = Api(endpoint=endpoint())
        try:
            return retried(lambda: call(api), tries)
        except _MALFORMED as error:
            if isinstance(error, EmmsError) or _in_words(error, target, hints or {}):
                raise
            raise EmmsError(
                f"the answer of {endpoint()} for {target} is not from a Hub ({one_line(error)[:_MAX_REASON]})",
                "check HF_ENDPOINT, and whether a proxy requires a login",
            ) from error


def retried(call: Callable[[], T], tries: int | None = None) -> T:
    """Repeat a call after temporary failures, with the pauses that the Hub requests."""
    attempt, pause, failing_since = 0, _FIRST_PAUSE, 0.0
    retryable: tuple[type[Exception], ...] = (*_client_errors(), OSError)
    while True:
        attempt += 1
        try:
            return call()
        except retryable as error:
            failing_since = failing_since or time.monotonic()
            seconds = _seconds_until_retry(error, attempt, pause)
            if seconds is None or attempt == tries or time.monotonic() + seconds > failing_since + deadline():
                raise
        time.sleep(seconds)
        pause = min(2 * pause, _LONGEST_PAUSE)


@contextmanager
def translate_hub_errors(
    id: str, kind: Kind | None = None, revision: str | None = None, hints: Hints | None = None
) -> Iterator[None]:
    """Raise errors of huggingface_hub inside the block as an EmmsError. The arguments are the same as in `request`."""
    from huggingface_hub import get_session
    from huggingface_hub.utils import httpx

    from hf_emms.hub.api import READ_SECONDS

    # By default, huggingface_hub waits for an answer forever.
    limit = deadline()
    get_session().timeout = httpx.Timeout(min(READ_SECONDS, limit), connect=min(_CONNECT_SECONDS, limit))
    try:
        yield
    except Exception as error:
        in_words = _in_words(error, _Target(id, kind, revision), hints or {})
        if in_words is None:
            raise
        raise in_words from error


def _seconds_until_retry(error: Exception, attempt: int, pause: float) -> float | None:
    """Return the pause before the next try, or None if another try cannot help."""
    from huggingface_hub.utils import httpx

    response = _response_behind(error)
    if response is not None and not _is_expired(response):
        return max(pause, _seconds_asked_for(response)) if response.status_code in _TRANSIENT else None
    if response is not None or _is_incomplete(error):
        return pause if attempt < TRIES else None
    broken = [cause for cause in _chain(error) if isinstance(cause, httpx.HTTPError)]
    # Without a connection, huggingface_hub has already looked into its cache.
    unconnected = any(isinstance(cause, (httpx.ConnectError, httpx.ConnectTimeout)) for cause in broken)
    return pause if broken and not unconnected else None


def _seconds_asked_for(response: Any) -> float:
    from huggingface_hub.utils import parse_ratelimit_headers

    limits = parse_ratelimit_headers(response.headers) if response.status_code == 429 else None
    if limits is not None and limits.remaining == 0:
        return float(limits.reset_in_seconds)
    seconds = response.headers.get("Retry-After", "")
    return float(seconds) if seconds.isdecimal() else 0.0


@dataclass(frozen=True)
class _Target:
    """The subject of a request, with a description as `str`."""

    id: str
    kind: Kind | None
    revision: str | None

    def __str__(self) -> str:
        at = f" at {self.revision!r}" if self.revision else ""
        return f"{self.kind} {self.id!r}{at}" if self.kind else self.id

    @property
    def repo_url(self) -> str:
        return repo_url(self.id, self.kind) if self.kind else endpoint()


def _in_words(error: Exception, target: _Target, hints: Hints) -> EmmsError | None:
    """Convert an exception of a request into an EmmsError. Return None for other exceptions."""
    from huggingface_hub import errors

    if isinstance(error, EmmsError):
        return None
    if _is_incomplete(error):
        reason = " ".join(str(error).split())
        return EmmsError(f"{TRIES} downloads of a file of {target} were incomplete: {reason}", RETRY_HINT)
    if isinstance(error, errors.HFValidationError):
        return EmmsError(f"{target.id!r} is not a Hub id: {error}", "write ORG/NAME[@REVISION] or ./FOLDER")
    cause = next((cause for cause in _chain(error) if isinstance(cause, _client_errors())), None)
    if cause is None:
        return None
    response = _response_behind(cause)
    return _unreachable(cause, target, hints) if response is None else _refused(cause, response, target, hints)


def _refused(error: BaseException, response: Any, target: _Target, hints: Hints) -> EmmsError:
    from huggingface_hub import errors

    if target.kind and isinstance(error, errors.GatedRepoError):
        return EmmsError(
            f"{target} is gated: its owner restricts access",
            f"accept its terms at {target.repo_url}, then log in: {_LOGIN}",
        )
    if target.kind and isinstance(error, errors.RevisionNotFoundError):
        hint = f"branches and tags are listed at {target.repo_url}/tree/main; a pull request is refs/pr/N"
        return EmmsError(f"{target.kind} {target.id!r} has no revision {target.revision!r}", hint)
    if target.kind and isinstance(error, errors.RepositoryNotFoundError):
        hint = f"check the name at {target.repo_url}; for a private one log in: {_LOGIN}"
        return RepoNotFoundError(f"there is no {target.kind} {target.id!r} on the Hub, or it is private", hint)
    status = response.status_code
    messages = (getattr(cause, "server_message", None) for cause in _chain(error))
    message = next(filter(None, messages), "")
    detail = f"{status}: {message}" if message else str(status)
    asked = hints.get(status, hints.get(None, ""))
    if status == 401 and "Invalid credentials" in message:
        return EmmsError("the Hub does not accept your token", f"{_LOGIN}, or check HF_TOKEN")
    if status == 412:
        return ConflictError(f"{target} changed during each attempt to commit", RETRY_HINT)
    if status == 429:
        wait = _seconds_asked_for(response)
        pause = f"a pause of {wait:,.0f} s" if wait else "a pause"
        return EmmsError(f"the Hub asks for {pause} before it serves {target} ({detail})", asked or _RETRY_LATER_HINT)
    if status in _TRANSIENT:
        return EmmsError(f"the Hub could not serve {target} ({detail})", asked or _RETRY_LATER_HINT)
    if status // 100 == 5:
        problem = f"{endpoint()} does not support a request for {target} ({detail})"
        return EmmsError(problem, asked or "check HF_ENDPOINT")
    or_login = f"; log in: {_LOGIN}" if status in (401, 403) else ""
    return EmmsError(f"the Hub refused {target} ({detail})", asked or f"look at {target.repo_url}{or_login}")


def _unreachable(error: BaseException, target: _Target, hints: Hints) -> EmmsError:
    from huggingface_hub import constants
    from huggingface_hub.utils import httpx

    uncached = f"{target} is not completely in the local cache"
    if constants.HF_HUB_OFFLINE:
        hint = "unset HF_HUB_OFFLINE and run once online, or pass a folder: ./FOLDER"
        return EmmsError(f"{uncached}, and HF_HUB_OFFLINE is set", hint)
    if any(isinstance(cause, (httpx.ReadTimeout, httpx.WriteTimeout)) for cause in _chain(error)):
        return EmmsError(f"{target}: the Hub did not answer in time", hints.get(None, _RETRY_LATER_HINT))
    if isinstance(error, httpx.HTTPError):
        proxy = f"check the network and proxy; then {RETRY_HINT}"
        broke = f"the connection to the Hub broke during a request for {target}: {error}"
        return EmmsError(broke, hints.get(None, proxy))
    hint = "check the network (or HF_ENDPOINT), or pass a folder: ./FOLDER"
    return EmmsError(f"{endpoint()} cannot be reached, and {uncached}", hint)


def _client_errors() -> tuple[type[Exception], ...]:
    """Return the errors of huggingface_hub and its HTTP client that are about a request."""
    from huggingface_hub import errors
    from huggingface_hub.utils import httpx

    return (
        httpx.HTTPError,
        httpx.InvalidURL,
        httpx.StreamError,
        errors.LocalEntryNotFoundError,
        errors.RevisionResolutionError,
        errors.OfflineModeIsEnabled,
    )


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and its causes."""
    while error is not None:
        yield error
        error = error.__cause__


def _response_behind(error: BaseException) -> Any:
    return next(filter(None, (getattr(cause, "response", None) for cause in _chain(error))), None)


def _is_expired(response: Any) -> bool:
    """Return whether the storage refused a signed URL, which expires after some minutes."""
    path = response.url.path
    of_hub = "/api/" in path or "/resolve/" in path or "/info/lfs/" in path
    return not of_hub and response.status_code in _EXPIRED


def _is_incomplete(error: BaseException) -> bool:
    """Return whether a downloaded file has another size than on the Hub."""
    return isinstance(error, OSError) and "Consistency check failed" in str(error)
