"""Fine-tune the best checkpoints of a ranking, and add their scores to it.

The cache stores each finished run before the next one starts.
"""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import msgspec
import numpy as np

from hf_emms.cache import Cache
from hf_emms.errors import EmmsError, Note, one_line
from hf_emms.finetune.forecast import LOAD_SECONDS, forecast_text, seconds_of_runs, seconds_per_forward
from hf_emms.finetune.jobs import FinishedRuns, Jobs
from hf_emms.finetune.recipe import (
    Recipe,
    TrainingJob,
    choose_method,
    head_of,
)
from hf_emms.finetune.resume_states import locked_run
from hf_emms.finetune.saving import (
    ModelFolder,
    check_push,
    model_card,
    model_folder_for,
    test_rows,
)
from hf_emms.finetune.splits import Splits
from hf_emms.formatting import parse_duration, pluralize
from hf_emms.options import Options
from hf_emms.ranking import FineTuned, Ranking, Row, TrainingRun
from hf_emms.ranking.columns import format_measured, metric_title
from hf_emms.ranking.progress import Progress, noted_while
from hf_emms.texts import install_command, setting_ref

DEFAULT_TOP = 3
# Checkpoints that share the last rank of a shortlist are fine-tuned too, up to this many times its length.
_MAX_TIED = 2
# Divides the lowest learning rate if training diverges at every rate, and multiplies the highest rate if a checkpoint
# learns nothing at any rate.
_LOWER, _HIGHER = 10, 4
# Extra → module that it installs → package of the module.
_FINETUNE = {"sacrebleu": "sacrebleu", "sklearn": "scikit-learn"}
_PACKAGES = {"finetune": _FINETUNE, "lora": {**_FINETUNE, "peft": "peft"}}


@dataclass(frozen=True)
class FineTuning:
    """A shortlist of checkpoints, best first, with their jobs and runs.

    Attributes:
        seconds: About how long all runs take.
        forecast: The number of runs, their length, and about how long they take as text.
        seconds_limit: The time limit in seconds; None without one.
        deadline: A `time.time`.
    """

    ranking: Ranking
    shortlist: tuple[Row, ...]
    jobs: Jobs
    runs: FinishedRuns
    splits: Splits
    options: Options
    seconds: float
    forecast: str
    notes: tuple[Note, ...]
    progress: Progress
    seconds_limit: float | None
    deadline: float | None
    model_folder: ModelFolder | None

    @property
    def metric(self) -> str:
        """Return the name of the score that compares checkpoints."""
        return head_of(self.splits.task).metrics(self.splits.train.references)[0].name


TrainOnce = Callable[[FineTuning, TrainingJob, Path], TrainingRun]
"""Trains one run, whose states are in a folder. Its model is then in `FinishedRuns.models_of`."""


# ---- the plan -----------------------------------------------------------------------------------------------


def check_settings(options: Options) -> None:
    """Check before a long ranking that the model can be saved and no package is missing."""
    model_folder_for(options)
    check_push(options.training.push_model_to)
    extra = "lora" if options.training.method == "lora" else "finetune"
    missing = [package for module, package in _PACKAGES[extra].items() if find_spec(module) is None]
    if missing:
        raise EmmsError(
            "package-missing",
            f"fine-tuning needs {' and '.join(missing)}, which is not installed",
            install_command(extra),
        )


def start_fine_tuning(
    ranking: Ranking,
    options: Options,
    splits: Splits,
    cache: Cache,
    progress: Progress,
    *,
    seconds_per_parameter: float,
    seconds_left: float | None = None,
) -> FineTuning:
    """Return a shortlist of `options.confirm` checkpoints with the rows to train on, without training yet.

    The time limit of the options has priority over `seconds_left`.
    """
    from hf_emms.features.device import choose_device

    limit = parse_duration(options.training.time_limit) if options.training.time_limit else seconds_left
    shortlist, notes = choose(ranking.rows, options.training.confirm or DEFAULT_TOP)
    if splits.revision != ranking.dataset_revision:
        if isinstance(options.sample.dataset, str) and options.sample.dataset.partition("@")[0] in (
            ranking.dataset,
            ranking.dataset_id,
        ):
            raise EmmsError(
                "changed",
                f"{ranking.dataset} has changed since it was ranked: from revision {ranking.dataset_revision} to "
                f"{splits.revision}",
                "rank it again",
            )
        text = f"the ranking used revision {ranking.dataset_revision} of the dataset, and this is {splits.revision}"
        notes.append(Note("other-revision", text))
    jobs = Jobs(splits.task, options)
    for row in shortlist:
        with suppress(EmmsError):  # loading it will raise the error
            jobs.spec(row)
        jobs.methods[row.checkpoint], why = choose_method(
            options.training, row.parameters, choose_device(options.running.device)
        )
        notes += [Note("method", f"{row.checkpoint}: {why}")] if why else []
    recipes = list(map(jobs.recipe, shortlist))
    seconds = sum(
        seconds_of_runs(
            recipe,
            splits,
            seconds_per_forward(row, ranking.n_inputs, seconds_per_parameter),
            row.seconds.loading or LOAD_SECONDS,
        )
        for row, recipe in zip(shortlist, recipes, strict=True)
    )
    folder = model_folder_for(options)
    return FineTuning(
        ranking,
        shortlist,
        jobs,
        FinishedRuns(cache, splits, options.running, options.running.resume, folder),
        splits,
        options,
        seconds,
        forecast_text(recipes, seconds, splits),
        (*splits.notes, *notes),
        progress,
        limit,
        None if limit is None else time.time() + limit,
        folder,
    )


def choose(rows: Iterable[Row], top: int) -> tuple[tuple[Row, ...], list[Note]]:
    """Choose the first rows that can be fine-tuned.

    Rows that share the last rank are included. Returns notes on the others.
    """
    every = [row for row in rows if row.error is None]
    scored = [row for row in every if row.no_head is None]
    notes = [
        Note("not-fine-tuned", f"{row.checkpoint} is not fine-tuned: {row.no_head}")
        for row in every[:top]
        if row.no_head is not None
    ]
    if every and not scored:
        raise EmmsError(
            "no-head", f"no checkpoint of the ranking can be fine-tuned: {every[0].no_head}", "rank other checkpoints"
        )
    if not scored:
        raise EmmsError(
            "no-score", "the ranking has no checkpoint with a score", "rank checkpoints that can be scored first"
        )
    last = scored[min(top, len(scored)) - 1].rank
    tied = [row for place, row in enumerate(scored) if place < top or row.rank == last]
    chosen = tied[: _MAX_TIED * top]
    if len(chosen) == len(tied):
        return tuple(chosen), notes
    text = (
        f"{pluralize(len(tied), 'checkpoint')} share the ranks of the best {top}; the first {len(chosen)} by score are "
        f"fine-tuned, {setting_ref('confirm', len(tied))} takes all"
    )
    return tuple(chosen), [*notes, Note("shared-ranks", text)]


# ---- all runs of a shortlist -----------------------------------------------------------------------------------------


def fine_tune(work: FineTuning, train_once: TrainOnce) -> Ranking:
    """Fine-tune the shortlist of `start_fine_tuning`, and return the ranking with `Row.fine_tuned`.

    The models of the runs stay in the model folder until `keep_best`.

    Raises:
        EmmsError: No checkpoint could be fine-tuned.
    """
    for note in (*work.notes, work.forecast):
        work.progress.noted(str(note))
    with noted_while(work.progress, "fine-tuning"):
        results = _train_shortlist(work, train_once)
    rows = tuple(
        msgspec.structs.replace(row, fine_tuned=results[row.checkpoint]) if row.checkpoint in results else row
        for row in work.ranking.rows
    )
    ranking = msgspec.structs.replace(work.ranking, rows=rows)
    if not ranking.fine_tuned:
        raise EmmsError(
            "fine-tuning-failed",
            "no checkpoint could be fine-tuned: " + "; ".join(f"{name}: {r.error}" for name, r in results.items()),
            "look at the first error",
        )
    return ranking


def _train_shortlist(work: FineTuning, train_once: TrainOnce) -> dict[str, FineTuned]:
    """Train every checkpoint at its learning rates, then with the other seeds at its best rate.

    A checkpoint that diverges at each of its default rates is also trained at a lower rate. A checkpoint that learns
    nothing at any of them is also trained at a higher rate.
    """
    errors, results = dict[str, str](), dict[TrainingJob, TrainingRun]()

    def train(jobs: Sequence[TrainingJob]) -> None:
        results.update((job, _finished_run(work, job, train_once)) for job in jobs)

    def runs_of(row: Row) -> list[TrainingRun]:
        return [result for job, result in results.items() if job.checkpoint == row.checkpoint]

    for row in work.shortlist:
        try:
            work.jobs.spec(row)
        except EmmsError as error:
            errors[row.checkpoint] = one_line(error)
    rows = [(row, work.jobs.recipe(row)) for row in work.shortlist if row.checkpoint not in errors]
    train([work.jobs.job(row, rate, recipe.seeds[0]) for row, recipe in rows for rate in recipe.learning_rates])
    more = []
    for row, recipe in rows:
        if not work.options.training.learning_rates and (another := _another_rate(recipe, runs_of(row))):
            rate, why = another
            work.progress.noted(f"{row.checkpoint}: {why} at these rates: {rate:g} is tried too")
            more.append(work.jobs.job(row, rate, recipe.seeds[0]))
    train(more)
    further = []
    for row, recipe in rows:
        best = _best(runs_of(row))
        if best is not None:
            further += [work.jobs.job(row, best.learning_rate, seed) for seed in recipe.seeds[1:]]
    train(further)
    return {row.checkpoint: _summary(work, row, runs_of(row), errors.get(row.checkpoint)) for row in work.shortlist}


def _another_rate(recipe: Recipe, runs: Sequence[TrainingRun]) -> tuple[float, str] | None:
    """Return another learning rate to try and the reason, or None if the recipe's rates suffice."""
    if all(run.has_diverged for run in runs):
        return float(f"{min(recipe.learning_rates) / _LOWER:g}"), "its training diverges"
    highest = max(recipe.learning_rates)
    if not any(run.has_learned or (run.has_diverged and run.learning_rate == highest) for run in runs):
        return float(f"{highest * _HIGHER:g}"), "it learns nothing"
    return None


def _finished_run(work: FineTuning, job: TrainingJob, train_once: TrainOnce) -> TrainingRun:
    """Return the result of a run, from the cache or after training. Keep its model if it is the best so far."""
    result, source = work.runs.stored(job), " (from the cache)"
    if result is None:
        result, source = _trained(work, job, train_once), ""
    if work.model_folder is not None:
        work.model_folder.finished(work.runs.digest(job), result)
    work.progress.noted(f"{job.name}: {_run_text(work, result)}{source}")
    for note in () if source else result.notes:
        work.progress.noted(f"{job.name}: {note}")
    return result


def _trained(work: FineTuning, job: TrainingJob, train_once: TrainOnce) -> TrainingRun:
    """Train a run, or wait for another process that trains it, and store its result before its states are removed."""
    note = f"{job.name}: another process trains it; waiting for its result"
    waiting = partial(work.progress.noted, note)
    try:
        with locked_run(work.runs.cache.root, work.runs.digest(job), work.deadline, waiting) as folder:
            result = work.runs.stored(job)  # another process may have finished it in the meantime
            if result is None:
                with noted_while(work.progress, job.name):
                    result = train_once(work, job, folder)
            # A run that the time limit ended is not a result of the recipe.
            if result.unfinished is None:
                if result.validation is not None:
                    work.runs.store(job, result)
                shutil.rmtree(folder, ignore_errors=True)
            return result
    except TimeoutError:
        return TrainingRun(job.learning_rate, job.seed, error="not started: the time limit had passed")


def train_here(splits: Splits, work: FineTuning, job: TrainingJob, folder: Path) -> TrainingRun:
    """Train one run in this process, without the worker."""
    from hf_emms.finetune.training import run_job

    options, models = work.options.running, work.runs.models_of(job)
    return run_job(job, splits, options, folder, models=models, deadline=work.deadline, progress=work.progress)


# ---- the results -------------------------------------------------------------------------------------------


def _best(runs: Iterable[TrainingRun]) -> TrainingRun | None:
    """Return the first run with the highest validation score, or None if all runs failed."""
    return max((run for run in runs if run.validation is not None), key=_validation, default=None)


def _validation(run: TrainingRun) -> float:
    return -math.inf if run.validation is None else run.validation


def _summary(work: FineTuning, row: Row, runs: Sequence[TrainingRun], error: str | None) -> FineTuned:
    recipe, metric = work.jobs.recipe(row), work.metric
    summary = FineTuned(metric, runs=tuple(runs), recipe=recipe.as_json(), rows=work.splits.sizes)
    best = _best(run for run in runs if run.seed == recipe.seeds[0])
    if best is None:
        return msgspec.structs.replace(summary, error=error or next(run.error for run in runs if run.error is not None))
    chosen = _runs_at(runs, best.learning_rate)
    values, errors = [run.scores[metric] for run in chosen], [run.stderr or 0.0 for run in chosen]
    of_seeds = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
    baseline = chosen[0].baseline
    if baseline is not None:
        gain_errors = [run.baseline.gain_stderr for run in chosen if run.baseline is not None]
        gain_stderr = math.hypot(np.mean(gain_errors), of_seeds / math.sqrt(len(values)))
        baseline = msgspec.structs.replace(baseline, gain_stderr=gain_stderr)
    return msgspec.structs.replace(
        summary,
        value=float(np.mean(values)),
        spread=of_seeds if len(values) > 1 else chosen[0].stderr,
        stderr=math.hypot(np.mean(errors), of_seeds / math.sqrt(len(values))),
        baseline=baseline,
        validation=float(np.mean([run.validation for run in chosen])),
        scores={name: float(np.mean([run.scores[name] for run in chosen])) for name in chosen[0].scores},
        learning_rate=best.learning_rate,
    )


def _runs_at(runs: Iterable[TrainingRun], learning_rate: float | None) -> list[TrainingRun]:
    return [run for run in runs if run.learning_rate == learning_rate and run.validation is not None]


def keep_best(work: FineTuning, folder: ModelFolder, ranking: Ranking, training: TrainOnce) -> None:
    """Move the best model of a fine-tuned ranking into its folder, with its card, and delete the other models.

    Raises:
        EmmsError: The folder cannot be written, the model cannot be trained again, or its card cannot be rendered. In
            the last case, the model is in the folder without a card.
    """
    row = ranking.fine_tuned[0]
    assert row.fine_tuned is not None
    best = max(_runs_at(row.fine_tuned.runs, row.fine_tuned.learning_rate), key=_validation)
    job = work.jobs.job(row, best.learning_rate, best.seed)
    digest = work.runs.digest(job)
    if folder.model(digest, best) is None:
        work.progress.noted(f"{row.checkpoint}: trained again, because its model was not kept")
        anew = replace(work, deadline=None, runs=replace(work.runs, resume=False))
        best = _trained(anew, job, training)  # if its result differs this time, the card reports this one
        if best.validation is None:
            raise EmmsError(
                "fine-tuning-failed", f"{job.name}: {best.error}", "run the same command again: finished runs are kept"
            )
        work.progress.noted(f"{job.name}: {_run_text(work, best)}")
    trained_on = msgspec.structs.replace(ranking, dataset_revision=work.splits.revision)
    test, model = work.splits.test, folder.model(digest, best) or folder.folder
    # The command on the card has the time that was left for fine-tuning, which the user did not set.
    left = None if work.seconds_limit is None else f"{max(1, round(work.seconds_limit))}s"
    options = work.options.replaced(time_limit=work.options.training.time_limit or left)
    files, failure = test_rows(trained_on, test), None
    try:
        files["README.md"] = model_card(trained_on, row, best, test, options, model)
    except EmmsError as error:
        failure = error
    folder.finish(digest, best, files)
    work.progress.noted(f"{row.checkpoint}, fine-tuned: {folder.folder}")
    if failure is not None:
        problem = f"the model in {folder.folder} has no card: {failure.message}"
        raise EmmsError("card-not-rendered", problem, failure.hint)


def _run_text(work: FineTuning, run: TrainingRun) -> str:
    if run.validation is None:
        return f"failed: {run.error}"
    measured = f"{metric_title(work.metric)} {format_measured(work.metric, run.validation)}"
    return f"validation {measured}, {run.steps:,} steps, {run.seconds:.1f} s"
