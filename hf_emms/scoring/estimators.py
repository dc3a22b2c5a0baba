"""The registry of estimators: a new one is one function and one line here, or in a package of the user's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hf_emms.errors import EmmsError
from hf_emms.plugins import Registry
from hf_emms.scoring.emms import score_moments
from hf_emms.scoring.hscore import hscore
from hf_emms.scoring.knn import knn
from hf_emms.scoring.label_table import LabelTable
from hf_emms.scoring.logme import logme
from hf_emms.scoring.moments import Moments


@dataclass(frozen=True)
class Evidence:
    """What an estimator may look at.

    Attributes:
        moments: all rows, folded.
        features: (N, D1) rows, for estimators that need them.
        labels: one label a row, likewise.
        groups: (N,), what near-copies share, likewise.
    """

    moments: Moments
    features: np.ndarray | None = None
    labels: LabelTable | list[np.ndarray] | None = None
    groups: np.ndarray | None = None


@dataclass(frozen=True)
class Score:
    """One estimator's verdict; higher is better, comparable only within one dataset, sample and label set."""

    value: float
    stderr: float | None = None
    folds: tuple[float, ...] = ()
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Estimator:
    """A named way to score features.

    Attributes:
        name: what users type after --estimator.
        summary: one line for help and cards.
        score: the function.
        needs_rows: whether it needs the rows beside the moments.
        folds: whether a score has a value for each fold, by which a race stops checkpoints.
    """

    name: str
    summary: str
    score: Callable[[Evidence], Score]
    needs_rows: bool = False
    folds: bool = False


def _emms(method: str) -> Callable[[Evidence], Score]:
    def score(evidence: Evidence) -> Score:
        result = score_moments(evidence.moments, method)
        details = {
            "weights": list(result.weights),
            "r2": result.r2,
            "ridge": result.ridge,
            "notes": list(result.notes),
        }
        return Score(result.score, result.stderr, result.folds, details)

    return score


def _knn(evidence: Evidence) -> Score:
    if evidence.features is None or evidence.labels is None or evidence.groups is None:
        raise EmmsError("k-NN needs rows, but only moments were given", "pass features, labels and groups")
    value, stderr = knn(evidence.features, evidence.labels, evidence.groups)
    return Score(value, stderr)


ESTIMATORS: Registry[Estimator] = Registry(
    "hf_emms.estimators",
    Estimator,
    (
        Estimator("emms", "EMMS, held-out residual", _emms("cv"), folds=True),
        Estimator("emms_exact", "EMMS, the paper's objective at its optimum", _emms("exact")),
        Estimator("emms_one_pass", "EMMS as the official function computes it", _emms("one_pass")),
        Estimator("emms_alternating", "EMMS, the paper's Algorithm 1", _emms("alternating")),
        Estimator("logme", "LogME, corrected evidence", lambda e: Score(logme(e.moments))),
        Estimator("logme_flabels", "LogME on the F-labels", lambda e: Score(logme(e.moments, targets="f-labels"))),
        Estimator("logme_common", "LogME as widespread code has it", lambda e: Score(logme(e.moments, common=True))),
        Estimator("hscore", "H-score", lambda e: Score(hscore(e.moments))),
        Estimator("knn", "10 nearest neighbours, leave-one-out", _knn, needs_rows=True),
    ),
    names=lambda estimator: (estimator.name,),
)

DEFAULT_ESTIMATORS = ("emms", "logme", "knn")


def get_estimator(name: str) -> Estimator:
    """Look up an estimator.

    Raises:
        EmmsError: no such estimator, or the package that adds it is broken.
    """
    if name not in ESTIMATORS:
        raise EmmsError(f"unknown estimator {name!r}", f"choose from {', '.join(ESTIMATORS)}")
    return ESTIMATORS[name]
