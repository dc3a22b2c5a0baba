"""A small Hub on loopback: repository info, file trees and downloads over real HTTP, as the clients ask for them."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit


@dataclass
class StubRepo:
    """One repository: commits (sha → files), and the branches, tags and refs that name them."""

    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)
    gated: bool = False

    def sha(self, revision: str) -> str | None:
        return self.refs.get(revision, revision if revision in self.commits else None)


class HubStub:
    """The stub's content and address."""

    def __init__(self) -> None:
        self.repos: dict[tuple[str, str], StubRepo] = {}
        self.requests: list[str] = []
        self.url = ""

    def add(self, kind: str, id: str, files: Mapping[str, bytes], *, ref: str = "main", gated: bool = False) -> str:
        """Commits files to a ref; returns the commit's sha."""
        repo = self.repos.setdefault((f"{kind}s", id), StubRepo(gated=gated))
        text = json.dumps({name: hashlib.sha1(data).hexdigest() for name, data in sorted(files.items())})
        sha = hashlib.sha1(f"{id}{text}".encode()).hexdigest()
        repo.commits[sha] = dict(files)
        repo.refs[ref] = sha
        return sha


@contextmanager
def serve(hub: HubStub) -> Iterator[HubStub]:
    """Runs the stub on a free port of loopback until the block ends."""

    class Handler(_Handler):
        content = hub

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    hub.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    content: HubStub

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def log_message(self, format: str, *args: Any) -> None:
        self.content.requests.append(format % args)

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = urlsplit(self.path)
        # Routed before decoding: a revision such as refs/pr/1 arrives as one percent-encoded piece.
        pieces = [unquote(piece) for piece in parts.path.strip("/").split("/")]
        is_api = pieces[0] == "api"
        pieces = pieces[1:] if is_api else pieces
        kind = pieces.pop(0) if pieces[0] in ("models", "datasets") else "models"
        id, rest = "/".join(pieces[:2]), pieces[2:]
        repo = self.content.repos.get((kind, id))
        if repo is None:
            return self._error(401, "RepoNotFound", "Repository not found")
        revision = rest[1] if len(rest) > 1 else "main"
        sha = repo.sha(revision)
        if sha is None:
            return self._error(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        files = repo.commits[sha]
        action = rest[0] if rest else "revision"
        if action == "resolve":
            return self._file(repo, sha, files, "/".join(rest[2:]))
        if action == "revision":
            return self._json(_info(id, sha, files))
        if action == "tree":
            return self._tree(files, "/".join(rest[2:]), parse_qs(parts.query))
        if action == "paths-info":
            wanted = parse_qs(body.decode()).get("paths", [])
            return self._json([_entry(name, files[name]) for name in wanted if name in files])
        return self._error(404, "EntryNotFound", f"no route {self.path}")

    def _tree(self, files: Mapping[str, bytes], folder: str, query: Mapping[str, list[str]]) -> None:
        prefix = f"{folder}/" if folder else ""
        inside = {name: data for name, data in files.items() if name.startswith(prefix)}
        if not inside:
            return self._error(404, "EntryNotFound", f"{folder} does not exist")
        recursive = query.get("recursive", ["false"])[0].lower() in ("true", "1")
        entries = {}
        for name, data in inside.items():
            head, _, tail = name[len(prefix) :].partition("/")
            if tail:
                entries[prefix + head] = {"type": "directory", "path": prefix + head, "oid": "0" * 40, "size": 0}
            if recursive or not tail:
                entries[name] = _entry(name, data)
        return self._json(list(entries.values()))

    def _file(self, repo: StubRepo, sha: str, files: Mapping[str, bytes], name: str) -> None:
        if repo.gated:
            return self._error(403, "GatedRepo", "Access to this repository is restricted")
        if name not in files:
            return self._error(404, "EntryNotFound", f"{name} does not exist", {"X-Repo-Commit": sha})
        data = files[name]
        headers = {"X-Repo-Commit": sha, "ETag": f'"{_oid(data)}"', "Accept-Ranges": "bytes"}
        status = 200
        if asked := self.headers.get("Range"):
            first, _, last = asked.removeprefix("bytes=").partition("-")
            end = int(last) + 1 if last else len(data)
            headers["Content-Range"] = f"bytes {first}-{min(end, len(data)) - 1}/{len(data)}"
            data, status = data[int(first) : end], 206
        return self._send(status, data, headers)

    def _json(self, value: Any) -> None:
        self._send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _error(self, status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> None:
        self._send(status, b"{}", {"X-Error-Code": code, "X-Error-Message": message, **(headers or {})})

    def _send(self, status: int, data: bytes, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(data))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)


def _oid(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def _entry(name: str, data: bytes) -> dict[str, Any]:
    return {"type": "file", "path": name, "oid": _oid(data), "size": len(data)}


def _info(id: str, sha: str, files: Mapping[str, bytes]) -> dict[str, Any]:
    return {
        "id": id,
        "sha": sha,
        "private": False,
        "gated": False,
        "disabled": False,
        "downloads": 0,
        "likes": 0,
        "tags": [],
        "siblings": [{"rfilename": name} for name in files],
    }
