"""Measure EMMS (`emms_exact`, `emms`, `emms_knn`) from rows to a score, on made-up features and label embeddings.

    python -m scripts.bench scoring [products|logme …] [--rounds 5] [--clock cpu]

"products" compares with the matrix products that every estimator needs, XᵀX and, for dense labels, XᵀZ over all rows,
by numpy in float32 with the same number of threads. "logme" compares with a plain implementation of LogME at the shapes
of five tasks: one decomposition of the features, then a fixed point per label column, in float64 (You et al. 2021,
algorithm 1). The EMMS paper does not state the shapes of its timings; we chose these.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from hf_emms import LabelTable, score
from scripts.bench.timing import interleave, ratios, spread

ESTIMATORS = ("emms_exact", "emms", "emms_knn")
D2, K = 1024, 3  # columns of a label embedding, and number of label embeddings


@dataclass(frozen=True)
class Shape:
    """Number of rows, features and distinct labels, and the paper's ratio to LogME."""

    rows: int
    width: int
    distinct: int
    paper: float


TASKS = {
    "image-classification": Shape(10_000, 2_048, 100, 5.13),
    "referring-expression": Shape(5_000, 768, 5_000, 6.29),
    "image-to-text": Shape(5_000, 768, 5_000, 3.59),
    "visual-question-answering": Shape(10_000, 1_024, 1_000, 6.19),
    "question-answering": Shape(5_000, 1_024, 4_000, 5.66),
}


def dense_problem(rows: int = 5_000, width: int = 768) -> tuple[np.ndarray, np.ndarray]:
    """Make features and label embeddings that differ in each row: float32 (N, D1) and (N, D2, K)."""
    rng = np.random.default_rng(0)
    hidden = rng.normal(size=(rows, 64)).astype(np.float32)
    x = hidden @ rng.normal(size=(64, width)).astype(np.float32) + rng.normal(size=(rows, width)).astype(np.float32)
    z = [hidden @ rng.normal(size=(64, D2)) + (5 + i) * rng.normal(size=(rows, D2)) for i in range(K)]
    return x, np.stack(z, axis=2).astype(np.float32)


def classes_problem(rows: int = 20_000, width: int = 2_048, classes: int = 100) -> tuple[np.ndarray, LabelTable]:
    """Make features around class centers, float32 (N, D1), and classes with random embeddings."""
    rng = np.random.default_rng(0)
    codes = rng.integers(0, classes, rows)
    x = rng.normal(size=(classes, width)).astype(np.float32)[codes]
    x += 3 * rng.normal(size=(rows, width)).astype(np.float32)
    return x, LabelTable(codes, tuple(rng.normal(size=(classes, D2)).astype(np.float32) for _ in range(K)))


def task_problem(shape: Shape) -> tuple[np.ndarray, LabelTable]:
    """Make features that explain part of the label embeddings, float32."""
    rng = np.random.default_rng(0)
    codes = np.arange(shape.rows) % shape.distinct
    hidden = rng.normal(size=(shape.distinct, 64))
    tables = [hidden @ rng.normal(size=(64, D2)) + 5 * rng.normal(size=(shape.distinct, D2)) for _ in range(K)]
    x = hidden[codes] @ rng.normal(size=(64, shape.width)) + 3 * rng.normal(size=(shape.rows, shape.width))
    table = LabelTable(codes, tuple(table.astype(np.float32) for table in tables), categorical=shape.distinct < 3_072)
    return x.astype(np.float32), table


def label_columns(labels: LabelTable) -> np.ndarray:
    """Return the standardized columns of all label embeddings, float64 (N, K·D2)."""
    z = np.concatenate([table[labels.codes] for table in labels.tables], axis=1).astype(np.float64)
    return (z - z.mean(axis=0)) / z.std(axis=0)


def plain_logme(x: np.ndarray, z: np.ndarray) -> float:
    """Return the mean evidence per row over the label columns (N, C), with a fixed point for each column.

    As in widespread code, it omits (D1 − rank)·log α, so that it is far too high if D1 > N.
    """
    n, d = x.shape
    left, singular, _ = np.linalg.svd(x.astype(np.float64), full_matrices=False)
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


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("against", nargs="*", default=["products", "logme"], help="of products, logme; both by default")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--clock", choices=["wall", "cpu"], default="wall")


def run(options: argparse.Namespace) -> None:
    """Print a table for each comparison."""
    if "products" in options.against:
        _against_products(options)
    if "logme" in options.against:
        _against_logme(options)


def _calls(x: np.ndarray, labels: Any) -> dict[str, Callable[[], object]]:
    return {name: lambda name=name: score(x, labels, estimator=name) for name in ESTIMATORS}


def _against_products(options: argparse.Namespace) -> None:
    print(f"\n### Scoring against matrix products, {options.clock} seconds\n")
    print("| problem | products | emms_exact | emms | emms_knn | emms_knn / emms |\n|---|---|---|---|---|---|")
    problems: dict[str, Callable[[], tuple[np.ndarray, Any]]] = {
        "captions: 5,000 rows, 768 features, 3 F-labels of 1,024 columns": dense_problem,
        "classes: 20,000 rows, 2,048 features, 100 classes": classes_problem,
        "classes: 20,000 rows, 4,096 features": lambda: classes_problem(width=4_096),
    }
    for title, make in problems.items():
        x, labels = make()
        flat = labels.reshape(len(labels), -1) if isinstance(labels, np.ndarray) else None
        products = {"products": lambda x=x, flat=flat: (x.T @ x, None if flat is None else x.T @ flat)}
        seconds = interleave(products | _calls(x, labels), options.rounds)
        cells = [spread([getattr(spent, options.clock) for spent in seconds["products"]])]
        cells += [spread(ratios(seconds[name], seconds["products"], options.clock), "×") for name in ESTIMATORS]
        cells.append(spread(ratios(seconds["emms_knn"], seconds["emms"], options.clock), "×"))
        print(f"| {title} | {' | '.join(cells)} |", flush=True)


def _against_logme(options: argparse.Namespace) -> None:
    print(f"\n### LogME on the same F-labels, {options.clock} seconds\n")
    print("| task | N, D1, distinct labels | plain LogME, s | our LogME | emms_exact | emms | emms_knn | paper |")
    print("|" + "---|" * 8)
    for task, shape in TASKS.items():
        x, labels = task_problem(shape)
        contestants = {"plain": lambda x=x, labels=labels: plain_logme(x, label_columns(labels))}
        groups = range(len(x))
        for name in ("logme_flabels", *ESTIMATORS):
            contestants[name] = lambda name=name, x=x, labels=labels, groups=groups: score(
                x, labels, estimator=name, groups=groups
            )
        ours = score(x, labels, estimator="logme_flabels", groups=groups).value
        assert abs(plain_logme(x, label_columns(labels)) - ours) < 1e-4 * abs(ours), task
        seconds = interleave(contestants, options.rounds)
        cells = [f"{shape.rows:,}, {shape.width:,}, {shape.distinct:,}"]
        cells.append(spread([getattr(spent, options.clock) for spent in seconds["plain"]]))
        cells += [
            spread(ratios(seconds["plain"], seconds[name], options.clock), "×")
            for name in ("logme_flabels", *ESTIMATORS)
        ]
        print(f"| {task} | {' | '.join(cells)} | {shape.paper}× |", flush=True)
