"""Seconds of every EMMS method against LogME on the same F-labels, at the shapes of five tasks.

python -m scripts.bench logme [--rounds 5] [--clock cpu]

(a) LogME as plain code computes it: one decomposition of the features, then a fixed point a label column, in float64
(You et al. 2021, algorithm 1). (b) hf_emms' own, from moments. Each from features and labels to a score. The EMMS paper
does not give the shapes of its timings; these are ours.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass

import numpy as np

from hf_emms.ranking.estimators import get_estimator
from hf_emms.scoring.arrays import group_ids
from hf_emms.scoring.estimators import ScoringInputs
from hf_emms.scoring.labels import LabelTable
from hf_emms.scoring.moments import Moments
from scripts.bench.timing import interleave, ratios, spread

PAPER = {
    "image-classification": 5.13,
    "referring-expression": 6.29,
    "image-to-text": 3.59,
    "visual-question-answering": 6.19,
    "question-answering": 5.66,
}
METHODS = ("emms_exact", "emms", "emms_knn")


@dataclass(frozen=True)
class Shape:
    """N rows of D1 features whose K F-labels of D2 columns take so many distinct values."""

    rows: int
    width: int
    distinct: int
    d2: int = 1024
    k: int = 3


SHAPES = {
    "image-classification": Shape(10_000, 2_048, 100),
    "referring-expression": Shape(5_000, 768, 5_000),
    "image-to-text": Shape(5_000, 768, 5_000),
    "visual-question-answering": Shape(10_000, 1_024, 1_000),
    "question-answering": Shape(5_000, 1_024, 4_000),
}


def problem(shape: Shape) -> tuple[np.ndarray, LabelTable]:
    """Features that explain part of the F-labels, float32."""
    rng = np.random.default_rng(0)
    codes = np.arange(shape.rows) % shape.distinct
    hidden = rng.normal(size=(shape.distinct, 64))
    tables = [
        hidden @ rng.normal(size=(64, shape.d2)) + 5 * rng.normal(size=(shape.distinct, shape.d2))
        for _ in range(shape.k)
    ]
    x = hidden[codes] @ rng.normal(size=(64, shape.width)) + 3 * rng.normal(size=(shape.rows, shape.width))
    table = LabelTable(codes, tuple(table.astype(np.float32) for table in tables), categorical=shape.distinct < 3_072)
    return x.astype(np.float32), table


def plain_logme(x: np.ndarray, z: np.ndarray) -> float:
    """Mean evidence a row over the columns of z (N, q), each by its own fixed point."""
    x, z = x.astype(np.float64), z.astype(np.float64)
    n, d = x.shape
    left, singular, _ = np.linalg.svd(x, full_matrices=False)
    sigma, evidences = singular**2, []
    for column in z.T:
        squares = (left.T @ column) ** 2
        outside = column @ column - squares.sum()
        alpha = beta = 1.0
        for _ in range(11):
            ratio = alpha / beta
            gamma = (sigma / (sigma + ratio)).sum()
            norm = (sigma * squares / (ratio + sigma) ** 2).sum()
            residual = (squares / (1 + sigma / ratio) ** 2).sum() + outside
            alpha, beta = gamma / (norm + 1e-5), (n - gamma) / (residual + 1e-5)
            logs = d * np.log(alpha) + n * np.log(beta) - np.log(alpha + beta * sigma).sum() - n * np.log(2 * np.pi)
            evidence = (logs - beta * residual - alpha * norm) / (2 * n)
            if abs(alpha / beta - ratio) <= 1e-3 * ratio:
                break
        evidences.append(evidence)
    return float(np.mean(evidences))


def standardised(labels: LabelTable) -> np.ndarray:
    """The columns of all F-labels, of mean 0 and variance 1: (N, K·D2)."""
    z = np.concatenate([table[labels.codes] for table in labels.tables], axis=1)
    z -= z.mean(axis=0)
    return z / z.std(axis=0)


def our_score(name: str, x: np.ndarray, labels: LabelTable) -> float:
    """From rows to the score of an estimator."""
    groups = group_ids(np.arange(len(x)), len(x))
    folds = 5 if get_estimator(name).folds else 1
    moments = Moments.like(labels, x.shape[1], folds=folds)
    moments.update_checked(x, labels, groups)
    return get_estimator(name).score(ScoringInputs(moments, x, labels, groups)).value


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--clock", choices=["wall", "cpu"], default="wall")


def run(options: argparse.Namespace) -> None:
    """Print a table of ratios, task by task."""
    print("\n| task | N, D1, distinct labels | plain LogME, s | (b) our LogME | emms_exact | emms | emms_knn | paper |")
    print("|---|---|---|---|---|---|---|---|")
    against_cv, against_ours = [], []
    for task, shape in SHAPES.items():
        x, labels = problem(shape)
        z = standardised(labels)
        ours = our_score("logme_flabels", x, labels)
        assert abs(plain_logme(x, z) - ours) < 1e-4 * abs(ours), task
        contestants = {"plain": lambda x=x, labels=labels: plain_logme(x, standardised(labels))}
        for name in ("logme_flabels", *METHODS):
            contestants[name] = lambda name=name, x=x, labels=labels: our_score(name, x, labels)
        seconds = interleave(contestants, options.rounds)
        gains = [
            spread(ratios(seconds["plain"], seconds[name], options.clock), "×") for name in ("logme_flabels", *METHODS)
        ]
        spent = spread([getattr(one, options.clock) for one in seconds["plain"]])
        print(
            f"| {task} | {shape.rows:,}, {shape.width:,}, {shape.distinct:,} | {spent} | {' | '.join(gains)} "
            f"| {PAPER[task]}× |",
            flush=True,
        )
        against_cv.append((task, ratios(seconds["emms_knn"], seconds["emms"], options.clock)))
        against_ours.append((task, ratios(seconds["logme_flabels"], seconds["emms_knn"], options.clock)))
    print("\n| task | emms_knn / emms | our LogME / emms_knn |\n|---|---|---|")
    for (task, ridge), (_, own) in zip(against_cv, against_ours, strict=True):
        print(f"| {task} | {spread(ridge, '×')} | {spread(own, '×')} |")
