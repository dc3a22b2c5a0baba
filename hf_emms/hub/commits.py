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

FileReader = Callable[[str], bytes | None]
"""Returns the content of a file at the parent commit, or None."""
Files = Mapping[str, bytes]
Change = Callable[[FileReader], Files]
"""Returns the new content of files by path. Called again if the repository has changed."""

_OPEN = ("open", "draft")
_MODEL_FILES = ["*.safetensors", "*.safetensors.index.json", "*.bin", "*.bin.index.json", ".eval_results/*"]


@dataclass(frozen=True)
class Outcome:
    """The outcome of a change. "declined" means that the owner has closed our pull request."""

    state: Literal["unchanged", "pushed", "opened", "updated", "declined"]
    url: str  # of the commit or pull request, or of the repository without either


def read_file(id: str, kind: Kind, path: str) -> bytes | None:
    """Return the content of a file on main, or None."""

    def read(api: Api) -> bytes | None:
        repository = _Repository(api, id, kind)
        return repository.read(path, repository.head("main"))

    return request(read, id, kind)


def create_dataset(id: str, *, private: bool) -> None:
    """Create a dataset repository if it does not exist."""
    request(lambda api: api.create_repo(id, repo_type="dataset", private=private, exist_ok=True), id, "dataset")


def is_private(id: str, kind: Kind) -> bool:
    return bool(request(lambda api: api.repo_info(id, repo_type=kind).private, id, kind))


def upload_model(id: str, folder: Path, *, title: str) -> str:
    """Upload the folder of a checkpoint, and return the URL of the commit. A new repository is private.

    Deletes the weights and evaluation results of an earlier model. Other files stay.
    """

    def upload(api: Api) -> str:
        api.create_repo(id, private=True, exist_ok=True)
        commit = api.upload_folder(repo_id=id, folder_path=folder, commit_message=title, delete_patterns=_MODEL_FILES)
        return str(commit.commit_url)

    return request(upload, id, "model", tries=TRIES)


def push(id: str, kind: Kind, change: Change, *, title: str, tries: int = TRIES) -> Outcome:
    """Commit a change to main, with at most `tries` attempts if others commit at the same time."""

    def commit(repository: _Repository, head: str, files: Files) -> Outcome:
        return Outcome("pushed", repository.commit(files, "main", head, title).commit_url)

    return _until_committed(commit, change, id, kind, tries)


def propose(
    id: str, kind: Kind, change: Change, *, account: Account, title: str, description: str, again: bool
) -> Outcome:
    """Open a pull request, or commit to the account's open pull request with this title.

    If the owner has closed an earlier one, does nothing unless `again`.
    """

    def commit(repository: _Repository, head: str, files: Files) -> Outcome:
        number, status = repository.pull_request(account, title)
        url = f"{repo_url(id, kind)}/discussions/{number}"
        if status in _OPEN:
            ref = f"refs/pr/{number}"
            head = repository.head(ref)
            files = repository.changed(change, head)
            if not files:
                return Outcome("unchanged", url)
            repository.commit(files, ref, head, title, description)
            return Outcome("updated", url)
        if status == "closed" and not again:
            return Outcome("declined", url)
        answer = repository.commit(files, "main", head, title, description, create_pr=True)
        return Outcome("opened", answer.pr_url or repo_url(id, kind))

    return _until_committed(commit, change, id, kind, TRIES)


def _until_committed(
    commit: Callable[[_Repository, str, Files], Outcome], change: Change, id: str, kind: Kind, tries: int
) -> Outcome:
    """Read main and commit, up to `tries` times. A commit whose answer was lost is not repeated."""

    def attempt(api: Api) -> Outcome:
        repository = _Repository(api, id, kind)
        head = repository.head("main")
        files = repository.changed(change, head)
        return commit(repository, head, files) if files else Outcome("unchanged", repo_url(id, kind))

    attempts = 0
    while True:
        attempts += 1
        try:
            return request(attempt, id, kind, tries=TRIES)
        except ConflictError:
            if attempts == tries:
                raise
        # Random pauses separate concurrent writers.
        time.sleep(random.uniform(0.05, min(0.2 * attempts, 2.0)))


@dataclass(frozen=True)
class _Repository:
    """A repository during a change."""

    api: Api
    id: str
    kind: Kind

    def head(self, ref: str) -> str:
        sha = self.api.repo_info(self.id, repo_type=self.kind, revision=ref).sha
        if sha is None:
            raise EmmsError(f"{self.kind} {self.id!r} has no commit yet", f"add a file: {repo_url(self.id, self.kind)}")
        return sha

    def read(self, path: str, sha: str) -> bytes | None:
        from huggingface_hub.errors import RemoteEntryNotFoundError

        try:
            return Path(self.api.hf_hub_download(self.id, path, repo_type=self.kind, revision=sha)).read_bytes()
        except RemoteEntryNotFoundError:
            return None

    def changed(self, change: Change, sha: str) -> dict[str, bytes]:
        """Return the files whose content differs from a commit."""
        files = change(lambda path: self.read(path, sha))
        return {path: content for path, content in files.items() if self.read(path, sha) != content}

    def commit(
        self, files: Files, ref: str, parent: str, title: str, text: str = "", *, create_pr: bool = False
    ) -> Any:
        from huggingface_hub import CommitOperationAdd

        try:
            with warnings.catch_warnings():
                # The Hub warns about missing metadata, which is the owner's choice.
                warnings.simplefilter("ignore", UserWarning)
                return self.api.create_commit(
                    self.id,
                    [CommitOperationAdd(path, content) for path, content in files.items()],
                    commit_message=title,
                    commit_description=text,
                    repo_type=self.kind,
                    revision=ref,
                    parent_commit=parent,
                    create_pr=create_pr,
                )
        except ValueError as error:
            if "Invalid metadata" not in str(error):
                raise
            raise EmmsError(
                f"the Hub refuses the README of {self.kind} {self.id!r}: {' '.join(str(error).split())}",
                f"correct the metadata at its top first: {repo_url(self.id, self.kind)}",
            ) from error

    def pull_request(self, account: Account, title: str) -> tuple[int | None, str | None]:
        """Return number and status of the newest pull request with this title; open ones first."""
        discussions = self.api.get_repo_discussions(
            self.id, repo_type=self.kind, author=account.name, discussion_type="pull_request"
        )
        ours = [pull for pull in discussions if pull.title == title and pull.author == account.name]
        newest = max(ours, key=lambda pull: (pull.status in _OPEN, pull.num), default=None)
        return (newest.num, newest.status) if newest is not None else (None, None)
