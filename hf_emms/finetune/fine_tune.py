"""Fine-tune the first checkpoints of a ranking, and put the measured scores beside the estimated ones.

A finished run is in the cache before the next one starts.
"""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import AbstractContextManager, closing, suppress
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from operator import attrgetter
from pathlib import Path

import msgspec
import numpy as np

from hf_emms.cache import Cache, Key, cache_key, digest_of
from hf_emms.data import DatasetSource
from hf_emms.errors import (
    EmmsError,
    Note,
    format_duration,
    install_command,
    one_line,
    parse_duration,
    pluralize,
    setting_ref,
)
from hf_emms.features.architectures import STATIC
from hf_emms.features.feature_spec import FeatureSpec, device_in_keys, plan_extraction
from hf_emms.finetune.memory import activation_bytes, check_memory, memory_in_words, training_bytes
from hf_emms.finetune.recipe import (
    Recipe,
    TrainingJob,
    choose_method,
    head_of,
    max_rows,
    recipe_for,
    trained_task,
)
from hf_emms.finetune.resume_states import locked_run, unfinished_folder
from hf_emms.finetune.saving import (
    ModelFolder,
    check_push,
    evaluation_results,
    model_card,
    model_folder_for,
    test_rows,
)
from hf_emms.finetune.splits import Splits, load_splits
from hf_emms.hub import Repo, resolve
from hf_emms.options import FeatureOptions, Options, RunOptions
from hf_emms.options.registry import installed_versions, versions
from hf_emms.ranking import FineTuned, Ranking, Row, TrainingRun, is_commit
from hf_emms.ranking.columns import format_measured, metric_title
from hf_emms.ranking.progress import Progress, noted_while
from hf_emms.tasks import Task

DEFAULT_TOP = 3
# Part of the key of every finished run: raise it when the same recipe gives other results.
FINETUNE_VERSION = 16
# Checkpoints that share the last rank of a shortlist are fine-tuned too, up to twice its length in all.
_MAX_TIED = 2
# Divides the lowest learning rate where training diverges at all of them, and multiplies the highest where a checkpoint
# learns nothing at any.
_LOWER, _HIGHER = 10, 4
# Extra → module that it installs → package of the module.
_FINETUNE = {"sacrebleu": "sacrebleu", "sklearn": "scikit-learn"}
_PACKAGES = {"finetune": _FINETUNE, "lora": {**_FINETUNE, "peft": "peft"}}
# Seconds until a run has its checkpoint, where it was not measured.
_LOAD_SECONDS = 1.0
# A step costs a forward, a backward that is twice as long, and about a further forward: the optimizer, and
# padding in batches that are not sorted by length.
_STEP_FORWARDS = 4


@dataclass(frozen=True)
class FineTuning:
    """A shortlist, best first, and the settings of all its runs.

    Attributes:
        methods: checkpoint → "full", "lora" or "head".
        plans: checkpoint → how it is loaded, of those that were resolved already.
        activations: checkpoint → bytes that a step keeps, where that is known.
        seconds_per_parameter: time of an input by size, for checkpoints that were not timed when they were ranked.
        deadline: a `time.time`.
    """

    ranking: Ranking
    shortlist: tuple[Row, ...]
    methods: dict[str, str]
    plans: dict[str, FeatureSpec]
    activations: dict[str, int]
    splits: Splits
    options: Options
    seconds_per_parameter: float
    notes: tuple[Note, ...]
    cache: Cache
    progress: Progress
    deadline: float | None
    model_folder: ModelFolder | None

    @property
    def metric(self) -> str:
        """Return the name of the score by which checkpoints are compared."""
        return head_of(self.splits.task).metrics(self.splits.train.references)[0].name

    def recipe(self, row: Row) -> Recipe:
        options, method = self.options, self.methods[row.checkpoint]
        size = None if row.architecture == STATIC else row.parameters  # it is trained like the smallest: without layers
        return recipe_for(options.training, head_of(self.splits.task), size, method, options.batch_size)

    def plan(self, row: Row) -> FeatureSpec:
        """Return how a checkpoint is loaded, at the revision that was ranked; it is resolved once."""
        if row.checkpoint not in self.plans:
            self.plans[row.checkpoint] = _ranked_plan(row, self.splits.task, self.options)
        return self.plans[row.checkpoint]

    def check_memory(self, row: Row) -> None:
        """Refuse a checkpoint whose training does not fit into this machine, where its activations are known."""
        if row.checkpoint in self.activations:
            method = self.methods[row.checkpoint]
            needed = training_bytes(method, row.parameters) + self.activations[row.checkpoint]
            remedy = setting_ref("method", "lora") + ", or a smaller " + setting_ref("batch_size")
            check_memory("its training", method, needed, self.options.device, remedy)

    def key(self, job: TrainingJob) -> Key:
        return run_key(job, self.splits, self.options.running)

    def digest(self, job: TrainingJob) -> str:
        """Return the name of the files of a run."""
        return digest_of(self.key(job))

    def stored(self, job: TrainingJob) -> TrainingRun | None:
        """Return the result of a run from the cache; None where it has none, or results are not resumed."""
        if not self.options.resume:
            return None
        return self.cache.get_json(self.key(job), partial(msgspec.convert, type=TrainingRun))

    def models_of(self, job: TrainingJob) -> Path | None:
        """Return the folder for the models of a run; None if they are not kept."""
        return self.model_folder.models_of(self.digest(job)) if self.model_folder is not None else None


def run_key(job: TrainingJob, splits: Splits, options: RunOptions) -> Key:
    """Return the cache key of a run."""
    recipe, searched = job.recipe.as_json(), splits.task.input.sentence_settings
    loss = head_of(splits.task).module.replace("_", "-")
    packages = ("accelerate", *(("peft",) if job.recipe.method == "lora" else ()), *filter(None, [loss]))
    return cache_key(
        "finetunings",
        job.plan.repo.id,
        job.plan.repo.revision,
        options.in_keys(),
        versions=versions() | job.plan.versions | installed_versions(*packages),
        code=FINETUNE_VERSION,
        rows=splits.fingerprint,
        task=splits.task.id,
        recipe={name: recipe[name] for name in recipe if name not in ("learning_rates", "seeds", "budget")},
        learning_rate=job.learning_rate,
        seed=job.seed,
        prompts=[job.plan.query_prompt, job.plan.document_prompt] if "query_prompt" in searched else None,
        device=device_in_keys(options),
    )


def _ranked_plan(row: Row, task: Task, options: Options) -> FeatureSpec:
    """Return how a checkpoint is loaded, at the revision that was ranked; refuses a folder that has changed since."""
    if is_commit(row.revision):
        repo = resolve(f"{row.checkpoint.partition('@')[0]}@{row.revision}", "model")
    else:
        repo = resolve(row.checkpoint, "model")
        if row.revision is not None and repo.revision != row.revision:
            raise EmmsError(f"{row.checkpoint} has changed since it was ranked", "rank it again")
    return plan_for(repo, task, options.running, options.features)


def plan_for(
    repo: Repo, task: Task, options: RunOptions, prompts: FeatureOptions | FeatureSpec | None = None
) -> FeatureSpec:
    return plan_extraction(repo, task.input, task.id, trust_remote_code=options.trust_remote_code, prompts=prompts)


TrainAll = Callable[[FineTuning, Sequence[TrainingJob]], Generator[tuple[TrainingJob, TrainingRun], None, None]]
"""Trains runs, and yields each as soon as it is finished; its model is in `FineTuning.model_folder`."""


# ---- what will be done -----------------------------------------------------------------------------------------------


def check_settings(options: Options) -> None:
    """Refuse a repository that may not be written and a missing package before a long ranking."""
    model_folder_for(options)
    check_push(options.push_to_hub)
    extra = "lora" if options.method == "lora" else "finetune"
    missing = [package for module, package in _PACKAGES[extra].items() if find_spec(module) is None]
    if missing:
        raise EmmsError(f"fine-tuning needs {' and '.join(missing)}, not installed", install_command(extra))


def prepare(
    ranking: Ranking,
    options: Options,
    source: DatasetSource,
    cache: Cache,
    progress: Progress,
    *,
    seconds_per_parameter: float,
    model_folder: ModelFolder | None = None,
) -> FineTuning:
    """Return a shortlist of `options.confirm` checkpoints with the rows to train on; nothing is trained yet.

    `model_folder` is that of the options, if it was made before, see `model_folder_for`.
    """
    from hf_emms.features.device import choose_device

    seconds = parse_duration(options.time_limit) if options.time_limit else None
    shortlist, notes = choose(ranking.rows, options.confirm or DEFAULT_TOP)
    splits = load_splits(options.sample, cache, source, max_rows=max_rows(options.training))
    splits = replace(splits, task=trained_task(splits.task, options.method))
    model_folder = model_folder or model_folder_for(options, splits.revision)
    if splits.revision != ranking.dataset_revision:
        if isinstance(options.dataset, str) and options.dataset.partition("@")[0] in (
            ranking.dataset,
            ranking.dataset_id,
        ):
            raise EmmsError(
                f"{ranking.dataset} has changed since it was ranked: revision {ranking.dataset_revision} was, "
                f"{splits.revision} is here",
                "rank it again",
            )
        text = f"the ranking is of revision {ranking.dataset_revision} of the dataset, this is {splits.revision}"
        notes.append(Note("other-revision", text))
    methods, plans, activations = dict[str, str](), dict[str, FeatureSpec](), dict[str, int]()
    step = step_shape(splits, options.batch_size)
    for row in shortlist:
        if options.engine == "ray":  # the memory of its nodes is not that of this machine
            methods[row.checkpoint] = options.method or "full"
            continue
        if step is not None:
            with suppress(EmmsError):  # why it cannot be loaded is said when it is
                plan = plans[row.checkpoint] = _ranked_plan(row, splits.task, options)
                activations[row.checkpoint] = activation_bytes(plan, row.parameters, *step, options.device)
        device, kept = choose_device(options.device), activations.get(row.checkpoint)
        methods[row.checkpoint], why = choose_method(options.training, row.parameters, device, kept)
        notes += [Note("method", f"{row.checkpoint}: {why}")] if why else []
    return FineTuning(
        ranking,
        shortlist,
        methods,
        plans,
        activations,
        splits,
        options,
        seconds_per_parameter,
        (*splits.notes, *notes),
        cache,
        progress,
        None if seconds is None else time.time() + seconds,
        model_folder,
    )


def step_shape(splits: Splits, batch_size: int | None) -> tuple[int, int] | None:
    """Return the rows of a step and about the tokens of the longest; None where these do not decide its memory."""
    head = head_of(splits.task)
    longest = head.longest_row(splits.task.input, splits.train)
    return None if longest is None else (batch_size or head.batch_size, longest)


def choose(rows: Iterable[Row], top: int) -> tuple[tuple[Row, ...], list[Note]]:
    """Return the first rows that can be fine-tuned and those that share the last rank, with notes on the others."""
    every = [row for row in rows if row.error is None]
    scored = [row for row in every if row.no_head is None]
    notes = [
        Note("not-fine-tuned", f"{row.checkpoint} is not fine-tuned: {row.no_head}")
        for row in every[:top]
        if row.no_head is not None
    ]
    if every and not scored:
        raise EmmsError(f"no checkpoint of the ranking can be fine-tuned: {every[0].no_head}", "rank others")
    if not scored:
        raise EmmsError("the ranking has no checkpoint with a score", "rank checkpoints that can be scored first")
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


@dataclass(frozen=True)
class PlannedRuns:
    """The planned runs of a checkpoint, with its size and the bytes of a step's activations where these are known."""

    recipe: Recipe
    seconds_per_forward: float
    parameters: int | None
    activations: int | None
    loading: float = _LOAD_SECONDS

    @property
    def bytes(self) -> int:
        return training_bytes(self.recipe.method, self.parameters) + (self.activations or 0)


def forecast(work: FineTuning) -> str:
    """Return the number of runs, their length, about how long they take, and their memory as text."""
    return forecast_of(planned_runs(work), work.splits, work.options.engine)


def planned_runs(work: FineTuning) -> list[PlannedRuns]:
    return [
        PlannedRuns(
            work.recipe(row),
            _seconds_per_forward(work, row),
            row.parameters,
            work.activations.get(row.checkpoint),
            row.seconds.loading or _LOAD_SECONDS,
        )
        for row in work.shortlist
    ]


def seconds_of(checkpoint: PlannedRuns, splits: Splits) -> float:
    """Return about how long the runs of a checkpoint take, if none ends early."""
    recipe, head = checkpoint.recipe, head_of(splits.task)
    trained = recipe.total_steps(splits.training_rows) * recipe.batch_size
    evaluations = max(1, round(trained / splits.training_rows)) + 1 + head.is_measured_first
    forwards = _STEP_FORWARDS * trained * head.inputs_per_row
    forwards += evaluations * head.count_inputs(splits.validation) + head.count_inputs(splits.test)
    return recipe.runs * (checkpoint.loading + forwards * checkpoint.seconds_per_forward)


def forecast_of(planned: Sequence[PlannedRuns], splits: Splits, engine: str) -> str:
    """Return the `forecast` of planned runs."""
    seconds = sum(seconds_of(checkpoint, splits) for checkpoint in planned)
    runs = sum(checkpoint.recipe.runs for checkpoint in planned)
    largest = max(planned, key=attrgetter("bytes"))
    memory = memory_in_words(largest.recipe.method, largest.parameters, largest.activations)
    recipe = planned[0].recipe
    sizes = ", ".join(f"{name} {words}" for name, words in splits.in_words.items())
    quick = " (a quick budget: who is best at it may not be best at yours)" if recipe.budget else ""
    where = " of computing, side by side on the cluster" if engine == "ray" else ""
    return (
        f"fine-tuning {pluralize(len(planned), 'checkpoint')}: {pluralize(runs, 'run')} of "
        f"{recipe.in_words()}{quick}, about {format_duration(seconds)}{where}, {memory}; {sizes}"
    )


def _seconds_per_forward(work: FineTuning, row: Row) -> float:
    """Return the seconds of an input, as measured when the checkpoint was scored, or by its size."""
    if row.seconds.forward and row.n is None and row.cached != "features" and work.ranking.n_inputs:
        return row.seconds.forward / work.ranking.n_inputs
    return work.seconds_per_parameter * (row.parameters or 0)


# ---- all runs of a shortlist -----------------------------------------------------------------------------------------


def fine_tune(work: FineTuning, train_all: TrainAll) -> Ranking:
    """Fine-tune the shortlist of `prepare`, and return the ranking with `Row.fine_tuned`.

    Raises:
        EmmsError: no checkpoint could be fine-tuned.
    """
    for note in (*work.notes, forecast(work)):
        work.progress.noted(str(note))
    with noted_while(work.progress, "fine-tuning"):
        results = _train_shortlist(work, train_all)
    rows = tuple(
        msgspec.structs.replace(row, fine_tuned=results[row.checkpoint]) if row.checkpoint in results else row
        for row in work.ranking.rows
    )
    ranking = msgspec.structs.replace(work.ranking, rows=rows)
    if not ranking.fine_tuned:
        raise EmmsError(
            "no checkpoint could be fine-tuned: " + "; ".join(f"{name}: {r.error}" for name, r in results.items()),
            "the first error is the one to look at",
        )
    if work.model_folder is not None:
        _keep_best(work, work.model_folder, ranking, train_all)
    return ranking


def _train_shortlist(work: FineTuning, train_all: TrainAll) -> dict[str, FineTuned]:
    """Train every checkpoint at its learning rates, then with the other seeds at the best rate of each.

    A checkpoint that diverges at each of its default rates is also trained at a lower rate, and at a higher rate
    where it learns nothing at any.
    """
    plans, errors, results = dict[str, FeatureSpec](), dict[str, str](), dict[TrainingJob, TrainingRun]()

    def job(row: Row, learning_rate: float, seed: int) -> TrainingJob:
        return TrainingJob(row.checkpoint, plans[row.checkpoint], row.parameters, work.recipe(row), learning_rate, seed)

    def train(jobs: Sequence[TrainingJob]) -> None:
        finished = finished_runs(work, jobs, train_all)
        results.update((job, finished[job]) for job in jobs)  # not in the order in which they have ended

    def runs_of(row: Row) -> list[TrainingRun]:
        return [result for job, result in results.items() if job.checkpoint == row.checkpoint]

    for row in work.shortlist:
        try:
            plan = work.plan(row)
            work.check_memory(row)
            plans[row.checkpoint] = plan
        except EmmsError as error:
            errors[row.checkpoint] = one_line(error)
    rows = [(row, work.recipe(row)) for row in work.shortlist if row.checkpoint in plans]
    train([job(row, rate, recipe.seeds[0]) for row, recipe in rows for rate in recipe.learning_rates])
    more = []
    for row, recipe in rows:
        if not work.options.learning_rates and (another := _another_rate(recipe, runs_of(row))):
            rate, why = another
            work.progress.noted(f"{row.checkpoint}: {why} at these rates: {rate:g} is tried too")
            more.append(job(row, rate, recipe.seeds[0]))
    train(more)
    further = []
    for row, recipe in rows:
        best = _best(runs_of(row))
        if best is not None:
            further += [job(row, best.learning_rate, seed) for seed in recipe.seeds[1:]]
    train(further)
    return {row.checkpoint: _summary(work, row, runs_of(row), errors.get(row.checkpoint)) for row in work.shortlist}


def _another_rate(recipe: Recipe, runs: Sequence[TrainingRun]) -> tuple[float, str] | None:
    """Return a learning rate beyond those of a recipe that is worth a run, and why; None where these were enough."""
    if all(run.has_diverged for run in runs):
        return float(f"{min(recipe.learning_rates) / _LOWER:g}"), "its training diverges"
    highest = max(recipe.learning_rates)
    if not any(run.has_learnt or (run.has_diverged and run.learning_rate == highest) for run in runs):
        return float(f"{highest * _HIGHER:g}"), "it learns nothing"
    return None


def finished_runs(work: FineTuning, jobs: Sequence[TrainingJob], train_all: TrainAll) -> dict[TrainingJob, TrainingRun]:
    """Return the results of runs, from the cache or trained; each is stored before the next starts."""
    results = {job: stored for job in jobs if (stored := work.stored(job)) is not None}
    for job, stored in results.items():
        if work.model_folder is not None:
            work.model_folder.finished(work.digest(job), stored)
        work.progress.noted(f"{job.name}: {_in_words(work, stored)} (from the cache)")
    with closing(train_all(work, [job for job in jobs if job not in results])) as finished:
        for job, result in finished:
            # A run that the time limit ended is no result of the recipe.
            if result.validation is not None and result.unfinished is None:
                work.cache.put_json(work.key(job), msgspec.to_builtins(result))
            if work.model_folder is not None:
                work.model_folder.finished(work.digest(job), result)
            for line in (_in_words(work, result), *result.notes):
                work.progress.noted(f"{job.name}: {line}")
            results[job] = result
    return results


def train_here(work: FineTuning, jobs: Sequence[TrainingJob]) -> Generator[tuple[TrainingJob, TrainingRun], None, None]:
    """Train in this process, a run after the other; a `TrainAll`."""
    from hf_emms.finetune.training import UnsavedModelError, run_job

    splits = work.splits.with_images_in_memory()
    for job in jobs:
        try:
            with run_lock(work, job):
                stored = work.stored(job)  # another process may have finished it meanwhile
                if stored is not None:
                    yield job, stored
                    continue
                with unfinished_folder(work.cache.root, work.digest(job)) as folder:
                    problem = None
                    try:
                        with noted_while(work.progress, job.name):
                            result = run_job(
                                job,
                                splits,
                                work.options.running,
                                folder,
                                keep_adapter=work.options.keep_adapter,
                                models=work.models_of(job),
                                deadline=work.deadline,
                                progress=work.progress,
                            )
                    except UnsavedModelError as error:
                        result, problem = error.run, error
                    yield job, result  # stored before its states are removed, and before others have the lock
                    if result.unfinished is None:
                        shutil.rmtree(folder, ignore_errors=True)
                    if problem is not None:
                        raise problem
        except TimeoutError:
            yield job, not_started(job)


def run_lock(work: FineTuning, job: TrainingJob) -> AbstractContextManager[None]:
    """Return the lock of a run, see `locked_run`; its holder first looks for a result that another has stored."""
    note = f"{job.name}: another process trains it; waiting for its result"
    return locked_run(work.cache.root, work.digest(job), work.deadline, partial(work.progress.noted, note))


def not_started(job: TrainingJob) -> TrainingRun:
    return TrainingRun(job.learning_rate, job.seed, error="not started: the time limit had passed")


# ---- what the runs come to -------------------------------------------------------------------------------------------


def _best(runs: Iterable[TrainingRun]) -> TrainingRun | None:
    """Return the first run with the highest validation score; None where all failed."""
    return max((run for run in runs if run.validation is not None), key=_validation, default=None)


def _validation(run: TrainingRun) -> float:
    return -math.inf if run.validation is None else run.validation


def _summary(work: FineTuning, row: Row, runs: Sequence[TrainingRun], error: str | None) -> FineTuned:
    recipe, metric = work.recipe(row), work.metric
    summary = FineTuned(metric, runs=tuple(runs), recipe=recipe.as_json(), rows=work.splits.in_words)
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


def _keep_best(work: FineTuning, folder: ModelFolder, ranking: Ranking, train_all: TrainAll) -> None:
    row = ranking.fine_tuned[0]
    assert row.fine_tuned is not None
    best = max(_runs_at(row.fine_tuned.runs, row.fine_tuned.learning_rate), key=_validation)
    job = TrainingJob(row.checkpoint, work.plan(row), row.parameters, work.recipe(row), best.learning_rate, best.seed)
    digest = work.digest(job)
    if folder.model(digest, best) is None:
        work.progress.noted(f"{row.checkpoint}: trained again, because its model was not kept")
        anew = replace(work, deadline=None, options=replace(work.options, resume=False))
        for _, best in train_all(anew, [job]):
            if best.validation is None:
                raise EmmsError(f"{job.name}: {best.error}", "run the same command again: what is finished is kept")
            # What is reported from now on is what is saved, if the same training gives another result.
            work.cache.put_json(work.key(job), msgspec.to_builtins(best))
            work.progress.noted(f"{job.name}: {_in_words(work, best)}")
    trained_on = msgspec.structs.replace(ranking, dataset_revision=work.splits.revision)
    test, model = work.splits.test, folder.model(digest, best) or folder.folder
    files = {
        "README.md": model_card(trained_on, row, best, test, work.options, model),
        **test_rows(trained_on, test, work.options.group_column),
        **evaluation_results(trained_on, row, best, test, work.progress.noted),
    }
    folder.finish(digest, best, files)
    work.progress.noted(f"{row.checkpoint}, fine-tuned: {folder.folder}")


def _in_words(work: FineTuning, run: TrainingRun) -> str:
    if run.validation is None:
        return f"failed: {run.error}"
    measured = f"{metric_title(work.metric)} {format_measured(work.metric, run.validation)}"
    return f"validation {measured}, {run.steps:,} steps, {run.seconds:.1f} s"
