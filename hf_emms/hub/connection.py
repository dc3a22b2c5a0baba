"""The address of the Hub, and its errors in words."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from hf_emms.errors import EmmsError
from hf_emms.hub.patience import status_of

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
def explained(id: str, kind: Kind, revision: str | None) -> Iterator[None]:
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
