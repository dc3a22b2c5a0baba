"""How alike candidates see a target: linear CKA of their features (Kornblith et al., ICML 2019, arXiv 1905.00414)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hf_emms.cache import Cache, default_root
from hf_emms.hub import resolve
from hf_emms.run.engines.extraction import extract
from hf_emms.run.plan import planned_extraction
from scripts.quality.candidates import checkpoint
from scripts.quality.protocol import Pool, Target, work
from scripts.quality.scores import SETTINGS, candidate_labels, sample_of, some_rows
from scripts.quality.truth import tuned

MOST_ROWS = 1_000


def run(pool: Pool, names: set[str] | None = None) -> None:
    """Write the similarities of the candidates that were fine-tuned, one file a target under the work folder."""
    for target, own in tuned(pool, names):
        if own:
            path = similarity_path(target)
            path.write_text(json.dumps(similarities(target, [one.name for one in own])), encoding="utf-8")
            print(f"{target.name:18s} {path}", flush=True)


def similarity_path(target: Target) -> Path:
    """The file of a target's similarities: candidate → candidate → CKA."""
    return work() / "scores" / f"{target.name}-similarity.json"


def similarities(target: Target, names: Sequence[str]) -> dict[str, dict[str, float]]:
    """CKA of every two candidates on the same rows, at most 1,000."""
    sample, cache = sample_of(target), Cache(default_root())
    labels = candidate_labels(sample, cache)
    rows = some_rows(sample, MOST_ROWS)
    grams = []
    for name in names:
        repo = resolve(checkpoint(name, target.side), "model")
        extraction = extract(planned_extraction(repo, SETTINGS, sample.task), sample, labels, SETTINGS, cache)
        grams.append(_gram(extraction.features["spread"][sample.input_of_row[rows]]))
    matrix = [[float(np.vdot(one, other)) for other in grams] for one in grams]
    return {name: dict(zip(names, row, strict=True)) for name, row in zip(names, matrix, strict=True)}


def _gram(features: np.ndarray) -> np.ndarray:
    """Products of centred rows, float32 (n, n), of Frobenius norm 1."""
    centred = features.astype(np.float64) - features.mean(axis=0)
    gram = centred @ centred.T
    return (gram / np.linalg.norm(gram)).astype(np.float32)
