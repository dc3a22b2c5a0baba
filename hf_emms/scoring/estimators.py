"""The registry of estimators: a new one is one function and one line here, or in a package of the user's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from hf_emms.errors import EmmsError
from hf_emms.plugins import Registry
from hf_emms.ranking import Score
from hf_emms.scoring.baselines import hscore, knn, logme
from hf_emms.scoring.emms import EmmsResult, score_moments
from hf_emms.scoring.label_basis import LabelTable
from hf_emms.scoring.moments import Moments
from hf_emms.scoring.stacking import stack


@dataclass(frozen=True)
class ScoringInputs:
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

    @cached_property
    def held_out(self) -> EmmsResult:
        """EMMS by `cv`, which several estimators start from."""
        return score_moments(self.moments, "cv")


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
    score: Callable[[ScoringInputs], Score]
    needs_rows: bool = False
    folds: bool = False


def _emms(method: str) -> Callable[[ScoringInputs], Score]:
    def score(evidence: ScoringInputs) -> Score:
        result = evidence.held_out if method == "cv" else score_moments(evidence.moments, method)
        details = {
            "weights": list(result.weights),
            "r2": result.r2,
            "ridge": result.ridge,
            "notes": list(result.notes),
        }
        return Score(result.score, result.stderr, result.folds, details)

    return score


def _rows(evidence: ScoringInputs) -> tuple[np.ndarray, LabelTable | list[np.ndarray], np.ndarray]:
    if evidence.features is None or evidence.labels is None or evidence.groups is None:
        raise EmmsError("neighbours need rows, but only moments were given", "pass features, labels and groups")
    return evidence.features, evidence.labels, evidence.groups


def _emms_knn(evidence: ScoringInputs) -> Score:
    rows, alone = _rows(evidence), evidence.held_out
    assert alone.ridge is not None
    stacked = stack(*rows, folds=evidence.moments.folds, seed=evidence.moments.seed, ridge=alone.ridge)
    found = stacked.solution
    details = {
        "weights": list(map(float, found.weights)),
        "r2": found.r2,
        "ridge": found.ridge,
        "neighbours": stacked.neighbours,
        "notes": list(alone.notes),
    }
    return Score(found.score, found.stderr, found.folds, details)


def _knn(evidence: ScoringInputs) -> Score:
    value, stderr = knn(*_rows(evidence))
    return Score(value, stderr)


ESTIMATORS: Registry[Estimator] = Registry(
    "hf_emms.estimators",
    Estimator,
    (
        Estimator("emms", "EMMS, held-out residual", _emms("cv"), folds=True),
        Estimator(
            "emms_knn",
            "EMMS with neighbours: held-out, ridge and 3 nearest rows",
            _emms_knn,
            needs_rows=True,
            folds=True,
        ),
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

DEFAULT_ESTIMATORS = ("emms_knn", "emms", "logme", "knn")


def get_estimator(name: str) -> Estimator:
    """Look up an estimator.

    Raises:
        EmmsError: no such estimator, or the package that adds it is broken.
    """
    if name not in ESTIMATORS:
        raise EmmsError(f"unknown estimator {name!r}", f"choose from {', '.join(ESTIMATORS)}")
    return ESTIMATORS[name]
