"""Permissions: access tokens with roles, organizations, private and gated repositories."""

from __future__ import annotations

import secrets
from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from typing import Any

from .messages import HubError, Request
from .store import Commit, File, Kind, Repo

_WRITING_ROLES = ("contributor", "write", "admin")


@dataclass(frozen=True)
class Token:
    """An access token."""

    user: str
    role: str
    orgs: Mapping[str, str]
    value: str = field(default_factory=lambda: f"hf_{secrets.token_hex(17)}")

    def owns(self, namespace: str) -> bool:
        """Return whether the user may write to a namespace with some token."""
        return namespace == self.user or self.orgs.get(namespace) in _WRITING_ROLES

    def belongs(self, namespace: str) -> bool:
        return namespace == self.user or namespace in self.orgs


def may_see(repo: Repo, token: Token | None) -> bool:
    return not repo.private or (token is not None and token.belongs(repo.namespace))


def account(token: Token, paid: Container[str]) -> dict[str, Any]:
    """Return the response of whoami."""
    access = {"displayName": "test", "role": token.role, "createdAt": "2024-01-01T00:00:00.000Z"}
    return {
        "type": "user",
        "name": token.user,
        "isPro": token.user in paid,
        "orgs": [{"type": "org", "name": name, "roleInOrg": role} for name, role in token.orgs.items()],
        "auth": {"type": "access_token", "accessToken": access},
    }


def kind_of(kinds: str) -> Kind:
    """Return the kind for "models", "datasets/" and similar names. An empty name is a model."""
    return kinds.rstrip("/").removesuffix("s") or "model"  # type: ignore[return-value]


def readable(request: Request, kinds: str, id: str) -> Repo:
    """Return the repository if the request may read its metadata."""
    store, kind = request.hub.store, kind_of(kinds)
    repo = store.repos.get((kind, id))
    if repo is None or not may_see(repo, request.token):
        # The Hub does not reveal whether a private repository exists.
        raise HubError(404 if request.token else 401, "Repository not found", "RepoNotFound")
    return repo


def downloadable(request: Request, kinds: str, id: str) -> Repo:
    """Return the repository if the request may read its files."""
    repo = readable(request, kinds, id)
    if repo.gated and not (request.token and request.token.belongs(repo.namespace)):
        message = f"Access to {repo.kind} {id} is restricted and you are not in the authorized list."
        raise HubError(403 if request.token else 401, f"{message} Visit {page(request, repo)}", "GatedRepo")
    return repo


def writable(request: Request, kinds: str, id: str) -> Repo:
    """Return the repository if the request may change it."""
    repo = readable(request, kinds, id)
    token = authenticated(request)
    if token.role != "write":
        raise HubError(403, "Forbidden: you must use a write token to upload to a repository.")
    if not token.owns(repo.namespace):
        raise HubError(403, f"Forbidden: pass `create_pr=1` as a query parameter to create a Pull Request ({id})")
    return repo


def discussable(request: Request, kinds: str, id: str) -> tuple[Repo, Token]:
    """Return the repository and the token if the request may open discussions and pull requests."""
    repo = readable(request, kinds, id)
    token = authenticated(request)
    if token.role != "write":
        raise HubError(403, "Forbidden: you must use a write token to open or change discussions.")
    return repo, token


def authenticated(request: Request) -> Token:
    if request.token is None:
        # The client treats a 401 for a repository as RepoNotFound, but only over https, so this is explicit.
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
    """Return the URL of the repository's page."""
    prefix = "" if repo.kind == "model" else f"{repo.kind}s/"
    return f"{request.base}/{prefix}{repo.id}"
