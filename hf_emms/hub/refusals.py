"""What huggingface_hub raises, in words: what was asked for, what the Hub answered, and what helps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from traceback import walk_tb
from typing import Any

from hf_emms.errors import EmmsError
from hf_emms.hub.session import TRANSIENT, Kind, TooSlowError, endpoint, page

# HTTP status → hint, in place of that of `translated`; None: for any other status.
Hints = Mapping[int | None, str]

# Of addresses that are signed for some minutes.
_EXPIRED = (400, 401, 403, 404, 410)
_MAX_REASON = 200
_CALLERS = ("hf_emms.hub.client", "hf_emms.hub.session")
_AGAIN = "run the same command again later: what is finished is not done twice"
_LATER = f"{_AGAIN}; HF_EMMS_DEADLINE=SECONDS waits longer"
# Raised by code that reads an answer of another form than the API's.
_MALFORMED = (ValueError, LookupError, TypeError, AttributeError, AssertionError)


class RepoNotFoundError(EmmsError):
    """The Hub has no such repository, or none that this user may see."""


class ConflictError(EmmsError):
    """Somebody else has committed since the commit that ours builds on."""


def client_errors() -> tuple[type[Exception], ...]:
    """The errors of huggingface_hub that are about a request."""
    from huggingface_hub import errors

    return (
        errors.HTTPError,
        errors.LocalEntryNotFoundError,
        errors.RevisionResolutionError,
        errors.OfflineModeIsEnabled,
    )


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error, and those that it was raised from."""
    while error is not None:
        yield error
        error = error.__cause__


def response_behind(error: BaseException) -> Any:
    """The Hub's answer behind an error, if it answered at all."""
    from huggingface_hub.errors import HfHubHTTPError

    answers = (one.response for one in chain(error) if isinstance(one, HfHubHTTPError))
    return next((answer for answer in answers if answer is not None), None)


def is_expired(response: Any) -> bool:
    """Whether it refuses an address that the Hub has given for some minutes: where a file is stored, or will be."""
    path = response.url.path
    of_hub = "/api/" in path or "/resolve/" in path or "/info/lfs/" in path
    return not of_hub and response.status_code in _EXPIRED


def is_incomplete(error: BaseException) -> bool:
    """Whether a file has arrived whose size is not the one that the Hub has named."""
    return isinstance(error, OSError) and "Consistency check failed" in str(error)


def named(id: str, kind: Kind | None, revision: str | None) -> str:
    """What is asked for, in words."""
    return f"{kind} {id!r}" + (f" at {revision!r}" if revision else "") if kind else id


def translated(error: Exception, id: str, kind: Kind | None, revision: str | None, hints: Hints) -> EmmsError | None:
    """The error in words; None for one that is not the Hub's."""
    from huggingface_hub import errors

    what = named(id, kind, revision)
    slow = next((one for one in chain(error) if isinstance(one, TooSlowError)), None)
    if slow is not None:
        return EmmsError(f"{what}: {slow.message}", _LATER)
    if is_incomplete(error):
        return EmmsError(f"a file of {what} arrived incomplete, twice: {' '.join(str(error).split())}", _AGAIN)
    if isinstance(error, EmmsError):
        return None
    if isinstance(error, errors.HFValidationError):
        return EmmsError(f"{id!r} is not a Hub id: {error}", "write ORG/NAME[@REVISION] or ./FOLDER")
    cause = next((one for one in chain(error) if isinstance(one, client_errors())), None)
    if cause is None:
        if not isinstance(error, _MALFORMED) or not is_about_an_answer(error):
            return None
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:_MAX_REASON]
        return EmmsError(
            f"what {endpoint()} answers for {what} is not the answer of a Hub ({reason})",
            "check HF_ENDPOINT, and whether a proxy asks for a login",
        )
    response = response_behind(cause)
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
    messages = (getattr(one, "server_message", None) for one in chain(error))
    message = next(filter(None, messages), None)
    detail = f"{status}: {message}" if message else str(status)
    hint = hints.get(status, hints.get(None))
    if status == 401 and message and "Invalid credentials" in message:
        return EmmsError("the Hub does not accept your token", "hf auth login, or check HF_TOKEN")
    if status == 412:
        return ConflictError(f"{what} was changed by somebody else each time we wrote to it", _AGAIN)
    if status == 429:
        return EmmsError(f"the Hub asks for a pause before it serves {what} ({detail})", hint or _AGAIN)
    if status in TRANSIENT:
        return EmmsError(f"the Hub could not serve {what} ({detail})", hint or _AGAIN)
    if status >= 500:
        return EmmsError(
            f"{endpoint()} does not do what {what} needs ({detail})", hint or "another Hub may: check HF_ENDPOINT"
        )
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
    if "Timeout" in type(error).__name__:
        return EmmsError(f"{what}: nothing arrived in time", hints.get(None, _LATER))
    if isinstance(error, HTTPError):
        return EmmsError(
            f"the connection broke while asking the Hub for {what}: {error}",
            hints.get(None, f"check the network and proxy; then {_AGAIN}"),
        )
    return EmmsError(
        f"{endpoint()} cannot be reached, and {what} is not (or not wholly) in the local cache",
        "check the network (or HF_ENDPOINT), or pass a folder: ./FOLDER",
    )


def is_about_an_answer(error: BaseException) -> bool:
    """Whether huggingface_hub or this package's `hub` raised it, not code that they were given to call."""
    modules = [frame.f_globals.get("__name__", "") for frame, _ in walk_tb(error.__traceback__)]
    readers = [name for name in modules if name.startswith(("hf_emms.", "huggingface_hub")) and name not in _CALLERS]
    return bool(readers) and readers[-1].startswith(("hf_emms.hub.", "huggingface_hub"))
