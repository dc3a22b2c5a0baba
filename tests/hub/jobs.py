"""Jobs: each runs the hf-emms command of this checkout in a separate process."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from time import sleep
from typing import Any

from tests.helpers.quick_python import python

from .access import authenticated
from .messages import HubError, Request, Response, reply, route
from .store import now

ROOT = Path(__file__).parents[2]
HARDWARE = {
    "cpu-basic": {"cpu": "2 vCPU", "ram": "16 GB", "unitCostUSD": 0.01, "unitLabel": "hour"},
    "cpu-upgrade": {"cpu": "8 vCPU", "ram": "32 GB", "unitCostUSD": 0.00001, "unitLabel": "second"},
    "a10g-small": {
        "cpu": "4 vCPU",
        "ram": "15 GB",
        "unitCostUSD": 0.016667,
        "unitLabel": "minute",
        "accelerator": {"type": "gpu", "model": "A10G", "quantity": "1", "vram": "24 GB", "manufacturer": "Nvidia"},
    },
}
_KEPT = ("PATH", "PYTHONPATH", "LANG", "OMP_NUM_THREADS")


@dataclass
class Job:
    """A job."""

    id: str
    namespace: str
    spec: dict[str, Any]
    folder: Path
    stage: str = "SCHEDULING"
    message: str | None = None
    log: list[tuple[str, str]] = field(default_factory=list)
    created: str = field(default_factory=now)
    process: subprocess.Popen[str] | None = None

    def start(self, endpoint: str) -> None:
        """Run ``… hf-emms ARGUMENTS`` without the commands that would install it."""
        words = self.spec["command"]
        arguments = words[len(words) - words[::-1].index("hf-emms") :] if "hf-emms" in words else []
        environment = {name: os.environ[name] for name in _KEPT if name in os.environ}
        environment |= {"PYTHONPATH": str(ROOT), "HF_ENDPOINT": endpoint, "HF_HUB_DISABLE_XET": "1"}
        environment |= {"HF_HOME": str(self.folder / "hf"), "HF_HUB_DISABLE_TELEMETRY": "1"}
        environment |= self.spec.get("environment", {}) | self.spec.get("secrets", {})
        self.process = subprocess.Popen(
            [*python(), "-c", "from hf_emms.cli.app import main; main()", *arguments],
            cwd=self.folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.stage = "RUNNING"
        self.log.append((now(), f"===== Job started at {self.created} ====="))
        threading.Thread(target=self._watch, daemon=True).start()

    def end(self, stage: str, message: str) -> None:
        """End the job early."""
        self.stage, self.message = stage, message
        if self.process is not None:
            self.process.kill()

    def _watch(self) -> None:
        assert self.process is not None
        assert self.process.stdout is not None
        overtime = threading.Timer(self.spec.get("timeoutSeconds", 3600), self.end, ("ERROR", "Job timeout"))
        overtime.daemon = True
        overtime.start()
        for line in self.process.stdout:
            self.log.append((now(), line.rstrip("\n")))
        code = self.process.wait()
        overtime.cancel()
        if self.stage == "RUNNING":
            self.stage, self.message = ("COMPLETED", None) if code == 0 else ("ERROR", f"Exit code: {code}")


_POLL_SECONDS = 0.02


def _allowed(request: Request, namespace: str) -> None:
    token = authenticated(request)
    if not token.owns(namespace) or token.role != "write":
        raise HubError(403, "Forbidden: your token lacks the permission job.write")


def _job(request: Request, namespace: str, id: str) -> Job:
    _allowed(request, namespace)
    return request.hub.jobs[id]


def _told(job: Job) -> dict[str, Any]:
    return {
        "id": job.id,
        "createdAt": job.created,
        "dockerImage": job.spec["dockerImage"],
        "command": job.spec["command"],
        "arguments": job.spec["arguments"],
        "environment": job.spec["environment"],
        # The Hub never returns the values of secrets.
        "secrets": dict.fromkeys(job.spec.get("secrets", {}), ""),
        "flavor": job.spec["flavor"],
        "labels": job.spec.get("labels", {}),
        "status": {"stage": job.stage, "message": job.message},
        "owner": {"id": job.namespace, "name": job.namespace, "type": "user"},
    }


@route("GET", "/api/jobs/hardware")
def hardware(request: Request) -> Response:
    flavors = [{"name": name, "prettyName": name, "unitCostMicroUSD": 0, **told} for name, told in HARDWARE.items()]
    return reply(flavors)


@route("POST", "/api/jobs/{namespace}")
def start(request: Request, namespace: str) -> Response:
    _allowed(request, namespace)
    id = secrets.token_hex(12)
    folder = request.hub.store.folder / "jobs" / id
    folder.mkdir(parents=True)
    job = request.hub.jobs[id] = Job(id, namespace, request.json(), folder)
    job.start(request.base)
    return reply(_told(job))


@route("GET", "/api/jobs/{namespace}/{id}")
def inspect(request: Request, namespace: str, id: str) -> Response:
    return reply(_told(_job(request, namespace, id)))


@route("GET", "/api/jobs/{namespace}/{id}/logs")
def logs(request: Request, namespace: str, id: str) -> Response:
    job = _job(request, namespace, id)
    return Response(200, _events(job), {"Content-Type": "text/event-stream"})


def _events(job: Job) -> Iterator[bytes]:
    """Yield each line immediately, until the job has ended."""
    sent, over = 0, False
    while not over:
        over = job.stage not in ("SCHEDULING", "RUNNING")
        while sent < len(job.log):
            time, text = job.log[sent]
            yield f"data: {json.dumps({'timestamp': time, 'data': text})}\n\n".encode()
            sent += 1
        sleep(_POLL_SECONDS)
