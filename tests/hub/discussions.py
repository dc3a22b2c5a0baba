"""Pull requests: opened by commits, listed. Tests close them in the store."""

from __future__ import annotations

from typing import Any

from .access import readable
from .messages import Request, Response, reply, route
from .store import Commit, Discussion, Repo, Store, now

_PAGE = 10


def open_pull_request(store: Store, repo: Repo, base: Commit, title: str, author: str) -> Discussion:
    """Opens a pull request whose ref is at `base`; the caller commits to it."""
    pull = Discussion(repo.next_number(), title, author, now(), "open", True)
    repo.discussions.append(pull)
    repo.refs[f"refs/pr/{pull.num}"] = base.sha
    return pull


def _brief(repo: Repo, one: Discussion) -> dict[str, Any]:
    return {
        "num": one.num,
        "title": one.title,
        "status": one.status,
        "author": {"name": one.author, "type": "user"},
        "createdAt": one.created_at,
        "isPullRequest": one.is_pull_request,
        "repo": {"name": repo.id, "type": repo.kind},
        "repoOwner": {"name": repo.namespace},
        "pinned": False,
        "numComments": 1,
    }


@route("GET", "/api/{kinds}/{repo}/discussions")
def list_discussions(request: Request, kinds: str, repo: str) -> Response:
    found = readable(request, kinds, repo)
    wanted, status, author = request.one("type"), request.one("status"), request.one("author")
    fitting = [
        one
        for one in sorted(found.discussions, key=lambda one: -one.num)
        if wanted in (None, "all", "pull_request" if one.is_pull_request else "discussion")
        and status in (None, "all", "open" if one.status in ("open", "draft") else "closed")
        and author in (None, one.author)
    ]
    start = int(request.one("p") or 0) * _PAGE
    page = [_brief(found, one) for one in fitting[start : start + _PAGE]]
    return reply({"count": len(fitting), "start": start, "discussions": page, "numClosedDiscussions": 0})
