"""Requests to the Hub: its address, time-outs, retries, and errors as `EmmsError`."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from hf_emms.errors import EmmsError, one_line
from hf_emms.texts import Text

if TYPE_CHECKING:
    from hf_emms.hub.api import Api

Kind = Literal["model", "dataset", "space"]
T = TypeVar("T")

RETRY_HINT = "run the same command again later; finished work is kept"
_RETRY_LATER_HINT = f"{RETRY_HINT}; to wait longer, set HF_EMMS_DEADLINE=SECONDS"
LOGIN = "hf auth login"

_PAGES = {"model": "", "dataset": "datasets/", "space": "spaces/"}
# The Hub limits requests per five minutes, so a client waits at most five minutes.
_DEADLINE_SECONDS = 420.0
_CONNECT_SECONDS = 10.0
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 30.0
# After these statuses, the same request may succeed later.
_TRANSIENT = (408, 429, 500, 502, 503, 504)
# Attempts to commit.
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
        raise EmmsError("invalid-value", f"HF_EMMS_DEADLINE is {text!r}", "set seconds: HF_EMMS_DEADLINE=120") from None


def endpoint() -> str:
    """Return the current HF_ENDPOINT, which huggingface_hub reads only on import."""
    from huggingface_hub import constants

    return os.environ.get("HF_ENDPOINT", "").rstrip("/") or constants.ENDPOINT


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
    hint: str | Text | None = None,
) -> T:
    """Call huggingface_hub, and repeat the call after temporary failures.

    The call must be idempotent. Errors name the repository `id`. If `kind` is None, `id` is a description of the
    request. Without `tries`, the deadline ends the repetition. `hint` replaces the usual hint of a refused request.

    Raises:
        EmmsError: Refused, unreachable, no answer before the deadline, or an answer that is not the Hub's.
    """
    from hf_emms.hub.api import Api

    with translate_hub_errors(id, kind, revision, hint):
        api = Api(endpoint=endpoint())
        try:
            return retried(lambda: call(api), tries)
        except _MALFORMED as error:
            if isinstance(error, EmmsError) or _in_words(error, id, kind, revision, hint):
                raise
            raise EmmsError(
                "not-a-hub",
                f"the answer of {endpoint()} for {id} is not from a Hub ({one_line(error)[:_MAX_REASON]})",
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
            seconds = _seconds_until_retry(error, pause)
            if seconds is None or attempt == tries or time.monotonic() + seconds > failing_since + deadline():
                raise
        time.sleep(seconds)
        pause = min(2 * pause, _LONGEST_PAUSE)


@contextmanager
def translate_hub_errors(
    id: str, kind: Kind | None = None, revision: str | None = None, hint: str | Text | None = None
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
        in_words = _in_words(error, id, kind, revision, hint)
        if in_words is None:
            raise
        raise in_words from error


def _seconds_until_retry(error: Exception, pause: float) -> float | None:
    """Return the pause before the next try, or None if another try cannot help."""
    from huggingface_hub.utils import httpx

    response = _response_behind(error)
    if response is not None:
        return max(pause, _seconds_asked_for(response)) if response.status_code in _TRANSIENT else None
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


def _in_words(
    error: Exception, id: str, kind: Kind | None, revision: str | None, hint: str | Text | None
) -> EmmsError | None:
    """Convert an exception of a request into an EmmsError. Return None for other exceptions."""
    from huggingface_hub import constants, errors

    if isinstance(error, EmmsError):
        return None
    target, url = id, endpoint()
    if kind is not None:
        target, url = f"{kind} {id!r}" + (f" at {revision!r}" if revision else ""), repo_url(id, kind)
    if isinstance(error, errors.HFValidationError):
        return EmmsError("invalid-id", f"{id!r} is not a Hub id: {error}", "write ORG/NAME[@REVISION] or ./FOLDER")
    if isinstance(error, OSError) and "Consistency check failed" in str(error):
        return EmmsError("incomplete-download", f"the download of a file of {target} is incomplete", RETRY_HINT)
    cause = next((cause for cause in _chain(error) if isinstance(cause, _client_errors())), None)
    if cause is None:
        return None
    response = _response_behind(cause)
    if response is not None:
        return _refused(cause, response, target, url, hint)
    if constants.HF_HUB_OFFLINE:
        return EmmsError(
            "not-cached",
            f"{target} is not completely in the local cache, and HF_HUB_OFFLINE is set",
            "unset HF_HUB_OFFLINE and run once online, or pass a folder: ./FOLDER",
        )
    return EmmsError(
        "unreachable",
        f"{endpoint()} cannot be reached for {target} ({one_line([*_chain(cause)][-1])[:_MAX_REASON]})",
        hint or f"check the network, the proxy and HF_ENDPOINT; then {_RETRY_LATER_HINT}",
    )


def _refused(error: BaseException, response: Any, target: str, url: str, hint: str | Text | None) -> EmmsError:
    from huggingface_hub import errors

    status = response.status_code
    message = next(filter(None, (getattr(cause, "server_message", None) for cause in _chain(error))), "")
    if status == 401 and "Invalid credentials" in message:
        return EmmsError("invalid-token", "the Hub does not accept your token", f"{LOGIN}, or check HF_TOKEN")
    if isinstance(error, errors.GatedRepoError):
        return EmmsError(
            "gated",
            f"{target} is gated: its owner restricts access",
            f"accept its terms at {url}, then log in: {LOGIN}",
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return EmmsError(
            "unknown-revision",
            f"there is no {target}",
            f"branches and tags are listed at {url}/tree/main; a pull request is refs/pr/N",
        )
    if isinstance(error, errors.RepositoryNotFoundError):
        return RepoNotFoundError(
            "unknown-repository",
            f"there is no {target} on the Hub, or it is private",
            f"check the name at {url}; for a private one log in: {LOGIN}",
        )
    if status == 412:
        return ConflictError("commit-conflict", f"{target} changed during each attempt to commit", RETRY_HINT)
    usual = _RETRY_LATER_HINT if status in _TRANSIENT else f"look at {url}, and at your login: {LOGIN}"
    return EmmsError(
        "refused", f"the Hub refused {target} ({f'{status}: {message}' if message else status})", hint or usual
    )


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
