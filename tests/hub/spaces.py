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


@route("POST", "/api/spaces/{repo}/sleeptime")
def set_sleep_time(request: Request, repo: str) -> Response:
    return _changed(request, repo, sleep_time=request.json()["seconds"])


@route("POST", "/api/spaces/{repo}/pause")
def pause(request: Request, repo: str) -> Response:
    return _changed(request, repo, stage="PAUSED")


@route("POST", "/api/spaces/{repo}/restart")
def restart(request: Request, repo: str) -> Response:
    return _changed(request, repo, stage=None)


def _changed(request: Request, id: str, **fields: Any) -> Response:
    found = writable(request, "spaces", id)
    for name, value in fields.items():
        setattr(_space(found), name, value)
    request.hub.store.save(found)
    return reply(runtime(found))


@route("GET", "/api/spaces/{repo}/secrets")
def get_secrets(request: Request, repo: str) -> Response:
    # Values of secrets never leave the Hub.
    secrets = _space(writable(request, "spaces", repo)).secrets
    return reply({key: {name: one[name] for name in one if name != "value"} for key, one in secrets.items()})


@route("GET", "/api/spaces/{repo}/variables")
def get_variables(request: Request, repo: str) -> Response:
    return reply(_space(readable(request, "spaces", repo)).variables)


@route("POST", "/api/spaces/{repo}/secrets")
def set_secret(request: Request, repo: str) -> Response:
    _set(request, repo, "secrets")
    return reply({})


@route("POST", "/api/spaces/{repo}/variables")
def set_variable(request: Request, repo: str) -> Response:
    return reply(_set(request, repo, "variables"))


@route("DELETE", "/api/spaces/{repo}/{entries}")
def delete_entry(request: Request, repo: str, entries: str) -> Response:
    if entries not in ("secrets", "variables"):
        raise HubError(404, f"a Space has no {entries}")
    found = writable(request, "spaces", repo)
    held: dict[str, Any] = getattr(_space(found), entries)
    held.pop(request.json()["key"], None)
    request.hub.store.save(found)
    return reply(held if entries == "variables" else {})


def _set(request: Request, id: str, entries: str) -> dict[str, Any]:
    found, asked = writable(request, "spaces", id), request.json()
    held: dict[str, Any] = getattr(_space(found), entries)
    held[asked["key"]] = {"value": asked["value"], "description": asked.get("description"), "updatedAt": now()}
    request.hub.store.save(found)
    return held
