"""The account and its rights to write, asked for before any work, so that hours are not spent in vain."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hf_emms.errors import EmmsError, Text
from hf_emms.hub.client import Kind, repo_url, request, translate_hub_errors

_LOGIN = "hf auth login"
_TOKENS = "https://huggingface.co/settings/tokens"


@dataclass(frozen=True)
class Account:
    """The owner of the token in use."""

    name: str
    # Organisation → the user's role there: "read", "contributor", "write", "admin"; "" where it is unknown.
    orgs: Mapping[str, str] = field(default_factory=dict)
    role: str = "write"  # of the token: "read", "write" or "fineGrained"
    # Of a fine-grained token: namespace or repository → permissions; "" holds those for everything.
    scopes: Mapping[str, frozenset[str]] = field(default_factory=dict)
    is_pro: bool = False  # whether the user has a paid plan

    def owns(self, id: str) -> bool:
        """Return whether the user may write to a repository, whatever the token allows."""
        namespace = id.partition("/")[0]
        return namespace == self.name or self.orgs.get(namespace, "read") != "read"

    def grants(self, id: str, *permissions: str) -> bool:
        """Return whether the token has any of the permissions for a repository, whatever the user may do."""
        if self.role != "fineGrained":
            return self.role != "read"
        scopes = ("", id.partition("/")[0], id)
        return any(permission in self.scopes.get(scope, ()) for scope in scopes for permission in permissions)


def logged_in() -> bool:
    from huggingface_hub import get_token

    return get_token() is not None


def who_am_i() -> Account:
    """Return the owner of the token in use, as the Hub names it."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        raise EmmsError("HF_HUB_OFFLINE is set: nothing can be written to the Hub", "unset HF_HUB_OFFLINE")
    if not logged_in():
        raise EmmsError("you are not logged in to the Hub", f"{_LOGIN} (with a token that may write)")
    return request(lambda api: _account(api.whoami()), "your account", hints={403: f"{_LOGIN}, or check HF_TOKEN"})


def require_push(account: Account, id: str, kind: Kind, *, instead: str | Text) -> None:
    """Raise an EmmsError where the user may not commit to a repository; `instead` is its hint where others own it."""
    from huggingface_hub.utils import validate_repo_id

    with translate_hub_errors(id, kind):
        validate_repo_id(id)
    if not account.owns(id):
        owner = id.partition("/")[0]
        writable = ", ".join([account.name, *(org for org in account.orgs if account.owns(org))])
        if owner in account.orgs:
            problem = f"you ({account.name}) may only read in the organisation {owner!r}, which owns {kind} {id!r}"
        else:
            problem = f"{kind} {id!r} belongs to {owner!r}; you are logged in as {account.name!r}"
        raise EmmsError(f"{problem} (you may write to: {writable})", instead)
    _require(account, id, f"write to {kind} {id!r}", "repo.write")


def require_proposal(account: Account, id: str, kind: Kind) -> None:
    """Raise an EmmsError where the token may not open a pull request; no rights in the repository are needed."""
    _require(account, id, f"open a pull request at {repo_url(id, kind)}", "discussion.write", "repo.write")


def require_jobs(account: Account) -> None:
    """Raise an EmmsError where the token may not start jobs."""
    _require(account, account.name, "start jobs", "job.write")


def _require(account: Account, id: str, action: str, *permissions: str) -> None:
    if not account.grants(id, *permissions):
        read_only = account.role == "read"
        problem = "token is read-only: it cannot" if read_only else "fine-grained token does not allow you to"
        raise EmmsError(f"your {problem} {action}", f"make a write token at {_TOKENS}, then {_LOGIN}")


def _account(answer: Mapping[str, Any]) -> Account:
    access = answer.get("auth", {}).get("accessToken", {})
    fine_grained = access.get("fineGrained") or {}
    scopes = {"": frozenset(fine_grained.get("global") or ())}
    for scope in fine_grained.get("scoped") or ():
        name = scope.get("entity", {}).get("name", "")
        scopes[name] = scopes.get(name, frozenset()) | frozenset(scope.get("permissions") or ())
    orgs = {org["name"]: org.get("roleInOrg", "") for org in answer.get("orgs", [])}
    return Account(answer["name"], orgs, access.get("role", "write"), scopes, bool(answer.get("isPro")))
