"""Files: downloads, the content network that serves large ones, and uploads to Git LFS."""

from __future__ import annotations

import hashlib
import re
from urllib.parse import quote, urlsplit

from .access import authenticated, commit_of, discussable, downloadable, file_of
from .messages import HubError, Request, Response, Slice, reply, route

_TYPES = {".json": "application/json", ".md": "text/plain; charset=utf-8", ".txt": "text/plain; charset=utf-8"}


@route("GET", "/{prefix}{repo}/resolve/{rev}/{path}")
def resolve(request: Request, repo: str, rev: str, path: str, prefix: str = "") -> Response:
    found = downloadable(request, prefix, repo)
    commit = commit_of(found, rev)
    file = file_of(commit, path)
    etag = f'"{file.sha256 if file.lfs else file.oid}"'
    headers = {"X-Repo-Commit": commit.sha, "ETag": etag, "Content-Disposition": _disposition(path)}
    if not file.lfs:
        return _content(request, file.sha256, path, headers)
    # As on the Hub, what LFS keeps lies on another host: the client must not send its token there.
    port = urlsplit(request.base).port
    place = f"http://localhost:{port}/cdn/{file.sha256}/{found.kind}s/{found.id}/{quote(path)}"
    linked = {"X-Linked-Size": str(file.size), "X-Linked-ETag": etag, "Location": place}
    return Response(302, f"Found. Redirecting to {place}".encode(), {**headers, **linked})


@route("GET", "/cdn/{sha256}/{path}")
def cdn(request: Request, sha256: str, path: str) -> Response:
    if request.headers.get("Authorization"):
        raise HubError(400, "a token was sent to the content network")
    if not re.fullmatch("[0-9a-f]{64}", sha256) or not request.hub.store.blob(sha256).exists():
        raise HubError(404, "no such object")
    return _content(request, sha256, path, {"ETag": f'"{sha256}"', "Content-Disposition": _disposition(path)})


def _content(request: Request, sha256: str, path: str, headers: dict[str, str]) -> Response:
    """The whole file or the range that was asked for."""
    blob = request.hub.store.blob(sha256)
    size = blob.stat().st_size
    suffix = path[path.rfind(".") :] if "." in path else ""
    headers |= {"Accept-Ranges": "bytes", "Content-Type": _TYPES.get(suffix, "application/octet-stream")}
    if request.headers.get("If-None-Match") == headers["ETag"]:
        return Response(304, b"", headers)
    asked = re.fullmatch(r"bytes=(\d*)-(\d*)", request.headers.get("Range") or "")
    if asked is None or asked.groups() == ("", ""):
        return Response(200, Slice(blob, 0, size), headers)
    if asked[1]:
        start, end = int(asked[1]), min(int(asked[2]) + 1 if asked[2] else size, size)
    else:
        start, end = max(0, size - int(asked[2])), size
    if start >= size or start >= end:
        raise HubError(416, "Range Not Satisfiable", headers={"Content-Range": f"bytes */{size}"})
    headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
    return Response(206, Slice(blob, start, end - start), headers)


def _disposition(path: str) -> str:
    name = path.rpartition("/")[2]
    return f"inline; filename*=UTF-8''{quote(name)}; filename=\"{quote(name)}\";"


@route("POST", "/{prefix}{repo}.git/info/lfs/objects/batch")
def batch(request: Request, repo: str, prefix: str = "") -> Response:
    discussable(request, prefix, repo)
    asked = request.json()
    if asked.get("operation") != "upload":
        raise HubError(400, "only uploads")
    return reply(
        {
            "transfer": "basic",
            "objects": [
                _instructions(request, f"/{prefix}{repo}", one["oid"], one["size"]) for one in asked["objects"]
            ],
        },
        headers={"Content-Type": "application/vnd.git-lfs+json"},
    )


def _instructions(request: Request, place: str, oid: str, size: int) -> dict:
    """Where to send an object; no actions where it is already stored."""
    if request.hub.store.blob(_checked(oid)).exists():
        return {"oid": oid, "size": size}
    upload = {"href": f"{request.base}/lfs-upload/{oid}"}
    verify = {"href": f"{request.base}{place}.git/info/lfs/verify"}
    return {"oid": oid, "size": size, "authenticated": True, "actions": {"upload": upload, "verify": verify}}


@route("PUT", "/lfs-upload/{oid}")
def upload(request: Request, oid: str) -> Response:
    _keep(request, oid, request.body)
    return Response(200, b"", {"ETag": f'"{oid}"'})


@route("POST", "/{prefix}{repo}.git/info/lfs/verify")
def verify(request: Request, repo: str, prefix: str = "") -> Response:
    authenticated(request)
    asked = request.json()
    blob = request.hub.store.blob(_checked(asked["oid"]))
    if not blob.exists() or blob.stat().st_size != asked["size"]:
        raise HubError(404, "the object is not there, or of another size")
    return reply({})


def _keep(request: Request, oid: str, content: bytes) -> None:
    if hashlib.sha256(content).hexdigest() != _checked(oid):
        raise HubError(400, "the content does not have the sha256 that was announced")
    request.hub.store.add_blob(content)


def _checked(oid: str) -> str:
    if not re.fullmatch("[0-9a-f]{64}", oid):
        raise HubError(400, "an LFS oid is a sha256")
    return oid
