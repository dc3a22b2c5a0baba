"""Run a ranking as a Hugging Face Job: the same command on the Hub's hardware. A dataset returns the ranking."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from hf_emms import hub
from hf_emms.errors import EmmsError, check_type
from hf_emms.formatting import parse_duration
from hf_emms.hub import Hardware, Job, JobSpec
from hf_emms.options import Options
from hf_emms.presets import dataset_preset, encoder_presets
from hf_emms.publish import results, wheel
from hf_emms.ranking import Ranking
from hf_emms.ranking.merge import JSON_FOLDER, path_of
from hf_emms.ranking.progress import Progress
from hf_emms.texts import setting_ref

# Debian with Python and uv; huggingface_hub also uses it for scripts.
IMAGE = "ghcr.io/astral-sh/uv:python3.12-bookworm"

# Set in the environment of a job.
IN_JOB = "HF_EMMS_JOB"
# The line in a job's log with the path of the published ranking.
_PUBLISHED = "published ranking: "
# Packages that a job needs besides hf-emms to fine-tune the best checkpoints.
_FINE_TUNING = ("peft", "sacrebleu", "scikit-learn", "sentence-transformers")


@dataclass(frozen=True)
class JobSettings:
    """The settings of a Hugging Face Job, which is an `engine` of `rank`.

    Attributes:
        results_repo: The dataset for the ranking, "ORG/emms-results". It is created if needed.
        flavor: The hardware.
        timeout: The time limit: seconds, or a number with s, m, h, d or w.

    Raises:
        EmmsError: The timeout is invalid.

    Examples:
        >>> job = hf_emms.JobSettings("ORG/emms-results", flavor="a10g-small")  # doctest: +SKIP
        >>> hf_emms.rank("ORG/DATASET", engine=job)  # doctest: +SKIP
    """

    results_repo: str
    flavor: str = "cpu-basic"
    timeout: str = "2h"

    def __post_init__(self) -> None:
        _ = self.minutes  # raises an error for an invalid timeout

    @property
    def minutes(self) -> float:
        return parse_duration(self.timeout, bare_seconds=True) / 60


def job_spec(options: Options, settings: JobSettings) -> JobSpec:
    """Return the job for the ranking of these options, which publishes the ranking."""
    if options.training.save_model is not None:
        raise EmmsError(
            "settings-exclude-each-other",
            "a job cannot save a model, because its folders are deleted when it ends",
            setting_ref("push_model_to", "ORG/NAME") + " instead of " + setting_ref("save_model"),
        )
    package = wheel.requirement(hub.repo_url(settings.results_repo, "dataset"))
    packages = (package, *(_FINE_TUNING if options.training.confirm is not None else ()))
    requirements = [word for requirement in packages for word in ("--with", requirement)]
    command = ("uv", "run", *requirements, "hf-emms", "rank", *rank_argv(options))
    environment = {"PYTHONUNBUFFERED": "1", IN_JOB: "1"}
    if os.environ.get("HF_ENDPOINT"):
        environment["HF_ENDPOINT"] = os.environ["HF_ENDPOINT"]
    return JobSpec(
        IMAGE,
        (*command, "--results-repo", settings.results_repo),
        settings.flavor,
        settings.timeout,
        environment,
        labels={"app": "hf-emms"},
    )


def price(settings: JobSettings) -> tuple[Hardware, float]:
    """Return the hardware, and the maximum price of the job in USD."""
    flavors = hub.hardware()
    if settings.flavor not in flavors:
        raise EmmsError(
            "unknown-flavor",
            f"the Hub has no flavor {settings.flavor!r}",
            setting_ref("flavor") + f": choose from {', '.join(flavors)}",
        )
    chosen = flavors[settings.flavor]
    return chosen, chosen.usd_per_minute * settings.minutes


def run(options: Options, settings: JobSettings, progress: Progress) -> Ranking:
    """Check what can be checked, start a job, wait for it, and return its ranking.

    `progress` receives the lines of its log. The published ranking includes checkpoints that others ranked with the
    same settings.
    """
    check_type("engine", settings, JobSettings)
    spec = job_spec(options, settings)
    account, repo, model = hub.who_am_i(), settings.results_repo, options.training.push_model_to
    hub.require_write_token(account, "start jobs")
    hub.require_push(account, repo, "dataset", instead=setting_ref("results_repo", f"{account.name}/emms-results"))
    if model is not None:
        hub.require_push(account, model, "model", instead=setting_ref("push_model_to", f"{account.name}/NAME"))
    price(settings)
    results.publish_wheel(repo)
    job = hub.start_job(account, spec)
    progress.noted(f"job {job.id} on {settings.flavor}: {job.url}")
    try:
        path = _followed(job, progress)
    except KeyboardInterrupt:
        progress.noted(
            f"The job continues: {job.url}\n"
            f"  hf jobs cancel {job.id} ends it. Its ranking goes to {repo}: "
            f"hf download {repo} --repo-type dataset --local-dir results"
        )
        raise
    content = hub.read_file(repo, "dataset", path)
    if content is None:
        raise EmmsError(
            "no-ranking",
            f"{repo} has no file {path} with the ranking of the job",
            f"hf download {repo} --repo-type dataset --local-dir results",
        )
    return Ranking.from_json(content)


def _followed(job: Job, progress: Progress) -> str:
    """Report the log of a job until it ends, and return the path of the published ranking."""
    for line in hub.job_log(job):
        progress.noted(line)
    stage, message = hub.job_stage(job)
    if stage != hub.JOB_SUCCEEDED:
        raise EmmsError(
            "job-failed", f"the job ended at {stage}{f': {message}' if message else ''}", f"read its log: {job.url}"
        )
    # Read the log again: its last lines are missing if the connection broke near the end.
    paths = [line.removeprefix(_PUBLISHED) for line in hub.job_log(job, follow=False) if line.startswith(_PUBLISHED)]
    if not paths:
        raise EmmsError(
            "no-ranking", "the job has ended, but its log does not name a ranking", f"read the log: {job.url}"
        )
    return paths[-1]


def publish(ranking: Ranking, results_repo: str) -> str:
    """Publish a ranking, and return a line with its address, which a job writes to its log."""
    results.publish([ranking], results_repo)
    path = f"{JSON_FOLDER}/{path_of(ranking)}.json"
    return f"{_PUBLISHED}{path}" if os.environ.get(IN_JOB) else f"published in {results_repo}: {path}"


def rank_argv(options: Options) -> list[str]:
    """Return the words after ``hf-emms rank``.

    Raises:
        EmmsError: The options name something that only this machine has.
    """
    for kind, id in _names(options):
        if not isinstance(id, str) or hub.on_this_machine(id):
            named = id if isinstance(id, str) else "a Dataset in memory"
            raise EmmsError(
                "not-on-hub",
                f"a job cannot read the {kind} {named}, which is on this machine",
                "put it on the Hub, or " + setting_ref("engine", "local"),
            )
    return options.to_argv()


def _names(options: Options) -> Iterator[tuple[str, Any]]:
    if not (isinstance(options.sample.dataset, str) and dataset_preset(options.sample.dataset)):
        yield "dataset", options.sample.dataset
    yield from (("checkpoint", id) for id in options.features.checkpoints)
    yield from (("label encoder", id) for id in options.features.encoders if id not in encoder_presets())
