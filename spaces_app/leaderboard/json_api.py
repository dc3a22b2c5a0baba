"""The endpoints as plain JSON: /api/NAME, with the arguments in the query or as the JSON object of a POST request."""

from __future__ import annotations

import inspect
from typing import Any, get_type_hints
from urllib.parse import parse_qs

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from leaderboard.endpoints import ENDPOINTS, Endpoints
from leaderboard.store import Store


def route(store: Store) -> Route:
    """Return the route of all endpoints."""
    endpoints = Endpoints(store)
    arguments = {name: _arguments(name) for name in ENDPOINTS}

    async def answer(request: Request) -> Response:
        name = request.path_params["name"]
        if name not in arguments:
            return _json({"error": f"no endpoint {name!r}; choose from {', '.join(arguments)}"}, 404)
        try:
            if request.method == "POST":
                given = msgspec.json.decode(await request.body(), type=arguments[name])
            else:
                given = _from_query(request.url.query, arguments[name])
            result = await run_in_threadpool(getattr(endpoints, name), **msgspec.structs.asdict(given))
        except (ValueError, msgspec.DecodeError) as error:
            return _json({"error": str(error)}, 400)
        return _json(result, 200)

    return Route("/api/{name}", answer, methods=["GET", "POST"])


def _arguments(name: str) -> type[msgspec.Struct]:
    """Return the arguments of an endpoint as a type."""
    function = getattr(Endpoints, name)
    kinds = get_type_hints(function)
    fields = [
        (
            parameter.name,
            kinds[parameter.name],
            *([] if parameter.default is inspect.Parameter.empty else [parameter.default]),
        )
        for parameter in [*inspect.signature(function).parameters.values()][1:]
    ]
    return msgspec.defstruct(name, fields, forbid_unknown_fields=True)


def _from_query(query: str, kind: type[msgspec.Struct]) -> msgspec.Struct:
    lists = {field.name for field in msgspec.structs.fields(kind) if field.type == list[str]}
    texts = parse_qs(query, keep_blank_values=True)
    return msgspec.convert({name: all if name in lists else all[-1] for name, all in texts.items()}, kind, strict=False)


def _json(content: Any, status: int) -> Response:
    return Response(msgspec.json.encode(content), status, media_type="application/json")
