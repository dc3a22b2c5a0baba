"""Reading: information, lists and search, trees."""

from __future__ import annotations

import hashlib
from typing import Any
from urllib.parse import parse_qs, urlencode

from .access import commit_of, file_of, kind_of, may_see, readable
from .describe import BRIEF, FULL, info
from .messages import HubError, Request, Response, reply, route
from .store import Commit, File, Repo, lfs_pointer


@route("GET", "/api/{kinds}/{repo}")
@route("GET", "/api/{kinds}/{repo}/revision/{rev}")
def repo_info(request: Request, kinds: str, repo: str, rev: str = "main") -> Response:
    found = readable(request, kinds, repo)
    told = info(request.hub.store, found, commit_of(found, rev), blobs=request.flag("blobs"))
    if wanted := request.all("expand"):
        told = {name: value for name, value in told.items() if name in ("_id", "id", *wanted)}
    return reply(told)


@route("GET", "/api/{kinds}/{name}")
@route("GET", "/api/{kinds}/{name}/revision/{rev}")
def without_namespace(request: Request, kinds: str, name: str, rev: str = "main") -> Response:
    return repo_info(request, kinds, name, rev)


@route("GET", "/api/{kinds}")
def list_repos(request: Request, kinds: str) -> Response:
    kind = kind_of(kinds)
    found = []
    for repo in request.hub.store.repos.values():
        head = repo.resolve("main")
        if repo.kind == kind and head is not None and may_see(repo, request.token) and not repo.disabled:
            told = info(request.hub.store, repo, head)
            if _matches(request, told):
                found.append(told)
    key = request.one("sort") or "trendingScore"
    found.sort(key=lambda told: told["id"])
    # Numbers and ISO dates alike: the most and the latest first.
    found.sort(key=lambda told: told.get(key) or 0, reverse=True)
    wanted = request.all("expand")
    fields = ["_id", "id", *wanted] if wanted else ["_id", *BRIEF[kind]]
    fields += FULL if request.flag("full") else []
    fields += [name for name in ("cardData", "config") if request.flag(name)]
    return paged(request, [{name: told[name] for name in fields if name in told} for told in found])


def _matches(request: Request, told: dict[str, Any]) -> bool:
    tags = {tag.lower() for tag in told["tags"]}
    asked = [
        (request.one("author"), lambda value: told["author"].lower() == value.lower()),
        (request.one("pipeline_tag"), lambda value: told.get("pipeline_tag") == value),
    ]
    return (
        all(value is None or fits(value) for value, fits in asked)
        and all(text.lower() in told["id"].lower() for text in request.all("search"))
        # Lists of filters come as repeated parameters or parted by commas.
        and all(one.lower() in tags for value in request.all("filter") for one in value.split(","))
    )


def paged(request: Request, entries: list[Any]) -> Response:
    """A page of a list, with a Link to the next."""
    start = int(request.one("cursor") or 0)
    size = min(int(request.one("limit") or request.hub.page_size), request.hub.page_size)
    headers = {}
    if start + size < len(entries):
        query = urlencode({**request.query, "cursor": [str(start + size)]}, doseq=True)
        headers["Link"] = f'<{request.base}{request.path}?{query}>; rel="next"'
    return reply(entries[start : start + size], headers=headers)


@route("GET", "/api/{kinds}/{repo}/tree/{rev}")
@route("GET", "/api/{kinds}/{repo}/tree/{rev}/{path}")
def tree(request: Request, kinds: str, repo: str, rev: str, path: str = "") -> Response:
    found = readable(request, kinds, repo)
    commit = commit_of(found, rev)
    prefix = f"{path.strip('/')}/" if path.strip("/") else ""
    inside = [name for name in commit.files if name.startswith(prefix)]
    if prefix and not inside:
        raise HubError(404, f'"{path}" does not exist on "{rev}"', "EntryNotFound", {"X-Repo-Commit": commit.sha})
    entries: dict[str, dict[str, Any]] = {}
    for name in inside:
        pieces = name[len(prefix) :].split("/")
        folders = pieces[:-1] if request.flag("recursive") else pieces[:1] if len(pieces) > 1 else []
        for depth in range(1, len(folders) + 1):
            folder = prefix + "/".join(folders[:depth])
            entries.setdefault(folder, _folder_entry(found, commit, folder, request.flag("expand")))
        if request.flag("recursive") or len(pieces) == 1:
            entries[name] = _file_entry(found, commit, name, request.flag("expand"))
    return paged(request, [entries[name] for name in sorted(entries)])


@route("POST", "/api/{kinds}/{repo}/paths-info/{rev}")
def paths_info(request: Request, kinds: str, repo: str, rev: str) -> Response:
    found = readable(request, kinds, repo)
    commit = commit_of(found, rev)
    if "json" in (request.headers.get("Content-Type") or ""):
        asked = request.json()
        paths, expand = asked["paths"], bool(asked.get("expand"))
    else:
        form = parse_qs(request.body.decode())
        paths, expand = form.get("paths", []), form.get("expand", ["false"])[0].lower() == "true"
    entries = []
    for path in (name.strip("/") for name in paths):
        if path in commit.files:
            entries.append(_file_entry(found, commit, path, expand))
        elif any(name.startswith(f"{path}/") for name in commit.files):
            entries.append(_folder_entry(found, commit, path, expand))
    return reply(entries)


def _file_entry(repo: Repo, commit: Commit, path: str, expand: bool) -> dict[str, Any]:
    file = file_of(commit, path)
    entry: dict[str, Any] = {"type": "file", "oid": file.oid, "size": file.size, "path": path}
    if file.lfs:
        pointer = len(lfs_pointer(file.sha256, file.size))
        entry["lfs"] = {"oid": file.sha256, "size": file.size, "pointerSize": pointer}
    if expand:
        entry["lastCommit"] = _last_commit(repo, commit, lambda one: one.files.get(path))
        scan = {"status": "safe", "avScan": None, "pickleImportScan": None}
        entry["securityFileStatus"] = scan
    return entry


def _folder_entry(repo: Repo, commit: Commit, path: str, expand: bool) -> dict[str, Any]:
    def inside(one: Commit) -> dict[str, File]:
        return {name: file for name, file in one.files.items() if name.startswith(f"{path}/")}

    listing = "".join(f"{name} {file.oid}\n" for name, file in inside(commit).items())
    oid = hashlib.sha1(listing.encode()).hexdigest()
    entry: dict[str, Any] = {"type": "directory", "oid": oid, "size": 0, "path": path}
    if expand:
        entry["lastCommit"] = _last_commit(repo, commit, inside)
    return entry


def _last_commit(repo: Repo, commit: Commit, seen: Any) -> dict[str, str]:
    """The commit that brought what `seen` finds in this one."""
    while commit.parents and seen(repo.commits[commit.parents[0]]) == seen(commit):
        commit = repo.commits[commit.parents[0]]
    return {"id": commit.sha, "title": commit.title, "date": commit.date}
