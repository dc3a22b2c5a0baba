"""The repository that a request means, if whoever asks may do so."""

from __future__ import annotations

from .auth import Token, may_download, may_see
from .messages import HubError, Request
from .records import Commit, File, Kind, Repo


def kind_of(kinds: str) -> Kind:
    """The kind behind "models", "datasets/" and the like; nothing stands for models."""
    return kinds.rstrip("/").removesuffix("s") or "model"  # type: ignore[return-value]


def readable(request: Request, kinds: str, id: str) -> Repo:
    """The repository, for its metadata.

    Raises:
        HubError: there is none, none to be seen, or it has moved.
    """
    store, kind = request.hub.store, kind_of(kinds)
    repo = store.repos.get((kind, id))
    if repo is None and (moved_to := store.moved.get(f"{kind}s/{id}")):
        query = "&".join(f"{name}={value}" for name, values in request.query.items() for value in values)
        target = request.path.replace(id, moved_to, 1) + (f"?{query}" if query else "")
        raise HubError(307, f"moved to {moved_to}", headers={"Location": request.base + target})
    if repo is None or not may_see(repo, request.token):
        # The Hub does not tell a stranger whether a private repository exists.
        raise HubError(404 if request.token else 401, "Repository not found", "RepoNotFound")
    if repo.disabled:
        raise HubError(403, "Access to this resource is disabled.")
    return repo


def downloadable(request: Request, kinds: str, id: str) -> Repo:
    """The repository, for its files."""
    repo = readable(request, kinds, id)
    if not may_download(repo, request.token):
        message = f"Access to {repo.kind} {id} is restricted and you are not in the authorized list."
        raise HubError(403 if request.token else 401, f"{message} Visit {page(request, repo)}", "GatedRepo")
    return repo


def writable(request: Request, kinds: str, id: str) -> Repo:
    """The repository, to change it.

    Raises:
        HubError: no rights.
    """
    repo = readable(request, kinds, id)
    token = authenticated(request)
    if not token.allows("repo.write", id):
        raise HubError(403, "Forbidden: you must use a write token to upload to a repository.")
    if not token.owns(repo.namespace):
        raise HubError(403, f"Forbidden: pass `create_pr=1` as a query parameter to create a Pull Request ({id})")
    return repo


def discussable(request: Request, kinds: str, id: str) -> tuple[Repo, Token]:
    """The repository and who asks, to open or answer a discussion or pull request: everyone who can see it may."""
    repo = readable(request, kinds, id)
    token = authenticated(request)
    if not token.allows("discussion.write", id) and not token.allows("repo.write", id):
        raise HubError(403, "Forbidden: you must use a write token to open or change discussions.")
    return repo, token


def authenticated(request: Request) -> Token:
    if request.token is None:
        # The client takes a 401 on a repository's address for RepoNotFound, but over https only: here it is said.
        of_repo = request.path.startswith(("/api/models/", "/api/datasets/", "/api/spaces/"))
        raise HubError(401, "Invalid username or password.", "RepoNotFound" if of_repo else None)
    return request.token


def commit_of(repo: Repo, revision: str) -> Commit:
    commit = repo.resolve(revision)
    if commit is None:
        raise HubError(404, f"Invalid rev id: {revision}", "RevisionNotFound")
    return commit


def file_of(commit: Commit, path: str) -> File:
    if path not in commit.files:
        raise HubError(404, "Entry not found", "EntryNotFound", {"X-Repo-Commit": commit.sha})
    return commit.files[path]


def page(request: Request, repo: Repo) -> str:
    """The address of the repository's page."""
    prefix = "" if repo.kind == "model" else f"{repo.kind}s/"
    return f"{request.base}/{prefix}{repo.id}"
