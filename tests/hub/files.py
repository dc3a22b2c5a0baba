"""Files: downloads, the content network for large files, and uploads to Git LFS."""

from __future__ import annotations

import hashlib
import re
from urllib.parse import quote, urlsplit

from .access import commit_of, discussable, downloadable, file_of
from .messages import HubError, Request, Response, reply, route


@route("GET", "/{prefix}{repo}/resolve/{rev}/{path}")
def resolve(request: Request, repo: str, rev: str, path: str, prefix: str = "") -> Response:
    found = downloadable(request, prefix, repo)
    commit = commit_of(found, rev)
    file = file_of(commit, path)
    etag = f'"{file.sha256 if file.lfs else file.oid}"'
    headers = {"X-Repo-Commit": commit.sha, "ETag": etag}
    if not file.lfs:
        return _content(request, file.sha256, headers)
    # As on the Hub, LFS files are on another host, to which the client must not send its token.
    port = urlsplit(request.base).port
    place = f"http://localhost:{port}/cdn/{file.sha256}/{found.kind}s/{found.id}/{quote(path)}"
    linked = {"X-Linked-Size": str(file.size), "X-Linked-ETag": etag, "Location": place}
    return Response(302, f"Found. Redirecting to {place}".encode(), {**headers, **linked})


@route("GET", "/cdn/{sha256}/{path}")
def cdn(request: Request, sha256: str, path: str) -> Response:
    if request.headers.get("Authorization"):
        raise HubError(400, "a token was sent to the content network")
    return _content(request, sha256, {"ETag": f'"{sha256}"'})


def _content(request: Request, sha256: str, headers: dict[str, str]) -> Response:
    """Return the file, or the requested range of it."""
    blob = request.hub.store.blob(sha256)
    asked = re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("Range") or "")
    if asked is None:
        return Response(200, blob.read_bytes(), headers)
    size, start = blob.stat().st_size, int(asked[1])
    end = min(int(asked[2]) + 1 if asked[2] else size, size)
    with blob.open("rb") as stream:
        stream.seek(start)
        return Response(206, stream.read(end - start), {**headers, "Content-Range": f"bytes {start}-{end - 1}/{size}"})


@route("POST", "/{prefix}{repo}.git/info/lfs/objects/batch")
def batch(request: Request, repo: str, prefix: str = "") -> Response:
    """Return upload addresses for the objects that are not stored yet."""
    discussable(request, prefix, repo)
    objects = [{"oid": asked["oid"], "size": asked["size"]} for asked in request.json()["objects"]]
    for answer in objects:
        if not request.hub.store.blob(answer["oid"]).exists():
            answer["actions"] = {"upload": {"href": f"{request.base}/lfs-upload/{answer['oid']}"}}
    return reply({"transfer": "basic", "objects": objects}, headers={"Content-Type": "application/vnd.git-lfs+json"})


@route("PUT", "/lfs-upload/{oid}")
def upload(request: Request, oid: str) -> Response:
    if hashlib.sha256(request.body).hexdigest() != oid:
        raise HubError(400, "the content does not have the sha256 that was announced")
    request.hub.store.add_blob(request.body)
    return Response(200)
