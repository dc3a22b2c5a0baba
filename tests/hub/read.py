"""Reading: metadata, lists and search, trees, leaderboards."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

from .access import commit_of, kind_of, may_see, readable
from .describe import info
from .messages import HubError, Request, Response, reply, route
from .store import BoardEntry, Commit, lfs_pointer

# Repositories per page of a list.
PAGE = 1000


@route("GET", "/api/{kinds}/{repo}")
@route("GET", "/api/{kinds}/{repo}/revision/{rev}")
def repo_info(request: Request, kinds: str, repo: str, rev: str = "main") -> Response:
    found = readable(request, kinds, repo)
    return reply(_expanded(request, info(request.hub.store, found, commit_of(found, rev))))


@route("GET", "/api/{kinds}")
def list_repos(request: Request, kinds: str) -> Response:
    kind = kind_of(kinds)
    found = []
    for repo in request.hub.store.repos.values():
        head = repo.resolve("main")
        if repo.kind == kind and head is not None and may_see(repo, request.token):
            told = info(request.hub.store, repo, head)
            if _matches(request, told):
                found.append(told)
    key = request.one("sort") or "trendingScore"
    found.sort(key=lambda told: told["id"])
    # The largest numbers and the latest ISO dates first.
    found.sort(key=lambda told: told.get(key) or 0, reverse=True)
    start, size = int(request.one("cursor") or 0), min(int(request.one("limit") or PAGE), PAGE)
    page = reply([_expanded(request, told) for told in found[start : start + size]])
    if start + size >= len(found):
        return page
    query = urlencode({**request.query, "cursor": [str(start + size)]}, doseq=True)
    return replace(page, headers={**page.headers, "Link": f'<{request.base}{request.path}?{query}>; rel="next"'})


@route("GET", "/api/datasets/{repo}/leaderboard")
def leaderboard(request: Request, repo: str) -> Response:
    entries = request.hub.store.leaderboards.get(repo)
    if entries is None:
        raise HubError(404, f"{repo} has no leaderboard")
    told = {"filename": ".eval_results/results.yaml", "author": {"type": "user", "name": "ada"}}
    return reply(
        [{**told, **_board_entry(entry), "rank": rank, "value": -rank} for rank, entry in enumerate(entries, 1)]
    )


def _board_entry(entry: BoardEntry) -> dict[str, Any]:
    of_main = {"modelId": entry.model, "verified": entry.verified}
    return of_main if entry.pull_request is None else {**of_main, "pullRequest": entry.pull_request}


def _expanded(request: Request, told: dict[str, Any]) -> dict[str, Any]:
    wanted = request.all("expand")
    return {name: value for name, value in told.items() if name in ("_id", "id", *wanted)} if wanted else told


def _matches(request: Request, told: dict[str, Any]) -> bool:
    tags = {tag.lower() for tag in told["tags"]}
    author, task = request.one("author"), request.one("pipeline_tag")
    return (
        author in (None, told["author"])
        and task in (None, told.get("pipeline_tag"))
        and all(text.lower() in told["id"].lower() for text in request.all("search"))
        # Filters are repeated parameters, or separated by commas.
        and all(one.lower() in tags for value in request.all("filter") for one in value.split(","))
    )


@route("GET", "/api/{kinds}/{repo}/tree/{rev}")
@route("GET", "/api/{kinds}/{repo}/tree/{rev}/{path}")
def tree(request: Request, kinds: str, repo: str, rev: str, path: str = "") -> Response:
    commit = commit_of(readable(request, kinds, repo), rev)
    prefix = f"{path.strip('/')}/" if path.strip("/") else ""
    inside = [name for name in commit.files if name.startswith(prefix)]
    if prefix and not inside:
        raise HubError(404, f'"{path}" does not exist on "{rev}"', "EntryNotFound", {"X-Repo-Commit": commit.sha})
    entries: dict[str, dict[str, Any]] = {}
    for name in inside:
        *folders, _ = name[len(prefix) :].split("/")
        for depth in range(1, len(folders) + 1 if request.flag("recursive") else min(len(folders), 1) + 1):
            folder = prefix + "/".join(folders[:depth])
            oid = hashlib.sha1(folder.encode()).hexdigest()
            entries[folder] = {"type": "directory", "oid": oid, "size": 0, "path": folder}
        if request.flag("recursive") or not folders:
            entries[name] = _file_entry(commit, name)
    return reply([entries[name] for name in sorted(entries)])


def _file_entry(commit: Commit, path: str) -> dict[str, Any]:
    file = commit.files[path]
    entry: dict[str, Any] = {"type": "file", "oid": file.oid, "size": file.size, "path": path}
    if file.lfs:
        pointer = len(lfs_pointer(file.sha256, file.size))
        entry["lfs"] = {"oid": file.sha256, "size": file.size, "pointerSize": pointer}
    return entry
