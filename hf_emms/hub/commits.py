"""Commits and pull requests. If others commit at the same time, hf_emms reads and changes the files again."""

from __future__ import annotations

import random
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from hf_emms.errors import EmmsError
from hf_emms.hub.account import Account
from hf_emms.hub.client import TRIES, ConflictError, Kind, repo_url, request

if TYPE_CHECKING:
    from hf_emms.hub.api import Api

_MODEL_FILES = ["*.safetensors", "*.safetensors.index.json", "*.bin", "*.bin.index.json"]


@dataclass(frozen=True)
class Outcome:
    """The outcome of a change. "declined" means that the owner has closed our pull request."""

    state: Literal["unchanged", "pushed", "opened", "updated", "declined"]
    url: str  # of the commit or pull request, or of the repository without either


def read_file(id: str, kind: Kind, path: str) -> bytes | None:
    """Return the content of a file on main, or None."""
    return request(lambda api: Branch(api, id, kind, "main").read(path), id, kind)


def planned(id: str, kind: Kind, change: Change) -> dict[str, bytes | None]:
    """Return the files of main that a change would replace, add or delete (None)."""
    return request(lambda api: Branch(api, id, kind, "main").changed(change), id, kind)


def create_dataset(id: str, *, private: bool) -> None:
    """Create a dataset repository if it does not exist."""
    request(lambda api: api.create_repo(id, repo_type="dataset", private=private, exist_ok=True), id, "dataset")


def is_private(id: str, kind: Kind) -> bool:
    return bool(request(lambda api: api.repo_info(id, repo_type=kind).private, id, kind))


def upload_model(id: str, folder: Path, *, title: str) -> str:
    """Upload the folder of a checkpoint, and return the URL of the commit. A new repository is private.

    Deletes the weights of an earlier model. Other files stay.
    """

    def upload(api: Api) -> str:
        api.create_repo(id, private=True, exist_ok=True)
        commit = api.upload_folder(repo_id=id, folder_path=folder, commit_message=title, delete_patterns=_MODEL_FILES)
        return str(commit.commit_url)

    return request(upload, id, "model", tries=TRIES)


def push(id: str, kind: Kind, change: Change, *, title: str, tries: int = TRIES) -> Outcome:
    """Commit a change to main, with at most `tries` attempts if others commit at the same time."""

    def commit(api: Api) -> Outcome:
        main = Branch(api, id, kind, "main")
        files = main.changed(change)
        if not files:
            return Outcome("unchanged", repo_url(id, kind))
        return Outcome("pushed", main.commit(files, title).commit_url)

    return _until_committed(commit, id, kind, tries)


def propose(id: str, kind: Kind, change: Change, *, account: Account, title: str, description: str) -> Outcome:
    """Open a pull request, or commit to the account's open pull request with this title.

    If the owner has closed an earlier one, does nothing.
    """

    def commit(api: Api) -> Outcome:
        main = Branch(api, id, kind, "main")
        files = main.changed(change)
        if not files:
            return Outcome("unchanged", repo_url(id, kind))
        pulls = api.get_repo_discussions(id, repo_type=kind, author=account.name, discussion_type="pull_request")
        ours = [pull for pull in pulls if pull.title == title and pull.author == account.name]
        newest = max(ours, key=lambda pull: (pull.status in ("open", "draft"), pull.num), default=None)
        if newest is None or newest.status == "merged":
            answer = main.commit(files, title, description, create_pr=True)
            return Outcome("opened", answer.pr_url or repo_url(id, kind))
        url = f"{repo_url(id, kind)}/discussions/{newest.num}"
        if newest.status == "closed":
            return Outcome("declined", url)
        proposed = Branch(api, id, kind, f"refs/pr/{newest.num}")
        files = proposed.changed(change)
        if not files:
            return Outcome("unchanged", url)
        proposed.commit(files, title, description)
        return Outcome("updated", url)

    return _until_committed(commit, id, kind, TRIES)


def _until_committed(commit: Callable[[Api], Outcome], id: str, kind: Kind, tries: int) -> Outcome:
    """Read and commit, up to `tries` times. A commit whose answer was lost is not repeated."""
    attempts = 0
    while True:
        attempts += 1
        try:
            return request(commit, id, kind, tries=TRIES)
        except ConflictError:
            if attempts == tries:
                raise
        # Random pauses separate concurrent writers.
        time.sleep(random.uniform(0.05, min(0.2 * attempts, 2.0)))


class Branch:
    """A branch or pull request at its current commit. `read` returns None for a missing file."""

    def __init__(self, api: Api, id: str, kind: Kind, ref: str) -> None:
        self._api, self._id, self._kind, self._ref = api, id, kind, ref
        self._head = str(api.repo_info(id, repo_type=kind, revision=ref).sha)

    def read(self, path: str) -> bytes | None:
        from huggingface_hub.errors import RemoteEntryNotFoundError

        try:
            file = self._api.hf_hub_download(self._id, path, repo_type=self._kind, revision=self._head)
        except RemoteEntryNotFoundError:
            return None
        return Path(file).read_bytes()

    def paths(self) -> list[str]:
        """Return the paths of all files, sorted."""
        return sorted(self._api.list_repo_files(self._id, repo_type=self._kind, revision=self._head))

    def changed(self, change: Change) -> dict[str, bytes | None]:
        """Return the files whose content a change replaces, adds or deletes (None)."""
        return {path: content for path, content in change(self).items() if self.read(path) != content}

    def commit(self, files: Mapping[str, bytes | None], title: str, text: str = "", *, create_pr: bool = False) -> Any:
        from huggingface_hub import CommitOperationAdd, CommitOperationDelete

        try:
            with warnings.catch_warnings():
                # The Hub warns about missing metadata, which is the owner's choice.
                warnings.simplefilter("ignore", UserWarning)
                return self._api.create_commit(
                    self._id,
                    [
                        CommitOperationDelete(path) if content is None else CommitOperationAdd(path, content)
                        for path, content in files.items()
                    ],
                    commit_message=title,
                    commit_description=text,
                    repo_type=self._kind,
                    revision=self._ref,
                    parent_commit=self._head,
                    create_pr=create_pr,
                )
        except ValueError as error:
            if "Invalid metadata" not in str(error):
                raise
            raise EmmsError(
                "invalid-metadata",
                f"the Hub refuses the README of {self._kind} {self._id!r}: {' '.join(str(error).split())}",
                f"correct the metadata at its top first: {repo_url(self._id, self._kind)}",
            ) from error


Change = Callable[[Branch], Mapping[str, bytes | None]]
"""Returns the new content of files by path; None deletes a file. Called again if the repository has changed."""
