"""How good answers are: the scores of each task, as its benchmarks define them, and their standard error."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from hf_emms.scoring.folds import assign_folds

Score = Callable[[Sequence[Any], Sequence[Any]], float]
"""n answers and n right ones to a score, 1 (of CIDEr 10) at best."""

# Parts of the test rows, each left out once for the standard error.
_JACKKNIFE = 20


def accuracy(answers: Sequence[Any], right: Sequence[Any]) -> float:
    """Share of right answers; of several classes a row, of rows where all are right."""
    return float(np.mean([_as_set(a) == _as_set(b) for a, b in zip(answers, right, strict=True)]))


def macro_f1(answers: Sequence[Any], right: Sequence[Any]) -> float:
    """Mean of the F1 of each class that occurs among answers or right ones."""
    return float(np.mean(_f1_of_classes(answers, right)))


def micro_f1(answers: Sequence[Any], right: Sequence[Any]) -> float:
    """F1 over all classes of all rows together."""
    pairs = [(_as_set(a), _as_set(b)) for a, b in zip(answers, right, strict=True)]
    total = sum(len(a) + len(b) for a, b in pairs)
    return 2 * sum(len(a & b) for a, b in pairs) / total if total else 0.0


def r2(answers: Sequence[float], right: Sequence[float]) -> float:
    """Coefficient of determination."""
    wanted, found = np.array(right, dtype=np.float64), np.array(answers, dtype=np.float64)
    total = max(float(np.square(wanted - wanted.mean()).sum()), np.finfo(np.float64).tiny)
    return 1 - float(np.square(wanted - found).sum()) / total


def spearman(answers: Sequence[float], right: Sequence[float]) -> float:
    """Correlation of ranks; 0 where all answers are equal."""
    from scipy.stats import spearmanr

    if len(set(answers)) == 1 or len(set(right)) == 1:
        return 0.0
    return float(spearmanr(answers, right).statistic)


_CLASS: dict[str, Score] = {"accuracy": accuracy, "macro F1": macro_f1}
_CLASSES: dict[str, Score] = {"micro F1": micro_f1, "macro F1": macro_f1, "accuracy": accuracy}
_VALUE: dict[str, Score] = {"R²": r2, "Spearman": spearman}


def scores_for(task_id: str, right: Sequence[Any]) -> Mapping[str, Score]:
    """Name → score, that by which candidates are compared first.

    Args:
        task_id: the Hub's task id.
        right: right answers, see `Part.answers`.
    """
    if isinstance(right[0], float):
        return _VALUE
    return _CLASS if isinstance(right[0], str) else _CLASSES


def measured(scores: Mapping[str, Score], answers: Sequence[Any], right: Sequence[Any]) -> dict[str, float]:
    """Name → value of every score."""
    return {name: score(answers, right) for name, score in scores.items()}


def standard_error(score: Score, answers: Sequence[Any], right: Sequence[Any], groups: np.ndarray) -> float:
    """The delete-a-part jackknife over twenty parts of the rows, whose groups stay together.

    Args:
        score: whose error.
        answers: of n rows.
        right: the right ones.
        groups: uint64, shape (n,).
    """
    part_of = assign_folds(groups, min(_JACKKNIFE, len(np.unique(groups))), 0)
    values = []
    for part in np.unique(part_of):
        left = np.flatnonzero(part_of != part).tolist()
        if left:
            values.append(score([answers[row] for row in left], [right[row] for row in left]))
    count = len(values)
    return float(np.sqrt((count - 1) * np.var(values))) if count > 1 else 0.0


def _f1_of_classes(answers: Sequence[Any], right: Sequence[Any]) -> list[float]:
    found, wanted = [_as_set(one) for one in answers], [_as_set(one) for one in right]
    values = []
    for name in sorted(set().union(*found, *wanted)):
        a, b = np.array([name in one for one in found]), np.array([name in one for one in wanted])
        values.append(2 * float((a & b).sum()) / float(a.sum() + b.sum()))
    return values or [0.0]


def _as_set(answer: Any) -> set[Any]:
    return set(answer) if isinstance(answer, tuple) else {answer}
