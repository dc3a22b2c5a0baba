"""hf-emms rank: here, on a Ray cluster, or as a Hugging Face Job."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import cloup

from hf_emms.cli.option_flags import EVERYDAY, options_from, setting_groups
from hf_emms.cli.output import (
    FORMATS,
    cached_file,
    check_output,
    format_option,
    out,
    quiet_option,
    stdout_for_data_only,
    write_ranking,
)
from hf_emms.errors import EmmsError
from hf_emms.files import decoded
from hf_emms.formatting import format_bytes, pluralize
from hf_emms.options import DEFAULT_ENCODERS, SETTINGS, Options

if TYPE_CHECKING:
    from hf_emms.hub import JobSpec, Repo
    from hf_emms.ranking import Ranking
    from hf_emms.run.plan import Candidate, Plan
    from hf_emms.run.preflight import Cost, Preflight, Rate
    from hf_emms.run.ranking_job import JobSettings


def job_settings(engine: str, results_repo: str | None, given: dict[str, Any]) -> JobSettings | None:
    """The job's settings, taken out of the options; None for the other engines.

    Raises:
        EmmsError: they do not go together.
    """
    job = {name: value for name in ("flavor", "timeout", "package", "bucket") if (value := given.pop(f"jobs_{name}"))}
    if engine != "jobs":
        for name in job:
            option = "--flavor" if name == "flavor" else f"--jobs-{name}"
            raise EmmsError(f"{option} is for a job, but the engine is {engine}", "--engine jobs")
        return None
    if results_repo is None:
        raise EmmsError(
            "--engine jobs needs a dataset that the ranking comes back through", "--results-repo ORG/emms-results"
        )
    from hf_emms.run.ranking_job import JobSettings

    return JobSettings(results_repo, **job)


def print_spec(spec: JobSpec, settings: JobSettings) -> None:
    """Prints a job that is not started, and its highest possible cost."""
    from hf_emms.run import ranking_job

    out.data(json.dumps(vars(spec), indent=2))
    try:
        hardware, most = ranking_job.price(settings)
    except EmmsError as error:
        out.message(f"the price is not known: {error}")
    else:
        out.message(
            f"{hardware.name}: {hardware.summary}; {hardware.usd_a_minute:.4f} USD a minute, "
            f"at most {most:.2f} USD in {settings.timeout}"
        )
    out.message("nothing was started")


SHARED = "Ranks with = are shared: the difference is within the noise of the folds."
RELATIVE = "Scores are relative: they compare checkpoints on this dataset, sample and label set, and nothing else."


JOB_FLAGS = [
    cloup.option("--flavor", "jobs_flavor", metavar="NAME", help="Hardware of a job [default: cpu-basic]."),
    cloup.option("--jobs-timeout", metavar="TIME", help="When the Hub ends a job, e.g. 90m, 2h [default: 2h]."),
    cloup.option("--jobs-package", metavar="SPEC", help="What a job installs [default: this version]."),
    cloup.option(
        "--jobs-bucket", metavar="ORG/NAME", help="A bucket that keeps a job's features and cache for later jobs."
    ),
]
_OWN_FLAGS = {
    EVERYDAY: [
        cloup.option(
            "--output", "-o", "target", type=click.Path(path_type=Path), metavar="FILE", help="Also write a file."
        ),
        cloup.option(
            "--dry-run", is_flag=True, help="Print what would be downloaded and run, how long, and every problem."
        ),
    ],
    "Checkpoints": [
        cloup.option("--checkpoints-file", metavar="FILE|-", help="One checkpoint a line."),
    ],
    "Running": JOB_FLAGS,
    "Output": [
        format_option(FORMATS),
        quiet_option("Print the checkpoint ids only, best first."),
        cloup.option("--strict", is_flag=True, help="Exit with 1 when any checkpoint failed."),
        cloup.option(
            "--results-repo",
            metavar="ORG/emms-results",
            help="Also publish the ranking in this dataset; a job's ranking comes back through it.",
        ),
    ],
}


@cloup.command(short_help="Rank checkpoints for a dataset.")
@setting_groups(_OWN_FLAGS)
def rank(
    checkpoints_file: str | None,
    target: Path | None,
    strict: bool,
    dry_run: bool,
    results_repo: str | None,
    **given: Any,
) -> None:
    """Rank checkpoints for a dataset without fine-tuning any of them.

    Without --checkpoint, the list for the dataset's task is used (see hf-emms presets).
    """
    if target is not None and dry_run:
        raise click.UsageError("--dry-run makes no ranking that --output could hold; leave one of them out.")
    if target is not None:
        check_output(target, [given["dataset"], *([checkpoints_file] if checkpoints_file else [])])
    given["checkpoints"] = (*given["checkpoints"], *listed(checkpoints_file))
    settings = job_settings(given["engine"] or SETTINGS["engine"].default, results_repo, given)
    options = options_from(given)
    if dry_run:
        _print_dry_run(options, settings)
        return
    ranking = _ranked(options, settings, results_repo)
    saved, problem = _saved(ranking, target, cache=options.cache)
    if out.quiet:
        out.data("\n".join(row.checkpoint for row in ranking.rows if row.error is None))
    else:
        out.ranking(ranking)
    out.message(summary(ranking, saved))
    if results_repo is not None and settings is None:
        from hf_emms.run.ranking_job import publish

        out.message(publish(ranking, results_repo))
    if problem is not None:
        raise problem
    if ranking.best is None:
        raise EmmsError("no checkpoint could be scored", "the failed rows have the reasons; --debug shows tracebacks")
    if strict and any(row.error is not None for row in ranking.rows):
        raise EmmsError("--strict: a checkpoint failed", "its row has the reason; --debug shows the traceback")


def _print_dry_run(options: Options, settings: JobSettings | None) -> None:
    """Prints the job, or the plan and every problem of a run on this machine or a cluster."""
    from hf_emms.cli.progress_bars import StderrProgress
    from hf_emms.run.preflight import preflight
    from hf_emms.run.ranking_job import job_spec

    if settings is not None:
        print_spec(job_spec(options, settings), settings)
        return
    with StderrProgress(quiet=out.quiet) as progress, stdout_for_data_only():
        result = preflight(options, progress)
    _print_preflight(result)


def _ranked(options: Options, settings: JobSettings | None, results_repo: str | None) -> Ranking:
    from hf_emms.cli.progress_bars import StderrProgress
    from hf_emms.run.rank import rank_with

    if results_repo is not None and settings is None:
        from hf_emms import hub

        account = hub.who_am_i()
        hub.require_push(account, results_repo, "dataset", instead=f"--results-repo {account.name}/emms-results")

    def save(ranking: Ranking) -> None:  # fine-tuning and uploads may be interrupted
        if options.confirm is not None and ranking.best is not None:
            _saved(ranking, None, cache=options.cache)

    with StderrProgress(quiet=out.quiet) as progress, stdout_for_data_only():
        return rank_with(options, progress, settings, on_ranking=save)


def _saved(ranking: Ranking, target: Path | None, *, cache: bool) -> tuple[Path | None, EmmsError | None]:
    """Writes a ranking to --output or, where that fails or is missing, to the cache.

    Returns:
        The file, and why --output could not be written.
    """
    problem = None
    for path in (target, cached_file(ranking) if cache else None):
        if path is not None:
            try:
                write_ranking(ranking, path)
            except EmmsError as error:
                problem = error if path is target else problem
            else:
                return path, problem
    return None, problem


def summary(ranking: Ranking, saved: Path | None) -> str:
    """What a reader of the table should know, for stderr."""
    from hf_emms.ranking.advice import finetuning_summary
    from hf_emms.ranking.expected_gap import CALIBRATIONS, gap_in_words

    measured = finetuning_summary(ranking)
    gaps = [gap for budget in CALIBRATIONS if (gap := gap_in_words(ranking, budget))]
    where = ranking.dataset + (f" ({ranking.dataset_id})" if ranking.dataset_id != ranking.dataset else "")
    lines = [
        "",
        f"{where}, {ranking.split} split, {ranking.task}: {pluralize(ranking.n, 'row')}, "
        f"{pluralize(ranking.n_inputs, 'input')}, {pluralize(ranking.n_labels, 'label text')}",
        *_labels(ranking),
        *ranking.notes,
        *(f"{row.checkpoint}: {note}" for row in ranking.rows for note in row.notes),
        *([SHARED] if any(row.tied for row in ranking.rows) else []),
        *([ranking.advice] if ranking.advice and not measured else []),
        *([] if measured else gaps),
        RELATIVE,
        *([measured] if measured else []),
    ]
    if saved is None:
        lines.append("Nothing was saved; --output FILE writes the results.")
    else:
        lines.append(f"Results: {saved}")
    return "\n".join(lines)


def _labels(ranking: Ranking) -> list[str]:
    """What the F-labels are: embeddings of texts, numbers, or both."""
    encoders = [encoder.id for encoder in ranking.encoders if encoder.revision]
    numbers = [encoder.numbers for encoder in ranking.encoders if encoder.numbers]
    found = (("label encoders", encoders), ("labels as numbers", numbers))
    return [f"{what}: {', '.join(names)}" for what, names in found if names]


def listed(file: str | None) -> list[str]:
    """Checkpoints of a file ("-": stdin): one a line, "#" starts a comment; UTF-8, or what its byte order mark says.

    Raises:
        EmmsError: it cannot be read, or names no checkpoint.
    """
    if file is None:
        return []
    hint = "--checkpoints-file FILE with one checkpoint a line, in UTF-8"
    try:
        content = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
        text = decoded(content)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is not a text in UTF-8"
        raise EmmsError(f"cannot read --checkpoints-file {file}: {reason}", hint) from error
    found = [line for line in (line.partition("#")[0].strip() for line in text.splitlines()) if line]
    if not found:
        raise EmmsError(
            f"--checkpoints-file {file} names no checkpoint", "leave it out to rank the task's list (hf-emms presets)"
        )
    return found


def _print_preflight(found: Preflight) -> None:
    """Prints the plan of a run, and every problem that it will meet.

    Raises:
        EmmsError: it could not start.
    """
    if found.plan is not None and found.rate is not None:
        _print_plan(found.plan, found.costs, found.rate)
    if found.problems:
        out.message(f"{pluralize(len(found.problems), 'problem')} that this run will meet:")
    for problem in found.problems:
        out.message(f"  {problem}")
    if not found.can_start:
        fatal = [problem for problem in found.problems if problem.fatal]
        raise EmmsError(f"this run could not start: {fatal[0].what}: {fatal[0].message}", fatal[0].hint)


def _print_plan(plan: Plan, costs: Mapping[Repo, Cost], speed: Rate) -> None:
    from hf_emms.presets import encoder_presets
    from hf_emms.run.preflight import Cost

    if out.quiet:
        out.data("\n".join(candidate.id for candidate in plan.candidates))
        return
    sample = plan.sample
    out.message(f"dataset {sample.repo.id} at {sample.repo.revision}, {sample.split} split, {sample.task.id}")
    out.message(
        f"{pluralize(len(sample.codes), 'row')}, {pluralize(sample.n_read, 'input')}, "
        f"{pluralize(len(sample.label_texts), 'label text')}"
    )
    default = set(encoder_presets()[DEFAULT_ENCODERS]) if not plan.options.encoders else set()
    for encoder in plan.encoders:
        which = f", of the default set {DEFAULT_ENCODERS!r}" if encoder.id in default else ""
        size = f"{format_bytes(costs[encoder].bytes)} to download"
        out.message(f"label encoder {encoder.id} at {encoder.revision}{which}: {size}")
    for note in plan.notes:
        out.message(note)
    rows = [_planned(one, costs.get(one.repo) if one.repo else None) for one in plan.candidates]
    total = Cost(*(sum(getattr(cost, name) for cost in costs.values()) for name in ("files", "bytes", "cached")))
    out.message(
        f"{pluralize(total.files, 'file')}: {format_bytes(total.bytes)} to download, "
        f"{format_bytes(total.cached)} here already"
    )
    seconds = sum(cost.seconds or 0 for cost in costs.values())
    out.message(f"about {seconds:,.0f} s ({speed.source}), without downloads")
    header = ("checkpoint", "revision", "state", "files", "download_bytes", "cached_bytes", "seconds")
    out.records(header, rows)


def _planned(candidate: Candidate, cost: Cost | None) -> tuple[Any, ...]:
    revision = candidate.repo.revision if candidate.repo else None
    if cost is None or cost.problem:
        state = f"cannot be used: {cost.problem}" if cost else _state(candidate)
        return (candidate.id, revision, state, None, None, None, None)
    seconds = None if cost.seconds is None else round(cost.seconds, 1)
    return (candidate.id, revision, _state(candidate, cost), cost.files, cost.bytes, cost.cached, seconds)


def _state(candidate: Candidate, cost: Cost | None = None) -> str:
    if candidate.row is not None:
        return f"cannot be used: {candidate.row.error}" if candidate.row.error else "finished earlier"
    if candidate.repo is not None and candidate.repo.folder:
        return "local folder"
    return "to download" if cost and cost.bytes else "cached"
