"""The runs of a confirmation: each from the cache, or trained and stored there as soon as it is finished."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import msgspec

from hf_emms.cache import Cache, digest_of
from hf_emms.errors import EmmsError, checkpoint_errors
from hf_emms.finetune.recipe import Recipe
from hf_emms.finetune.saving import ModelKeeper
from hf_emms.finetune.splits import Splits
from hf_emms.finetune.task_scores import scores_for
from hf_emms.hub import Repo
from hf_emms.options import Options
from hf_emms.ranking import TrainingRun
from hf_emms.ranking.formats import format_points
from hf_emms.ranking.progress import Progress
from hf_emms.registry import versions

# Part of the key of every finished run: raise it when the same recipe gives other results.
FINETUNE_VERSION = 4


@dataclass(frozen=True)
class Run:
    """One run of a checkpoint.

    Attributes:
        checkpoint: as the ranking names it.
        repo: the checkpoint.
        parameters: of the checkpoint, where they are known.
        recipe: how.
        learning_rate: one of the recipe's.
        seed: one of the recipe's.
    """

    checkpoint: str
    repo: Repo
    parameters: int | None
    recipe: Recipe
    learning_rate: float
    seed: int

    @property
    def name(self) -> str:
        """What a reader of the log knows it by."""
        seed = f", seed {self.seed}" if len(self.recipe.seeds) > 1 else ""
        return f"{self.checkpoint}, learning rate {self.learning_rate:g}{seed}"

    def key(self, splits: Splits, options: Options) -> dict[str, Any]:
        """The cache key: everything that changes the result."""
        how = self.recipe.as_json()
        return {
            "id": self.repo.id,
            "revision": self.repo.revision,
            "rows": splits.fingerprint,
            "task": splits.task.id,
            "recipe": {name: how[name] for name in how if name not in ("learning_rates", "seeds", "budget")},
            "learning_rate": self.learning_rate,
            "seed": self.seed,
            "device": options.device,
            "trust_remote_code": options.trust_remote_code,
            "versions": {**versions(), "accelerate": metadata.version("accelerate")},
            "code": FINETUNE_VERSION,
        }


@dataclass(frozen=True)
class RunWork:
    """What all runs of a confirmation share.

    Attributes:
        splits: the rows.
        options: how.
        cache: of finished runs.
        progress: receives the events.
        deadline: of `time.time`; None for none.
        keeper: of the best model; None where it is not kept.
    """

    splits: Splits
    options: Options
    cache: Cache
    progress: Progress
    deadline: float | None
    keeper: ModelKeeper | None

    @property
    def metric(self) -> str:
        """By what checkpoints are compared."""
        return next(iter(scores_for(self.splits.task.id, self.splits.train.answers)))

    @property
    def is_over(self) -> bool:
        """Whether the time limit has passed."""
        return self.deadline is not None and time.time() > self.deadline

    def digest(self, run: Run) -> str:
        """What the files of a run are named by."""
        return digest_of(run.key(self.splits, self.options))

    def model_folder(self, run: Run) -> Path | None:
        """Where the model of a run is written; None where it is not kept."""
        return self.keeper.path(self.digest(run)) if self.keeper is not None else None


TrainAll = Callable[[RunWork, Sequence[Run]], Generator[tuple[Run, TrainingRun], None, None]]
"""Trains all runs of some work, and yields each as soon as it is finished, its model written to `model_folder`."""


def train_here(work: RunWork, runs: Sequence[Run]) -> Generator[tuple[Run, TrainingRun], None, None]:
    """A `TrainAll`: in this process, one after the other."""
    from hf_emms.finetune.collate import with_images_in_memory

    splits = with_images_in_memory(work.splits)
    for run in runs:
        with unfinished_folder(work.cache.root, work.digest(run)) as folder:
            result = trained(
                run,
                splits,
                work.options,
                folder,
                save_to=work.model_folder(run),
                deadline=work.deadline,
                on_start=partial(work.progress.started, run.name),
                on_steps=partial(work.progress.advanced, run.name),
            )
        yield run, result


def finished_runs(work: RunWork, runs: Sequence[Run], train_all: TrainAll) -> dict[Run, TrainingRun]:
    """The results of runs: from the cache, or trained and stored there before anything else is."""
    results = {}
    if work.options.resume:
        for run in runs:
            stored = work.cache.get_json(
                "finetunings", run.key(work.splits, work.options), partial(msgspec.convert, type=TrainingRun)
            )
            if stored is not None:
                work.progress.noted(f"{run.name}: {_in_words(work, stored)} (from the cache)")
                results[run] = stored
    with closing(train_all(work, [run for run in runs if run not in results])) as finished:
        for run, result in finished:
            # A run that was cut short is no result of the recipe.
            if result.validation is not None and not work.is_over:
                work.cache.put_json("finetunings", run.key(work.splits, work.options), msgspec.to_builtins(result))
            if result.validation is not None and work.keeper is not None:
                work.keeper.finished(work.digest(run), result)
            work.progress.noted(f"{run.name}: {_in_words(work, result)}")
            for note in result.notes:
                work.progress.noted(f"{run.name}: {note}")
            results[run] = result
    return results


def trained(
    run: Run,
    splits: Splits,
    options: Options,
    folder: Path,
    *,
    save_to: Path | None = None,
    deadline: float | None = None,
    on_start: Callable[[int], None] = lambda steps: None,
    on_steps: Callable[[int], None] = lambda steps: None,
) -> TrainingRun:
    """The result of one run, which is an error where it failed or the time limit had passed.

    Args:
        run: what is trained.
        splits: the rows.
        options: what may be loaded, and where it runs.
        folder: of unfinished states.
        save_to: where the finished model is written; None for nowhere.
        deadline: of `time.time`, when training ends; None for never.
        on_start: called with the number of steps, once a try.
        on_steps: called with the number of finished steps.
    """
    from hf_emms.features.device import choose_device
    from hf_emms.finetune.heads import load_network
    from hf_emms.finetune.training import RunPlan, train

    left = None if deadline is None else deadline - time.time()
    if left is not None and left < 0:
        return TrainingRun(run.learning_rate, run.seed, error="not started: the time limit had passed")
    plan = RunPlan(
        splits,
        run.recipe,
        run.learning_rate,
        run.seed,
        scores_for(splits.task.id, splits.train.answers),
        choose_device(options.device),
        folder,
        save_to=save_to,
        on_start=on_start,
        on_steps=on_steps,
        deadline=None if left is None else time.monotonic() + left,
    )
    try:
        with checkpoint_errors():
            return train(lambda: load_network(run.repo, splits, options, run.recipe.method), plan)
    except EmmsError as error:
        return TrainingRun(run.learning_rate, run.seed, error=error.message)


@contextmanager
def unfinished_folder(root: Path | None, digest: str) -> Iterator[Path]:
    """Where the states of an unfinished run are: in the cache, so that the next process finds them."""
    if root is None:
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as temporary:
            yield Path(temporary) / "run"
        return
    folder = root / "unfinished" / digest
    folder.parent.mkdir(parents=True, exist_ok=True)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)  # not reached where the run was interrupted


def _in_words(work: RunWork, run: TrainingRun) -> str:
    if run.validation is None:
        return f"failed: {run.error}"
    return f"validation {work.metric} {format_points(run.validation)}, {run.steps:,} steps, {run.seconds:.1f} s"
