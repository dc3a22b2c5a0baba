"""Check the demo's three rankings against linear probes of the same features, and print τ for every estimator.

    python scripts/check_demo.py                 about four minutes on one core
    python scripts/check_demo.py --dataset demo_glosses --min-tau 0.5

A probe is held out by group in five folds: accuracy of a logistic regression for classes; for captions, recall@10
of a ridge regression that should find a row's own label embedding (of the demo's encoders, joined) among all rows'.
τ is scipy's weighted Kendall τ between an estimator's values and the probe's.
"""

from __future__ import annotations

import argparse
import sys

import numpy as np
from scipy.stats import weightedtau
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import hf_emms
from hf_emms.data import Sample, load_sample
from hf_emms.features.label_embeddings import embed_texts
from hf_emms.features.load import load_extractor
from hf_emms.hub import resolve
from hf_emms.presets import encoder_preset
from hf_emms.scoring.estimators import ESTIMATORS

DATASETS = ("demo_captions", "demo_fashion", "demo_glosses")
FOLDS = GroupKFold(5)
RIDGES = (10.0, 100.0, 1_000.0, 10_000.0)
NEIGHBOURS = 10


def main() -> int:
    """Print one table a dataset; 1 if the first estimator's τ is below --min-tau anywhere."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", action="append", choices=DATASETS)
    parser.add_argument("--min-tau", type=float, default=0.5, help="of EMMS, on every dataset")
    options = parser.parse_args()
    lowest = min(check(dataset) for dataset in options.dataset or DATASETS)
    return 0 if lowest >= options.min_tau else 1


def check(dataset: str) -> float:
    """Print a dataset's table and return τ of EMMS."""
    target = load_sample(dataset)
    ranking = hf_emms.rank(dataset, max_samples=None, estimators=tuple(ESTIMATORS))
    for row in ranking.rows:
        if row.error:
            print(f"{row.checkpoint}: {row.error}", file=sys.stderr)
    probes = {row.checkpoint: probe(target, row.checkpoint) for row in ranking.rows if not row.error}
    rows = sorted((row for row in ranking.rows if not row.error), key=lambda row: -probes[row.checkpoint])
    # H-score needs classes: no captions
    names = [name for name in ESTIMATORS if all(name in row.scores for row in rows)]
    print(f"\n{dataset}: {len(target.codes):,} rows; probe: {_probe_name(target)}")
    print(f"{'checkpoint':38s} {'probe':>6s} " + " ".join(f"{name:>16s}" for name in names))
    for row in rows:
        values = " ".join(f"{row.scores[name].value:16.4f}" for name in names)
        print(f"{row.checkpoint:38s} {probes[row.checkpoint]:6.3f} {values}")
    wanted = [probes[row.checkpoint] for row in rows]
    taus = {name: weightedtau([row.scores[name].value for row in rows], wanted).statistic for name in names}
    print(f"{'weighted Kendall τ with the probe':45s} " + " ".join(f"{tau:16.2f}" for tau in taus.values()))
    return float(taus["emms"])


def _probe_name(target: Sample) -> str:
    return "accuracy of a logistic regression" if target.task.categorical else "recall@10 of a ridge regression"


def probe(target: Sample, checkpoint: str) -> float:
    """How well a linear model on a checkpoint's features does, held out by group.

    Args:
        target: rows with labels.
        checkpoint: repository id.
    """
    extractor = load_extractor(resolve(checkpoint, "model"), target.task.modality, target.task.id)
    features = np.empty((len(target.inputs), extractor.width), np.float32)
    for positions, batch in extractor.batches(target.inputs):
        features[positions] = batch
    extractor.close()
    rows = features[target.input_of_row]
    if target.task.categorical:
        model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=3_000))
        guesses = cross_val_predict(model, rows, target.codes, groups=target.groups, cv=FOLDS)
        return float(np.mean(guesses == target.codes))
    labels = _joined_labels(target)[target.codes]
    return max(_recall(rows, labels, target.groups, ridge) for ridge in RIDGES)


def _joined_labels(target: Sample) -> np.ndarray:
    """The encoders' embeddings of the label texts side by side, each centred and of unit length, (U, ΣD2)."""
    tables = []
    for encoder in encoder_preset("demo"):
        table = embed_texts(resolve(encoder, "model"), target.label_texts)
        table = table - table.mean(0)
        tables.append(table / np.linalg.norm(table, axis=1, keepdims=True))
    return np.concatenate(tables, axis=1)


def _recall(features: np.ndarray, labels: np.ndarray, groups: np.ndarray, ridge: float) -> float:
    model = make_pipeline(StandardScaler(), Ridge(ridge))
    guesses = cross_val_predict(model, features, labels, groups=groups, cv=FOLDS)
    similar = guesses @ labels.T
    better = (similar > np.diag(similar)[:, None]).sum(1)
    return float(np.mean(better < NEIGHBOURS))


if __name__ == "__main__":
    sys.exit(main())
