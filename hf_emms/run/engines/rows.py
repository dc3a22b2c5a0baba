"""Turn the features of a checkpoint into scores, and these into its row."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, cast

import numpy as np

from hf_emms.errors import EmmsError, Note, one_line
from hf_emms.features.extractor import ExtractorPool
from hf_emms.features.feature_spec import FeatureSpec
from hf_emms.inputs import SearchCollection
from hf_emms.options import LAST, ScoringOptions
from hf_emms.ranking import DIMENSIONS, Row, Seconds, plain
from hf_emms.run.engines import EngineInput
from hf_emms.run.engines.extraction import Extraction, InputSlice, extract, moments_of, whole_sample
from hf_emms.scoring import Score
from hf_emms.scoring.estimators import NO_VARIATION, Estimator, EstimatorList, ScoringInputs
from hf_emms.scoring.labels import LabelTable
from hf_emms.scoring.moments import Moments
from hf_emms.scoring.retrieval import SearchScores, Similarity

if TYPE_CHECKING:
    from hf_emms.scoring.generative import CheckpointModel

# Imported before the first short run, whose measured time they would otherwise be part of.
_OF_SHORT_RUNS = ("torch._dynamo", "hf_emms.finetune.training")

# Estimator → score, and notes.
EstimatorScores = tuple[dict[str, Score], tuple[Note, ...]]


def run_checkpoint(
    name: str, spec: FeatureSpec, engine_input: EngineInput, labels: LabelTable, pool: ExtractorPool
) -> Row:
    """Return the row of a checkpoint, without a rank, from one run on all inputs. It stays loaded in the pool.

    Raises:
        EmmsError: The checkpoint cannot be loaded or run, or no layer has a score by the first estimator.
    """
    scoring, sample, progress = engine_input.scoring, engine_input.sample, engine_input.progress
    estimators = engine_input.estimators
    model = None
    if estimators.need_model:
        from hf_emms.finetune.checkpoint_scorers import CheckpointScorers

        for module in _OF_SHORT_RUNS if estimators.need_training else ():
            import_module(module)
        # If features are computed too, they alone count as progress. Other events show that the worker is alive.
        counted = 0 if estimators.need_features else 1
        model = CheckpointScorers(
            spec, sample, engine_input.running, scoring.seed, lambda count: progress.advanced(name, counted * count)
        )
    extraction = Extraction({})
    if estimators.need_features:
        extraction = extract(spec, engine_input, partial(progress.advanced, name), pool)
    if model is not None:
        pool.close()  # the checkpoint is loaded again, with its head
    part, started = whole_sample(sample), time.perf_counter()
    scores, failed = dict[str, EstimatorScores](), dict[str, str]()
    truncated = dict[str, dict[str, float]]()
    for layer in extraction.info or (LAST,):
        features = extraction.features.get(layer)
        try:
            # Only a layer's products are in memory at a time.
            inputs = scoring_inputs(
                features, part, labels, scoring, estimators, model=model, similarity=spec.similarity
            )
            scores[layer] = score_estimators(inputs, estimators)
            if scoring.dimensions:
                truncated[layer] = truncated_scores(inputs, estimators[0])
        except EmmsError as error:
            failed[layer] = one_line(error)
    if not scores:
        raise EmmsError(next(iter(failed.values())))
    seconds = time.perf_counter() - started
    if model is not None and not extraction.info:
        extraction = replace(extraction, info={LAST: model.reranker_info()})
    spec.check_unchanged()
    extraction = replace(extraction, refused=extraction.refused | failed)
    notes = model.notes if model else ()
    return checkpoint_row(name, spec, engine_input, extraction, scores, seconds, notes=notes, truncated=truncated)


def checkpoint_row(
    name: str,
    spec: FeatureSpec,
    engine_input: EngineInput,
    extraction: Extraction,
    scores: Mapping[str, EstimatorScores],
    seconds: float,
    *,
    notes: Iterable[Note] = (),
    truncated: Mapping[str, dict[str, float]] = {},
) -> Row:
    """Return the row of a checkpoint, without a rank.

    Args:
        name: The checkpoint's name in the ranking.
        spec: How its features are made.
        engine_input: What it ran on.
        extraction: Its features; `refused` names the layers without a score.
        scores: Layer → scores and notes. The first estimator chooses the layer of the row.
        seconds: Wall time of the estimators.
        notes: More notes.
        truncated: Layer → `truncated_scores`.
    """
    head = engine_input.sample.task.head
    first, asked_layers = engine_input.scoring.estimators[0], engine_input.features.layers
    best = max(scores, key=lambda layer: scores[layer][0][first].value)  # of equal ones the first
    info, (best_scores, best_notes) = extraction.info[best], scores[best]
    values = {
        layer: {estimator: score.value for estimator, score in of_layer.items()}
        for layer, (of_layer, _) in scores.items()
    }
    return Row(
        name,
        spec.repo.revision,
        scores=best_scores,
        parameters=info.parameters,
        width=info.width or None,
        documents_per_second=info.counts.documents_per_second,
        longest_input=info.counts.limit or None,
        architecture=info.architecture,
        pooling=info.pooling,
        machine=None if extraction.cached else _machine(engine_input.running.device),
        memory=extraction.memory,
        seconds=Seconds(round(extraction.seconds, 3), round(seconds, 3), round(extraction.loading, 3)),
        cached="features" if extraction.cached else "none",
        notes=(
            *info.notes,
            *best_notes,
            *notes,
            *(
                Note("layer-without-score", f"no score at layer {layer}: {reason}")
                for layer, reason in extraction.refused.items()
            ),
        ),
        no_head=None if head is None else head.why_not(spec),
        unknown_tokens=info.counts.unknown_share,
        cut_texts=info.counts.cut_share,
        layer=best if asked_layers else None,
        layers=values if asked_layers else {},
        dimensions=truncated.get(best, {}),
    )


def _machine(device: str) -> str:
    from hf_emms.features.device import device_name

    return device_name(device)


def scoring_inputs(
    features: np.ndarray | None,
    part: InputSlice,
    labels: LabelTable,
    options: ScoringOptions,
    estimators: EstimatorList,
    *,
    model: CheckpointModel | None = None,
    similarity: Similarity = "cosine",
) -> ScoringInputs:
    """Return the inputs of estimators for a part's rows; labels and model belong to all rows of the sample.

    Features are float32 (m, D1), or None if no estimator needs them.
    """
    if features is None:
        return ScoringInputs(Moments.like(labels, 1), model=model)
    moments = moments_of(features, part, labels, options)
    rows = (features[part.input_of_row], labels.take(part.rows), part.groups) if estimators.need_rows else None
    search = retrieval_of(features, part, options, similarity) if estimators.need_search else None
    return ScoringInputs(moments, rows, model, search)


def retrieval_of(
    features: np.ndarray, part: InputSlice, options: ScoringOptions, similarity: Similarity
) -> SearchScores:
    """Return the search of a full `SearchCollection` by features of its queries and documents, float32 (Q + M, D)."""
    collection = cast(SearchCollection, part.inputs)
    queries = len(collection.queries)
    return SearchScores(
        features[:queries],
        features[queries:],
        collection.judgments,
        part.groups_of_inputs(queries),
        similarity,
        options.folds,
        options.seed,
    )


def score_estimators(inputs: ScoringInputs, estimators: EstimatorList) -> EstimatorScores:
    """Return the estimators' scores, and notes; a failure of any but the first becomes a note."""
    scores: dict[str, Score] = {}
    notes: list[Note] = []
    for estimator in estimators:
        try:
            score = estimator.score(inputs)
            scores[estimator.name] = plain_score(score)
            notes += [note for note in getattr(score, "notes", ()) if note.text == NO_VARIATION and note not in notes]
        except EmmsError as error:
            if not scores:
                raise
            notes.append(Note("estimator-failed", f"no {estimator.name} score: {one_line(error)}"))
    return scores, tuple(notes)


def truncated_scores(inputs: ScoringInputs, estimator: Estimator) -> dict[str, float]:
    """Return number of dimensions → score of a search that uses only so many columns of the embeddings."""
    search = inputs.search
    return {
        str(width): float(estimator.score(replace(inputs, search=search.truncated(width))).value)
        for width in DIMENSIONS
        if width <= search.documents.shape[1]
    }


def plain_score(score: Score) -> Score:
    """Return a score whose numbers JSON can represent."""
    return Score(float(score.value), plain(score.stderr), tuple(map(float, score.folds)), plain(score.details))
