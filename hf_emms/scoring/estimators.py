"""The registry of estimators: a new one is one function and one line here, or in a package of the user's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from hf_emms.errors import EmmsError
from hf_emms.ranking import Score
from hf_emms.registry import Registry
from hf_emms.scoring.baselines import hscore, knn, logme
from hf_emms.scoring.cross_validation import RidgeFit, fit_ridge, ridge_score
from hf_emms.scoring.emms import EmmsResult, described, score_moments
from hf_emms.scoring.folds import assign_folds, content_keys
from hf_emms.scoring.label_basis import LabelTable
from hf_emms.scoring.moments import SAMPLE_ROWS, Moments
from hf_emms.scoring.row_sample import smallest
from hf_emms.scoring.stacking import stack
from hf_emms.scoring.standardise import Standardised, standardise
from hf_emms.scoring.sums import Gathered, Rows


@dataclass(frozen=True)
class ScoringInputs:
    """What an estimator scores.

    Attributes:
        moments: of all rows.
        features: (N, D1) rows, for estimators that need them.
        labels: one a row, likewise.
        groups: (N,), group ids, likewise.
        keep_fits: whether coefficients of ridge regressions are kept, which takes memory; for "emms_knn".
    """

    moments: Moments
    features: np.ndarray | None = None
    labels: LabelTable | None = None
    groups: np.ndarray | None = None
    keep_fits: bool = True

    @cached_property
    def statistics(self) -> Standardised:
        """The standardised moments."""
        return standardise(self.moments)

    @cached_property
    def fit(self) -> RidgeFit:
        """The ridge regressions of `cv`."""
        return fit_ridge(self.statistics, keep=self.keep_fits)

    @cached_property
    def held_out(self) -> EmmsResult:
        """EMMS by `cv`, which several estimators start from."""
        return described(self.moments, self.statistics, "cv", ridge_score(self.statistics, self.fit))

    @property
    def rows(self) -> tuple[np.ndarray, LabelTable, np.ndarray]:
        """Features, labels and groups.

        Raises:
            EmmsError: there are only moments.
        """
        if self.features is None or self.labels is None or self.groups is None:
            raise EmmsError("neighbours need rows, but only moments were given", "pass features, labels and groups")
        return self.features, self.labels, self.groups

    @property
    def sample(self) -> Rows:
        """Features, labels and folds of at most `SAMPLE_ROWS` rows: of those given, or what the moments have kept.

        Raises:
            EmmsError: there are neither.
        """
        moments = self.moments
        if self.features is None:
            kept = moments.sample()
            if kept is None:
                raise EmmsError(
                    "neighbours need rows, but only moments were given",
                    f"pass features and labels, or make the moments with sample_rows={SAMPLE_ROWS}",
                )
            return kept
        x, labels, groups = self.rows
        chosen = smallest(content_keys(x), SAMPLE_ROWS) if len(x) > SAMPLE_ROWS else np.arange(len(x))
        # In one array: labels as they came may be strided, and many more than those chosen.
        y = Gathered((Gathered(*moments.basis.blocks(labels, chosen)).joined(),), np.arange(len(chosen)))
        return Rows(x, chosen, y, assign_folds(groups[chosen], moments.folds, moments.seed))


@dataclass(frozen=True)
class Estimator:
    """A named way to score features.

    Attributes:
        name: what users type after --estimator.
        summary: one line for help and cards.
        score: the function.
        needs_rows: whether it needs the rows, not only their moments.
        samples_rows: whether it needs a sample of the rows, which moments can keep.
        folds: whether a score has a value for each fold, by which a race stops checkpoints.
    """

    name: str
    summary: str
    score: Callable[[ScoringInputs], Score]
    needs_rows: bool = False
    samples_rows: bool = False
    folds: bool = False


def _emms(method: str) -> Callable[[ScoringInputs], Score]:
    def score(inputs: ScoringInputs) -> Score:
        return inputs.held_out if method == "cv" else score_moments(inputs.moments, method)

    return score


def _emms_knn(inputs: ScoringInputs) -> EmmsResult:
    statistics = inputs.statistics
    fit = inputs.fit if inputs.keep_fits else fit_ridge(statistics, keep=True)
    found, neighbours = stack(statistics, fit, statistics.rotated or inputs.sample)
    alone = inputs.held_out
    details = {**found.details, "neighbours": neighbours, "notes": list(alone.notes)}
    return EmmsResult(found.value, found.stderr, found.folds, details, method="emms_knn", n=alone.n, d1=alone.d1)


ESTIMATORS: Registry[Estimator] = Registry(
    "hf_emms.estimators",
    Estimator,
    (
        Estimator("emms", "EMMS, held-out residual", _emms("cv"), folds=True),
        Estimator(
            "emms_knn",
            "EMMS with neighbours: held-out, ridge and 3 nearest rows",
            _emms_knn,
            samples_rows=True,
            folds=True,
        ),
        Estimator("emms_exact", "EMMS, the paper's objective at its optimum", _emms("exact")),
        Estimator("emms_one_pass", "EMMS as the official function computes it", _emms("one_pass")),
        Estimator("emms_alternating", "EMMS, the paper's Algorithm 1", _emms("alternating")),
        Estimator("logme", "LogME, corrected evidence", lambda e: Score(logme(e.moments))),
        Estimator("logme_flabels", "LogME on the F-labels", lambda e: Score(logme(e.moments, targets="f-labels"))),
        Estimator("logme_common", "LogME as widespread code has it", lambda e: Score(logme(e.moments, common=True))),
        Estimator("hscore", "H-score", lambda e: Score(hscore(e.moments))),
        Estimator("knn", "10 nearest neighbours, leave-one-out", lambda e: Score(*knn(*e.rows)), needs_rows=True),
    ),
    names=lambda estimator: (estimator.name,),
)


# Method of `hf_emms.emms` → estimator.
METHODS = {
    "emms_knn": "emms_knn",
    "cv": "emms",
    "exact": "emms_exact",
    "one_pass": "emms_one_pass",
    "alternating": "emms_alternating",
}


def get_method(name: str) -> Estimator:
    """The estimator behind a method of EMMS, which may also be named as estimators are.

    Raises:
        EmmsError: no such method.
    """
    if name not in METHODS and name not in METHODS.values():
        raise EmmsError(f"unknown method {name!r}", f"choose one of {', '.join(METHODS)}")
    return ESTIMATORS[METHODS.get(name, name)]


def is_emms(estimator: Estimator) -> bool:
    """Whether it is a method of EMMS, whose score does not depend on how labels are stored."""
    return estimator.name in METHODS.values()


def get_estimator(name: str) -> Estimator:
    """Look up an estimator.

    Raises:
        EmmsError: no such estimator, or the package that adds it is broken.
    """
    if name not in ESTIMATORS:
        raise EmmsError(f"unknown estimator {name!r}", f"choose from {', '.join(ESTIMATORS)}")
    return ESTIMATORS[name]
