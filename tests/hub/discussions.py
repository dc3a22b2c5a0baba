"""Discussions and pull requests: events, differences, merges, and their routes."""

from __future__ import annotations

import difflib
import secrets
from typing import Any

from .access import authenticated, commit_of, discussable, readable, writable
from .messages import HubError, Request, Response, reply, route
from .store import Commit, Discussion, File, Repo, Store, lfs_pointer, now


def event(kind: str, author: str, data: dict[str, Any]) -> dict[str, Any]:
    return {"id": secrets.token_hex(12), "type": kind, "createdAt": now(), "author": {"name": author}, "data": data}


def comment_event(author: str, text: str) -> dict[str, Any]:
    latest = {"raw": text, "html": text, "updatedAt": now(), "author": {"name": author}}
    return event("comment", author, {"edited": False, "hidden": False, "latest": latest, "history": [latest]})


def open_discussion(repo: Repo, title: str, description: str, author: str, *, status: str = "open") -> Discussion:
    return _opened(repo, title, description, author, status, pull=False)


def open_pull_request(
    store: Store, repo: Repo, base: Commit, title: str, description: str, author: str, *, status: str = "open"
) -> Discussion:
    """Opens a pull request whose ref is at `base`; the caller commits to it."""
    pull = _opened(repo, title, description, author, status, pull=True)
    repo.refs[f"refs/pr/{pull.num}"] = base.sha
    store.save(repo)
    return pull


def _opened(repo: Repo, title: str, description: str, author: str, status: str, *, pull: bool) -> Discussion:
    one = Discussion(repo.next_number(), title, author, now(), status, pull, [comment_event(author, description)])
    repo.discussions.append(one)
    return one


def commit_event(repo: Repo, num: int, commit: Commit) -> None:
    pull = repo.discussion(num)
    if pull is not None:
        pull.events.append(event("commit", commit.author, {"subject": commit.title, "oid": commit.sha}))


def change_status(one: Discussion, status: str, author: str) -> dict[str, Any]:
    changed = event("status-change", author, {"status": status})
    one.status = status
    one.events.append(changed)
    return changed


def merge_base(repo: Repo, pull: Discussion) -> Commit:
    """Where a pull request left main."""
    on_main = _ancestors(repo, repo.refs["refs/heads/main"])
    sha = repo.refs[f"refs/pr/{pull.num}"]
    while sha not in on_main:
        sha = repo.commits[sha].parents[0]
    return repo.commits[sha]


def _ancestors(repo: Repo, sha: str) -> set[str]:
    seen, waiting = set(), [sha]
    while waiting:
        sha = waiting.pop()
        if sha not in seen:
            seen.add(sha)
            waiting += repo.commits[sha].parents
    return seen


def changes(repo: Repo, pull: Discussion) -> dict[str, File | None]:
    """What a pull request changes, by path; None for files that it deletes."""
    base, head = merge_base(repo, pull).files, repo.commits[repo.refs[f"refs/pr/{pull.num}"]].files
    return {path: head.get(path) for path in sorted({*base, *head}) if base.get(path) != head.get(path)}


def conflicts(repo: Repo, pull: Discussion) -> list[str]:
    """The files that main has changed since in another way."""
    base, main = merge_base(repo, pull).files, repo.commits[repo.refs["refs/heads/main"]].files
    return [path for path, file in changes(repo, pull).items() if main.get(path) not in (base.get(path), file)]


def merge(store: Store, repo: Repo, pull: Discussion, author: str) -> Commit:
    head = repo.refs[f"refs/pr/{pull.num}"]
    title = f"{pull.title} (#{pull.num})"
    made = store.commit(repo, "main", changes(repo, pull), title, author=author, merged=(head,))
    pull.merge_commit = made.sha
    change_status(pull, "merged", author)
    store.save(repo)
    return made


def diff(store: Store, repo: Repo, pull: Discussion) -> str:
    """The changes of a pull request as git shows them; LFS files by their pointers."""
    base = merge_base(repo, pull).files
    pieces = []
    for path, after in changes(repo, pull).items():
        old, new = (_lines(store, file) for file in (base.get(path), after))
        names = ("/dev/null" if path not in base else f"a/{path}", "/dev/null" if after is None else f"b/{path}")
        body = difflib.unified_diff(old, new, *names)
        pieces.append(
            f"diff --git a/{path} b/{path}\n" + "".join(line if line[-1:] == "\n" else f"{line}\n" for line in body)
        )
    return "".join(pieces)


def _lines(store: Store, file: File | None) -> list[str]:
    if file is None:
        return []
    content = lfs_pointer(file.sha256, file.size) if file.lfs else store.blob(file.sha256).read_bytes()
    return content.decode("utf-8", "replace").splitlines(keepends=True)


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
