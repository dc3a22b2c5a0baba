"""The address of the Hub, and its errors in words."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from hf_emms.errors import EmmsError

Kind = Literal["model", "dataset"]


class RepoNotFoundError(EmmsError):
    """The Hub answered that it has no such repository, or none that this user may see."""


def page(id: str, kind: Kind) -> str:
    """The address of a repository's page on the Hub in use."""
    from huggingface_hub import constants

    return f"{endpoint() or constants.ENDPOINT}/{'datasets/' if kind == 'dataset' else ''}{id}"


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
    ) as error:
        raise _unreachable(what) from error
    except errors.HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else "no answer"
        detail = f": {error.server_message}" if error.server_message else ""
        hint = f"look at {page(id, kind)}" + ("; log in: hf auth login" if status in (401, 403) else "")
        raise EmmsError(f"the Hub refused {what} ({status}{detail})", hint) from error
    except errors.HTTPError as error:
        raise EmmsError(f"the Hub cannot be reached for {what}: {error}", "check the network and proxy") from error
    except errors.HFValidationError as error:
        raise EmmsError(f"{id!r} is not a Hub id: {error}", "write ORG/NAME[@REVISION] or ./FOLDER") from error


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
