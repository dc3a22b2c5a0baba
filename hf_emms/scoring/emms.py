"""EMMS: how well a checkpoint's features explain what foundation models make of the labels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hf_emms.errors import EmmsError
from hf_emms.scoring.arrays import as_labels, as_matrix
from hf_emms.scoring.cross_validation import cross_validate
from hf_emms.scoring.folds import group_ids
from hf_emms.scoring.moments import Moments
from hf_emms.scoring.objective import Solution, alternating, exact, one_pass
from hf_emms.scoring.standardise import Standardised, standardise

METHODS: dict[str, Callable[[Standardised], Solution]] = {
    "cv": cross_validate,
    "exact": exact,
    "one_pass": one_pass,
    "alternating": alternating,
}


@dataclass(frozen=True)
class EmmsResult:
    """A score and what it rests on. Compare scores only within one dataset, sample and label set.

    Attributes:
        score: minus the mean squared residual of the weighted, standardised F-label; higher is better, 0 is perfect.
        stderr: standard error of the score over folds (`cv`), else None.
        weights: K weights of the F-labels, >= 0, sum 1.
        r2: share of the weighted F-label's variance that is explained (held out with `cv`).
        n: rows.
        d1: feature width.
        ridge: ridge strength that held out best, relative to unit-variance features (`cv`), else None.
        method: "cv", "exact", "one_pass" or "alternating".
        folds: score of every fold (`cv`), else empty.
        trace: objective after every iteration (`alternating`), else empty.
        notes: what a reader should know, in words.
    """

    score: float
    stderr: float | None
    weights: tuple[float, ...]
    r2: float
    n: int
    d1: int
    ridge: float | None
    method: str
    folds: tuple[float, ...] = ()
    trace: tuple[float, ...] = field(default=(), repr=False)
    notes: tuple[str, ...] = ()


def emms(
    features: Any,
    label_embeddings: Any,
    *,
    method: str = "cv",
    groups: Any = None,
    folds: int = 5,
    seed: int = 0,
) -> EmmsResult:
    """Score one set of features.

    Args:
        features: (N, D1), numpy or torch, one row a sample.
        label_embeddings: the F-labels: (N, D2), (N, D2, K), a list of K arrays (N, D2_k), or a `LabelTable`.
        method: "cv" (held-out ridge), "exact" (the paper's objective at its optimum), "one_pass" (the official
            function without its factor D2²) or "alternating" (the paper's Algorithm 1).
        groups: (N,), what rows share with their near-copies (the image of five captions); None: every row is its own.
        folds: folds of the held-out score, at least 2 (ignored by the other methods).
        seed: seed of the assignment of groups to folds.

    Returns:
        The score with its standard error, weights, R², n, d1 and ridge.

    Raises:
        EmmsError: NaN, Inf, empty, non-numeric or mismatched input, an unknown method, or too few rows or groups.

    Example:
        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> features = rng.normal(size=(200, 8))
        >>> labels = features @ rng.normal(size=(8, 4)) + 0.1 * rng.normal(size=(200, 4))
        >>> round(emms(features, labels).r2, 2)
        1.0
    """
    x = as_matrix(features, "features")
    labels = as_labels(label_embeddings, len(x))
    held_out = _method(method) is cross_validate
    if held_out and folds < 2:
        raise EmmsError(f"folds={folds}; held-out scoring needs at least 2", "folds=5, or method='exact'")
    moments = Moments.like(labels, x.shape[1], folds=folds if held_out else 1, seed=seed)
    moments.update_checked(x, labels, group_ids(groups, len(x)))
    return score_moments(moments, method)


def score_moments(moments: Moments, method: str = "cv") -> EmmsResult:
    """Score rows that were folded into moments (`cv` needs moments of at least two folds).

    Raises:
        EmmsError: no rows, constant labels, an unknown method, or rows in one fold only.
    """
    statistics = standardise(moments)
    solution = _method(method)(statistics)
    return EmmsResult(
        score=solution.score,
        stderr=solution.stderr,
        weights=tuple(float(weight) for weight in solution.weights),
        r2=solution.r2,
        n=moments.n,
        d1=moments.d1,
        ridge=solution.ridge,
        method=method,
        folds=solution.folds,
        trace=solution.trace,
        notes=_notes(moments, statistics, method),
    )


def _method(name: str) -> Callable[[Standardised], Solution]:
    if name not in METHODS:
        raise EmmsError(f"unknown method {name!r}", f"choose one of {', '.join(METHODS)}")
    return METHODS[name]


def _notes(moments: Moments, statistics: Standardised, method: str) -> tuple[str, ...]:
    notes = []
    if statistics.constant_columns:
        notes.append(
            f"ignored, because they do not vary: {statistics.constant_columns} of {moments.d1} feature columns"
        )
    if method != "cv" and moments.n <= moments.d1:
        notes.append(f"{moments.n} rows cannot tell {moments.d1} features apart: the in-sample residual is 0; use cv")
    filled = int(np.count_nonzero(statistics.sums.n))
    if method == "cv" and filled < moments.folds:
        notes.append(f"the groups fill {filled} of {moments.folds} folds")
    return tuple(notes)
