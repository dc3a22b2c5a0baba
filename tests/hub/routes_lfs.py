"""Git LFS: where to upload, the uploads themselves, and their check."""

from __future__ import annotations

import hashlib
import re
from math import ceil
from pathlib import Path

from .access import authenticated, discussable
from .messages import HubError, Request, Response, reply, route


@route("POST", "/{prefix}{repo}.git/info/lfs/objects/batch")
def batch(request: Request, repo: str, prefix: str = "") -> Response:
    discussable(request, prefix, repo)
    asked = request.json()
    if asked.get("operation") != "upload":
        raise HubError(400, "only uploads")
    multipart = "multipart" in asked.get("transfers", []) and any(
        one["size"] >= request.hub.multipart_from for one in asked["objects"]
    )
    return reply(
        {
            "transfer": "multipart" if multipart else "basic",
            "objects": [
                _instructions(request, f"/{prefix}{repo}", one["oid"], one["size"]) for one in asked["objects"]
            ],
        },
        headers={"Content-Type": "application/vnd.git-lfs+json"},
    )


def _instructions(request: Request, place: str, oid: str, size: int) -> dict:
    """Where to send an object; no actions where it is already stored."""
    hub = request.hub
    if hub.store.blob(_checked(oid)).exists():
        return {"oid": oid, "size": size}
    upload: dict = {"href": f"{request.base}/lfs-upload/{oid}"}
    if size >= hub.multipart_from:
        parts = {str(part): f"{upload['href']}/{part}" for part in range(1, ceil(size / hub.part_size) + 1)}
        upload = {"href": f"{upload['href']}/complete", "header": {"chunk_size": str(hub.part_size), **parts}}
    verify = {"href": f"{request.base}{place}.git/info/lfs/verify"}
    return {"oid": oid, "size": size, "authenticated": True, "actions": {"upload": upload, "verify": verify}}


@route("PUT", "/lfs-upload/{oid}")
def upload(request: Request, oid: str) -> Response:
    _keep(request, oid, request.body)
    return Response(200, b"", {"ETag": f'"{oid}"'})


@route("PUT", "/lfs-upload/{oid}/{num}")
def upload_part(request: Request, oid: str, num: str) -> Response:
    _part(request, oid, int(num)).write_bytes(request.body)
    return Response(200, b"", {"ETag": f'"{hashlib.md5(request.body).hexdigest()}"'})


@route("POST", "/lfs-upload/{oid}/complete")
def complete(request: Request, oid: str) -> Response:
    content = b""
    for one in sorted(request.json()["parts"], key=lambda one: one["partNumber"]):
        path = _part(request, oid, one["partNumber"])
        part = path.read_bytes()
        if one["etag"] != f'"{hashlib.md5(part).hexdigest()}"':
            raise HubError(400, f"part {one['partNumber']} is another")
        path.unlink()
        content += part
    _keep(request, oid, content)
    return reply({})


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


def _part(request: Request, oid: str, number: int) -> Path:
    return request.hub.store.blob(f"{_checked(oid)}.{number}")


def _checked(oid: str) -> str:
    if not re.fullmatch("[0-9a-f]{64}", oid):
        raise HubError(400, "an LFS oid is a sha256")
    return oid
