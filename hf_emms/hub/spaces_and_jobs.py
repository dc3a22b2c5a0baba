"""Spaces and Jobs on the Hub."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_emms.formatting import parse_duration
from hf_emms.hub.account import Account
from hf_emms.hub.client import TRIES, endpoint, request, translate_hub_errors
from hf_emms.texts import setting_ref

if TYPE_CHECKING:
    from hf_emms.hub.api import Api

# Hardware that free accounts may use: https://huggingface.co/docs/hub/spaces-overview
ZERO_GPU = "zero-a10g"

JOB_SUCCEEDED = "COMPLETED"
_JOB_HINT = (
    "check your login (hf auth login, with a token that may start jobs), "
    "https://huggingface.co/settings/billing, and your jobs (hf jobs ps)"
)
_MINUTES = {"second": 1 / 60, "hour": 60}


def publish_space(
    account: Account,
    id: str,
    folder: Path,
    *,
    message: str,
    sdk: str,
    hardware: str | None,
    private: bool,
    replace: Sequence[str],
    variables: Mapping[str, str],
) -> str:
    """Upload a folder to a Space, and return the URL of the commit.

    Deletes files of the Space that match the patterns `replace` and are not in the folder. Other files stay. Without
    `hardware`, a new Space gets free hardware if the account has any. Variables are public.
    """
    is_new = not request(lambda api: api.repo_exists(id, repo_type="space"), id, "space")
    new_hardware: Any = hardware
    if hardware is None and sdk != "static" and id.partition("/")[0] == account.name and not account.is_pro:
        new_hardware = ZERO_GPU  # the default of the Hub requires a paid plan

    def publish(api: Api) -> str:
        api.create_repo(
            id,
            repo_type="space",
            space_sdk=sdk,
            space_hardware=new_hardware if is_new else None,
            private=private,
            exist_ok=True,
        )
        if hardware is not None and not is_new:
            api.request_space_hardware(id, hardware)  # type: ignore[arg-type]
        # Before the commit, because each later change would start another build.
        for name, value in variables.items():
            api.add_space_variable(id, name, value)
        commit = api.upload_folder(
            repo_id=id, repo_type="space", folder_path=folder, commit_message=message, delete_patterns=list(replace)
        )
        return str(commit.commit_url)

    hint = (
        "choose one: "
        + setting_ref("static", True)
        + " (pages without a server, free); "
        + setting_ref("hardware", ZERO_GPU)
        + " (two are free for a user whose account is older than 30 days and whose address is verified), "
        "or a paid plan: https://huggingface.co/pricing"
    )
    return request(publish, id, "space", tries=TRIES, hint=hint)


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


@dataclass(frozen=True)
class Job:
    """A job on the Hub."""

    id: str
    namespace: str
    url: str


def hardware() -> dict[str, Hardware]:
    """Return the hardware that jobs can use, by name."""
    flavors = request(
        lambda api: [_hardware(flavor) for flavor in api.list_jobs_hardware()], "the hardware of jobs", hint=_JOB_HINT
    )
    return {flavor.name: flavor for flavor in flavors}


def start_job(account: Account, spec: JobSpec) -> Job:
    """Start a job for an account, and return it.

    Sends the request once, because a repeated request might start a second paid job.
    """
    from huggingface_hub import get_token

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
            namespace=account.name,
        ),
        "a job",
        tries=1,
        hint=_JOB_HINT,
    )
    return Job(job.id, account.name, job.url)


def job_log(job: Job, *, follow: bool = True) -> Iterator[str]:
    """Yield the lines of a job's log. With `follow`, wait for new lines until the job ends."""
    from huggingface_hub import HfApi

    with translate_hub_errors(f"the log of job {job.id}", hint=_JOB_HINT):
        yield from HfApi(endpoint=endpoint()).fetch_job_logs(job_id=job.id, namespace=job.namespace, follow=follow)


def job_stage(job: Job) -> tuple[str, str]:
    """Return the stage of a job, such as `JOB_SUCCEEDED`, and the Hub's message about it."""
    status = request(
        lambda api: api.inspect_job(job_id=job.id, namespace=job.namespace).status, f"job {job.id}", hint=_JOB_HINT
    )
    return str(getattr(status.stage, "value", status.stage)), status.message or ""


def _hardware(flavor: Any) -> Hardware:
    parts = [flavor.cpu, flavor.ram]
    if flavor.accelerator is not None:
        parts.append(f"{flavor.accelerator.quantity} × {flavor.accelerator.model} ({flavor.accelerator.vram})")
    return Hardware(flavor.name, ", ".join(parts), flavor.unit_cost_usd / _MINUTES.get(flavor.unit_label, 1))
