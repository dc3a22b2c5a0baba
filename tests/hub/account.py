"""Accounts, and repositories as wholes: create, delete."""

from __future__ import annotations

from .access import Token, account, authenticated, kind_of, page, writable
from .describe import front_matter
from .messages import HubError, Request, Response, reply, route
from .store import Kind, now

ZERO_GPU = "zero-a10g"
FREE_ZERO_GPU_SPACES = 2


@route("GET", "/api/whoami-v2")
def whoami(request: Request) -> Response:
    return reply(account(authenticated(request), request.hub.paid))


@route("GET", "/api/agent-harnesses")
def agent_harnesses(request: Request) -> Response:
    """huggingface_hub asks once per HF_HOME which assistants to name in its User-Agent: none."""
    return reply({"standardEnvVars": [], "harnesses": {}})


def _target(request: Request) -> tuple[Token, Kind, str]:
    """Who asks, and the kind and id that a body of name, organization and type means."""
    token, asked = authenticated(request), request.json()
    namespace = asked.get("organization") or token.user
    return token, asked.get("type") or "model", f"{namespace}/{asked['name']}"


def _require_creation(token: Token, kind: str, id: str) -> None:
    namespace = id.partition("/")[0]
    if not token.allows("repo.write", id):
        raise HubError(403, f"You must use a write token to create a {kind} repository.")
    if not token.owns(namespace):
        raise HubError(403, f'You don\'t have the rights to create a {kind} under the namespace "{namespace}"')


def require_plan(request: Request, id: str, sdk: str | None, hardware: str) -> None:
    """Refuses what free accounts cannot have, in the Hub's words: https://huggingface.co/docs/hub/spaces-overview."""
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
    spaces = [
        repo.space for (of_kind, _), repo in store.repos.items() if of_kind == "space" and repo.namespace == namespace
    ]
    if sum(space is not None and space.hardware == ZERO_GPU for space in spaces) >= FREE_ZERO_GPU_SPACES:
        raise HubError(403, f"You can host up to {FREE_ZERO_GPU_SPACES} ZeroGPU Spaces. Subscribe to PRO to host more.")


@route("POST", "/api/repos/create")
def create(request: Request) -> Response:
    token, kind, id = _target(request)
    _require_creation(token, kind, id)
    asked, store = request.json(), request.hub.store
    if kind == "space":
        require_plan(request, id, asked.get("sdk"), asked.get("hardware") or "cpu-basic")
    if (kind, id) in store.repos:
        taken = {"error": f"You already created this {kind} repo: {id}", "url": page(request, store.repo(id, kind))}
        return reply(taken, 409, {"X-Error-Message": taken["error"]})
    private = asked.get("visibility") == "private"
    repo = store.create_repo(id, kind, sdk=asked.get("sdk"), author=token.user, private=private)
    if repo.space is not None:
        repo.space.hardware = asked.get("hardware") or repo.space.hardware
        repo.space.sleep_time = asked.get("sleepTimeSeconds")
        for name in ("secrets", "variables"):
            entries = {one["key"]: {"value": one["value"], "updatedAt": now()} for one in asked.get(name) or []}
            getattr(repo.space, name).update(entries)
    return reply({"url": page(request, repo), "name": id, "id": id})


@route("DELETE", "/api/repos/delete")
def delete(request: Request) -> Response:
    _, kind, id = _target(request)
    request.hub.store.delete(writable(request, f"{kind}s", id))
    return reply({})


@route("POST", "/api/validate-yaml")
def validate_yaml(request: Request) -> Response:
    """What the Hub says about a card before it is committed."""
    asked = request.json()
    text = asked.get("content", "")
    has_block = text.lstrip("\ufeff").startswith("---")
    data = front_matter(text)
    if has_block and data is None:
        message = "the YAML metadata of README.md cannot be parsed"
        return reply({"errors": [{"message": message}], "warnings": [], "error": message}, 400)
    warnings = []
    if not isinstance(data, dict):
        warnings.append({"message": "empty or missing yaml metadata in repo card"})
    elif kind_of(f"{asked.get('repoType') or 'model'}s") == "model" and not isinstance(
        data.get("model-index", []), list
    ):
        message = '"model-index" must be an array'
        return reply({"errors": [{"message": message}], "warnings": [], "error": message}, 400)
    return reply({"errors": [], "warnings": warnings})
