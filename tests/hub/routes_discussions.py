"""Discussions and pull requests over HTTP."""

from __future__ import annotations

from typing import Any

from .access import authenticated, commit_of, discussable, readable, writable
from .discussions import (
    change_status,
    comment_event,
    conflicts,
    diff,
    event,
    merge,
    merge_base,
    open_discussion,
    open_pull_request,
)
from .messages import HubError, Request, Response, reply, route
from .records import Discussion, Repo

_PAGE = 10


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
        "numComments": sum(one_event["type"] == "comment" for one_event in one.events),
    }


def _found(repo: Repo, num: str) -> Discussion:
    one = repo.discussion(int(num))
    if one is None:
        raise HubError(404, f"there is no discussion {num}")
    return one


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


@route("POST", "/api/{kinds}/{repo}/discussions")
def create(request: Request, kinds: str, repo: str) -> Response:
    found, token = discussable(request, kinds, repo)
    asked = request.json()
    title, description = asked["title"], asked.get("description") or ""
    if len(title) < 3:
        raise HubError(400, "a title has three letters or more")
    if asked.get("pullRequest"):
        base = commit_of(found, "main")
        # A pull request without commits waits as a draft, as on the Hub.
        one = open_pull_request(request.hub.store, found, base, title, description, token.user, status="draft")
    else:
        one = open_discussion(found, title, description, token.user)
        request.hub.store.save(found)
    return reply({**_brief(found, one), "pullRequest": one.is_pull_request})


@route("GET", "/api/{kinds}/{repo}/discussions/{num}")
def details(request: Request, kinds: str, repo: str, num: str) -> Response:
    found = readable(request, kinds, repo)
    one = _found(found, num)
    told = {**_brief(found, one), "events": one.events, "filesWithConflicts": []}
    if one.is_pull_request:
        is_open = one.status in ("open", "draft")
        told["changes"] = {"base": "refs/heads/main", "mergeCommitId": one.merge_commit}
        told["filesWithConflicts"] = conflicts(found, one) if is_open else []
        if request.flag("diff"):
            told["diff"] = diff(request.hub.store, found, one)
            told["changes"]["baseCommit"] = merge_base(found, one).sha
    return reply(told)


def _changeable(request: Request, kinds: str, id: str, num: str) -> tuple[Repo, Discussion, str]:
    """For what only the author and the owners may do."""
    found, token = discussable(request, kinds, id)
    one = _found(found, num)
    if one.author != token.user:
        writable(request, kinds, id)
    return found, one, token.user


@route("POST", "/api/{kinds}/{repo}/discussions/{num}/comment")
def comment(request: Request, kinds: str, repo: str, num: str) -> Response:
    found, token = discussable(request, kinds, repo)
    one, made = _found(found, num), comment_event(token.user, request.json()["comment"])
    one.events.append(made)
    request.hub.store.save(found)
    return reply({"newMessage": made})


@route("POST", "/api/{kinds}/{repo}/discussions/{num}/comment/{id}/{action}")
def change_comment(request: Request, kinds: str, repo: str, num: str, id: str, action: str) -> Response:
    found, token = discussable(request, kinds, repo)
    made = next((one for one in _found(found, num).events if one["id"] == id and one["type"] == "comment"), None)
    if made is None or action not in ("edit", "hide"):
        raise HubError(404, "there is no such comment")
    if made["author"]["name"] != token.user:
        writable(request, kinds, repo)
    if action == "hide":
        made["data"] |= {"hidden": True, "latest": {**made["data"]["latest"], "raw": "This comment has been hidden"}}
    else:
        latest = comment_event(token.user, request.json()["content"])["data"]["latest"]
        made["data"] |= {"edited": True, "latest": latest, "history": [*made["data"]["history"], latest]}
    request.hub.store.save(found)
    return reply({"updatedComment": made})


@route("POST", "/api/{kinds}/{repo}/discussions/{num}/title")
def retitle(request: Request, kinds: str, repo: str, num: str) -> Response:
    found, one, user = _changeable(request, kinds, repo, num)
    made = event("title-change", user, {"from": one.title, "to": request.json()["title"]})
    one.title = request.json()["title"]
    one.events.append(made)
    request.hub.store.save(found)
    return reply({"newTitle": made})


@route("POST", "/api/{kinds}/{repo}/discussions/{num}/status")
def restatus(request: Request, kinds: str, repo: str, num: str) -> Response:
    found, one, user = _changeable(request, kinds, repo, num)
    asked = request.json()
    if one.status == "merged":
        raise HubError(409, "it is merged")
    if asked.get("comment"):
        one.events.append(comment_event(user, asked["comment"]))
    made = change_status(one, asked["status"], user)
    request.hub.store.save(found)
    return reply({"newStatus": made})


@route("POST", "/api/{kinds}/{repo}/discussions/{num}/merge")
def merge_pull(request: Request, kinds: str, repo: str, num: str) -> Response:
    found = writable(request, kinds, repo)
    one, user = _found(found, num), authenticated(request).user
    if not one.is_pull_request or one.status not in ("open", "draft"):
        raise HubError(409, f"{num} is not an open pull request")
    if clashing := conflicts(found, one):
        raise HubError(409, f"conflicts in {', '.join(clashing)}")
    text = request.json().get("comment") if request.body else None
    if text:
        one.events.append(comment_event(user, text))
    made = merge(request.hub.store, found, one, user)
    return reply({"mergeCommitId": made.sha})
