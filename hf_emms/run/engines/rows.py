"""Turn the features of a checkpoint into scores, and these into its row."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np

from hf_emms.errors import EmmsError, one_line
from hf_emms.features.feature_spec import FeatureSpec
from hf_emms.inputs import SearchCollection
from hf_emms.options import ScoringOptions
from hf_emms.ranking import Row, Seconds, plain
from hf_emms.run.engines import EngineInput
from hf_emms.run.engines.extraction import Extraction, InputSlice, moments_of
from hf_emms.scoring import Score
from hf_emms.scoring.estimators import NO_VARIATION, EstimatorList, ScoringInputs
from hf_emms.scoring.labels import LabelTable
from hf_emms.scoring.moments import Moments
from hf_emms.scoring.retrieval import SearchScores, Similarity

if TYPE_CHECKING:
    from hf_emms.scoring.estimators import CheckpointModel

# Estimator → score, and notes.
EstimatorScores = tuple[dict[str, Score], tuple[str, ...]]


@dataclass(frozen=True)
class LayerScores:
    """The scores of a checkpoint and notes, by layer; why a layer has none; and the wall time of the estimators."""

    scores: dict[str, dict[str, Score]]
    notes: dict[str, tuple[str, ...]]
    failed: dict[str, str]
    seconds: float


def scored_row(
    name: str,
    plan: FeatureSpec,
    extraction: Extraction,
    scores: LayerScores,
    engine_input: EngineInput,
    n: int | None = None,
    notes: Iterable[str] = (),
) -> Row:
    """Return the row of a checkpoint, without a rank, with more notes; `n` rows were scored, if not all.

    The first estimator chooses the layer, which the row names only if layers were asked for.
    """
    head = engine_input.sample.task.head
    first, asked_layers = engine_input.scoring.estimators[0], engine_input.features.layers
    best = max(scores.scores, key=lambda layer: scores.scores[layer][first].value)  # of equal ones the first
    info, failed = extraction.info[best], extraction.refused | scores.failed
    values = {
        layer: {estimator: score.value for estimator, score in of_layer.items()}
        for layer, of_layer in scores.scores.items()
    }
    return Row(
        name,
        plan.repo.revision,
        n=n,
        scores=scores.scores[best],
        parameters=info.parameters,
        width=info.width or None,
        documents_per_second=info.counts.documents_per_second,
        longest_input=info.counts.limit or None,
        architecture=info.architecture,
        pooling=info.pooling,
        seconds=Seconds(round(extraction.seconds, 3), round(scores.seconds, 3), round(extraction.loading, 3)),
        cached="features" if extraction.cached else "none",
        notes=(
            *info.notes,
            *scores.notes[best],
            *notes,
            *(f"no score at layer {layer}: {reason}" for layer, reason in failed.items()),
        ),
        no_head=None if head is None else head.why_not(plan),
        unknown_tokens=info.counts.unknown_share,
        cut_texts=info.counts.cut_share,
        layer=best if asked_layers else None,
        layers=values if asked_layers else {},
    )


def score_layers(
    layers: Iterable[str], inputs_of: Callable[[str], ScoringInputs], estimators: EstimatorList
) -> LayerScores:
    """Return the scores of every layer by every estimator; only a layer at a time is in memory.

    Raises:
        EmmsError: no layer has a score by the first estimator.
    """
    started = time.perf_counter()
    scores: dict[str, dict[str, Score]] = {}
    notes: dict[str, tuple[str, ...]] = {}
    failed: dict[str, str] = {}
    for layer in layers:
        try:
            scores[layer], notes[layer] = score_estimators(inputs_of(layer), estimators)
        except EmmsError as error:
            failed[layer] = one_line(error)
    if not scores:
        raise EmmsError(next(iter(failed.values())))
    return LayerScores(scores, notes, failed, time.perf_counter() - started)


def scoring_inputs(
    features: np.ndarray | None,
    shard: InputSlice,
    labels: LabelTable,
    options: ScoringOptions,
    estimators: EstimatorList,
    *,
    moments: Moments | None = None,
    model: CheckpointModel | None = None,
    similarity: Similarity = "cosine",
) -> ScoringInputs:
    """Return the inputs of estimators for a shard's rows; labels and model are those of all rows of the sample.

    Features are float32 (m, D1), or None if no estimator needs them. Their moments are computed if None.
    """
    if features is None:
        return ScoringInputs(Moments.like(labels, 1), model=model)
    if moments is None:
        moments = moments_of(features, shard, labels, options)
    sampled = estimators.need_sample
    rows = features[shard.input_of_row] if sampled or estimators.need_rows else None
    search = retrieval_of(features, shard, options, similarity) if estimators.need_search else None
    return ScoringInputs(moments, rows, labels.take(shard.rows), shard.groups, sampled, model, search)


def retrieval_of(
    features: np.ndarray, shard: InputSlice, options: ScoringOptions, similarity: Similarity
) -> SearchScores:
    """Return the search of a whole `SearchCollection` by features of its queries and documents, float32 (Q + M, D)."""
    collection = cast(SearchCollection, shard.inputs)
    queries = len(collection.queries)
    return SearchScores(
        features[:queries],
        features[queries:],
        collection.judgements,
        shard.groups_of_inputs(queries),
        similarity,
        options.folds,
        options.seed,
    )


def score_estimators(inputs: ScoringInputs, estimators: EstimatorList) -> EstimatorScores:
    """Return the estimators' scores, and notes; a failure of any but the first becomes a note."""
    scores: dict[str, Score] = {}
    notes: list[str] = []
    for estimator in estimators:
        try:
            scores[estimator.name] = plain_score(estimator.score(inputs))
        except EmmsError as error:
            if not scores:
                raise
            notes.append(f"no {estimator.name} score: {one_line(error)}")
    if any(NO_VARIATION in score.details.get("notes", ()) for score in scores.values()):
        notes.append(NO_VARIATION)
    return scores, tuple(notes)


def plain_score(score: Score) -> Score:
    """Return a score whose numbers JSON can hold."""
    return Score(float(score.value), plain(score.stderr), tuple(map(float, score.folds)), plain(score.details))
