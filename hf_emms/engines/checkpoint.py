"""From features or moments to the scores of a row.

One checkpoint at several layers: what each is worth, and the row of the best.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hf_emms.engines.base import one_line
from hf_emms.engines.shards import Shard, moments_of
from hf_emms.errors import EmmsError
from hf_emms.options import Options
from hf_emms.ranking import Score, plain
from hf_emms.scoring.estimators import ESTIMATORS, ScoringInputs
from hf_emms.scoring.label_basis import LabelTable
from hf_emms.scoring.moments import Moments

if TYPE_CHECKING:
    from hf_emms.features.feature_plan import FeatureInfo


def needs_rows(options: Options) -> bool:
    """Whether an estimator needs features of single rows, not moments alone."""
    return any(ESTIMATORS[name].needs_rows for name in options.estimators)


def scoring_inputs(
    features: np.ndarray | None, moments: Moments | None, part: Shard, labels: LabelTable, options: Options
) -> ScoringInputs:
    """What estimators look at.

    Args:
        features: float32 (m, D1) of the inputs; None where no estimator needs rows and there are moments.
        moments: of all rows; made from the features where None.
        part: the rows.
        labels: of all rows of the sample.
        options: how.
    """
    if features is None:
        assert moments is not None
        return ScoringInputs(moments)
    if moments is None:
        moments = moments_of(features, part, labels, options)
    rows = features[part.input_of_row] if needs_rows(options) else None
    return ScoringInputs(moments, rows, labels.take(part.rows), part.groups)


def scores_of(
    evidence: ScoringInputs, options: Options, known: Mapping[str, Score] | None = None
) -> tuple[dict[str, Score], tuple[str, ...]]:
    """Every estimator's score, and notes; one (but the first) that cannot score these rows becomes a note.

    Args:
        evidence: what estimators look at.
        options: which estimators.
        known: scores of the same evidence that need not be computed again.

    Raises:
        EmmsError: the first one cannot.
    """
    scores: dict[str, Score] = {}
    notes: list[str] = []
    for place, name in enumerate(options.estimators):
        try:
            scores[name] = known[name] if known and name in known else _score(name, evidence)
        except EmmsError as error:
            if place == 0:
                raise
            notes.append(f"no {name} score: {one_line(error)}")
    return scores, tuple(notes)


def _score(name: str, evidence: ScoringInputs) -> Score:
    score = ESTIMATORS[name].score(evidence)
    numbers = [score.value, *score.folds, *([] if score.stderr is None else [score.stderr])]
    if not np.isfinite(numbers).all():
        raise EmmsError(f"{name} gave {score.value} ± {score.stderr}, which is not a finite number")
    return Score(float(score.value), plain(score.stderr), tuple(map(float, score.folds)), plain(score.details))


@dataclass(frozen=True)
class LayerScores:
    """What the estimators say of a checkpoint.

    Attributes:
        scores: layer → estimator → score, of every layer that could be scored; at least one.
        notes: layer → what a reader of its scores should know.
        refused: layer → why there are no scores of it, in one line.
    """

    scores: dict[str, dict[str, Score]]
    notes: dict[str, tuple[str, ...]]
    refused: dict[str, str]

    def best(self, estimator: str) -> str:
        """The layer with the best score by an estimator; of equal ones, the one that was asked for first."""
        return max(self.scores, key=lambda layer: self.scores[layer][estimator].value)


def layer_scores(
    evidence: Mapping[str, Callable[[], ScoringInputs]], refused: Mapping[str, EmmsError], options: Options
) -> LayerScores:
    """Scores every layer.

    Args:
        evidence: layer → makes what estimators look at; only that of one layer lives at a time.
        refused: layer → why its features could not be had.
        options: how.

    Raises:
        EmmsError: no layer has a score by the first estimator.
    """
    failed = dict(refused)
    scores: dict[str, dict[str, Score]] = {}
    notes: dict[str, tuple[str, ...]] = {}
    for layer, make in evidence.items():
        try:
            scores[layer], notes[layer] = scores_of(make(), options)
        except EmmsError as error:
            failed[layer] = error
    if not scores:
        raise next(iter(failed.values()))
    return LayerScores(scores, notes, {layer: one_line(error) for layer, error in failed.items()})


def row_fields(layer_scores: LayerScores, about: Mapping[str, FeatureInfo], options: Options) -> dict[str, Any]:
    """The fields of a `Row` that report scores and checkpoint.

    Args:
        layer_scores: of the checkpoint.
        about: layer → the checkpoint.
        options: the first estimator picks the layer; without layers asked for, the row names none.
    """
    best = layer_scores.best(options.estimators[0])
    told = about[best]
    fields: dict[str, Any] = {
        "scores": layer_scores.scores[best],
        "parameters": told.parameters,
        "width": told.width,
        "architecture": told.architecture,
        "pooling": told.pooling,
        "notes": (
            *told.notes,
            *layer_scores.notes[best],
            *(f"no score at layer {layer}: {why}" for layer, why in layer_scores.refused.items()),
        ),
    }
    if options.layers:
        fields["layer"] = best
        fields["layers"] = {
            layer: {name: score.value for name, score in scores.items()}
            for layer, scores in layer_scores.scores.items()
        }
    return fields
