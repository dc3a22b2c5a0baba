"""EMMS on other features of the candidates: with their gradients, after an epoch of LoRA, of pictures of other sizes.

Near its pretrained weights θ a network is φ(x, θ + δ) ≈ φ(x, θ) + ∂φ(x, θ)/∂θ · δ (Jacot et al., NeurIPS 2018, arXiv
1806.07572; Maddox et al., AISTATS 2021, arXiv 2103.01439). A ridge on features and gradients is the fine-tuning of that
line. Gradients are those of the last fifth of the weights, of the features along random directions, and are added up in
columns by a hash with random signs.

LoRA (Hu et al., ICLR 2022, arXiv 2106.09685) is trained on one half of the rows, and EMMS scores the other half.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from hf_emms.cache import Cache, default_root
from hf_emms.data import Sample
from hf_emms.errors import EmmsError
from hf_emms.features.extraction_plan import plan_extraction
from hf_emms.features.load import quiet_transformers
from hf_emms.finetune.fine_tune import plan_for
from hf_emms.finetune.recipe import TrainingJob, head_of, recipe_for
from hf_emms.finetune.training import run_job
from hf_emms.heads.modules import load_base
from hf_emms.hub import Repo, resolve
from hf_emms.ranking.estimators import ESTIMATORS
from hf_emms.run.engines.extraction import extract
from hf_emms.run.plan import planned_extraction
from hf_emms.scoring.labels import LabelTable
from hf_emms.scoring.standardise import standardise_rows
from scripts.quality.candidates import checkpoint
from scripts.quality.protocol import MODALITY, OTHER_SIDES, QUICK, Candidate, Pool, Target, work
from scripts.quality.results import Found
from scripts.quality.scores import (
    ON_OTHER_LAYERS,
    SETTINGS,
    Setting,
    candidate_labels,
    pool_labels,
    sample_of,
    scoring_inputs,
    some_rows,
)
from scripts.quality.truth import options_of, parameters_of, splits_of, tuned

MOST_ROWS = 500
TRAINED_SHARE = 0.2  # of the weights, the last ones
DIRECTIONS, COLUMNS = 2, 512  # columns for each direction
ADAPTER_SPLIT = np.uint64(2)  # groups whose id is a multiple of it train the adapter
FEW = 32  # rows of the evaluation that ends an epoch
# Column of the scores → the estimator that runs on features and gradients.
NAMES = {"gradients_emms": "emms", "gradients_knn": "emms_knn"}


def run(pool: Pool, names: set[str] | None = None, kinds: set[str] | None = None) -> None:
    """Write the scores of the candidates that were fine-tuned, one file a target and kind under the work folder."""
    torch.set_num_threads(1)
    for target, own in tuned(pool, names):
        possible = set(KINDS) - (set() if MODALITY[target.task] == "image" else {"sides"})
        for kind, score in KINDS.items():
            if own and kind in possible & (kinds or possible):
                path, of = path_of(target, kind), score(pool, target)
                path.parent.mkdir(exist_ok=True)
                path.write_text(json.dumps({one.name: of(one) for one in own}), encoding="utf-8")
                print(f"{target.name:18s} {path}", flush=True)


def path_of(target: Target, kind: str) -> Path:
    """The file of a target's scores: candidate → "scores" and "seconds" → column → value."""
    return work() / "scores" / f"{target.name}-{kind}.json"


def found(target: Target) -> dict[str, Found]:
    """All of a target's scores of every kind."""
    every: dict[str, Found] = {}
    for path in (path for kind in KINDS if (path := path_of(target, kind)).exists()):
        for name, more in json.loads(path.read_text(encoding="utf-8")).items():
            own = every.setdefault(name, {"scores": {}, "seconds": {}})
            for part in own:
                own[part] |= more[part]
    return every


@dataclass(frozen=True)
class _Data:
    """The rows of a target, and their labels."""

    pool: Pool
    target: Target
    sample: Sample
    cache: Cache
    labels: LabelTable

    @classmethod
    def of(cls, pool: Pool, target: Target) -> _Data:
        sample, cache = sample_of(target), Cache(default_root())
        return cls(pool, target, sample, cache, pool_labels(pool, sample, cache))

    def repo(self, candidate: Candidate, side: int | None = None) -> Repo:
        return resolve(checkpoint(candidate.name, side or self.target.side), "model")

    def features(self, repo: Repo, cache: Cache) -> np.ndarray:
        """Features of every row."""
        extraction = extract(
            planned_extraction(repo, SETTINGS, self.sample.task),
            self.sample,
            candidate_labels(self.sample, self.cache),
            SETTINGS,
            cache,
        )
        return extraction.features["spread"][self.sample.input_of_row]

    def scores(self, columns: dict[str, str], features: np.ndarray, rows: np.ndarray, labels: str) -> dict[str, float]:
        """Column → score of features (n, D) of some rows; a column's estimator is what it is mapped to."""
        inputs = scoring_inputs(features, self.labels.take(rows), self.sample.groups[rows])
        return {
            Setting(column, labels, "all", 0).key: ESTIMATORS[estimator].score(inputs).value
            for column, estimator in columns.items()
        }


def on_gradients(pool: Pool, target: Target) -> Callable[[Candidate], Found]:
    """EMMS on features and gradients of at most 500 rows."""
    data = _Data.of(pool, target)
    rows = some_rows(data.sample, MOST_ROWS)

    def score(candidate: Candidate) -> Found:
        repo = data.repo(candidate)
        plain = data.features(repo, data.cache)[rows]
        start = time.perf_counter()
        both = [plain, gradients(repo, data.sample, rows)]
        features = np.hstack([standardise_rows(part)[0] for part in both]).astype(np.float32)
        scores = data.scores(NAMES, features, rows, pool.labels)
        return {"scores": scores, "seconds": dict.fromkeys(NAMES, time.perf_counter() - start)}

    return score


def after_lora(pool: Pool, target: Target) -> Callable[[Candidate], Found]:
    """EMMS on features of one half of the rows, after an epoch of LoRA on at most 500 rows of the other half.

    Raises:
        EmmsError: of the score: a training failed.
    """
    data = _Data.of(pool, target)
    rows = np.flatnonzero(data.sample.groups % ADAPTER_SPLIT)[:MOST_ROWS]
    whole, options = splits_of(target, QUICK), replace(options_of(target, QUICK), method="lora", epochs=1)
    few = np.arange(FEW)
    splits = replace(
        whole,
        train=whole.train.take(np.flatnonzero(whole.train.groups % ADAPTER_SPLIT == 0)[:MOST_ROWS]),
        validation=whole.validation.take(few),
        test=whole.test.take(few),
    ).with_images_in_memory()

    def score(candidate: Candidate) -> Found:
        repo, start = data.repo(candidate), time.perf_counter()
        recipe = recipe_for(options, head_of(whole.task), parameters_of(candidate, target), "lora")
        with tempfile.TemporaryDirectory(dir=work()) as folder:
            saved = Path(folder) / "model"
            plan = plan_for(repo, splits.task, options)
            job = TrainingJob(candidate.name, plan, None, recipe, recipe.learning_rates[0], 0)
            result = run_job(job, splits, options, Path(folder) / "run", save_to=saved)
            if result.error is not None:
                raise EmmsError(result.error)
            features = data.features(resolve(str(saved), "model"), Cache(None))[rows]
        scores = data.scores({"lora_emms": "emms"}, features, rows, pool.labels)
        return {"scores": scores, "seconds": {"lora_emms": time.perf_counter() - start}}

    return score


def at_other_sides(pool: Pool, target: Target) -> Callable[[Candidate], Found]:
    """The usual estimators on features of smaller and larger pictures than those that are fine-tuned on."""
    data = _Data.of(pool, target)
    every = np.arange(len(data.sample))
    columns = {name: name for name in ON_OTHER_LAYERS}

    def score(candidate: Candidate) -> Found:
        scores: dict[str, float] = {}
        for which, side in OTHER_SIDES[target.side].items():
            features = data.features(data.repo(candidate, side), data.cache)
            scores |= data.scores(columns, features, every, which)
        return {"scores": scores, "seconds": {}}

    return score


KINDS: dict[str, Callable[[Pool, Target], Callable[[Candidate], Found]]] = {
    "gradients": on_gradients,
    "lora": after_lora,
    "sides": at_other_sides,
}


def gradients(repo: Repo, sample: Sample, rows: np.ndarray) -> np.ndarray:
    """Gradients of a checkpoint's features for some rows, hashed, float32 (n, 2 · 512)."""
    plan = plan_extraction(repo, sample.task.input, sample.task.id)
    with quiet_transformers():
        base, features = load_base(plan, sample.task.input)
    read = sample.task.input.training_reader(plan, base, []).read(sample.inputs, sample.input_of_row)
    trained = _last_weights(base)
    generator = torch.Generator().manual_seed(0)
    size = sum(one.numel() for one in trained)
    columns = torch.randint(COLUMNS, (size,), generator=generator)
    signs = torch.randint(2, (size,), generator=generator).float() * 2 - 1
    found = np.zeros((len(rows), DIRECTIONS * COLUMNS), np.float32)
    directions: torch.Tensor | None = None
    for place, row in enumerate(rows):
        feature = features(base, read(np.array([row])))[0]
        if directions is None:
            directions = torch.randn((DIRECTIONS, len(feature)), generator=generator)
        for number, direction in enumerate(directions):
            own = torch.autograd.grad(feature @ direction, trained, retain_graph=True, allow_unused=True)
            flat = [torch.zeros(one.numel()) if g is None else g.flatten() for one, g in zip(trained, own, strict=True)]
            hashed = torch.zeros(COLUMNS).index_add_(0, columns, torch.cat(flat) * signs)
            found[place, number * COLUMNS : (number + 1) * COLUMNS] = hashed.numpy()
    return found


def _last_weights(model: Any) -> list[nn.Parameter]:
    """The last fifth of the weights; only these are given gradients."""
    model.eval()
    every = list(model.parameters())
    wanted, chosen = TRAINED_SHARE * sum(one.numel() for one in every), list[nn.Parameter]()
    for one in reversed(every):
        one.requires_grad_(sum(other.numel() for other in chosen) < wanted)
        if one.requires_grad:
            chosen.append(one)
    return chosen
