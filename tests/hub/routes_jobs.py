"""Jobs: the hardware, starting one, its state and its log."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from time import sleep
from typing import Any

from .access import authenticated
from .jobs import HARDWARE, Job
from .messages import HubError, Request, Response, Stream, reply, route

_POLL_SECONDS = 0.02


def _allowed(request: Request, namespace: str) -> None:
    token = authenticated(request)
    if not token.owns(namespace) or not token.allows("job.write", namespace):
        raise HubError(403, "Forbidden: your token lacks the permission job.write")


def _job(request: Request, namespace: str, id: str) -> Job:
    _allowed(request, namespace)
    job = request.hub.jobs.get(id)
    if job is None or job.namespace != namespace:
        raise HubError(404, "Job not found")
    return job


def _told(job: Job) -> dict[str, Any]:
    return {
        "id": job.id,
        "createdAt": job.created,
        "dockerImage": job.spec["dockerImage"],
        "command": job.spec["command"],
        "arguments": job.spec["arguments"],
        "environment": job.spec["environment"],
        # Values of secrets never leave the Hub.
        "secrets": dict.fromkeys(job.spec.get("secrets", {}), ""),
        "flavor": job.spec["flavor"],
        "status": {"stage": job.stage, "message": job.message},
        "owner": {"id": job.namespace, "name": job.namespace, "type": "user"},
    }


@route("GET", "/api/jobs/hardware")
def hardware(request: Request) -> Response:
    return reply(
        [
            {"name": name, "unitCostUSD": one["unitCostMicroUSD"] / 1e6, "unitLabel": "minute", **one}
            for name, one in HARDWARE.items()
        ]
    )


@route("POST", "/api/jobs/{namespace}")
def start(request: Request, namespace: str) -> Response:
    _allowed(request, namespace)
    spec = request.json()
    if spec["flavor"] not in HARDWARE:
        raise HubError(400, f"unknown flavor {spec['flavor']}")
    id = secrets.token_hex(12)
    folder = request.hub.store.folder / "jobs" / id
    folder.mkdir(parents=True)
    job = request.hub.jobs[id] = Job(id, namespace, spec, folder)
    job.start(request.base)
    return reply(_told(job))


@route("GET", "/api/jobs/{namespace}/{id}")
def inspect(request: Request, namespace: str, id: str) -> Response:
    return reply(_told(_job(request, namespace, id)))


@route("POST", "/api/jobs/{namespace}/{id}/cancel")
def cancel(request: Request, namespace: str, id: str) -> Response:
    job = _job(request, namespace, id)
    job.end("CANCELED", "canceled by its owner")
    return reply(_told(job))


@route("GET", "/api/jobs/{namespace}/{id}/logs")
def logs(request: Request, namespace: str, id: str) -> Response:
    job = _job(request, namespace, id)
    return Response(200, Stream(_events(job)), {"Content-Type": "text/event-stream"})


def _events(job: Job) -> Iterator[bytes]:
    """Every line as soon as it is there, until the job has ended."""
    sent, over = 0, False
    while not over:
        over = job.over
        while sent < len(job.log):
            time, text = job.log[sent]
            yield f"data: {json.dumps({'timestamp': time, 'data': text})}\n\n".encode()
            sent += 1
        sleep(_POLL_SECONDS)
