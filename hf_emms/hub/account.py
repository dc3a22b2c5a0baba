"""Who is logged in, and what they may write. Asked before any work, so that hours are not spent in vain."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from hf_emms.errors import EmmsError
from hf_emms.hub.client import Kind, endpoint, page, status_of, with_deadline

_LOGIN = "hf auth login"
_TOKENS = "https://huggingface.co/settings/tokens"


@dataclass(frozen=True)
class Account:
    """The owner of the token in use.

    Attributes:
        name: the user's name on the Hub.
        orgs: organisation → the user's role there ("read", "contributor", "write", "admin"; "" where not told).
        role: of the token: "read", "write" or "fineGrained".
        scopes: of a fine-grained token: namespace or repository → permissions; "" holds those for everything.
    """

    name: str
    orgs: Mapping[str, str] = field(default_factory=dict)
    role: str = "write"
    scopes: Mapping[str, frozenset[str]] = field(default_factory=dict)

    def owns(self, id: str) -> bool:
        """Whether the repository lies where this user may write."""
        namespace = id.partition("/")[0]
        return namespace == self.name or self.orgs.get(namespace, "read") != "read"

    def grants(self, id: str, *permissions: str) -> bool:
        """Whether the token, the user's rights aside, carries one of the permissions for a repository."""
        if self.role != "fineGrained":
            return self.role != "read"
        granted = [self.scopes.get(place, frozenset()) for place in ("", id.partition("/")[0], id)]
        return any(permission in names for names in granted for permission in permissions)


def who_am_i() -> Account:
    """Asks the Hub whose token is in use.

    Raises:
        EmmsError: no token, one that the Hub does not accept, offline, or the Hub cannot be reached.
    """
    from huggingface_hub import HfApi, constants, errors

    if constants.HF_HUB_OFFLINE:
        raise EmmsError("HF_HUB_OFFLINE is set: nothing can be written to the Hub", "unset HF_HUB_OFFLINE")

    try:
        told = with_deadline("your account", lambda watch: HfApi(endpoint=endpoint()).whoami())
    except errors.LocalTokenNotFoundError as error:
        raise EmmsError("you are not logged in to the Hub", f"{_LOGIN} (with a token that may write)") from error
    except errors.HTTPError as error:
        status = status_of(error)
        if status in (401, 403):
            raise EmmsError("the Hub does not accept your token", f"{_LOGIN}, or check HF_TOKEN") from error
        problem = f"answers {status}" if status else f"cannot be reached ({error})"
        raise EmmsError(f"the Hub {problem} when asked who is logged in", "run the same command again later") from error
    access = told.get("auth", {}).get("accessToken", {})
    orgs = {org["name"]: org.get("roleInOrg", "") for org in told.get("orgs", [])}
    return Account(told["name"], orgs, access.get("role", "write"), _scopes(access.get("fineGrained") or {}))


def require_push(account: Account, id: str, kind: Kind, *, instead: str) -> None:
    """Refuses when the user may not commit to a repository.

    Args:
        account: from `who_am_i`.
        id: "ORG/NAME".
        kind: "model" or "dataset".
        instead: what else could be done where the repository belongs to others.

    Raises:
        EmmsError: says whose it is, or what the token lacks.
    """
    if not account.owns(id):
        owner = id.partition("/")[0]
        mine = ", ".join([account.name, *(org for org in account.orgs if account.owns(org))])
        if owner in account.orgs:
            problem = f"you ({account.name}) may only read in the organisation {owner!r}, which owns {kind} {id!r}"
        else:
            problem = f"{kind} {id!r} belongs to {owner!r}; you are logged in as {account.name!r}"
        raise EmmsError(f"{problem} (you may write to: {mine})", instead)
    if not account.grants(id, "repo.write"):
        raise EmmsError(_lacking(account, f"write to {kind} {id!r}"), f"make a write token at {_TOKENS}, then {_LOGIN}")


def require_proposal(account: Account, id: str, kind: Kind) -> None:
    """Refuses when the token may not open a pull request; the user needs no rights in the repository.

    Raises:
        EmmsError: says what the token lacks.
    """
    if not account.grants(id, "discussion.write", "repo.write"):
        what = _lacking(account, f"open a pull request at {page(id, kind)}")
        raise EmmsError(what, f"make a write token at {_TOKENS}, then {_LOGIN}")


def _lacking(account: Account, what: str) -> str:
    if account.role == "read":
        return f"your token is read-only: it cannot {what}"
    return f"your fine-grained token does not allow you to {what}"


def _scopes(fine_grained: Mapping) -> dict[str, frozenset[str]]:
    scopes = {"": frozenset(fine_grained.get("global") or ())}
    for scope in fine_grained.get("scoped") or ():
        name = scope.get("entity", {}).get("name", "")
        scopes[name] = scopes.get(name, frozenset()) | frozenset(scope.get("permissions") or ())
    return scopes
