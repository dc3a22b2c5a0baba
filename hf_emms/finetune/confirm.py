"""From a ranking to a decision: its first checkpoints are fine-tuned, and what that measures is put beside scores."""

from __future__ import annotations

import math
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from hf_emms.cache import Cache, digest_of
from hf_emms.engines.base import Progress, Silent, checkpoint_errors, one_line, versions
from hf_emms.errors import EmmsError
from hf_emms.finetune.model_card import evaluation_results, model_card
from hf_emms.finetune.recipe import Recipe, check_settings, check_task, recipe_for
from hf_emms.finetune.saving import ModelKeeper, keeper_for, push_best
from hf_emms.finetune.splits import Splits, load_splits
from hf_emms.finetune.task_scores import scores_for
from hf_emms.formatting import format_duration, parse_duration, pluralize
from hf_emms.hub import Repo, resolve
from hf_emms.options import SETTINGS, Options
from hf_emms.plan import open_cache, rate
from hf_emms.presets import dataset_preset
from hf_emms.ranking import FineTuned, Ranking, Row, TrainingRun, is_commit
from hf_emms.tasks import get_task
from hf_emms.views import measured_in_words, points

if TYPE_CHECKING:
    import datasets
    import torch

# Part of the key of every finished run: raise it when the same recipe gives other results.
FINETUNE_VERSION = 3
DEFAULT_TOP = 3
# Checkpoints that share the last rank of a shortlist are fine-tuned too, up to so many times its length.
_MOST_TIED = 2
# A step costs three forwards: one, and a backward that is twice as long.
_STEP_FORWARDS = 3
# Settings of a ranking that fine-tuning keeps.
_KEPT = ("seed", "box_format")


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
    kept = {name: ranking.settings[name] for name in _KEPT if ranking.settings.get(name) is not None}
    columns = {role: name for role, name in ranking.columns.items() if "," not in name}
    read = {"task": ranking.task, "config": ranking.config, "split": ranking.split, "columns": columns}
    return Options.of(dataset, **kept, **read, **settings)


def confirmed(ranking: Ranking, options: Options, progress: Progress) -> Ranking:
    """Fine-tunes the shortlist of a ranking; `Options.confirm` says how long it is.

    Raises:
        EmmsError: the dataset or a setting is not usable. No checkpoint was trained then.
    """
    work = prepare(ranking, options, progress)
    if options.engine == "ray":
        progress.noted("fine-tuning runs in this process, one run after the other, not on the Ray cluster")
    for note in (*work.splits.notes, *work.notes, forecast(work)):
        progress.noted(note)
    found = {row.checkpoint: _fine_tuned(work, row) for row in work.shortlist}
    rows = tuple(
        msgspec.structs.replace(row, fine_tuned=found[row.checkpoint]) if row.checkpoint in found else row
        for row in ranking.rows
    )
    result = msgspec.structs.replace(ranking, rows=rows)
    sentence = measured_in_words(result)
    if sentence is None:
        raise EmmsError(
            "no checkpoint could be fine-tuned: " + "; ".join(f"{name}: {one.error}" for name, one in found.items()),
            "the first error is the one to look at; --debug shows its traceback",
        )
    if work.keeper is not None:
        _keep_best(work, result)
    return result


def _keep_best(work: Confirmation, result: Ranking) -> None:
    """Writes the best model to the folder that the options name."""
    assert work.keeper is not None
    row = result.fine_tuned[0]
    assert row.fine_tuned is not None
    rate = row.fine_tuned.learning_rate
    runs = [run for run in row.fine_tuned.runs if run.learning_rate == rate and run.validation is not None]
    run = max(runs, key=lambda run: run.validation or -math.inf)
    recipe, repo = work.recipe(row), _repo_of(row)
    key = run_key(work, repo, recipe, run.learning_rate, run.seed)

    def train() -> None:
        work.progress.noted(f"{row.checkpoint}: trained again, because its model was not kept")
        with _folder(work.cache, key) as folder:
            _trained(work, repo, recipe, run.learning_rate, run.seed, row.checkpoint, folder, digest_of(key))

    card = model_card(result, row, run, work.options.push_to_hub)
    results = evaluation_results(result, row, run, work.splits.test.whole_split, work.progress.noted)
    work.keeper.finish(digest_of(key), {"README.md": card, **results}, train)
    work.progress.noted(f"{row.checkpoint}, fine-tuned: {work.keeper.folder}")


@dataclass(frozen=True)
class Confirmation:
    """What is about to be fine-tuned, nothing trained yet.

    Attributes:
        ranking: whose rows they are.
        options: how.
        splits: the rows.
        shortlist: the ranking's rows that are fine-tuned, best first.
        notes: how they were chosen, in words.
        cache: of finished runs.
        progress: receives the events.
        deadline: of `time.monotonic`; None for none.
        methods: checkpoint → what of it is trained.
        keeper: of the best model; None where it is not kept.
    """

    ranking: Ranking
    options: Options
    splits: Splits
    shortlist: tuple[Row, ...]
    notes: tuple[str, ...]
    cache: Cache
    progress: Progress
    deadline: float | None
    methods: dict[str, str]
    keeper: ModelKeeper | None

    def recipe(self, row: Row) -> Recipe:
        """The recipe of a checkpoint."""
        return recipe_for(self.options, self.splits.task.id, row.parameters, self.methods[row.checkpoint])

    @property
    def device(self) -> torch.device:
        """Where checkpoints are trained."""
        from hf_emms.features.load import choose_device

        return choose_device(self.options.device)

    @property
    def metric(self) -> str:
        """By what checkpoints are compared."""
        return next(iter(scores_for(self.splits.task.id, self.splits.train.answers)))


def prepare(ranking: Ranking, options: Options, progress: Progress) -> Confirmation:
    """Chooses the shortlist and reads the rows.

    Raises:
        EmmsError: the dataset or a setting is not usable.
    """
    from hf_emms.features.load import choose_device
    from hf_emms.finetune.methods import method_for

    check_settings(options)
    check_task(get_task(ranking.task).id)
    keeper = keeper_for(options)
    seconds = parse_duration(options.time_limit) if options.time_limit else None
    shortlist, notes = choose(ranking.rows, options.confirm or DEFAULT_TOP)
    cache = open_cache(options, progress)
    splits = load_splits(options, cache)
    if splits.revision != ranking.dataset_revision:
        notes.append(f"the ranking is of revision {ranking.dataset_revision} of the dataset, this is {splits.revision}")
    deadline = None if seconds is None else time.monotonic() + seconds
    methods = {}
    for row in shortlist:
        methods[row.checkpoint], why = method_for(options, row.parameters, choose_device(options.device))
        notes += [f"{row.checkpoint}: {why}"] if why else []
    return Confirmation(ranking, options, splits, shortlist, tuple(notes), cache, progress, deadline, methods, keeper)


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


def forecast(work: Confirmation) -> str:
    """How many runs there will be, of what, and about how long they take."""
    parts, seconds, runs = work.splits.parts, 0.0, 0
    for row in work.shortlist:
        recipe = work.recipe(row)
        batches = recipe.total_steps(work.splits.training_rows) * recipe.batch_size
        epochs = max(1, round(batches / work.splits.training_rows))
        forwards = _STEP_FORWARDS * batches + (epochs + 1) * len(parts["validation"]) + len(parts["test"])
        seconds += recipe.runs * forwards * _seconds_a_forward(work, row)
        runs += recipe.runs
    recipe = work.recipe(work.shortlist[0])
    sizes = ", ".join(f"{name} {words}" for name, words in work.splits.in_words.items())
    quick = " (a quick budget: who is best at it may not be best at yours)" if recipe.budget else ""
    return (
        f"fine-tuning {pluralize(len(work.shortlist), 'checkpoint')}: {pluralize(runs, 'run')} of "
        f"{recipe.in_words()}{quick}, about {format_duration(seconds)}; {sizes}"
    )


def _seconds_a_forward(work: Confirmation, row: Row) -> float:
    """Seconds of one input: as measured when the checkpoint was scored, or a rule of thumb."""
    if row.seconds.features and row.n is None:
        return row.seconds.features / work.ranking.n_inputs
    return rate(work.options, work.splits.task.modality).seconds * (row.parameters or 0)


# ---- one checkpoint --------------------------------------------------------------------------------------------------


def _fine_tuned(work: Confirmation, row: Row) -> FineTuned:
    """All runs of a checkpoint: its learning rates once each, then the other seeds at the best of them."""
    recipe = work.recipe(row)
    runs: list[TrainingRun] = []
    try:
        repo = _repo_of(row)
    except EmmsError as error:
        return _summary(work, recipe, runs, one_line(error))
    for learning_rate in recipe.learning_rates:
        runs.append(_run(work, row, repo, recipe, learning_rate, recipe.seeds[0]))
    best = _best_rate(runs)
    if best is not None:
        runs += [_run(work, row, repo, recipe, best, seed) for seed in recipe.seeds[1:]]
    return _summary(work, recipe, runs)


def _run(work: Confirmation, row: Row, repo: Repo, recipe: Recipe, learning_rate: float, seed: int) -> TrainingRun:
    """One run: from the cache, or trained and stored there before anything else starts."""
    key = run_key(work, repo, recipe, learning_rate, seed)
    name = f"{row.checkpoint}, learning rate {learning_rate:g}" + (f", seed {seed}" if len(recipe.seeds) > 1 else "")
    finished = partial(msgspec.convert, type=TrainingRun)
    stored = work.cache.get_json("finetunings", key, finished) if work.options.resume else None
    if stored is not None:
        work.progress.noted(f"{name}: {_in_words(work, stored)} (from the cache)")
        return stored
    if work.deadline is not None and time.monotonic() > work.deadline:
        run = TrainingRun(learning_rate, seed, error="not started: the time limit had passed")
        work.progress.noted(f"{name}: {run.error}")
        return run
    with _folder(work.cache, key) as folder:
        try:
            with checkpoint_errors():
                run = _trained(work, repo, recipe, learning_rate, seed, name, folder, digest_of(key))
        except EmmsError as error:
            run = TrainingRun(learning_rate, seed, error=error.message)
        else:
            # A run that was cut short is no result of the recipe.
            if work.deadline is None or time.monotonic() < work.deadline:
                work.cache.put_json("finetunings", key, msgspec.to_builtins(run))
    work.progress.noted(f"{name}: {_in_words(work, run)}")
    for note in run.notes:
        work.progress.noted(f"{name}: {note}")
    return run


def _trained(
    work: Confirmation,
    repo: Repo,
    recipe: Recipe,
    learning_rate: float,
    seed: int,
    name: str,
    folder: Path,
    digest: str,
) -> TrainingRun:
    from hf_emms.finetune.heads import load_network
    from hf_emms.finetune.training import RunPlan, train

    splits = work.splits
    one = RunPlan(
        splits,
        recipe,
        learning_rate,
        seed,
        scores_for(splits.task.id, splits.train.answers),
        work.device,
        folder,
        save_to=work.keeper.path(digest) if work.keeper is not None else None,
        on_start=partial(work.progress.started, name),
        on_steps=partial(work.progress.advanced, name),
    )
    run = train(lambda: load_network(repo, splits, work.options, recipe.method), one)
    if work.keeper is not None:
        work.keeper.finished(digest, run)
    return run


def run_key(work: Confirmation, repo: Repo, recipe: Recipe, learning_rate: float, seed: int) -> dict[str, Any]:
    """The cache key of a finished run: everything that changes it."""
    how = recipe.as_json()
    return {
        "id": repo.id,
        "revision": repo.revision,
        "rows": work.splits.fingerprint,
        "task": work.splits.task.id,
        "recipe": {name: how[name] for name in how if name not in ("learning_rates", "seeds", "budget")},
        "learning_rate": learning_rate,
        "seed": seed,
        "device": work.options.device,
        "trust_remote_code": work.options.trust_remote_code,
        "versions": {**versions(), "accelerate": metadata.version("accelerate")},
        "code": FINETUNE_VERSION,
    }


@contextmanager
def _folder(cache: Cache, key: dict[str, Any]) -> Iterator[Path]:
    """Where the states of an unfinished run are: in the cache, so that the next process finds them."""
    if cache.root is None:
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as temporary:
            yield Path(temporary) / "run"
        return
    folder = cache.root / "unfinished" / digest_of(key)
    folder.parent.mkdir(parents=True, exist_ok=True)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)  # not reached where the run was interrupted


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


def _summary(work: Confirmation, recipe: Recipe, runs: list[TrainingRun], error: str | None = None) -> FineTuned:
    """What the runs of a checkpoint come to."""
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


def _in_words(work: Confirmation, run: TrainingRun) -> str:
    if run.validation is None:
        return f"failed: {run.error}"
    return f"validation {work.metric} {points(run.validation)}, {run.steps:,} steps, {run.seconds:.1f} s"
