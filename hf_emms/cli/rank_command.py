"""Options of ``hf-emms rank`` that say which columns are what, and how labels become F-labels.

hf-emms rank --engine jobs.
hf-emms rank.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hf_emms.cli import output
from hf_emms.errors import EmmsError
from hf_emms.formatting import pluralize

if TYPE_CHECKING:
    from hf_emms.plan import Candidate, Cost, Plan, Request
    from hf_emms.ranking import Ranking
    from hf_emms.ranking_job import JobSettings


# Every role of `tasks.ROLES`, which is not imported for the sake of a quick --help.
ROLE_HELP = {
    "image": "Column with the images [default: inferred].",
    "text": "Column with the texts or captions [default: inferred].",
    "label": "Column with the classes or values [default: inferred].",
    "question": "Column with the questions; texts.user is a field of a column [default: inferred].",
    "answer": "Column with the answers [default: inferred].",
    "context": "Column with the texts that questions are on [default: inferred].",
    "expression": "Column with the expressions that refer to boxes [default: inferred].",
    "box": "Column with the boxes [default: inferred].",
}


def column_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds a --ROLE-column for every role of our tasks, and --column for those of other packages."""
    extra = "The same for a role of any task."
    command = click.option("--column", "columns", multiple=True, metavar="ROLE=NAME", help=extra)(command)
    for role in reversed(ROLE_HELP):
        command = click.option(f"--{role}-column", metavar="NAME", help=ROLE_HELP[role])(command)
    return command


def label_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds what becomes of several texts of one input, and of labels that are numbers."""
    command = click.option(
        "--box-format",
        type=click.Choice(["xywh", "xyxy", "cxcywh"]),
        help="How boxes are written, in pixels or as parts of the picture [default: xywh].",
    )(command)
    command = click.option(
        "--label-form",
        type=click.Choice(["text", "numbers", "both", "spans"]),
        help="F-labels of boxes, values and answers [default: by task and data].",
    )(command)
    return click.option(
        "--references",
        "--captions",
        "references",
        type=click.Choice(["mean", "first", "all", "majority", "one-per-image"]),
        default="mean",
        show_default=True,
        help="Which captions, answers or classes of one input count.",
    )(command)


def named_columns(options: dict[str, Any]) -> dict[str, str]:
    """Takes the columns out of a command's options: role → column.

    Raises:
        EmmsError: a --column that is not ROLE=NAME.
    """
    found = {role: options.pop(f"{role}_column") for role in ROLE_HELP}
    for pair in options.pop("columns"):
        role, _, column = pair.partition("=")
        if not role or not column:
            raise EmmsError(f"--column {pair!r} does not say which role it is for", "--column ROLE=NAME")
        found[role] = column
    return {role: column for role, column in found.items() if column}


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
    from hf_emms.ranking_job import JobSettings

    return JobSettings(results_repo, **given)


def rank_on_jobs(request: Request, settings: JobSettings, *, quiet: bool, dry_run: bool) -> Ranking | None:
    """Starts the job and follows it; only prints it where `dry_run`."""
    from hf_emms import ranking_job

    if dry_run:
        _print_spec(request, settings)
        return None
    job = ranking_job.start(request, settings)
    output.say(f"job {job.id} on {settings.flavor}: {job.url}", quiet=quiet)
    try:
        return ranking_job.follow(job, lambda line: output.say(line, quiet=quiet))
    except KeyboardInterrupt:
        output.say(
            f"The job goes on: {job.url}\n"
            f"  hf jobs cancel {job.id} ends it; its ranking goes to {settings.results_repo}: "
            f"hf-emms pull results --repo-id {settings.results_repo}"
        )
        sys.exit(INTERRUPTED)


def _print_spec(request: Request, settings: JobSettings) -> None:
    from hf_emms import ranking_job

    output.emit(json.dumps(vars(ranking_job.job_spec(request, settings)), indent=2))
    try:
        hardware, most = ranking_job.price(settings)
    except EmmsError as error:
        output.say(f"what it costs is not known: {error}")
    else:
        output.say(
            f"{hardware.name}: {hardware.summary}; {hardware.usd_a_minute:.4f} USD a minute, "
            f"at most {most:.2f} USD in {settings.timeout}"
        )
    output.say("nothing was started")


DEFAULT_TOP = 3
SHARED = "Ranks with = are shared: the difference is within the noise of the folds."
RELATIVE = "Scores are relative: they compare checkpoints on this dataset, sample and label set, and nothing else."


@click.command(short_help="Rank checkpoints for a dataset.")
@click.option("--dataset", required=True, metavar="NAME", help="Preset, Hub dataset id, folder or file.")
@click.option("--config", metavar="NAME", help="Dataset configuration.")
@click.option("--split", metavar="NAME", help="Dataset split.")
@click.option("--task", metavar="ID", help="The Hub's task id [default: inferred].")
@column_options
@click.option(
    "--checkpoint", "-c", "checkpoints", multiple=True, metavar="ID|DIR", help="What to rank; repeat for several."
)
@click.option("--checkpoints-file", type=click.File(), metavar="FILE|-", help="One checkpoint a line.")
@click.option(
    "--encoder",
    "-e",
    "encoders",
    multiple=True,
    metavar="SET|ID",
    help="Label encoders: paper, base, demo or ids.",
)
@click.option(
    "--estimator",
    "estimators",
    multiple=True,
    metavar="NAME",
    help="The first one orders the rows [default: emms_knn, emms, logme, knn].",
)
@click.option("--max-samples", type=click.IntRange(min=0), metavar="N", help="Rows to use; 0 for all [default: 5000].")
@click.option("--sampling", type=click.Choice(["balanced", "proportional"]), help="How rows are drawn.")
@label_options
@click.option("--prompt", metavar="TEXT", help="Template of label texts, e.g. 'a photo of a {}'.")
@click.option("--race", is_flag=True, help="Stop checkpoints early that cannot come in among the best.")
@click.option("--top", type=click.IntRange(min=1), metavar="K", help="How many best ones a race is for [default: 3].")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the sample and the folds.")
@click.option("--folds", type=click.IntRange(min=2), default=5, show_default=True, help="Of held-out scores.")
@click.option("--device", default="auto", show_default=True, help="cpu, cuda, mps.")
@click.option(
    "--dtype",
    type=click.Choice(["auto", "float32", "bfloat16", "float16"]),
    default="auto",
    show_default=True,
    help="Precision of the checkpoints.",
)
@click.option("--batch-size", type=click.IntRange(min=1), metavar="N", help="Inputs a batch [default: chosen].")
@click.option(
    "--engine",
    type=click.Choice(["local", "ray", "jobs"]),
    default="local",
    show_default=True,
    help="Where checkpoints run: this process, a Ray cluster (pip install 'hf-emms[ray]'), a Hugging Face Job.",
)
@click.option(
    "--ray-address",
    metavar="ADDRESS",
    help="A running Ray cluster, HOST:PORT or auto [default: RAY_ADDRESS, else one on this machine for this run].",
)
@click.option("--shard-size", type=click.IntRange(min=1), metavar="N", help="Inputs a Ray task [default: chosen].")
@click.option("--flavor", "jobs_flavor", metavar="NAME", help="Hardware of a job [default: cpu-basic].")
@click.option("--jobs-timeout", metavar="TIME", help="When the Hub ends a job, e.g. 90m, 2h [default: 2h].")
@click.option("--jobs-package", metavar="SPEC", help="What a job installs [default: this version of hf-emms].")
@click.option(
    "--results-repo",
    metavar="ORG/emms-results",
    help="Also publish the ranking in this dataset; a job's ranking comes back through it.",
)
@click.option(
    "--layer",
    "layers",
    multiple=True,
    metavar="spread|last|mean|N",
    help="Hidden layers to take features from; of several, each checkpoint's best counts [default: spread].",
)
@click.option("--format", "format", type=click.Choice(output.FORMATS), help="[default: table; tsv in a pipe]")
@click.option("--quiet", "-q", is_flag=True, help="Print the checkpoint ids only, best first.")
@click.option("--output", "-o", "target", type=click.Path(path_type=Path), metavar="FILE", help="Also write a file.")
@click.option("--resume/--no-resume", default=True, help="Use rows that an earlier run finished.")
@click.option("--no-cache", is_flag=True, help="Neither read nor write the cache.")
@click.option("--strict", is_flag=True, help="Exit with 1 when any checkpoint failed.")
@click.option("--dry-run", is_flag=True, help="Tell what would be downloaded and run, and how long.")
@click.option("--stream", is_flag=True, help="Stream the dataset instead of downloading all of it.")
@click.option("--allow-pickle", is_flag=True, help="Load pickled weights (they can run code).")
@click.option("--trust-remote-code", is_flag=True, help="Run code that a checkpoint brings along.")
def rank(
    checkpoints: tuple[str, ...],
    checkpoints_file: Iterable[str] | None,
    format: str | None,
    quiet: bool,
    target: Path | None,
    strict: bool,
    dry_run: bool,
    results_repo: str | None,
    **options: Any,
) -> None:
    """Rank checkpoints for a dataset without fine-tuning any of them.

    Without --checkpoint, the list for the dataset's task is used (see hf-emms presets).
    """
    if target is not None:
        output.output_format(target)  # a suffix that cannot be written fails now, not after hours
    settings = settings_of(options["engine"], results_repo, options)
    request = _request((*checkpoints, *_listed(checkpoints_file)), options)
    if settings is None:
        ranking = _rank_here(request, results_repo, format, quiet=quiet, dry_run=dry_run)
    else:
        ranking = rank_on_jobs(request, settings, quiet=quiet, dry_run=dry_run)
    if ranking is None:
        return
    if quiet:
        output.emit("\n".join(row.checkpoint for row in ranking.rows if row.error is None))
    else:
        output.print_ranking(ranking, format or output.default_format())
    kept = target or (output.kept_file(ranking) if request.cache else None)
    if kept is not None and not output.write_ranking(ranking, kept, required=target is not None):
        kept = None
    output.say(summary(ranking, kept), quiet=quiet)
    if ranking.best is None:
        raise EmmsError("no checkpoint could be scored", "the failed rows say why; --debug shows tracebacks")
    if strict and any(row.error is not None for row in ranking.rows):
        raise EmmsError("--strict: a checkpoint failed", "its row says why; --debug shows the traceback")


def _rank_here(
    request: Request, results_repo: str | None, format: str | None, *, quiet: bool, dry_run: bool
) -> Ranking | None:
    """Runs a request, or prints what it would take."""
    from hf_emms.cli.output import StderrProgress
    from hf_emms.pipeline import run
    from hf_emms.plan import plan

    if results_repo is not None and not dry_run:
        from hf_emms import hub

        account = hub.who_am_i()
        hub.require_push(account, results_repo, "dataset", instead=f"--results-repo {account.name}/emms-results")
    with StderrProgress(quiet=quiet) as progress, output.stdout_for_data_only():
        planned = plan(request, progress)
        progress.checkpoints = len(planned.candidates)
        ranking = None if dry_run else run(planned, progress)
    if ranking is None:
        _print_plan(planned, format or output.default_format(), quiet)
    elif results_repo is not None:
        from hf_emms.ranking_job import published

        output.say(published(ranking, results_repo), quiet=quiet)
    return ranking


def summary(ranking: Ranking, kept: Path | None) -> str:
    """What a reader of the table needs to know about it, for stderr."""
    from hf_emms.views import unresolved

    advice = unresolved(ranking)
    where = ranking.dataset + (f" ({ranking.dataset_id})" if ranking.dataset_id != ranking.dataset else "")
    lines = [
        "",
        f"{where}, {ranking.split} split, {ranking.task}: {pluralize(ranking.n, 'row')}, "
        f"{pluralize(ranking.n_inputs, 'input')}, {pluralize(ranking.n_labels, 'label text')}",
        *_labels(ranking),
        *(note for note in ranking.notes if note != advice),
        *(f"{row.checkpoint}: {note}" for row in ranking.rows for note in row.notes),
        *([SHARED] if any(row.tied for row in ranking.rows) else []),
        *([advice] if advice else []),
        RELATIVE,
    ]
    if kept is None:
        lines.append("Nothing was kept; --output FILE writes the results.")
    else:
        lines.append(f"Results: {kept}")
    return "\n".join(lines)


def _labels(ranking: Ranking) -> list[str]:
    """What the F-labels are: embeddings of texts, numbers, or both."""
    encoders = [encoder.id for encoder in ranking.encoders if encoder.revision]
    numbers = [encoder.id.removesuffix(" (numbers)") for encoder in ranking.encoders if not encoder.revision]
    told = (("label encoders", encoders), ("labels as numbers", numbers))
    return [f"{what}: {', '.join(names)}" for what, names in told if names]


def _request(checkpoints: tuple[str, ...], options: dict[str, Any]) -> Request:
    from hf_emms.features.hidden_layers import layer_names
    from hf_emms.plan import Request

    columns = named_columns(options)
    most = options.pop("max_samples")
    race, top = options.pop("race"), options.pop("top")
    if top and not race:
        raise click.UsageError("--top K goes with --race; without it every checkpoint is ranked on all rows.")
    estimators = options.pop("estimators")
    if most is not None:
        options["max_samples"] = most or None
    if estimators:
        options["estimators"] = estimators
    if options["layers"]:
        options["layers"] = layer_names(options["layers"])
    return Request(
        checkpoints=checkpoints,
        columns=columns,
        cache=not options.pop("no_cache"),
        streaming=options.pop("stream"),
        race=(top or DEFAULT_TOP) if race else None,
        **options,
    )


def _listed(file: Iterable[str] | None) -> list[str]:
    """Checkpoints of a file: one a line, "#" starts a comment."""
    lines = (line.partition("#")[0].strip() for line in file or ())
    return [line for line in lines if line]


def _print_plan(plan: Plan, format: str, quiet: bool) -> None:
    from hf_emms.plan import Cost, forecast

    if quiet:
        output.emit("\n".join(candidate.id for candidate in plan.candidates))
        return
    target = plan.sample
    output.say(f"dataset {target.repo.id} at {target.repo.revision}, {target.split} split, {target.task.id}")
    output.say(
        f"{pluralize(len(target.codes), 'row')}, {pluralize(target.n_read, 'input')}, "
        f"{pluralize(len(target.label_texts), 'label text')}"
    )
    for encoder in plan.encoders:
        output.say(f"label encoder {encoder.id} at {encoder.revision}")
    for note in plan.notes:
        output.say(note)
    costs, speed = forecast(plan)
    rows = [_planned(one, costs.get(one.repo) if one.repo else None) for one in plan.candidates]
    total = Cost(*(sum(getattr(cost, name) for cost in costs.values()) for name in ("files", "bytes", "cached")))
    output.say(
        f"{pluralize(total.files, 'file')}: {_size(total.bytes)} to download, {_size(total.cached)} here already"
    )
    seconds = sum(cost.seconds or 0 for cost in costs.values())
    output.say(f"about {seconds:,.0f} s ({speed.source}), without downloads")
    listing = format if format in output.LIST_FORMATS else "tsv"
    header = ("checkpoint", "revision", "state", "files", "download_bytes", "cached_bytes", "seconds")
    output.print_records(header, rows, listing)


def _planned(candidate: Candidate, cost: Cost | None) -> tuple[Any, ...]:
    revision = candidate.repo.revision if candidate.repo else None
    if cost is None or cost.problem:
        state = f"cannot be used: {cost.problem}" if cost else _state(candidate)
        return (candidate.id, revision, state, None, None, None, None)
    seconds = None if cost.seconds is None else round(cost.seconds, 1)
    return (candidate.id, revision, _state(candidate, cost), cost.files, cost.bytes, cost.cached, seconds)


def _size(count: int) -> str:
    value, unit = next(
        ((count / size, unit) for size, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "KB")) if count >= size),
        (count, "bytes"),
    )
    return f"{value:,.1f} {unit}" if unit != "bytes" else f"{count} bytes"


def _state(candidate: Candidate, cost: Cost | None = None) -> str:
    if candidate.repo is None:
        return f"cannot be used: {candidate.row.error}" if candidate.row else "cannot be used"
    if candidate.row is not None:
        return "finished earlier"
    if candidate.repo.folder:
        return "local folder"
    return "to download" if cost and cost.bytes else "cached"
