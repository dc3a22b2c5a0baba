"""Hugging Face Jobs: commands that run on the Hub's hardware."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from hf_emms.errors import EmmsError
from hf_emms.hub.account import Account
from hf_emms.hub.client import endpoint, status_of, with_deadline

DONE = "COMPLETED"


@dataclass(frozen=True)
class Hardware:
    """A flavor of hardware: its name, what it is in words, and its price in USD a minute."""

    name: str
    summary: str
    usd_a_minute: float


@dataclass(frozen=True)
class Job:
    """A job on the Hub: its id, whose it is, and its page."""

    id: str
    namespace: str
    url: str


def hardware() -> dict[str, Hardware]:
    """The flavors that jobs may ask for, by name.

    Raises:
        EmmsError: offline, or the Hub cannot be reached.
    """
    from huggingface_hub import HfApi, constants

    if constants.HF_HUB_OFFLINE:
        raise EmmsError("HF_HUB_OFFLINE is set: no job can be started", "unset HF_HUB_OFFLINE")
    with _explained("the hardware of jobs"):
        found = with_deadline("the hardware of jobs", lambda watch: HfApi(endpoint=endpoint()).list_jobs_hardware())
    flavors = {}
    for one in found:
        accelerator = one.accelerator
        parts = [one.cpu, one.ram]
        if accelerator is not None:
            parts.append(f"{accelerator.quantity} × {accelerator.model} ({accelerator.vram})")
        minutes = {"second": 1 / 60, "minute": 1, "hour": 60}.get(one.unit_label, 1)
        flavors[one.name] = Hardware(one.name, ", ".join(parts), one.unit_cost_usd / minutes)
    return flavors


def require_jobs(account: Account) -> None:
    """Refuses when the token may not start jobs.

    Raises:
        EmmsError: says what the token lacks.
    """
    if not account.grants(account.name, "job.write"):
        raise EmmsError(
            f"your {account.role} token cannot start jobs",
            "hf auth login with a token that may write (fine-grained: job.write)",
        )


def start_job(
    account: Account,
    *,
    image: str,
    command: Sequence[str],
    flavor: str,
    timeout: str,
    environment: Mapping[str, str],
    secrets: Sequence[str],
) -> Job:
    """Starts a job. Sent once only: a request that is repeated might pay twice.

    Args:
        account: in whose name it runs.
        image: of the container.
        command: with its arguments.
        flavor: of the hardware.
        timeout: after which the Hub ends it: seconds, or a number with s, m, h or d.
        environment: variables that everybody who sees the job may read.
        secrets: names of secret variables; HF_TOKEN is the token in use.

    Raises:
        EmmsError: refused, or the Hub cannot be reached.
    """
    from huggingface_hub import HfApi, get_token

    values = {"HF_TOKEN": get_token()}
    with _explained("a job"):
        started = HfApi(endpoint=endpoint()).run_job(
            image=image,
            command=list(command),
            env=dict(environment),
            secrets={name: values[name] for name in secrets},
            flavor=flavor,
            timeout=timeout,
            namespace=account.name,
        )
    return Job(started.id, account.name, started.url)


def job_log(job: Job, *, follow: bool = True) -> Iterator[str]:
    """The lines of a job's log: as they come, until it has ended, or those that are there.

    Raises:
        EmmsError: the Hub cannot be reached.
    """
    from huggingface_hub import HfApi

    with _explained(f"the log of job {job.id}"):
        yield from HfApi(endpoint=endpoint()).fetch_job_logs(job_id=job.id, namespace=job.namespace, follow=follow)


def job_stage(job: Job) -> tuple[str, str]:
    """Where a job stands: the stage (`DONE` where it has succeeded), and what the Hub says to it.

    Raises:
        EmmsError: the Hub cannot be reached.
    """
    from huggingface_hub import HfApi

    def ask(watch: object) -> tuple[str, str]:
        status = HfApi(endpoint=endpoint()).inspect_job(job_id=job.id, namespace=job.namespace).status
        return str(getattr(status.stage, "value", status.stage)), status.message or ""

    with _explained(f"job {job.id}"):
        return with_deadline(f"job {job.id}", ask)


@contextmanager
def _explained(what: str) -> Iterator[None]:
    from huggingface_hub import errors

    try:
        yield
    except errors.HfHubHTTPError as error:
        status = status_of(error)
        detail = f"{status}: {error.server_message}" if error.server_message else str(status)
        hints = {
            401: "hf auth login",
            402: "jobs are paid by the minute: https://huggingface.co/settings/billing",
            403: "hf auth login with a token that may start jobs (job.write)",
        }
        hint = hints.get(status or 0, "hf jobs ps lists what runs; then run the same command again")
        raise EmmsError(f"the Hub refused {what} ({detail})", hint) from error
    except errors.HTTPError as error:
        raise EmmsError(f"the Hub cannot be reached for {what}: {error}", "hf jobs ps lists what runs") from error
