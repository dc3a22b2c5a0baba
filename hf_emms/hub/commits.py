"""Commits and pull requests: read, change, commit on what was read; what happened meanwhile is read again."""

from __future__ import annotations

import json
import random
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from hf_emms.errors import EmmsError
from hf_emms.hub.account import Account
from hf_emms.hub.client import (
    Kind,
    deadline,
    endpoint,
    page,
    retry_after_of,
    status_of,
    translate_hub_errors,
    with_deadline,
)

Read = Callable[[str], bytes | None]
"""The content of a file at the commit that is changed; None where there is none."""

Change = Callable[[Read], Mapping[str, bytes]]
"""What some files should hold, by path. It is asked again when the repository has changed meanwhile."""

TRIES = 3
TRIES_AMONG_MANY = 40
_OPEN = ("open", "draft")
_PASSING = (408, 429, 500, 502, 503, 504)


@dataclass(frozen=True)
class Outcome:
    """What became of a change.

    Attributes:
        state: "unchanged" (nothing to do), "pushed", "opened" or "updated" (a pull request), "declined" (its owner
            has closed our pull request).
        url: of the commit or the pull request; of the repository where nothing was done.
    """

    state: Literal["unchanged", "pushed", "opened", "updated", "declined"]
    url: str


def read_file(id: str, kind: Kind, path: str) -> bytes | None:
    """A file as it is on main now; None where the repository has none.

    Raises:
        EmmsError: no such repository, no access, or the Hub cannot be reached.
    """
    with translate_hub_errors(id, kind, None):
        return with_deadline(f"{path} of {kind} {id!r}", lambda watch: _reader(id, kind, _head(id, kind, "main"))(path))


def create_dataset(id: str, *, private: bool = False) -> None:
    """Makes a dataset repository where there is none.

    Raises:
        EmmsError: no rights, or the Hub cannot be reached.
    """
    from huggingface_hub import HfApi

    with translate_hub_errors(id, "dataset", None):
        with_deadline(
            f"making dataset {id!r}",
            lambda watch: HfApi(endpoint=endpoint()).create_repo(
                id, repo_type="dataset", private=private, exist_ok=True
            ),
        )


def push(id: str, kind: Kind, change: Change, *, title: str, description: str = "", tries: int = TRIES) -> Outcome:
    """Commits to main.

    Args:
        id: "ORG/NAME".
        kind: "model" or "dataset".
        change: what files should hold, from what they hold.
        title: of the commit.
        description: of the commit.
        tries: how often to go on when somebody else commits at the same time, or the Hub fails.

    Raises:
        EmmsError: what `change` raises; refused; changed too often meanwhile; the Hub cannot be reached.
    """

    def attempt() -> Outcome:
        head = _head(id, kind, "main")
        changed = _changed(change, _reader(id, kind, head))
        if not changed:
            return Outcome("unchanged", page(id, kind))
        return Outcome("pushed", _commit(id, kind, "main", head, changed, title, description).commit_url)

    with translate_hub_errors(id, kind, None):
        return _insisting(attempt, id, kind, tries)


def propose(
    id: str,
    kind: Kind,
    change: Change,
    *,
    account: Account,
    title: str,
    description: str,
    again: bool = False,
    tries: int = TRIES,
) -> Outcome:
    """Opens a pull request, or commits to the one of this title that the account has opened before.

    Args:
        id: "ORG/NAME".
        kind: "model" or "dataset".
        change: what files should hold, from what they hold.
        account: who proposes.
        title: what the pull request is found by.
        description: its text.
        again: open another one although the owner has closed one.
        tries: as in `push`.

    Raises:
        EmmsError: as `push`.
    """

    def attempt() -> Outcome:
        head = _head(id, kind, "main")
        on_main = _changed(change, _reader(id, kind, head))
        if not on_main:
            return Outcome("unchanged", page(id, kind))
        num, status = _own_pull_request(id, kind, account, title)
        if num is not None and status in _OPEN:
            return _update(id, kind, num, change, title, description)
        if status == "closed" and not again:
            return Outcome("declined", f"{page(id, kind)}/discussions/{num}")
        made = _commit(id, kind, "main", head, on_main, title, description, create_pr=True)
        return Outcome("opened", made.pr_url or page(id, kind))

    with translate_hub_errors(id, kind, None):
        return _insisting(attempt, id, kind, tries)


def _insisting(attempt: Callable[[], Outcome], id: str, kind: Kind, tries: int) -> Outcome:
    """Makes an attempt until it goes through; each one reads again what is there.

    So a commit whose answer was lost is found to be there already, and is not made twice.
    """
    from huggingface_hub import errors

    for tried in range(1, tries + 1):
        try:
            return attempt()
        except (errors.HTTPError, errors.LocalEntryNotFoundError, json.JSONDecodeError) as error:
            status = status_of(error)
            if status not in (None, 412, *_PASSING):
                raise
            pause = _pause(error, tried)
            if tried == tries or (status != 412 and tried >= TRIES) or pause > deadline():
                raise _given_up(error, status, tried, id, kind) from error
            time.sleep(pause)
    raise ValueError(f"tries is {tries}")


def _pause(error: Exception, tried: int) -> float:
    """Seconds to the next attempt; among many writers chance keeps them apart."""
    if status_of(error) == 412:
        return random.uniform(0.05, min(0.2 * tried, 2.0))
    return max(retry_after_of(error), 0.5 * 2**tried)


def _given_up(error: Exception, status: int | None, tried: int, id: str, kind: Kind) -> EmmsError:
    again = "run the same command again: what is there already is not written twice"
    if status == 412:
        return EmmsError(f"{kind} {id!r} was changed by somebody else each of the {tried} times we wrote to it", again)
    if status == 429:
        return EmmsError(f"the Hub asks for a pause before anything is written to {kind} {id!r} (429)", again)
    if status is not None:
        return EmmsError(f"the Hub failed {tried} times while we wrote to {kind} {id!r} ({status})", again)
    return EmmsError(f"the connection broke {tried} times while we wrote to {kind} {id!r}", again)


def _update(id: str, kind: Kind, num: int, change: Change, title: str, description: str) -> Outcome:
    ref, url = f"refs/pr/{num}", f"{page(id, kind)}/discussions/{num}"
    head = _head(id, kind, ref)
    changed = _changed(change, _reader(id, kind, head))
    if not changed:
        return Outcome("unchanged", url)
    _commit(id, kind, ref, head, changed, title, description)
    return Outcome("updated", url)


def _own_pull_request(id: str, kind: Kind, account: Account, title: str) -> tuple[int | None, str | None]:
    """Number and status of the newest open pull request of this title, or of the newest one where none is open."""
    from huggingface_hub import HfApi

    pulls = [
        (pull.status in _OPEN, pull.num, pull.status)
        for pull in HfApi(endpoint=endpoint()).get_repo_discussions(
            id, repo_type=kind, author=account.name, discussion_type="pull_request"
        )
        if pull.title == title and pull.author == account.name
    ]
    return max(pulls)[1:] if pulls else (None, None)


def _head(id: str, kind: Kind, ref: str) -> str:
    from huggingface_hub import HfApi

    sha = HfApi(endpoint=endpoint()).repo_info(id, repo_type=kind, revision=ref).sha
    if sha is None:
        raise EmmsError(f"{kind} {id!r} has no commit yet", f"add a file to it: {page(id, kind)}")
    return sha


def _reader(id: str, kind: Kind, sha: str) -> Read:
    from huggingface_hub import HfApi, errors

    def read(path: str) -> bytes | None:
        api = HfApi(endpoint=endpoint())
        try:
            return Path(api.hf_hub_download(id, path, repo_type=kind, revision=sha)).read_bytes()
        except errors.RemoteEntryNotFoundError:
            return None

    return read


def _changed(change: Change, read: Read) -> dict[str, bytes]:
    return {path: content for path, content in change(read).items() if read(path) != content}


def _commit(
    id: str,
    kind: Kind,
    ref: str,
    parent: str,
    files: Mapping[str, bytes],
    title: str,
    description: str,
    *,
    create_pr: bool = False,
) -> Any:
    from huggingface_hub import CommitOperationAdd, HfApi

    operations = [CommitOperationAdd(path, content) for path, content in files.items()]
    try:
        with warnings.catch_warnings():
            # The Hub remarks on metadata that its owner left out; that is not ours to change.
            warnings.simplefilter("ignore", UserWarning)
            return HfApi(endpoint=endpoint()).create_commit(
                id,
                operations,
                commit_message=title,
                commit_description=description,
                repo_type=kind,
                revision=ref,
                parent_commit=parent,
                create_pr=create_pr,
            )
    except json.JSONDecodeError:
        raise
    except ValueError as error:
        if "Invalid metadata" not in str(error):
            raise
        complaint = " ".join(str(error).split())
        raise EmmsError(
            f"the Hub refuses the README of {kind} {id!r}: {complaint}",
            f"the block at its top has to be mended first, by hand: {page(id, kind)}",
        ) from error
