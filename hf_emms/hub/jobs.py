"""Hugging Face Jobs: commands that run on the Hub's hardware."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from hf_emms.errors import EmmsError
from hf_emms.formatting import parse_duration
from hf_emms.hub.account import Account
from hf_emms.hub.client import request, translate_hub_errors
from hf_emms.hub.session import endpoint

JOB_SUCCEEDED = "COMPLETED"

_HINTS = {
    401: "hf auth login",
    402: "jobs are paid by the minute: https://huggingface.co/settings/billing",
    403: "hf auth login with a token that may start jobs (job.write)",
    None: "hf jobs ps lists what runs; then run the same command again",
}
_MINUTES = {"second": 1 / 60, "minute": 1, "hour": 60}


@dataclass(frozen=True)
class Hardware:
    """A flavor of hardware: its name, what it is in words, and its price in USD a minute."""

    name: str
    summary: str
    usd_a_minute: float


@dataclass(frozen=True)
class JobSpec:
    """A job to start.

    Attributes:
        image: of the container.
        command: with its arguments.
        flavor: of the hardware.
        timeout: after which the Hub ends it: seconds, or a number with s, m, h, d or w.
        environment: variables that everybody who sees the job may read.
        secrets: names of secret variables; HF_TOKEN is the token in use.
        labels: by which it is found again.
        bucket: "ORG/NAME", mounted at `mount`, where files outlive the job; None for none.
        mount: an absolute path.
    """

    image: str
    command: tuple[str, ...]
    flavor: str
    timeout: str
    environment: dict[str, str]
    secrets: tuple[str, ...] = ("HF_TOKEN",)
    labels: dict[str, str] = field(default_factory=dict)
    bucket: str | None = None
    mount: str = "/bucket"


@dataclass(frozen=True)
class Job:
    """A job on the Hub.

    Attributes:
        id: 24 hex digits.
        namespace: whose it is.
        url: its page.
        stage: as the Hub names it; `JOB_SUCCEEDED` where it has succeeded.
        flavor: of its hardware.
        created: when, as ISO 8601.
        labels: of its `JobSpec`, and others.
    """

    id: str
    namespace: str
    url: str
    stage: str = ""
    flavor: str = ""
    created: str = ""
    labels: dict[str, str] = field(default_factory=dict)


def hardware() -> dict[str, Hardware]:
    """The flavors that jobs may ask for, by name.

    Raises:
        EmmsError: offline, or the Hub cannot be reached.
    """
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        raise EmmsError("HF_HUB_OFFLINE is set: no job can be started", "unset HF_HUB_OFFLINE")
    flavors = request(
        lambda api: [_hardware(one) for one in api.list_jobs_hardware()], "the hardware of jobs", hints=_HINTS
    )
    return {flavor.name: flavor for flavor in flavors}


def start_job(account: Account, spec: JobSpec) -> Job:
    """Starts a job in the name of an account; its bucket is made where there is none, a private one.

    Sent once only: a request that is repeated might pay twice.

    Raises:
        EmmsError: refused, or the Hub cannot be reached.
    """
    from huggingface_hub import Volume, get_token

    volumes = []
    if spec.bucket is not None:
        bucket = spec.bucket
        request(lambda api: api.create_bucket(bucket, private=True, exist_ok=True), f"the bucket {bucket!r}")
        volumes.append(Volume(type="bucket", source=bucket, mount_path=spec.mount))
    values = {"HF_TOKEN": get_token()}
    started = request(
        lambda api: api.run_job(
            image=spec.image,
            command=list(spec.command),
            env=spec.environment,
            secrets={name: values[name] for name in spec.secrets},
            flavor=spec.flavor,
            timeout=parse_duration(spec.timeout, bare_seconds=True),
            labels=spec.labels,
            volumes=volumes or None,
            namespace=account.name,
        ),
        "a job",
        tries=1,
        hints=_HINTS,
    )
    return _job(started, account)


def list_jobs(account: Account, labels: dict[str, str]) -> list[Job]:
    """The jobs of an account that have these labels, the latest first.

    Raises:
        EmmsError: refused, or the Hub cannot be reached.
    """
    found = request(
        lambda api: list(api.list_jobs(labels=labels, namespace=account.name)), "the list of jobs", hints=_HINTS
    )
    return sorted((_job(one, account) for one in found), key=lambda job: job.created, reverse=True)


def job_log(job: Job, *, follow: bool = True) -> Iterator[str]:
    """The lines of a job's log: as they come, until it has ended, or those that are there.

    Raises:
        EmmsError: the Hub cannot be reached.
    """
    from huggingface_hub import HfApi

    with translate_hub_errors(f"the log of job {job.id}", hints=_HINTS):
        yield from HfApi(endpoint=endpoint()).fetch_job_logs(job_id=job.id, namespace=job.namespace, follow=follow)


def job_stage(job: Job) -> tuple[str, str]:
    """The stage of a job (`JOB_SUCCEEDED` where it has succeeded), and the Hub's message about it.

    Raises:
        EmmsError: the Hub cannot be reached.
    """
    status = request(
        lambda api: api.inspect_job(job_id=job.id, namespace=job.namespace).status, f"job {job.id}", hints=_HINTS
    )
    return _stage(status), status.message or ""


def _job(found: Any, account: Account) -> Job:
    created = found.created_at.isoformat(timespec="seconds") if found.created_at else ""
    labels = dict(found.labels or {})
    return Job(found.id, account.name, found.url, _stage(found.status), str(found.flavor or ""), created, labels)


def _stage(status: Any) -> str:
    return str(getattr(status.stage, "value", status.stage))


def _hardware(one: Any) -> Hardware:
    parts = [one.cpu, one.ram]
    if one.accelerator is not None:
        parts.append(f"{one.accelerator.quantity} × {one.accelerator.model} ({one.accelerator.vram})")
    return Hardware(one.name, ", ".join(parts), one.unit_cost_usd / _MINUTES.get(one.unit_label, 1))
