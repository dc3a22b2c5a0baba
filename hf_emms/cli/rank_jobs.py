"""hf-emms rank --engine jobs."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

from hf_emms.cli import output
from hf_emms.errors import EmmsError

if TYPE_CHECKING:
    from hf_emms.jobs import JobSettings
    from hf_emms.plan import Request
    from hf_emms.ranking import Ranking

INTERRUPTED = 130


def settings_of(engine: str, results_repo: str | None, options: dict[str, Any]) -> JobSettings | None:
    """The job's settings, taken out of the options; None for the other engines.

    Raises:
        EmmsError: they do not go together.
    """
    given = {name: value for name in ("flavor", "timeout", "package") if (value := options.pop(f"jobs_{name}"))}
    if engine != "jobs":
        for name in given:
            option = "--flavor" if name == "flavor" else f"--jobs-{name}"
            raise EmmsError(f"{option} is for a job, but the engine is {engine}", "--engine jobs")
        return None
    if results_repo is None:
        raise EmmsError(
            "--engine jobs needs a dataset that the ranking comes back through", "--results-repo ORG/emms-results"
        )
    from hf_emms.jobs import JobSettings

    return JobSettings(results_repo, **given)


def rank_on_jobs(request: Request, settings: JobSettings, *, quiet: bool, dry_run: bool) -> Ranking | None:
    """Starts the job and follows it; only prints it where `dry_run`."""
    from hf_emms import jobs

    if dry_run:
        _print_spec(request, settings)
        return None
    job = jobs.start(request, settings)
    output.say(f"job {job.id} on {settings.flavor}: {job.url}", quiet=quiet)
    try:
        return jobs.follow(job, lambda line: output.say(line, quiet=quiet))
    except KeyboardInterrupt:
        output.say(
            f"The job goes on: {job.url}\n"
            f"  hf jobs cancel {job.id} ends it; its ranking goes to {settings.results_repo}: "
            f"hf-emms pull results --repo-id {settings.results_repo}"
        )
        sys.exit(INTERRUPTED)


def _print_spec(request: Request, settings: JobSettings) -> None:
    from hf_emms import jobs

    output.emit(json.dumps(vars(jobs.job_spec(request, settings)), indent=2))
    try:
        hardware, most = jobs.price(settings)
    except EmmsError as error:
        output.say(f"what it costs is not known: {error}")
    else:
        output.say(
            f"{hardware.name}: {hardware.summary}; {hardware.usd_a_minute:.4f} USD a minute, "
            f"at most {most:.2f} USD in {settings.timeout}"
        )
    output.say("nothing was started")
