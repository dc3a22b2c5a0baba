"""Writing: upload modes, commits and pull requests, which tests close in the store."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

from .access import authenticated, commit_of, discussable, page, readable, writable
from .messages import HubError, Request, Response, reply, route
from .store import Discussion, File, Repo, Store, is_lfs


def _committable(request: Request, kinds: str, id: str, ref: str) -> Repo:
    """Return the repository if the request may commit to this ref, or propose a commit."""
    if request.flag("create_pr"):
        return discussable(request, kinds, id)[0]
    if ref.startswith("refs/pr/"):
        repo, token = discussable(request, kinds, id)
        if any((f"refs/pr/{pull.num}", pull.author) == (ref, token.user) for pull in repo.discussions):
            return repo
    return writable(request, kinds, id)


@route("POST", "/api/{kinds}/{repo}/preupload/{rev}")
def preupload(request: Request, kinds: str, repo: str, rev: str) -> Response:
    found = _committable(request, kinds, repo, rev)
    commit = commit_of(found, rev)
    answers = []
    for asked in request.json()["files"]:
        present = commit.files.get(asked["path"])
        lfs = is_lfs(asked["path"], asked["size"])
        answer = {"path": asked["path"], "uploadMode": "lfs" if lfs else "regular", "shouldIgnore": False}
        # The client skips a file with the same oid.
        if present is not None:
            answer["oid"] = present.sha256 if lfs else present.oid
        answers.append(answer)
    return reply({"files": answers})


@route("POST", "/api/{kinds}/{repo}/commit/{rev}")
def commit(request: Request, kinds: str, repo: str, rev: str) -> Response:
    found, user = _committable(request, kinds, repo, rev), authenticated(request).user
    header, *lines = [json.loads(line) for line in request.body.splitlines()]
    title, parent = header["value"]["summary"], header["value"].get("parentCommit")
    proposes, head = request.flag("create_pr"), commit_of(found, rev)
    base = commit_of(found, parent) if proposes and parent else head
    if parent is not None and parent != base.sha:
        raise HubError(412, "A commit has happened since. Please refresh and try again.")
    changes = dict(_changes(request.hub.store, lines))
    if proposes:
        if all(base.files.get(path) == file for path, file in changes.items()):
            raise HubError(400, "No files have been modified, so there is no pull request to open.")
        rev = found.open_pull_request(title, user, base.sha)
    made = request.hub.store.commit(found, rev, changes)
    answer = {"success": True, "commitOid": made.sha, "commitUrl": f"{page(request, found)}/commit/{made.sha}"}
    if rev.startswith("refs/pr/"):
        answer["pullRequestUrl"] = f"{page(request, found)}/discussions/{rev.removeprefix('refs/pr/')}"
    return reply(answer)


def _changes(store: Store, lines: list[dict[str, Any]]) -> Iterator[tuple[str, File | None]]:
    for line in lines:
        value = line["value"]
        path = value["path"]
        if line["key"] == "file":
            yield path, store.add_file(path, base64.b64decode(value["content"]), lfs=False)
        elif line["key"] == "lfsFile":
            yield path, store.add_file(path, store.blob(value["oid"]).read_bytes(), lfs=True)
        else:
            yield path, None  # deletes the file


@route("POST", "/api/{kinds}/{repo}/discussions/{num}/merge")
def merge(request: Request, kinds: str, repo: str, num: str) -> Response:
    """Merge a pull request file by file, and refuse files that main has changed since it was opened."""
    found = writable(request, kinds, repo)
    pull = found.discussion(int(num))
    base, main, head = (commit_of(found, rev).files for rev in (pull.base, "main", f"refs/pr/{num}"))
    changes = {path: head.get(path) for path in {*base, *head} if base.get(path) != head.get(path)}
    conflicts = [path for path, file in changes.items() if main.get(path) not in (base.get(path), file)]
    if conflicts or pull.status != "open":
        raise HubError(409, f"This pull request cannot be merged: {', '.join(sorted(conflicts)) or pull.status}")
    made = request.hub.store.commit(found, "main", changes)
    pull.status = "merged"
    return reply({"commitOid": made.sha})


@route("GET", "/api/{kinds}/{repo}/discussions")
def list_discussions(request: Request, kinds: str, repo: str) -> Response:
    found, author = readable(request, kinds, repo), request.one("author")
    pulls = [_told(found, pull) for pull in found.discussions if author in (None, pull.author)]
    return reply({"count": len(pulls), "start": 0, "discussions": pulls})


def _told(repo: Repo, pull: Discussion) -> dict[str, Any]:
    return {
        "num": pull.num,
        "title": pull.title,
        "status": pull.status,
        "author": {"name": pull.author, "type": "user"},
        "createdAt": pull.created_at,
        "isPullRequest": True,
        "repo": {"name": repo.id, "type": repo.kind},
    }
