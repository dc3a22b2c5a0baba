"""What a candidate could become: EMMS on features and their gradients, as a linearised fine-tuning sees them.

Near its pretrained weights θ a network is φ(x, θ + δ) ≈ φ(x, θ) + ∂φ(x, θ)/∂θ · δ (Jacot et al., NeurIPS 2018, arXiv
1806.07572; Maddox et al., AISTATS 2021, arXiv 2103.01439). A ridge on features and gradients is the fine-tuning of that
line. Gradients are those of the last fifth of the weights, of the features along random directions, and are added up in
columns by a hash with random signs.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from hf_emms.cache import Cache, default_root
from hf_emms.data import Sample
from hf_emms.engines.extraction import extract
from hf_emms.features.feature_plan import plan_extraction
from hf_emms.features.load import quiet_transformers
from hf_emms.finetune.heads import load_base, reading
from hf_emms.finetune.splits import Part
from hf_emms.hub import Repo, resolve
from hf_emms.scoring.estimators import ESTIMATORS
from hf_emms.scoring.standardise import standardise_rows
from scripts.quality.candidates import checkpoint
from scripts.quality.protocol import Pool, Target, work
from scripts.quality.scores import (
    SETTINGS,
    Setting,
    candidate_labels,
    pool_labels,
    sample_of,
    scoring_inputs,
    some_rows,
)
from scripts.quality.truth import tuned

MOST_ROWS = 500
TRAINED_SHARE = 0.2  # of the weights, the last ones
DIRECTIONS, COLUMNS = 2, 512  # columns for each direction
# Column of the scores → the estimator that runs on features and gradients.
NAMES = {"gradients_emms": "emms", "gradients_knn": "emms_knn"}


def run(pool: Pool, names: set[str] | None = None) -> None:
    """Write the scores of the candidates that were fine-tuned, one file a target under the work folder."""
    torch.set_num_threads(1)
    for target, own in tuned(pool, names):
        if own:
            path = adaptation_path(target)
            path.write_text(json.dumps(scored(pool, target, [one.name for one in own])), encoding="utf-8")
            print(f"{target.name:18s} {path}", flush=True)


def adaptation_path(target: Target) -> Path:
    """The file of a target's scores: candidate → "scores" and "seconds" → column → value."""
    return work() / "scores" / f"{target.name}-adaptation.json"


def scored(pool: Pool, target: Target, names: Sequence[str]) -> dict[str, dict[str, dict[str, float]]]:
    """Scores of candidates on at most 500 rows, and the seconds that gradients and scores took."""
    sample, cache = sample_of(target), Cache(default_root())
    rows = some_rows(sample, MOST_ROWS)
    extracted_with = candidate_labels(sample, cache)
    labels, groups = pool_labels(pool, sample, cache).take(rows), sample.groups[rows]
    found: dict[str, dict[str, dict[str, float]]] = {}
    for name in names:
        repo = resolve(checkpoint(name, target.side), "model")
        extraction = extract(repo, sample, extracted_with, SETTINGS, cache)
        start = time.perf_counter()
        both = [extraction.features["spread"][sample.input_of_row[rows]], gradients(repo, sample, rows)]
        features = np.hstack([standardise_rows(part)[0] for part in both]).astype(np.float32)
        inputs = scoring_inputs(features, labels, groups)
        found[name] = {"scores": {}, "seconds": {}}
        for column, estimator in NAMES.items():
            found[name]["scores"][Setting(column, pool.labels, "all", 0).key] = (
                ESTIMATORS[estimator].score(inputs).value
            )
            found[name]["seconds"][column] = time.perf_counter() - start
    return found


def gradients(repo: Repo, sample: Sample, rows: np.ndarray) -> np.ndarray:
    """Gradients of a checkpoint's features for some rows, hashed, float32 (n, 2 · 512)."""
    plan = plan_extraction(repo, sample.task.modality, sample.task.id)
    with quiet_transformers():
        base, features = load_base(plan, SETTINGS)
    read = reading(plan, base, [])[0](_part(sample))
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


def _part(sample: Sample) -> Part:
    answers = tuple(sample.codes.tolist())
    return Part("", sample.inputs, sample.input_of_row, answers, sample.groups, sample.inputs_fingerprint)


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
