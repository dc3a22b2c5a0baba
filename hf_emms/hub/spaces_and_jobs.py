"""Spaces and Jobs on the Hub."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_emms.errors import EmmsError, Text, joined, parse_duration, setting_ref
from hf_emms.hub.account import Account, require_push, who_am_i
from hf_emms.hub.client import TRIES, endpoint, repo_url, request, translate_hub_errors

if TYPE_CHECKING:
    from hf_emms.hub.api import Api

_POLL_SECONDS = 3.0
# Hardware that free accounts may use: https://huggingface.co/docs/hub/spaces-overview
ZERO_GPU = "zero-a10g"
_CHOICES = (
    setting_ref("hardware", ZERO_GPU)
    + " (two are free for a user whose account is older than 30 days and whose address is "
    "verified), or a paid plan: https://huggingface.co/pricing"
)
_FAILED = ("BUILD_ERROR", "CONFIG_ERROR", "RUNTIME_ERROR", "NO_APP_FILE", "DELETING")

JOB_SUCCEEDED = "COMPLETED"
_JOB_HINTS = {
    401: "hf auth login",
    402: "jobs are billed by the minute: https://huggingface.co/settings/billing",
    403: "hf auth login with a token that may start jobs (job.write)",
    None: "list your jobs with hf jobs ps, then run the same command again",
}
_MINUTES = {"second": 1 / 60, "hour": 60}


def require_space(id: str) -> Account:
    """Return the owner of the token in use, or raise an EmmsError if it may not write to the Space."""
    account = who_am_i()
    require_push(account, id, "space", instead=setting_ref("repo_id", f"{account.name}/{id.rpartition('/')[2]}"))
    return account


def publish_space(
    account: Account,
    id: str,
    folder: Path,
    *,
    message: str,
    sdk: str = "gradio",
    hardware: str | None,
    free: Text | None = None,
    private: bool,
    replace: Sequence[str] = (),
    variables: Mapping[str, str] | None = None,
    secrets: Mapping[str, str] | None = None,
) -> str:
    """Upload a folder to a Space, and return the URL of the commit. If that fails, delete a new Space.

    Deletes files of the Space that match the patterns `replace` and are not in the folder. Other files stay. Without
    `hardware`, a new Space gets free hardware if the account has any. `free` is a free alternative, for the hint of a
    refusal. Variables are public; secrets are not.
    """
    is_new = not request(lambda api: api.repo_exists(id, repo_type="space"), id, "space")
    new_hardware = hardware
    if hardware is None and sdk != "static" and id.partition("/")[0] == account.name and not account.is_pro:
        new_hardware = ZERO_GPU  # the default of the Hub requires a paid plan

    def publish(api: Api) -> str:
        chosen: Any = new_hardware if is_new else None
        api.create_repo(id, repo_type="space", space_sdk=sdk, space_hardware=chosen, private=private, exist_ok=True)
        if hardware is not None and not is_new:
            api.request_space_hardware(id, hardware)  # type: ignore[arg-type]
        # Before the commit, because each later change would start another build.
        for name, value in (variables or {}).items():
            api.add_space_variable(id, name, value)
        for name, value in (secrets or {}).items():
            api.add_space_secret(id, name, value)
        commit = api.upload_folder(
            repo_id=id,
            repo_type="space",
            folder_path=folder,
            commit_message=message,
            delete_patterns=list(replace) or None,
        )
        return str(commit.commit_url)

    choices = "choose one: " + joined(filter(None, (free, _CHOICES)), "; ")
    try:
        return request(publish, id, "space", tries=TRIES, hints={402: choices, 403: choices})
    except BaseException:
        if is_new:
            with suppress(EmmsError):
                request(lambda api: _delete_empty(api, id), id, "space", tries=TRIES)
        raise


def sdk_of(id: str) -> str:
    """Return the SDK of a Space: "gradio", "static" or "docker"."""
    return request(lambda api: str(api.repo_info(id, repo_type="space").sdk), id, "space")


def wait_for_space(id: str, *, seconds: float = 900.0) -> str:
    """Wait until a Space has been built and started, and return its stage."""
    page = repo_url(id, "space")
    try:
        runtime = request(
            lambda api: api.wait_for_space(id, timeout=seconds, poll_interval=_POLL_SECONDS), id, "space", tries=TRIES
        )
    except TimeoutError as error:
        raise EmmsError(f"the Space {id!r} has not started after {seconds:g} s", f"watch {page}") from error
    if runtime.stage in _FAILED:
        raise EmmsError(f"the Space {id!r} stopped at {runtime.stage}", f"read its logs: {page}?logs=build")
    return str(runtime.stage)


def _delete_empty(api: Api, id: str) -> None:
    """Delete a Space without an app. With an app, the commit succeeded although its answer was lost."""
    if not any(api.file_exists(id, app, repo_type="space") for app in ("app.py", "index.html")):
        api.delete_repo(id, repo_type="space")


@dataclass(frozen=True)
class Hardware:
    """Hardware for jobs."""

    name: str
    summary: str
    usd_per_minute: float


@dataclass(frozen=True)
class JobSpec:
    """A job to start."""

    image: str
    command: tuple[str, ...]
    flavor: str
    timeout: str  # seconds, or a number with s, m, h, d or w
    environment: dict[str, str]  # visible to everybody who sees the job
    secrets: tuple[str, ...] = ("HF_TOKEN",)  # names; HF_TOKEN is the token in use
    labels: dict[str, str] = field(default_factory=dict)
    bucket: str | None = None  # "ORG/NAME" of persistent storage
    mount: str = "/bucket"  # mount point of the bucket


@dataclass(frozen=True)
class Job:
    """A job on the Hub."""

    id: str
    namespace: str
    url: str
    stage: str = ""  # a stage of the Hub, such as `JOB_SUCCEEDED`
    flavor: str = ""
    created: str = ""  # ISO 8601
    labels: dict[str, str] = field(default_factory=dict)


def hardware() -> dict[str, Hardware]:
    """Return the hardware that jobs can use, by name."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        raise EmmsError("HF_HUB_OFFLINE is set: no job can be started", "unset HF_HUB_OFFLINE")
    flavors = request(
        lambda api: [_hardware(flavor) for flavor in api.list_jobs_hardware()], "the hardware of jobs", hints=_JOB_HINTS
    )
    return {flavor.name: flavor for flavor in flavors}


def start_job(account: Account, spec: JobSpec) -> Job:
    """Start a job for an account, and return it. If its bucket does not exist, create it as a private one.

    Sends the request once, because a repeated request might start a second paid job.
    """
    from huggingface_hub import Volume, get_token

    volumes = []
    if spec.bucket is not None:
        bucket = spec.bucket
        request(lambda api: api.create_bucket(bucket, private=True, exist_ok=True), f"the bucket {bucket!r}")
        volumes.append(Volume(type="bucket", source=bucket, mount_path=spec.mount))
    values = {"HF_TOKEN": get_token()}
    job = request(
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
        hints=_JOB_HINTS,
    )
    return _job(job, account)


def list_jobs(account: Account, labels: dict[str, str]) -> list[Job]:
    """Return the jobs of an account with these labels, latest first."""
    jobs = request(
        lambda api: [_job(job, account) for job in api.list_jobs(labels=labels, namespace=account.name)],
        "the list of jobs",
        hints=_JOB_HINTS,
    )
    return sorted(jobs, key=lambda job: job.created, reverse=True)


def job_log(job: Job, *, follow: bool = True) -> Iterator[str]:
    """Yield the lines of a job's log. With `follow`, wait for new lines until the job ends."""
    from huggingface_hub import HfApi

    with translate_hub_errors(f"the log of job {job.id}", hints=_JOB_HINTS):
        yield from HfApi(endpoint=endpoint()).fetch_job_logs(job_id=job.id, namespace=job.namespace, follow=follow)


def job_stage(job: Job) -> tuple[str, str]:
    """Return the stage of a job, such as `JOB_SUCCEEDED`, and the Hub's message about it."""
    status = request(
        lambda api: api.inspect_job(job_id=job.id, namespace=job.namespace).status, f"job {job.id}", hints=_JOB_HINTS
    )
    return _stage(status), status.message or ""


def _job(info: Any, account: Account) -> Job:
    created = info.created_at.isoformat(timespec="seconds") if info.created_at else ""
    labels = dict(info.labels or {})
    return Job(info.id, account.name, info.url, _stage(info.status), str(info.flavor or ""), created, labels)


def _stage(status: Any) -> str:
    return str(getattr(status.stage, "value", status.stage))


def _hardware(flavor: Any) -> Hardware:
    parts = [flavor.cpu, flavor.ram]
    if flavor.accelerator is not None:
        parts.append(f"{flavor.accelerator.quantity} × {flavor.accelerator.model} ({flavor.accelerator.vram})")
    return Hardware(flavor.name, ", ".join(parts), flavor.unit_cost_usd / _MINUTES.get(flavor.unit_label, 1))
