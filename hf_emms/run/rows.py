"""Turn the features of a checkpoint into scores, and these into its row."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, cast

import numpy as np

from hf_emms.errors import EmmsError, Note, one_line
from hf_emms.features.feature_spec import FeatureSpec
from hf_emms.formatting import pluralize
from hf_emms.inputs import SearchCollection
from hf_emms.options import LAST
from hf_emms.ranking import DIMENSIONS, Row, Seconds, plain
from hf_emms.run.extraction import EngineInput, Extraction, extract
from hf_emms.scoring import Score
from hf_emms.scoring.estimators import NO_VARIATION, Estimator, EstimatorList, ScoringInputs
from hf_emms.scoring.moments import Moments
from hf_emms.scoring.retrieval import SearchScores, Similarity
from hf_emms.texts import setting_ref

if TYPE_CHECKING:
    from hf_emms.data import Sample
    from hf_emms.finetune.checkpoint_scorers import CheckpointScorers
    from hf_emms.options import ScoringOptions
    from hf_emms.scoring.generative import CheckpointModel

# Imported before the first short run, whose measured time they would otherwise be part of.
_OF_SHORT_RUNS = ("torch._dynamo", "hf_emms.finetune.training")
# Rows that are added to the moments at once: enough for fast products, few enough to need little memory.
CHUNK_ROWS = 2048

# Estimator → score, and notes.
EstimatorScores = tuple[dict[str, Score], tuple[Note, ...]]


def run_checkpoint(name: str, spec: FeatureSpec, inputs: EngineInput) -> Row:
    """Return the row of a checkpoint, without a rank, from one run on all inputs.

    Raises:
        EmmsError: The checkpoint cannot be loaded or run, or no layer has a score by the first estimator.
    """
    estimators, scoring = inputs.estimators, inputs.scoring
    model = _checkpoint_model(name, spec, inputs) if "model" in estimators.needs else None
    progress = partial(inputs.progress.advanced, name)
    extraction = extract(spec, inputs, progress) if estimators.need_features else Extraction({})
    started = time.perf_counter()
    scores, truncated, failed = _score_layers(extraction, inputs, model, spec.similarity)
    seconds = time.perf_counter() - started
    if model is not None and not extraction.info:
        extraction = replace(extraction, info={LAST: model.reranker_info()})
    spec.check_unchanged()
    first = scoring.estimators[0]
    best = max(scores, key=lambda layer: scores[layer][0][first].value)  # of equal ones the first
    info, (best_scores, notes) = extraction.info[best], scores[best]
    head, names_layers = inputs.sample.task.head, bool(inputs.features.layers)
    missing_layers = (
        Note("layer-without-score", f"no score at layer {layer}: {reason}")
        for layer, reason in (extraction.refused | failed).items()
    )
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
        machine=None if extraction.cached else _machine(inputs.running.device),
        memory=extraction.memory,
        seconds=Seconds(round(extraction.seconds, 3), round(seconds, 3), round(extraction.loading, 3)),
        cached="features" if extraction.cached else "none",
        notes=(*info.notes, *notes, *(model.notes if model else ()), *missing_layers),
        no_head=None if head is None else head.why_not(spec),
        unknown_tokens=info.counts.unknown_share,
        truncated_texts=info.counts.truncated_share,
        layer=best if names_layers else None,
        layers=_values(scores) if names_layers else {},
        dimensions=truncated.get(best, {}),
    )


def _checkpoint_model(name: str, spec: FeatureSpec, inputs: EngineInput) -> CheckpointScorers:
    """Return the checkpoint for estimators that run it. Nothing is loaded yet."""
    from hf_emms.finetune.checkpoint_scorers import CheckpointScorers

    for module in _OF_SHORT_RUNS if "training" in inputs.estimators.needs else ():
        import_module(module)
    # If features are computed too, they alone count as progress. Other events show that the worker is alive.
    counted = 0 if inputs.estimators.need_features else 1

    def advanced(count: int) -> None:
        inputs.progress.advanced(name, counted * count)

    return CheckpointScorers(spec, inputs.sample, inputs.running, inputs.scoring.seed, advanced)


def _score_layers(
    extraction: Extraction, inputs: EngineInput, model: CheckpointModel | None, similarity: Similarity
) -> tuple[dict[str, EstimatorScores], dict[str, dict[str, float]], dict[str, str]]:
    """Return the scores of each layer, its scores with truncated embeddings, and why other layers have no scores.

    Raises:
        EmmsError: No layer has a score by the first estimator.
    """
    scores, truncated, failed = dict[str, EstimatorScores](), dict[str, dict[str, float]](), dict[str, str]()
    for layer in extraction.info or (LAST,):
        try:
            # Only a layer's products are in memory at a time.
            of_layer = scoring_inputs(extraction.features.get(layer), inputs, model, similarity)
            scores[layer] = score_estimators(of_layer, inputs.estimators)
            if inputs.scoring.dimensions:
                truncated[layer] = truncated_scores(of_layer, inputs.estimators[0])
        except EmmsError as error:
            failed[layer] = one_line(error)
    if not scores:
        raise EmmsError("no-score", next(iter(failed.values())))
    return scores, truncated, failed


def _machine(device: str) -> str:
    from hf_emms.features.device import device_name

    return device_name(device)


def _values(scores: dict[str, EstimatorScores]) -> dict[str, dict[str, float]]:
    return {
        layer: {estimator: score.value for estimator, score in of_layer.items()}
        for layer, (of_layer, _) in scores.items()
    }


def scoring_inputs(
    features: np.ndarray | None,
    inputs: EngineInput,
    model: CheckpointModel | None = None,
    similarity: Similarity = "cosine",
) -> ScoringInputs:
    """Combine features, labels and the checkpoint into the inputs of estimators."""
    sample, labels, estimators = inputs.sample, inputs.labels, inputs.estimators
    if features is None:
        return ScoringInputs(Moments.like(labels, 1), model=model)
    moments = _moments(features, inputs)
    rows = (features[sample.input_of_row], labels, sample.groups) if "rows" in estimators.needs else None
    search = search_scores(features, sample, inputs.scoring, similarity) if "search" in estimators.needs else None
    return ScoringInputs(moments, rows, model, search)


def _moments(features: np.ndarray, inputs: EngineInput) -> Moments:
    finite = np.isfinite(features).all(axis=1)
    if not finite.all():
        raise EmmsError(
            "not-finite",
            f"it gives NaN or infinite features for {int((~finite).sum()):,} of {pluralize(len(finite), 'input')}",
            setting_ref("dtype", "float32") + "; if it runs in that already, its weights are damaged",
        )
    sample, labels, scoring = inputs.sample, inputs.labels, inputs.scoring
    moments = Moments.like(labels, features.shape[1], folds=scoring.folds, seed=scoring.seed)
    for start in range(0, len(sample), CHUNK_ROWS):
        chunk = slice(start, start + CHUNK_ROWS)
        moments.update(features[sample.input_of_row[chunk]], labels.take(chunk), sample.groups[chunk])
    return moments


def search_scores(
    features: np.ndarray, sample: Sample, options: ScoringOptions, similarity: Similarity
) -> SearchScores:
    """Return the search of a `SearchCollection` by features of its queries and documents, float32 (Q + M, D)."""
    collection = cast(SearchCollection, sample.inputs)
    queries = len(collection.queries)
    return SearchScores(
        features[:queries],
        features[queries:],
        collection.judgments,
        groups_of_queries(sample),
        similarity,
        options.folds,
        options.seed,
    )


def groups_of_queries(sample: Sample) -> np.ndarray:
    """Return the group of each query of a search, uint64 (Q,)."""
    groups = np.zeros(len(cast(SearchCollection, sample.inputs).queries), np.uint64)
    groups[sample.input_of_row] = sample.groups
    return groups


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
    """Score a search with truncated embeddings: number of dimensions → score."""
    search = inputs.search
    return {
        str(width): float(estimator.score(replace(inputs, search=search.truncated(width))).value)
        for width in DIMENSIONS
        if width <= search.documents.shape[1]
    }


def plain_score(score: Score) -> Score:
    """Return a score whose numbers JSON can represent."""
    return Score(float(score.value), plain(score.stderr), tuple(map(float, score.folds)), plain(score.details))
