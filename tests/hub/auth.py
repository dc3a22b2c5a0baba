"""Who may do what: access tokens with roles, organisations, private and gated repositories."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .records import Repo

_WRITING_ROLES = ("contributor", "write", "admin")


@dataclass(frozen=True)
class Token:
    """An access token.

    Attributes:
        value: what the client sends.
        user: whose it is.
        role: "read", "write" or "fineGrained".
        orgs: the user's role in each organisation: "read", "contributor", "write" or "admin".
        scopes: of a fine-grained token: permissions ("repo.content.read", "repo.write", "discussion.write") by
            namespace or repository id.
    """

    value: str
    user: str
    role: str = "write"
    orgs: Mapping[str, str] = field(default_factory=dict)
    scopes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def owns(self, namespace: str) -> bool:
        """Whether the user, by any token, may write there."""
        return namespace == self.user or self.orgs.get(namespace) in _WRITING_ROLES

    def belongs(self, namespace: str) -> bool:
        return namespace == self.user or namespace in self.orgs

    def allows(self, permission: str, id: str) -> bool:
        """Whether this token carries a permission on a repository, the user's own rights aside."""
        if self.role != "fineGrained":
            return self.role == "write"
        return any(permission in self.scopes.get(entity, ()) for entity in (id, id.partition("/")[0]))


class Tokens:
    """The tokens that the server knows."""

    def __init__(self) -> None:
        self._tokens: dict[str, Token] = {}

    def issue(
        self,
        user: str,
        role: str,
        orgs: Iterable[str] | Mapping[str, str],
        scopes: Mapping[str, Iterable[str]],
    ) -> Token:
        roles = dict(orgs) if isinstance(orgs, Mapping) else dict.fromkeys(orgs, "write")
        value = "hf_" + secrets.token_hex(17)
        token = Token(value, user, role, roles, {entity: tuple(names) for entity, names in scopes.items()})
        self._tokens[value] = token
        return token

    def find(self, value: str) -> Token | None:
        return self._tokens.get(value)

    def members(self, organisation: str) -> list[str]:
        return sorted({token.user for token in self._tokens.values() if organisation in token.orgs})


def may_see(repo: Repo, token: Token | None) -> bool:
    return not repo.private or (token is not None and token.belongs(repo.namespace))


def may_download(repo: Repo, token: Token | None) -> bool:
    """Whether the files are open to this token: a gated repository's are to its owners and those let in."""
    return not repo.gated or (token is not None and (token.belongs(repo.namespace) or token.user in repo.granted))


def account(token: Token) -> dict[str, Any]:
    """What whoami tells."""
    access: dict[str, Any] = {"displayName": "test", "role": token.role, "createdAt": "2024-01-01T00:00:00.000Z"}
    if token.role == "fineGrained":
        access["fineGrained"] = {
            "canReadGatedRepos": True,
            "global": [],
            "scoped": [
                {"entity": {"_id": entity, "type": _entity_type(token, entity), "name": entity}, "permissions": names}
                for entity, names in token.scopes.items()
            ],
        }
    return {
        "type": "user",
        "id": token.user,
        "name": token.user,
        "fullname": token.user.title(),
        "email": f"{token.user}@example.org",
        "emailVerified": True,
        "canPay": False,
        "isPro": False,
        "orgs": [
            {"type": "org", "id": name, "name": name, "fullname": name.title(), "roleInOrg": role}
            for name, role in token.orgs.items()
        ],
        "auth": {"type": "access_token", "accessToken": access},
    }


def _entity_type(token: Token, entity: str) -> str:
    if "/" in entity:
        return "model"
    return "user" if entity == token.user else "org"
