"""Spaces: secrets, variables, hardware and state."""

from __future__ import annotations

from typing import Any

from .access import readable, writable
from .account import require_plan
from .describe import runtime
from .messages import HubError, Request, Response, reply, route
from .store import Repo, Space, now


def _space(repo: Repo) -> Space:
    if repo.space is None:
        raise HubError(404, f"{repo.id} is not a Space", "RepoNotFound")
    return repo.space


@route("GET", "/api/spaces/{repo}/runtime")
def get_runtime(request: Request, repo: str) -> Response:
    found = readable(request, "spaces", repo)
    _space(found)
    return reply(runtime(found))


@route("POST", "/api/spaces/{repo}/hardware")
def set_hardware(request: Request, repo: str) -> Response:
    asked = request.json()
    require_plan(request, repo, _space(readable(request, "spaces", repo)).sdk, asked["flavor"])
    return _changed(request, repo, hardware=asked["flavor"], sleep_time=asked.get("sleepTimeSeconds"))


def _changed(request: Request, id: str, **fields: Any) -> Response:
    found = writable(request, "spaces", id)
    for name, value in fields.items():
        setattr(_space(found), name, value)
    return reply(runtime(found))


@route("POST", "/api/spaces/{repo}/secrets")
def set_secret(request: Request, repo: str) -> Response:
    _set(request, repo, "secrets")
    return reply({})


@route("POST", "/api/spaces/{repo}/variables")
def set_variable(request: Request, repo: str) -> Response:
    return reply(_set(request, repo, "variables"))


def _set(request: Request, id: str, entries: str) -> dict[str, Any]:
    found, asked = writable(request, "spaces", id), request.json()
    held: dict[str, Any] = getattr(_space(found), entries)
    held[asked["key"]] = {"value": asked["value"], "description": asked.get("description"), "updatedAt": now()}
    return held
