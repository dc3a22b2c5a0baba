"""hf-emms rank and hf-emms confirm."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import cloup

from hf_emms.cli.hub_writes import ask_before_work, yes_option
from hf_emms.cli.option_flags import (
    EVERYDAY,
    JOB_FLAGS,
    checkpoints_file_option,
    confirm_flags,
    job_settings,
    options_from,
    setting_groups,
    typed_settings,
)
from hf_emms.cli.output import (
    FORMATS,
    cached_file,
    check_output,
    format_option,
    out,
    ranking_output_option,
    stdout_for_data_only,
    write_ranking,
)
from hf_emms.errors import EmmsError
from hf_emms.formatting import pluralize
from hf_emms.options import Options

if TYPE_CHECKING:
    from hf_emms.hub import JobSpec
    from hf_emms.ranking import Ranking
    from hf_emms.run.delivery import Finished
    from hf_emms.run.ranking_job import JobSettings

TIED = "Ranks with = are tied: the difference is within the noise."
RELATIVE = "Scores are relative: compare them only within this dataset, sample and set of labels."

_OWN_FLAGS = {
    EVERYDAY: [
        ranking_output_option("Also write the ranking to this file."),
        cloup.option(
            "--dry-run", is_flag=True, help="Print downloads, expected duration and problems without running anything."
        ),
    ],
    "Checkpoints": [checkpoints_file_option],
    "Running": JOB_FLAGS,
    "Output": [
        format_option(FORMATS),
        cloup.option(
            "--results-repo",
            metavar="ORG/emms-results",
            help="Also publish the ranking in this dataset; required for jobs.",
        ),
        yes_option(),
    ],
}


@cloup.command(short_help="Rank checkpoints for a dataset.")
@setting_groups(_OWN_FLAGS)
def rank(target: Path | None, dry_run: bool, results_repo: str | None, yes: bool, **parameters: Any) -> None:
    """Rank checkpoints for a dataset without fine-tuning them.

    Without --checkpoint, ranks the default checkpoints of the task (see hf-emms presets).
    """
    if target is not None and dry_run:
        raise click.UsageError("--dry-run makes no ranking for --output; leave one of them out.")
    options = options_from(parameters)
    if target is not None:
        target = target.with_name(f"{target.stem}{options.running.part_suffix}{target.suffix}")
        check_output(target, filter(None, (parameters["dataset"], parameters["checkpoints_file"])))
    job = job_settings(parameters, results_repo)
    if job is None:
        out.message(f"Reading {parameters['dataset']} …")
    if dry_run:
        _print_dry_run(options, job)
        return
    ask_before_work(results_repo, options.training.push_model_to, on_hub=job is not None, yes=yes)
    deliver_ranking(_ranked(options, job, parameters["engine"], target), options, target, results_repo, job)


def _ranked(options: Options, job: JobSettings | None, engine: str, target: Path | None) -> Finished:
    from hf_emms.ranking.progress_bars import StderrProgress
    from hf_emms.ranking.text import to_text

    with StderrProgress() as progress, stdout_for_data_only():
        from hf_emms.run import ranking_job
        from hf_emms.run.confirm import confirmed_or_not
        from hf_emms.run.delivery import Finished
        from hf_emms.run.rank import rank_with

        if job is not None:
            ranking, errors = ranking_job.run(options, job, progress)
            return Finished(ranking, errors=errors)
        ranking, session = rank_with(options, progress, engine)
        if options.training.confirm is not None and ranking.best is not None:
            out.message(to_text(ranking))  # and save it now: fine-tuning takes long
            out.message(summary(ranking))
            try:
                save_ranking(ranking, target, options)
            except EmmsError as error:  # the delivery tries it again
                out.message(str(error))
        return confirmed_or_not(ranking, session)


def deliver_ranking(
    finished: Finished,
    options: Options,
    target: Path | None,
    results_repo: str | None = None,
    job: JobSettings | None = None,
) -> None:
    """Print, save and publish a ranking, and keep and push its best model. A job has published and pushed already."""
    from hf_emms.run.delivery import deliver

    ranking, errors = finished.ranking, finished.errors
    if ranking.best is None:
        reasons = "the failed rows have the reasons; --debug shows tracebacks"
        errors = (*errors, EmmsError("no-score", "no checkpoint could be scored", reasons))

    def show() -> None:
        out.ranking(ranking)
        out.message(summary(ranking))

    deliver(
        [ranking],
        out.message,
        show=show,
        save=lambda: save_ranking(ranking, target, options),
        results_repo=None if job is not None else results_repo,
        training=options.training,
        keep_model=finished.keep_model,
        errors=errors,
    )


def save_ranking(ranking: Ranking, target: Path | None, options: Options) -> list[Path]:
    """Write a ranking to --output, print the file, and return its JSON file: --output, or one in the cache.

    Raises:
        EmmsError: --output cannot be written. The hint names the command that writes it from the cache.
    """
    stored = None
    if options.running.cache:
        with suppress(EmmsError):  # an unwritable cache is no reason to fail
            write_ranking(ranking, cached_file(ranking))
            stored = cached_file(ranking)
    if target is not None:
        try:
            write_ranking(ranking, target)
        except EmmsError as error:
            again = f"hf-emms merge {shlex.quote(str(stored))} --output FILE" if stored is not None else error.hint
            raise EmmsError(error.code, error.message, again) from error
    path = target or stored
    out.message("Not saved. --output FILE writes the results." if path is None else f"Results: {path}")
    return [file for file in (target, stored) if file is not None and file.suffix == ".json"][:1]


def summary(ranking: Ranking) -> str:
    """Return the text below the table of a ranking."""
    from hf_emms.ranking.advice import advice, explanation, recommendation
    from hf_emms.ranking.expected_gap import gaps_in_words
    from hf_emms.ranking.text import remarks

    where = ranking.dataset + (f" ({ranking.dataset_id})" if ranking.dataset_id != ranking.dataset else "")
    # For a tie at the top, `advice` also estimates whether more rows would resolve it.
    shared = advice(ranking)
    answer = "\n".join([shared, *explanation(ranking)]) if shared else recommendation(ranking)
    lines = [
        "",
        answer,
        f"{where}, {ranking.split} split, {ranking.task}: {pluralize(ranking.n, 'row')}, "
        f"{pluralize(ranking.n_inputs, 'input')}, {pluralize(ranking.n_labels, 'label text')}",
        *_labels(ranking),
        *map(str, ranking.notes),
        *(remarks(ranking) if out.format in ("json", "csv") else ()),  # tables include them
        *(f"{row.checkpoint}: {note}" for row in ranking.rows for note in row.notes),
        *([TIED] if any(row.tied for row in ranking.rows) else []),
        *gaps_in_words(ranking),
        RELATIVE,
    ]
    return "\n".join(lines)


def _labels(ranking: Ranking) -> list[str]:
    encoders = [encoder.id for encoder in ranking.encoders if encoder.revision]
    numbers = [encoder.numbers for encoder in ranking.encoders if encoder.numbers]
    kinds = (("label encoders", encoders), ("labels as numbers", numbers))
    return [f"{kind}: {', '.join(names)}" for kind, names in kinds if names]


def _print_dry_run(options: Options, job: JobSettings | None) -> None:
    """Print the job, or the plan and problems of a run."""
    from hf_emms.ranking.progress_bars import StderrProgress
    from hf_emms.run.preflight import preflight
    from hf_emms.run.ranking_job import job_specs

    if job is not None:
        print_specs(job_specs(options, job), job)
        return
    with StderrProgress() as progress, stdout_for_data_only():
        checked = preflight(options, progress)
    out.message("\n".join(checked.lines()))
    out.records(*checked.records())


def print_specs(specs: Sequence[JobSpec], job: JobSettings) -> None:
    """Print the first job, and the maximum price of all, without starting them."""
    from hf_emms.run import ranking_job

    out.json(vars(specs[0]))
    try:
        hardware, max_price = ranking_job.price(job)
    except EmmsError as error:
        out.message(f"the price is unknown: {error}")
    else:
        out.message(
            f"{hardware.name}: {hardware.summary}; {hardware.usd_per_minute:.4f} USD per minute, "
            f"at most {len(specs) * max_price:.2f} USD in {job.timeout} for {pluralize(len(specs), 'job')}"
        )
    out.message("Nothing was started.")


@cloup.command(short_help="Fine-tune the best checkpoints of a ranking.")
@cloup.option_group(
    "Ranking",
    cloup.option(
        "--ranking",
        "file",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        required=True,
        metavar="FILE",
        help="Ranking in JSON, from hf-emms rank … --output FILE.",
    ),
    cloup.option(
        "--top",
        type=click.IntRange(min=1),
        default=3,
        show_default=True,
        metavar="N",
        help="Number of checkpoints to fine-tune.",
    ),
    cloup.option("--dataset", metavar="NAME", help="New place of the dataset [default: the name in the ranking]."),
)
@cloup.option_group("Fine-tuning", *confirm_flags("Confirm"))
@cloup.option_group("Running", *confirm_flags("Data", "Running"))
@cloup.option_group(
    "Output",
    ranking_output_option("[default: the ranking's file]"),
    cloup.option("--dry-run", is_flag=True, help="Print the checkpoints and the expected duration without training."),
    format_option(FORMATS),
    yes_option(),
)
@cloup.option_group("Safety", *confirm_flags("Safety"))
def confirm(
    file: Path, top: int, dataset: str | None, target: Path | None, dry_run: bool, yes: bool, **parameters: Any
) -> None:
    """Fine-tune the best checkpoints of a ranking, and report their fine-tuned scores.

    Adds the results to the file of the ranking. After an interruption, the same command continues with the next run.
    """
    target = target or file
    check_output(target, [dataset] if dataset else [])
    out.message(f"Reading {file} …")
    from hf_emms.ranking import Ranking
    from hf_emms.ranking.progress_bars import StderrProgress
    from hf_emms.run.confirm import confirmed, fine_tuning_of, options_for, start_session

    ranking = Ranking.load(file)
    options = options_for(ranking, dataset, confirm=top, **typed_settings(parameters))
    if not dry_run:
        ask_before_work(None, options.training.push_model_to, yes=yes)
    with StderrProgress() as progress, stdout_for_data_only():
        session = start_session(ranking, options, progress)
        planned = fine_tuning_of(ranking, session) if dry_run else None
        finished = confirmed(ranking, session) if planned is None else None
    if planned is not None:
        out.data("\n".join(row.checkpoint for row in planned.shortlist))
        out.message("\n".join([*map(str, planned.notes), planned.forecast]))
        return
    if finished is not None:
        deliver_ranking(finished, options, target)
