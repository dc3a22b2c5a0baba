"""The jobs of a shortlist, and the cache of finished runs."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import msgspec

from hf_emms.cache import Cache, Key, cache_key, digest_of
from hf_emms.errors import EmmsError
from hf_emms.features.architectures import STATIC
from hf_emms.features.feature_spec import FeatureSpec, device_in_keys, make_feature_spec
from hf_emms.finetune.recipe import Recipe, TrainingJob, head_of, recipe_for
from hf_emms.finetune.saving import ModelFolder
from hf_emms.finetune.splits import Splits
from hf_emms.hub import resolve
from hf_emms.options import Options, RunOptions
from hf_emms.options.registry import installed_versions, versions
from hf_emms.ranking import Row, TrainingRun, is_commit
from hf_emms.tasks import Task

# Part of the cache key of every run: raise it if the results of a recipe change.
FINETUNE_VERSION = 19


@dataclass(frozen=True)
class Jobs:
    """Create the jobs of a shortlist.

    Attributes:
        methods: Checkpoint → "full", "lora" or "head".
        specs: Checkpoint → how it is loaded, for checkpoints that were resolved already.
    """

    task: Task
    options: Options
    methods: dict[str, str] = field(default_factory=dict)
    specs: dict[str, FeatureSpec] = field(default_factory=dict)

    def recipe(self, row: Row) -> Recipe:
        options, method = self.options, self.methods[row.checkpoint]
        # Static embeddings have no layers: they are trained like the smallest checkpoints.
        size = None if row.architecture == STATIC else row.parameters
        return recipe_for(options.training, head_of(self.task), size, method, options.running.batch_size)

    def spec(self, row: Row) -> FeatureSpec:
        """Return how a checkpoint is loaded, at the revision that was ranked."""
        if row.checkpoint not in self.specs:
            self.specs[row.checkpoint] = _ranked_spec(row, self.task, self.options)
        return self.specs[row.checkpoint]

    def job(self, row: Row, learning_rate: float, seed: int) -> TrainingJob:
        return TrainingJob(row.checkpoint, self.spec(row), row.parameters, self.recipe(row), learning_rate, seed)


@dataclass(frozen=True)
class FinishedRuns:
    """The cache of finished runs.

    Attributes:
        resume: Whether results of earlier calls are used.
        model_folder: Where models are kept, or None.
    """

    cache: Cache
    splits: Splits
    options: RunOptions
    resume: bool
    model_folder: ModelFolder | None

    def key(self, job: TrainingJob) -> Key:
        return run_key(job, self.splits, self.options)

    def digest(self, job: TrainingJob) -> str:
        """Return the name of a run's files."""
        return digest_of(self.key(job))

    def stored(self, job: TrainingJob) -> TrainingRun | None:
        """Return the result of a run from the cache, or None if it has none or `resume` is false."""
        if not self.resume:
            return None
        return self.cache.get_json(self.key(job), partial(msgspec.convert, type=TrainingRun))

    def store(self, job: TrainingJob, result: TrainingRun) -> None:
        self.cache.put_json(self.key(job), msgspec.to_builtins(result))

    def models_of(self, job: TrainingJob) -> Path | None:
        """Return the folder for the models of a run, or None if they are not kept."""
        return self.model_folder.models_of(self.digest(job)) if self.model_folder is not None else None


def run_key(job: TrainingJob, splits: Splits, options: RunOptions) -> Key:
    """Return the cache key of a run."""
    recipe, searched = job.recipe.as_json(), splits.task.input.sentence_settings
    loss = head_of(splits.task).module.replace("_", "-")
    packages = ("accelerate", *(("peft",) if job.recipe.method == "lora" else ()), *filter(None, [loss]))
    return cache_key(
        "finetunings",
        job.spec.repo.id,
        job.spec.repo.revision,
        options.in_keys(),
        versions=versions() | job.spec.versions | installed_versions(*packages),
        code=FINETUNE_VERSION,
        rows=splits.fingerprint,
        task=splits.task.id,
        recipe={name: recipe[name] for name in recipe if name not in ("learning_rates", "seeds", "budget")},
        learning_rate=job.learning_rate,
        seed=job.seed,
        prompts=[job.spec.query_prompt, job.spec.document_prompt] if "query_prompt" in searched else None,
        device=device_in_keys(options),
    )


def _ranked_spec(row: Row, task: Task, options: Options) -> FeatureSpec:
    """Return how to load a checkpoint at its ranked revision. Raise an `EmmsError` if its folder has changed."""
    if is_commit(row.revision):
        repo = resolve(f"{row.checkpoint.partition('@')[0]}@{row.revision}", "model")
    else:
        repo = resolve(row.checkpoint, "model")
        if row.revision is not None and repo.revision != row.revision:
            raise EmmsError("changed", f"{row.checkpoint} has changed since it was ranked", "rank it again")
    return make_feature_spec(
        repo,
        task.input,
        task.id,
        allow_pickle=options.running.allow_pickle,
        trust_remote_code=options.running.trust_remote_code,
        prompts=options.features,
    )
