"""A race: every checkpoint starts on a small sample, and only candidates for the best see all of it.

Successive halving (arXiv 1502.07943) with the stopping rule of racing (Maron and Moore 1994): the sample doubles from
round to round, and a checkpoint is eliminated when it is clearly below the K-th best, see `is_eliminated`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from scipy.special import stdtrit

from hf_emms.errors import EmmsError, setting_ref
from hf_emms.features.extractor import ExtractorPool
from hf_emms.features.feature_spec import FeatureSpec
from hf_emms.ranking import Row
from hf_emms.ranking.progress import noted_while
from hf_emms.run.engines import EngineInput, or_failed_row
from hf_emms.run.engines.extraction import (
    Extraction,
    FeatureCache,
    load,
    moments_of,
    read_features,
    slice_of,
)
from hf_emms.run.engines.local import Prefetch, prefetch_checkpoints, with_shared_pixels
from hf_emms.run.engines.rows import EstimatorScores, checkpoint_row, score_estimators, scoring_inputs
from hf_emms.scoring import Score
from hf_emms.scoring.estimators import Estimator, EstimatorList
from hf_emms.scoring.labels import LabelTable
from hf_emms.scoring.moments import Moments

# Inputs of the first score: with fewer, folds have a few rows, whose scores mean nothing.
FEWEST_INPUTS = 50
# Confidence, over folds, that a checkpoint is below on the rows so far, and on all rows as projected. The latter
# follows from two scores and varies twice as much, but only has to confirm the former.
CONFIDENCE, CONFIRMED = 0.95, 0.9

# Number of rows and score after each round, the latest last.
History = Sequence[tuple[int, Score]]


class RaceEngine:
    """An engine that runs checkpoints here in rounds, until the best K (`top`) are distinguished on all rows."""

    def __init__(self, top: int, estimator: Estimator, layers: Sequence[str] = ()) -> None:
        if not estimator.folds:
            raise EmmsError(
                f"a race needs a score with folds, which {estimator.name} does not have",
                setting_ref("estimators", "emms") + " first, or leave " + setting_ref("race") + " out",
            )
        if len(layers) > 1:
            raise EmmsError(
                f"a race runs checkpoints at one layer, not at {' and '.join(layers)}",
                "name one layer, or leave " + setting_ref("race") + " out",
            )
        self._top = top

    def rows(self, inputs: Sequence[EngineInput]) -> Generator[tuple[int, Row], None, None]:
        """Yield the rows of checkpoints on a single sample, see `Engine.rows`; eliminated ones have `Row.n`."""
        (engine_input,) = inputs
        for row in self._race(with_shared_pixels(engine_input)):
            yield 0, row

    def _race(self, engine_input: EngineInput) -> Generator[Row, None, None]:
        sample = engine_input.sample
        inputs, n = len(sample.inputs), len(sample)
        sizes = iter(round_sizes(inputs, FEWEST_INPUTS * inputs // sample.n_read))
        with prefetch_checkpoints([engine_input]) as prefetch, closing(ExtractorPool()) as pool:
            race = _Race(engine_input, engine_input.labels(), prefetch, pool)
            running = [RaceCandidate(name, spec) for name, spec in engine_input.checkpoints.items()]
            while running:
                # Once only the best are left none can be eliminated: they see all the remaining inputs at once.
                size = next(sizes) if len(running) > self._top else inputs
                for candidate in list(running):
                    row = race.advance(candidate, size)
                    if row is not None:
                        running.remove(candidate)
                        yield row
                    pool.retain([other.name for other in _best_first(running, n)])
                for candidate in self._eliminated(running, n):
                    running.remove(candidate)
                    yield race.finish(candidate)

    def _eliminated(self, running: Sequence[RaceCandidate], n: int) -> list[RaceCandidate]:
        scored = [candidate for candidate in _best_first(running, n) if candidate.history]
        return [
            candidate
            for candidate in scored[self._top :]
            if is_eliminated(candidate.history, scored[self._top - 1].history, n)
        ]


@dataclass
class RaceCandidate:
    """A checkpoint in the race with its scores so far.

    Attributes:
        inputs: How many inputs have been run.
        rows: How many rows use them.
        features: float32 (m, D1), an array for each round.
        moments: Of all rows so far.
        final: The scores of all estimators and notes, once it has seen all rows.
    """

    name: str
    spec: FeatureSpec
    inputs: int = 0
    rows: int = 0
    features: list[np.ndarray] = field(default_factory=list)
    moments: Moments | None = None
    extraction: Extraction | None = None
    history: list[tuple[int, Score]] = field(default_factory=list)
    final: EstimatorScores | None = None
    scoring_seconds: float = 0.0


@dataclass(frozen=True)
class _Race:
    engine_input: EngineInput
    labels: LabelTable
    prefetch: Prefetch
    pool: ExtractorPool

    def advance(self, candidate: RaceCandidate, size: int) -> Row | None:
        """Run a candidate up to `size` inputs in all; return its row if it has seen all inputs or failed, else None."""
        inputs = len(self.engine_input.sample.inputs)
        self.engine_input.progress.started(candidate.name, size - candidate.inputs)
        with noted_while(self.engine_input.progress, candidate.name):
            failed = or_failed_row(candidate.name, candidate.spec.repo.revision, partial(self._run, candidate, size))
        if failed is not None:
            self.engine_input.progress.finished(failed)
            return failed
        return self.finish(candidate) if size == inputs else None

    def finish(self, candidate: RaceCandidate) -> Row:
        with noted_while(self.engine_input.progress, candidate.name):
            row = or_failed_row(candidate.name, candidate.spec.repo.revision, partial(self._row, candidate))
        self.engine_input.progress.finished(row)
        return row

    def _run(self, candidate: RaceCandidate, size: int) -> None:
        """Score a candidate on `size` inputs in all; it is loaded only if neither cache nor pool has its features."""
        sample, progress = self.engine_input.sample, self.engine_input.progress
        self.prefetch.wait_for(candidate.spec.repo)
        started = time.perf_counter()
        (layer,) = self.engine_input.features.read_layers
        store = FeatureCache(candidate.spec, self.engine_input)
        candidate.extraction = earlier = store.load() if candidate.extraction is None else candidate.extraction
        first = candidate.inputs
        report = partial(progress.advanced, candidate.name)
        if layer in earlier.features:
            report(size - first)
            features = earlier.features[layer][first:size]
        else:
            part = slice_of(sample, slice(first, size))
            with self.pool.use(candidate.name, partial(load, candidate.spec, self.engine_input)) as extractor:
                loading = time.perf_counter() - started
                extractor.reset_counts()
                features = read_features(extractor, part, self.engine_input.running, report)
                info = {layer: extractor.info(layer)}
            extraction = Extraction(info, seconds=time.perf_counter() - started, loading=loading)
            candidate.extraction = extraction if not earlier.info else earlier.merge(extraction)
        parts = [features]
        if not first and size < len(sample.inputs):  # a projection needs two scores: one is half way
            parts = np.split(features, [size // 2])
        for piece in parts:
            self._add(candidate, piece)
        if candidate.inputs == len(sample.inputs) and not candidate.extraction.cached:
            candidate.spec.check_unchanged()
            store.save(layer, np.concatenate(candidate.features), candidate.extraction.info[layer])

    def _add(self, candidate: RaceCandidate, features: np.ndarray) -> None:
        """Add the features (m, D1) of the next inputs, and score the candidate on all rows so far."""
        started = time.perf_counter()
        part = slice_of(self.engine_input.sample, slice(candidate.inputs, candidate.inputs + len(features)))
        moments = moments_of(features, part, self.labels, self.engine_input.scoring)
        candidate.moments = moments if candidate.moments is None else candidate.moments.merge(moments)
        candidate.features.append(features)
        candidate.inputs += len(features)
        candidate.rows += len(part.rows)
        self._score(candidate)
        candidate.scoring_seconds += time.perf_counter() - started

    def _score(self, candidate: RaceCandidate) -> None:
        estimators = self.engine_input.estimators
        first = estimators[0].name
        if candidate.inputs == len(self.engine_input.sample.inputs):
            # All estimators at once: they share expensive steps.
            candidate.final = self._scores(candidate, estimators)
            candidate.history.append((candidate.rows, candidate.final[0][first]))
            return
        try:
            scores, _ = self._scores(candidate, EstimatorList(estimators[:1]))
        except EmmsError:
            return  # the rows so far may have a single label
        candidate.history.append((candidate.rows, scores[first]))

    def _scores(self, candidate: RaceCandidate, estimators: EstimatorList) -> EstimatorScores:
        part = slice_of(self.engine_input.sample, slice(candidate.inputs))
        inputs = scoring_inputs(
            np.concatenate(candidate.features),
            part,
            self.labels,
            self.engine_input.scoring,
            estimators,
            moments=candidate.moments,
        )
        return score_estimators(inputs, estimators)

    def _row(self, candidate: RaceCandidate) -> Row:
        started = time.perf_counter()
        (layer,) = self.engine_input.features.read_layers
        assert candidate.extraction is not None
        candidate.spec.check_unchanged()
        return checkpoint_row(
            candidate.name,
            candidate.spec,
            self.engine_input,
            candidate.extraction,
            {layer: candidate.final or self._scores(candidate, self.engine_input.estimators)},
            candidate.scoring_seconds + time.perf_counter() - started,
            n=candidate.rows if candidate.rows < len(self.engine_input.sample) else None,
        )


def round_sizes(inputs: int, fewest: int = FEWEST_INPUTS) -> list[int]:
    """Return the inputs of each round: doubling up to all, from the smallest number whose half suffices for a score."""
    sizes = [inputs]
    while sizes[-1] >= 4 * fewest:
        sizes.append(sizes[-1] // 2)
    return sizes[::-1]


@dataclass(frozen=True)
class ProjectedScore:
    """A score, of all folds together and of each fold."""

    value: float
    folds: np.ndarray


def is_eliminated(history: History, best: History, n: int) -> bool:
    """Return whether a checkpoint is clearly below the K-th best, now and as projected on all N rows."""
    return clearly_below(_latest(history), _latest(best), CONFIDENCE) and clearly_below(
        projected_score(history, n), projected_score(best, n), CONFIRMED
    )


def projected_score(history: History, n: int) -> ProjectedScore:
    """Return the projection of a score on all N rows.

    The excess error of a fitted regression falls as 1/n, so the score will rise by its gain of the last round times
    (1/n₂ − 1/N) / (1/n₁ − 1/n₂). A wide checkpoint, whose regression needs more rows, isn't eliminated for that.
    """
    rows, _ = history[-1]
    now = _latest(history)
    if len(history) < 2 or len(history[-2][1].folds) != len(now.folds):
        return now
    rows_before, before = history[-2]
    ahead = (1 / rows - 1 / n) / (1 / rows_before - 1 / rows)
    gained = now.folds - np.array(before.folds)
    return ProjectedScore(now.value + ahead * (now.value - before.value), now.folds + ahead * gained)


def clearly_below(score: ProjectedScore, other: ProjectedScore, confidence: float) -> bool:
    """Return whether the paired difference over folds is below zero, by a one-sided t-test."""
    if len(score.folds) != len(other.folds) or len(score.folds) < 2:
        return False
    differences = other.folds - score.folds
    stderr = float(differences.std(ddof=1)) / math.sqrt(len(differences))
    width = float(stdtrit(len(differences) - 1, confidence))
    return other.value - score.value > width * stderr


def _latest(history: History) -> ProjectedScore:
    _, score = history[-1]
    return ProjectedScore(score.value, np.array(score.folds))


def _best_first(running: Sequence[RaceCandidate], n: int) -> list[RaceCandidate]:
    """Return the candidates by projected score, those without a score last."""

    def projected(candidate: RaceCandidate) -> float:
        return projected_score(candidate.history, n).value if candidate.history else -math.inf

    return sorted(running, key=projected, reverse=True)
