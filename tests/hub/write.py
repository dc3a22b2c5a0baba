"""Writing: upload modes and commits."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import Any

from .access import authenticated, commit_of, discussable, page, writable
from .discussions import open_pull_request
from .messages import HubError, Request, Response, reply, route
from .store import Commit, File, Repo, full_ref, is_lfs


def _committable(request: Request, kinds: str, id: str, ref: str) -> Repo:
    """The repository, if who asks may commit to this ref or propose a commit."""
    if request.flag("create_pr"):
        return discussable(request, kinds, id)[0]
    if ref.startswith("refs/pr/"):
        repo, token = discussable(request, kinds, id)
        pull = repo.discussion(int(ref.removeprefix("refs/pr/")))
        if pull is not None and pull.author == token.user:
            return repo
    return writable(request, kinds, id)


@route("POST", "/api/{kinds}/{repo}/preupload/{rev}")
def preupload(request: Request, kinds: str, repo: str, rev: str) -> Response:
    found = _committable(request, kinds, repo, rev)
    commit, asked = commit_of(found, rev), request.json()
    ignored = [
        line.strip() for line in (asked.get("gitIgnore") or "").splitlines() if line.strip()[:1] not in ("", "#")
    ]
    answers = []
    for one in asked["files"]:
        path, known = one["path"], commit.files.get(one["path"])
        lfs = is_lfs(path, one["size"], found.kind)
        answer: dict[str, Any] = {"path": path, "uploadMode": "lfs" if lfs else "regular"}
        answer["shouldIgnore"] = any(_ignores(pattern, path) for pattern in ignored)
        # The client skips a file whose oid is the one it would upload.
        if known is not None:
            answer["oid"] = known.sha256 if lfs else known.oid
        answers.append(answer)
    return reply({"files": answers})


def _ignores(pattern: str, path: str) -> bool:
    pattern = pattern.rstrip("/")
    return any(fnmatchcase(piece, pattern) for piece in path.split("/")) or fnmatchcase(path, pattern.lstrip("/"))


@route("POST", "/api/{kinds}/{repo}/commit/{rev}")
def commit(request: Request, kinds: str, repo: str, rev: str) -> Response:
    found = _committable(request, kinds, repo, rev)
    token = authenticated(request)
    lines = [json.loads(line) for line in request.body.splitlines() if line.strip()]
    header = next((line["value"] for line in lines if line["key"] == "header"), None)
    if header is None or not header.get("summary"):
        raise HubError(400, "a commit needs a header with a summary")
    proposes, parent = request.flag("create_pr"), header.get("parentCommit")
    head = commit_of(found, rev)
    if full_ref(rev) not in found.refs:
        raise HubError(404, f"Invalid rev id: {rev} is no branch", "RevisionNotFound")
    base = commit_of(found, parent) if proposes and parent else head
    if parent is not None and not proposes and parent != head.sha:
        raise HubError(412, "A commit has happened since. Please refresh and try again.")
    changes = dict(_changes(request, found, base, lines))
    message = header.get("description") or ""
    if proposes:
        if all(base.files.get(path) == file for path, file in changes.items()):
            raise HubError(400, "No files have been modified, so there is no pull request to open.")
        pull = open_pull_request(request.hub.store, found, base, header["summary"], token.user)
        rev = f"refs/pr/{pull.num}"
    made = request.hub.store.commit(found, rev, changes, header["summary"], message=message, author=token.user)
    answer = {"success": True, "commitOid": made.sha, "commitUrl": f"{page(request, found)}/commit/{made.sha}"}
    answer["hookOutput"] = ""
    if rev.startswith("refs/pr/"):
        answer["pullRequestUrl"] = f"{page(request, found)}/discussions/{rev.removeprefix('refs/pr/')}"
    return reply(answer)


def _changes(
    request: Request, repo: Repo, base: Commit, lines: list[dict[str, Any]]
) -> Iterator[tuple[str, File | None]]:
    store = request.hub.store
    for line in lines:
        key, value = line["key"], line["value"]
        path = value.get("path", "")
        if key == "file":
            content = (
                base64.b64decode(value["content"]) if value.get("encoding") == "base64" else value["content"].encode()
            )
            yield path, store.add_file(path, content, repo.kind, lfs=False)
        elif key == "lfsFile":
            blob = store.blob(value["oid"])
            if not blob.exists():
                raise HubError(400, f"the LFS object of {path} was not uploaded: {value['oid']}")
            yield path, store.add_file(path, blob.read_bytes(), repo.kind, lfs=True)
        elif key == "deletedFile":
            if path not in base.files:
                raise HubError(404, f"A file with this name doesn't exist: {path}", "EntryNotFound")
            yield path, None
        elif key == "deletedFolder":
            inside = [name for name in base.files if name.startswith(f"{path.rstrip('/')}/")]
            if not inside:
                raise HubError(404, f"A folder with this name doesn't exist: {path}", "EntryNotFound")
            yield from ((name, None) for name in inside)
