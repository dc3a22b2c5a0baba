"""The account and its write access, which hf_emms checks before long work."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from hf_emms.errors import EmmsError
from hf_emms.hub.client import LOGIN, Kind, request, translate_hub_errors
from hf_emms.texts import Text

_TOKENS = "https://huggingface.co/settings/tokens"


@dataclass(frozen=True)
class Account:
    """The owner of the token in use."""

    name: str
    # Organization → the user's role there: "read", "contributor", "write", "admin"; "" if unknown.
    orgs: Mapping[str, str] = field(default_factory=dict)
    role: str = "write"  # of the token: "read", "write" or "fineGrained"
    is_pro: bool = False  # whether the user has a paid plan

    def owns(self, id: str) -> bool:
        """Return whether the user may write to a repository, regardless of the token."""
        namespace = id.partition("/")[0]
        return namespace == self.name or self.orgs.get(namespace, "read") != "read"


def logged_in() -> bool:
    from huggingface_hub import get_token

    return get_token() is not None


def who_am_i() -> Account:
    """Return the owner of the token in use."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        raise EmmsError("offline", "HF_HUB_OFFLINE is set: nothing can be written to the Hub", "unset HF_HUB_OFFLINE")
    if not logged_in():
        raise EmmsError("not-logged-in", "you are not logged in to the Hub", f"{LOGIN} (with a token that may write)")
    answer = request(lambda api: api.whoami(), "your account")
    token = answer.get("auth", {}).get("accessToken", {})
    orgs = {org["name"]: org.get("roleInOrg", "") for org in answer.get("orgs", [])}
    return Account(answer["name"], orgs, token.get("role", "write"), bool(answer.get("isPro")))


def require_push(account: Account, id: str, kind: Kind, *, instead: str | Text) -> None:
    """Raise an EmmsError if the user may not commit to a repository; `instead` is the hint if others own it."""
    from huggingface_hub.utils import validate_repo_id

    with translate_hub_errors(id, kind):
        validate_repo_id(id)
    if not account.owns(id):
        writable = ", ".join([account.name, *(org for org in account.orgs if account.owns(org))])
        owner = id.partition("/")[0]
        raise EmmsError(
            "not-permitted",
            f"{kind} {id!r} belongs to {owner!r}; you are {account.name!r} and may write to: {writable}",
            instead,
        )
    require_write_token(account, f"write to {kind} {id!r}")


def require_write_token(account: Account, action: str) -> None:
    """Raise an EmmsError that names the action if the token is read-only."""
    if account.role == "read":
        raise EmmsError(
            "not-permitted",
            f"your token is read-only: it cannot {action}",
            f"create a write token at {_TOKENS}, then {LOGIN}",
        )
