"""Run a ranking as a Hugging Face Job: the same command on the Hub's hardware. A dataset returns the ranking."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hf_emms import hub
from hf_emms.errors import EmmsError, check_type
from hf_emms.formatting import parse_duration, pluralize
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
_RANK = ("rank",)
# Packages that a job needs besides hf-emms to fine-tune the best checkpoints.
_FINE_TUNING = ("peft", "sacrebleu", "scikit-learn", "sentence-transformers")


@dataclass(frozen=True)
class JobSettings:
    """The settings of a Hugging Face Job, which is an `engine` of `rank`.

    Attributes:
        results_repo: The dataset for the ranking, "ORG/emms-results". It is created if needed.
        flavor: The hardware.
        timeout: The time limit of a job: seconds, or a number with s, m, h, d or w.
        parts: The number of jobs, each of which runs a part of the checkpoints.

    Raises:
        EmmsError: The timeout is invalid.

    Examples:
        >>> job = hf_emms.JobSettings("ORG/emms-results", flavor="a10g-small")  # doctest: +SKIP
        >>> hf_emms.rank("ORG/DATASET", engine=job)  # doctest: +SKIP
    """

    results_repo: str
    flavor: str = "cpu-basic"
    timeout: str = "2h"
    parts: int = 1

    def __post_init__(self) -> None:
        _ = self.minutes  # raises an error for an invalid timeout

    @property
    def minutes(self) -> float:
        return parse_duration(self.timeout, bare_seconds=True) / 60


def job_specs(options: Options, settings: JobSettings, command: Sequence[str] = _RANK) -> list[JobSpec]:
    """Return the jobs for the parts of a ranking. The command is a name with its own flags."""
    if command != _RANK and settings.parts > 1:
        problem = setting_ref("parts") + f" divides the checkpoints of a ranking, but {command[0]} chooses them"
        raise EmmsError("setting-without-effect", problem, "leave it out")
    parts = [None] if settings.parts == 1 else [f"{number}/{settings.parts}" for number in _numbers(settings)]
    return [job_spec(options if part is None else options.replaced(part=part), settings, command) for part in parts]


def sweep_specs(options_of: Mapping[str, Options], settings: JobSettings) -> list[JobSpec]:
    """Return the jobs for the parts of a sweep."""
    for options in options_of.values():
        rank_argv(options)
    datasets = json.dumps([options.changed() for options in options_of.values()])
    words = ("hf-emms", "sweep", "--datasets", datasets, "--part")
    return [_spec((*words, f"{number}/{settings.parts}"), (), settings) for number in _numbers(settings)]


def _numbers(settings: JobSettings) -> range:
    return range(1, settings.parts + 1)


def job_spec(options: Options, settings: JobSettings, command: Sequence[str] = _RANK) -> JobSpec:
    """Return the job for the ranking of these options, which publishes the ranking."""
    if options.training.save_model is not None:
        raise EmmsError(
            "settings-exclude-each-other",
            "a job cannot save a model, because its folders are deleted when it ends",
            setting_ref("push_model_to", "ORG/NAME") + " instead of " + setting_ref("save_model"),
        )
    extras = _FINE_TUNING if options.training.confirm is not None else ()
    return _spec(("hf-emms", *command, *rank_argv(options)), extras, settings)


def _spec(words: tuple[str, ...], extras: tuple[str, ...], settings: JobSettings) -> JobSpec:
    package = wheel.requirement(hub.repo_url(settings.results_repo, "dataset"))
    requirements = [word for requirement in (package, *extras) for word in ("--with", requirement)]
    command = ("uv", "run", *requirements, *words)
    environment = {"PYTHONUNBUFFERED": "1", IN_JOB: "1"}
    if os.environ.get("HF_ENDPOINT"):
        environment["HF_ENDPOINT"] = os.environ["HF_ENDPOINT"]
    return JobSpec(
        IMAGE,
        # Nobody can answer a question of a job, and the command that starts it has asked.
        (*command, "--results-repo", settings.results_repo, "--yes"),
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


def run(
    options: Options, settings: JobSettings, progress: Progress, command: Sequence[str] = _RANK
) -> tuple[Ranking, tuple[EmmsError, ...]]:
    """Check what can be checked, start jobs, wait for them, and return their ranking and the errors of some jobs.

    `progress` receives the lines of its log. The published ranking includes checkpoints that others ranked with the
    same settings.

    Raises:
        EmmsError: No job could be started, or all jobs failed.
    """
    check_type("engine", settings, JobSettings)
    specs = job_specs(options, settings, command)
    published, failed = run_jobs(specs, settings, progress, options.training.push_model_to)
    if not published:
        raise next(iter(failed.values()))
    return published[-1], tuple(failed.values())


def run_jobs(
    specs: Sequence[JobSpec], settings: JobSettings, progress: Progress, model: str | None = None
) -> tuple[list[Ranking], dict[str, EmmsError]]:
    """Start jobs, wait for all, and return the rankings that they published, and the errors of jobs by their ids.

    Jobs that rank parts of the same checkpoints publish one ranking. `model` is a repository that they write to.
    """
    account, repo = hub.who_am_i(), settings.results_repo
    hub.require_write_token(account, "start jobs")
    hub.require_push(account, repo, "dataset", instead=setting_ref("results_repo", f"{account.name}/emms-results"))
    if model is not None:
        hub.require_push(account, model, "model", instead=setting_ref("push_model_to", f"{account.name}/NAME"))
    progress.noted(f"{pluralize(len(specs), 'job')}: at most {len(specs) * price(settings)[1]:.2f} USD")
    results.publish_wheel(repo)
    jobs = []
    for spec in specs:
        jobs.append(job := hub.start_job(account, spec))
        progress.noted(f"job {job.id} on {settings.flavor}: {job.url}")
    paths, failed = dict[str, None](), dict[str, EmmsError]()
    for job in jobs:
        try:
            paths |= dict.fromkeys(_followed(job, progress))
        except EmmsError as error:
            failed[job.id] = error
        except KeyboardInterrupt:
            ids = " ".join(job.id for job in jobs)
            progress.noted(
                f"The job continues: {job.url}\n"
                f"  hf jobs cancel {ids} ends it. Its ranking goes to {repo}: "
                f"hf download {repo} --repo-type dataset --local-dir results"
            )
            raise
    return [_published(repo, path) for path in paths], failed


def _published(repo: str, path: str) -> Ranking:
    content = hub.read_file(repo, "dataset", path)
    if content is None:
        raise EmmsError(
            "no-ranking",
            f"{repo} has no file {path} with the ranking of the job",
            f"hf download {repo} --repo-type dataset --local-dir results",
        )
    return Ranking.from_json(content)


def _followed(job: Job, progress: Progress) -> list[str]:
    """Report the log of a job until it ends, and return the paths of the published rankings."""
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
    return paths


def publish(rankings: Sequence[Ranking], results_repo: str) -> str:
    """Publish rankings in one commit, and return lines with their addresses, which a job writes to its log."""
    results.publish(rankings, results_repo)
    start = _PUBLISHED if os.environ.get(IN_JOB) else f"published in {results_repo}: "
    return "\n".join(f"{start}{JSON_FOLDER}/{path_of(ranking)}.json" for ranking in rankings)


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
