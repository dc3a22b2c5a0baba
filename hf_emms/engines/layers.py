"""One checkpoint at several layers: what each is worth, and the row of the best."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hf_emms.engines.failures import one_line
from hf_emms.engines.scores import scores_of
from hf_emms.engines.settings import Settings
from hf_emms.errors import EmmsError
from hf_emms.ranking import RowScore
from hf_emms.scoring.estimators import Evidence

if TYPE_CHECKING:
    from hf_emms.engines.extraction import About


@dataclass(frozen=True)
class Verdict:
    """What the estimators say of a checkpoint.

    Attributes:
        scores: layer → estimator → score, of every layer that could be scored; at least one.
        notes: layer → what a reader of its scores should know.
        refused: layer → why there are no scores of it, in one line.
    """

    scores: dict[str, dict[str, RowScore]]
    notes: dict[str, tuple[str, ...]]
    refused: dict[str, str]

    def best(self, estimator: str) -> str:
        """The layer with the best score by an estimator; of equal ones, the one that was asked for first."""
        return max(self.scores, key=lambda layer: self.scores[layer][estimator].value)


def verdict(
    evidence: Mapping[str, Callable[[], Evidence]], refused: Mapping[str, EmmsError], settings: Settings
) -> Verdict:
    """Scores every layer.

    Args:
        evidence: layer → makes what estimators look at; only that of one layer lives at a time.
        refused: layer → why its features could not be had.
        settings: how.

    Raises:
        EmmsError: no layer has a score by the first estimator.
    """
    failed = dict(refused)
    scores: dict[str, dict[str, RowScore]] = {}
    notes: dict[str, tuple[str, ...]] = {}
    for layer, make in evidence.items():
        try:
            scores[layer], notes[layer] = scores_of(make(), settings)
        except EmmsError as error:
            failed[layer] = error
    if not scores:
        raise next(iter(failed.values()))
    return Verdict(scores, notes, {layer: one_line(error) for layer, error in failed.items()})


def row_fields(verdict: Verdict, about: Mapping[str, About], settings: Settings) -> dict[str, Any]:
    """The fields of a `Row` that tell of scores and checkpoint.

    Args:
        verdict: on the checkpoint.
        about: layer → the checkpoint.
        settings: the first estimator picks the layer; without layers asked for, the row names none.
    """
    best = verdict.best(settings.estimators[0])
    told = about[best]
    fields: dict[str, Any] = {
        "scores": verdict.scores[best],
        "parameters": told.parameters,
        "width": told.width,
        "architecture": told.architecture,
        "pooling": told.pooling,
        "notes": (
            *told.notes,
            *verdict.notes[best],
            *(f"no score at layer {layer}: {why}" for layer, why in verdict.refused.items()),
        ),
    }
    if settings.layers:
        fields["layer"] = best
        fields["layers"] = {
            layer: {name: score.value for name, score in scores.items()} for layer, scores in verdict.scores.items()
        }
    return fields
