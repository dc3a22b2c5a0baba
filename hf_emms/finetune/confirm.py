"""From a ranking to a decision: its first checkpoints are fine-tuned, and what that measures is put beside scores."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from hf_emms.errors import EmmsError, one_line
from hf_emms.finetune.model_card import evaluation_results, model_card
from hf_emms.finetune.recipe import Recipe, check_settings, check_task, recipe_for
from hf_emms.finetune.runs import Run, RunWork, TrainAll, finished_runs
from hf_emms.finetune.saving import ModelKeeper, keeper_for, push_best
from hf_emms.finetune.splits import load_splits
from hf_emms.formatting import format_duration, parse_duration, pluralize
from hf_emms.hub import Repo, resolve
from hf_emms.options import SETTINGS, Options
from hf_emms.presets import dataset_preset
from hf_emms.ranking import FineTuned, Ranking, Row, TrainingRun, is_commit
from hf_emms.ranking.advice import finetuning_summary
from hf_emms.ranking.progress import Progress, Silent
from hf_emms.run.preflight import rate
from hf_emms.run.session import Session
from hf_emms.tasks import get_task

if TYPE_CHECKING:
    import datasets

DEFAULT_TOP = 3
# Checkpoints that share the last rank of a shortlist are fine-tuned too, up to so many times its length.
_MOST_TIED = 2
# By how much a rate is lowered at which no loss falls.
_LOWER = 10
# A step costs three forwards: one, and a backward that is twice as long.
_STEP_FORWARDS = 3


def confirm(
    ranking: Ranking,
    dataset: str | datasets.Dataset | None = None,
    *,
    top: int = DEFAULT_TOP,
    method: str | None = None,
    budget: str | None = None,
    epochs: int | None = None,
    steps: int | None = None,
    learning_rates: float | str | Iterable[float | str] | None = None,
    seeds: int | None = None,
    confirm_samples: int | None = None,
    time_limit: str | None = None,
    save_model: str | None = None,
    push_to_hub: str | None = None,
    batch_size: int | None = None,
    device: str = "auto",
    engine: str = "local",
    ray_address: str | None = None,
    resume: bool = True,
    cache: bool = True,
    streaming: bool = False,
    allow_pickle: bool = False,
    trust_remote_code: bool = False,
    progress: Progress | None = None,
) -> Ranking:
    """Fine-tunes the best checkpoints of a ranking and reports what that measures.

    What is measured is who is best at this budget. Every finished run is on disk before the next one starts, so that
    the same call continues where it was interrupted.

    Args:
        ranking: whose best checkpoints are fine-tuned.
        dataset: what it was made on; by default found under the ranking's name for it.
        top: how many; those that share the last rank are fine-tuned too, up to twice as many.
        method: "full" (all weights; the default), "lora" or "head".
        budget: "quick": few rows and epochs.
        epochs: the most epochs a run; by default it depends on the task, and a run ends when it no longer improves.
        steps: optimizer steps a run, instead of epochs.
        learning_rates: peaks that are tried; by default two, by the size of the checkpoint.
        seeds: runs of each checkpoint at its best rate.
        confirm_samples: the most rows that are read; all by default.
        time_limit: when training ends, e.g. "90m" or "2h"; what is finished counts.
        save_model: a folder for the best fine-tuned model.
        push_to_hub: a model repository, "ORG/NAME", that it is uploaded to with its card; created, and private then, if
            needed.
        batch_size: rows a step.
        device: "auto", "cpu", "cuda" or "mps".
        engine: "local", one run after the other, or "ray", as many at a time as the cluster has GPUs or cores for.
        ray_address: see `hf_emms.rank`.
        resume: take runs that an earlier call finished.
        cache: read finished runs from the cache, and store them there.
        streaming: read the dataset without downloading all of it.
        allow_pickle: see `hf_emms.rank`.
        trust_remote_code: see `hf_emms.rank`.
        progress: receives events; by default nothing is reported.

    Returns:
        The ranking with `Row.fine_tuned`; `Ranking.best` is then the best by what was measured.

    Raises:
        EmmsError: the dataset or an argument is not usable.

    Example:
        >>> import hf_emms
        >>> ranking = hf_emms.rank("demo_fashion")  # doctest: +SKIP
        >>> hf_emms.confirm(ranking, top=2).best.checkpoint  # doctest: +SKIP
        'emms-demo/resnet-fashion'
    """
    given = locals()
    settings = {name: value for name, value in given.items() if name in SETTINGS and name != "dataset"}
    options = options_for(ranking, dataset, confirm=top, **settings)
    progress = progress or Silent()
    result = confirmed(ranking, options, progress)
    push_best(options, progress.noted)
    return result


def options_for(ranking: Ranking, dataset: Any = None, **settings: Any) -> Options:
    """The options with which a ranking's dataset is read again.

    Raises:
        EmmsError: a setting that is not allowed, or a dataset that was in memory.
    """
    if dataset is None:
        dataset = ranking.dataset
        if not ranking.dataset_revision or ranking.dataset == "in-memory dataset":
            raise EmmsError("the ranking is of a dataset in memory", "hf_emms.confirm(ranking, dataset)")
        if is_commit(ranking.dataset_revision) and dataset_preset(dataset) is None:
            dataset = f"{ranking.dataset_id.partition('@')[0]}@{ranking.dataset_revision}"
    kept = {
        name: ranking.settings[name]
        for name, setting in SETTINGS.items()
        if setting.confirm == "kept" and ranking.settings.get(name) is not None
    }
    columns = {role: name for role, name in ranking.columns.items() if "," not in name}
    read = {"task": ranking.task, "config": ranking.config, "split": ranking.split, "columns": columns}
    return Options.of(dataset, **kept, **read, **settings)


def confirmed(ranking: Ranking, options: Options, progress: Progress) -> Ranking:
    """Fine-tunes the shortlist of a ranking; `Options.confirm` says how long it is.

    Raises:
        EmmsError: the dataset or a setting is not usable. No checkpoint was trained then.
    """
    plan = prepare(ranking, options, progress)
    for note in (*plan.work.splits.notes, *plan.notes, forecast(plan)):
        progress.noted(note)
    train_all = Session.start(options, progress).train_all
    found = _fine_tuned(plan, train_all)
    rows = tuple(
        msgspec.structs.replace(row, fine_tuned=found[row.checkpoint]) if row.checkpoint in found else row
        for row in ranking.rows
    )
    result = msgspec.structs.replace(ranking, rows=rows)
    sentence = finetuning_summary(result)
    if sentence is None:
        raise EmmsError(
            "no checkpoint could be fine-tuned: " + "; ".join(f"{name}: {one.error}" for name, one in found.items()),
            "the first error is the one to look at; --debug shows its traceback",
        )
    if plan.work.keeper is not None:
        _keep_best(plan, plan.work.keeper, result, train_all)
    return result


def _fine_tuned(plan: Confirmation, train_all: TrainAll) -> dict[str, FineTuned]:
    """All runs: every checkpoint at its learning rates, then the other seeds at the best rate of each.

    One whose loss falls at none of the rates that were chosen for it is also trained at a lower one.
    """
    from hf_emms.finetune.training import is_too_fast

    repos, errors, runs = dict[str, Repo](), dict[str, str](), list[Run]()
    for row in plan.shortlist:
        try:
            repos[row.checkpoint] = _repo_of(row)
        except EmmsError as error:
            errors[row.checkpoint] = one_line(error)
    rows = [row for row in plan.shortlist if row.checkpoint in repos]
    for row in rows:
        recipe = plan.recipe(row)
        runs += [plan.run(row, repos[row.checkpoint], rate, recipe.seeds[0]) for rate in recipe.learning_rates]
    results = finished_runs(plan.work, runs, train_all)

    def of(row: Row) -> list[TrainingRun]:
        return [result for run, result in results.items() if run.checkpoint == row.checkpoint]

    slower = []
    for row in rows:
        if not plan.work.options.learning_rates and all(map(is_too_fast, of(row))):
            recipe = plan.recipe(row)
            lower = float(f"{min(recipe.learning_rates) / _LOWER:g}")
            plan.work.progress.noted(f"{row.checkpoint}: its loss falls at none of these rates: {lower:g} is tried too")
            slower.append(plan.run(row, repos[row.checkpoint], lower, recipe.seeds[0]))
    results |= finished_runs(plan.work, slower, train_all)
    further = []
    for row in rows:
        best = _best_rate(of(row))
        if best is not None:
            further += [plan.run(row, repos[row.checkpoint], best, seed) for seed in plan.recipe(row).seeds[1:]]
    results |= finished_runs(plan.work, further, train_all)
    results = {run: results[run] for run in (*runs, *slower, *further)}  # not in the order in which they have ended
    return {
        row.checkpoint: _summary(plan, plan.recipe(row), of(row), errors.get(row.checkpoint)) for row in plan.shortlist
    }


def _keep_best(plan: Confirmation, keeper: ModelKeeper, result: Ranking, train_all: TrainAll) -> None:
    """Leaves the best model in the folder that the options name."""
    row, work = result.fine_tuned[0], plan.work
    assert row.fine_tuned is not None
    rate = row.fine_tuned.learning_rate
    chosen = [one for one in row.fine_tuned.runs if one.learning_rate == rate and one.validation is not None]
    best = max(chosen, key=lambda one: one.validation or -math.inf)
    run = plan.run(row, _repo_of(row), best.learning_rate, best.seed)

    def train() -> None:
        work.progress.noted(f"{row.checkpoint}: trained again, because its model was not kept")
        ((_, again),) = train_all(replace(work, deadline=None), [run])
        if again.validation is None:
            raise EmmsError(f"{run.name}: {again.error}", "run the same command again: what is finished is kept")
        keeper.finished(work.digest(run), again)

    card = model_card(result, row, best, work.options)
    results = evaluation_results(result, row, best, work.splits.test.whole_split, work.progress.noted)
    keeper.finish(work.digest(run), {"README.md": card, **results}, train)
    work.progress.noted(f"{row.checkpoint}, fine-tuned: {keeper.folder}")


@dataclass(frozen=True)
class Confirmation:
    """What is about to be fine-tuned, nothing trained yet.

    Attributes:
        ranking: whose rows they are.
        shortlist: the ranking's rows that are fine-tuned, best first.
        notes: how they were chosen, in words.
        methods: checkpoint → what of it is trained.
        work: what all runs share.
    """

    ranking: Ranking
    shortlist: tuple[Row, ...]
    notes: tuple[str, ...]
    methods: dict[str, str]
    work: RunWork

    def recipe(self, row: Row) -> Recipe:
        """The recipe of a checkpoint."""
        return recipe_for(self.work.options, self.work.splits.task.id, row.parameters, self.methods[row.checkpoint])

    def run(self, row: Row, repo: Repo, learning_rate: float, seed: int) -> Run:
        """A run of a checkpoint."""
        return Run(row.checkpoint, repo, row.parameters, self.recipe(row), learning_rate, seed)


def prepare(ranking: Ranking, options: Options, progress: Progress) -> Confirmation:
    """Chooses the shortlist and reads the rows.

    Raises:
        EmmsError: the dataset or a setting is not usable.
    """
    from hf_emms.features.device import choose_device
    from hf_emms.finetune.methods import method_for

    if options.engine == "jobs":
        raise EmmsError("a job does not confirm a ranking that is kept here", "hf-emms rank --engine jobs --confirm N")
    check_settings(options)
    check_task(get_task(ranking.task).id)
    keeper = keeper_for(options)
    seconds = parse_duration(options.time_limit) if options.time_limit else None
    shortlist, notes = choose(ranking.rows, options.confirm or DEFAULT_TOP)
    cache = Session.start(options, progress).cache
    splits = load_splits(options, cache)
    if splits.revision != ranking.dataset_revision:
        notes.append(f"the ranking is of revision {ranking.dataset_revision} of the dataset, this is {splits.revision}")
    methods = {}
    for row in shortlist:
        if options.engine == "ray":
            methods[row.checkpoint] = options.method or "full"
            continue
        methods[row.checkpoint], why = method_for(options, row.parameters, choose_device(options.device))
        notes += [f"{row.checkpoint}: {why}"] if why else []
    deadline = None if seconds is None else time.time() + seconds
    work = RunWork(splits, options, cache, progress, deadline, keeper)
    return Confirmation(ranking, shortlist, tuple(notes), methods, work)


def choose(rows: Iterable[Row], top: int) -> tuple[tuple[Row, ...], list[str]]:
    """The first rows of a ranking and those that share the last one's rank, and a note where these are too many.

    Raises:
        EmmsError: no checkpoint has a score.
    """
    scored = [row for row in rows if row.error is None]
    if not scored:
        raise EmmsError("the ranking has no checkpoint with a score", "rank checkpoints that can be scored first")
    last = scored[min(top, len(scored)) - 1].rank
    tied = [row for place, row in enumerate(scored) if place < top or row.rank == last]
    chosen = tied[: _MOST_TIED * top]
    if len(chosen) == len(tied):
        return tuple(chosen), []
    return tuple(chosen), [
        f"{pluralize(len(tied), 'checkpoint')} share the ranks of the best {top}; the first {len(chosen)} by score are "
        f"fine-tuned, --confirm {len(tied)} takes all"
    ]


def forecast(plan: Confirmation) -> str:
    """How many runs there will be, of what, and about how long they take."""
    splits, seconds, runs = plan.work.splits, 0.0, 0
    for row in plan.shortlist:
        recipe, parts = plan.recipe(row), splits.parts
        batches = recipe.total_steps(splits.training_rows) * recipe.batch_size
        epochs = max(1, round(batches / splits.training_rows))
        forwards = _STEP_FORWARDS * batches + (epochs + 1) * len(parts["validation"]) + len(parts["test"])
        seconds += recipe.runs * forwards * _seconds_a_forward(plan, row)
        runs += recipe.runs
    recipe = plan.recipe(plan.shortlist[0])
    sizes = ", ".join(f"{name} {words}" for name, words in splits.in_words.items())
    quick = " (a quick budget: who is best at it may not be best at yours)" if recipe.budget else ""
    where = " of computing, side by side on the cluster" if plan.work.options.engine == "ray" else ""
    return (
        f"fine-tuning {pluralize(len(plan.shortlist), 'checkpoint')}: {pluralize(runs, 'run')} of "
        f"{recipe.in_words()}{quick}, about {format_duration(seconds)}{where}; {sizes}"
    )


def _seconds_a_forward(plan: Confirmation, row: Row) -> float:
    """Seconds of one input: as measured when the checkpoint was scored, or a rule of thumb."""
    if row.seconds.features and row.n is None:
        return row.seconds.features / plan.ranking.n_inputs
    return rate(plan.work.options, plan.work.splits.task.input).seconds * (row.parameters or 0)


def _repo_of(row: Row) -> Repo:
    """The checkpoint at the revision that was ranked.

    Raises:
        EmmsError: it is gone, or a folder whose content has changed.
    """
    if is_commit(row.revision):
        return resolve(f"{row.checkpoint.partition('@')[0]}@{row.revision}", "model")
    repo = resolve(row.checkpoint, "model")
    if row.revision is not None and repo.revision != row.revision:
        raise EmmsError(f"{row.checkpoint} has changed since it was ranked", "rank it again")
    return repo


def _best_rate(runs: list[TrainingRun]) -> float | None:
    scored = [run for run in runs if run.validation is not None]
    return max(scored, key=lambda run: run.validation or -math.inf).learning_rate if scored else None


def _summary(plan: Confirmation, recipe: Recipe, runs: list[TrainingRun], error: str | None) -> FineTuned:
    """What the runs of a checkpoint come to."""
    work = plan.work
    head = FineTuned(work.metric, runs=tuple(runs), recipe=recipe.as_json(), rows=work.splits.in_words)
    rate = _best_rate([run for run in runs if run.seed == recipe.seeds[0]])
    chosen = [run for run in runs if run.learning_rate == rate and run.validation is not None]
    if not chosen:
        return msgspec.structs.replace(head, error=error or next(run.error for run in runs if run.error is not None))
    values = [run.scores[work.metric] for run in chosen]
    return msgspec.structs.replace(
        head,
        value=float(np.mean(values)),
        spread=float(np.std(values, ddof=1)) if len(values) > 1 else chosen[0].stderr,
        validation=float(np.mean([run.validation for run in chosen])),
        scores={name: float(np.mean([run.scores[name] for run in chosen])) for name in chosen[0].scores},
        learning_rate=rate,
    )
