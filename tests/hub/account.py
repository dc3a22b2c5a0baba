"""Accounts, creating repositories, and the variables and hardware of Spaces."""

from __future__ import annotations

from .access import Token, account, authenticated, page, writable
from .describe import front_matter, runtime
from .messages import HubError, Request, Response, reply, route
from .store import Kind, Repo, Space

ZERO_GPU = "zero-a10g"
FREE_ZERO_GPU_SPACES = 2


@route("GET", "/api/whoami-v2")
def whoami(request: Request) -> Response:
    return reply(account(authenticated(request), request.hub.paid))


def _target(request: Request) -> tuple[Token, Kind, str]:
    """Return the token, and the kind and id of the repository in a request's body."""
    token, asked = authenticated(request), request.json()
    return token, asked.get("type") or "model", f"{asked.get('organization') or token.user}/{asked['name']}"


def require_plan(request: Request, id: str, sdk: str | None, hardware: str) -> None:
    """Refuse what free accounts cannot have, with the Hub's messages (docs/hub/spaces-overview)."""
    namespace, store = id.partition("/")[0], request.hub.store
    if sdk == "static" or namespace in request.hub.paid:
        return
    if hardware == "cpu-basic":
        raise HubError(
            402,
            "Static Spaces are free for everyone, but hosting Gradio and Docker Spaces on free cpu-basic requires a "
            "PRO subscription. Subscribe at https://huggingface.co/pro",
        )
    if hardware != ZERO_GPU or namespace != authenticated(request).user:
        raise HubError(402, "You must add a payment method to your account to use this hardware.")
    used = [repo.space.hardware for repo in store.repos.values() if repo.space and repo.namespace == namespace]
    if used.count(ZERO_GPU) >= FREE_ZERO_GPU_SPACES:
        raise HubError(403, f"You can host up to {FREE_ZERO_GPU_SPACES} ZeroGPU Spaces. Subscribe to PRO to host more.")


@route("POST", "/api/repos/create")
def create(request: Request) -> Response:
    token, kind, id = _target(request)
    if token.role != "write":
        raise HubError(403, f"You must use a write token to create a {kind} repository.")
    if not token.owns(id.partition("/")[0]):
        raise HubError(403, f"You don't have the rights to create a {kind} under this namespace: {id}")
    asked, store = request.json(), request.hub.store
    hardware = asked.get("hardware") or "cpu-basic"
    if kind == "space":
        require_plan(request, id, asked.get("sdk"), hardware)
    if (kind, id) in store.repos:
        error = f"You already created this {kind} repo: {id}"
        return reply({"error": error, "url": page(request, store.repo(id, kind))}, 409, {"X-Error-Message": error})
    repo = store.create_repo(id, kind, sdk=asked.get("sdk"), private=asked.get("visibility") == "private")
    if repo.space is not None:
        repo.space.hardware = hardware
    return reply({"url": page(request, repo), "name": id, "id": id})


@route("POST", "/api/validate-yaml")
def validate_yaml(request: Request) -> Response:
    """Validate a card before it is committed."""
    text = request.json()["content"]
    data = front_matter(text)
    if data is None and text.lstrip("\ufeff").startswith("---"):
        message = "the YAML metadata of README.md cannot be parsed"
        return reply({"errors": [{"message": message}], "warnings": [], "error": message}, 400)
    warnings = [] if isinstance(data, dict) else [{"message": "empty or missing yaml metadata in repo card"}]
    return reply({"errors": [], "warnings": warnings})


def _space(repo: Repo) -> Space:
    if repo.space is None:
        raise HubError(404, f"{repo.id} is not a Space", "RepoNotFound")
    return repo.space


@route("POST", "/api/spaces/{repo}/hardware")
def set_hardware(request: Request, repo: str) -> Response:
    found = writable(request, "spaces", repo)
    space, flavor = _space(found), request.json()["flavor"]
    require_plan(request, repo, space.sdk, flavor)
    space.hardware = flavor
    return reply(runtime(found))


@route("POST", "/api/spaces/{repo}/variables")
def set_variable(request: Request, repo: str) -> Response:
    asked = request.json()
    variables = _space(writable(request, "spaces", repo)).variables
    variables[asked["key"]] = {"value": asked["value"]}
    return reply(variables)
