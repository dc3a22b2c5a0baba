"""From features or moments to the scores of a row."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from hf_emms.engines.failures import one_line
from hf_emms.engines.parts import Part, moments_of
from hf_emms.engines.settings import Settings
from hf_emms.errors import EmmsError
from hf_emms.ranking import RowScore, plain
from hf_emms.scoring.estimators import ESTIMATORS, Evidence
from hf_emms.scoring.label_table import LabelTable
from hf_emms.scoring.moments import Moments


def needs_rows(settings: Settings) -> bool:
    """Whether an estimator needs features of single rows, not moments alone."""
    return any(ESTIMATORS[name].needs_rows for name in settings.estimators)


def evidence_of(
    features: np.ndarray | None, moments: Moments | None, part: Part, labels: LabelTable, settings: Settings
) -> Evidence:
    """What estimators look at.

    Args:
        features: float32 (m, D1) of the inputs; None where no estimator needs rows and there are moments.
        moments: of all rows; made from the features where None.
        part: the rows.
        labels: of all rows of the target.
        settings: how.
    """
    if features is None:
        assert moments is not None
        return Evidence(moments)
    if moments is None:
        moments = moments_of(features, part, labels, settings)
    rows = features[part.input_of_row] if needs_rows(settings) else None
    return Evidence(moments, rows, labels.take(part.rows), part.groups)


def scores_of(
    evidence: Evidence, settings: Settings, known: Mapping[str, RowScore] | None = None
) -> tuple[dict[str, RowScore], tuple[str, ...]]:
    """Every estimator's score, and notes; one (but the first) that cannot score these rows becomes a note.

    Args:
        evidence: what estimators look at.
        settings: which estimators.
        known: scores of the same evidence that need not be computed again.

    Raises:
        EmmsError: the first one cannot.
    """
    scores: dict[str, RowScore] = {}
    notes: list[str] = []
    for place, name in enumerate(settings.estimators):
        try:
            scores[name] = known[name] if known and name in known else _score(name, evidence)
        except EmmsError as error:
            if place == 0:
                raise
            notes.append(f"no {name} score: {one_line(error)}")
    return scores, tuple(notes)


def _score(name: str, evidence: Evidence) -> RowScore:
    score = ESTIMATORS[name].score(evidence)
    numbers = [score.value, *score.folds, *([] if score.stderr is None else [score.stderr])]
    if not np.isfinite(numbers).all():
        raise EmmsError(f"{name} gave {score.value} ± {score.stderr}, which is not a finite number")
    return RowScore(float(score.value), plain(score.stderr), tuple(map(float, score.folds)), plain(score.details))
