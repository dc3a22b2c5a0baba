"""When a race is over for a checkpoint: at what sizes it is looked at, and what its scores tell of all rows.

Checkpoints that stay loaded between the rounds of a race, as far as their weights together are small.
A race: every checkpoint starts on a small sample, and only those that may still come in on top see all of it.

Successive halving (arXiv 1502.07943) with the stopping rule of racing (Maron and Moore 1994): the sample doubles from
round to round, and a checkpoint stops when it lies clearly below the K-th best (`stopping.out_of_reach`).
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import stdtrit

from hf_emms.engines.base import Work, failures, one_line
from hf_emms.engines.checkpoint import LayerScores, needs_rows, row_fields, scores_of, scoring_inputs
from hf_emms.engines.extraction import CachedFeatures, batches_of, filled, load
from hf_emms.engines.local import Prefetch, downloads_ahead, sharing_pictures
from hf_emms.engines.shards import memory_note, moments_of, shard_of
from hf_emms.errors import EmmsError
from hf_emms.features.feature_plan import FeatureInfo
from hf_emms.ranking import Row, Score, Seconds
from hf_emms.scoring.estimators import Estimator
from hf_emms.scoring.label_basis import LabelTable
from hf_emms.scoring.moments import Moments

if TYPE_CHECKING:
    from hf_emms.features.extractor import Extractor
    from hf_emms.hub import Repo


# Inputs that are read for the first look: fewer leave folds of a few rows, whose scores say nothing.
FEWEST_INPUTS = 50
# How sure it must be, over folds, that a checkpoint lies below on the rows so far, and on all rows as is expected. The
# latter is made of two looks and varies twice as much, but only has to confirm the former.
CONFIDENCE, CONFIRMED = 0.95, 0.9

Looks = Sequence[tuple[int, Score]]
"""Rows and score of each look at a checkpoint, the latest one last."""


@dataclass(frozen=True)
class ProjectedScore:
    """A score on some rows: its value, and that of each fold."""

    value: float
    folds: np.ndarray


def growing(inputs: int, fewest: int = FEWEST_INPUTS) -> list[int]:
    """Sizes of the rounds: doubling, from the smallest that still leaves a first look at half of it, up to all."""
    sizes = [inputs]
    while sizes[-1] >= 4 * fewest:
        sizes.append(sizes[-1] // 2)
    return sizes[::-1]


def is_eliminated(looks: Looks, best: Looks, total: int) -> bool:
    """Whether a checkpoint is clearly below one of the best, now and as it is expected on all rows.

    Args:
        looks: at the checkpoint.
        best: at the other one.
        total: N.
    """
    return clearly_below(_latest(looks), _latest(best), CONFIDENCE) and clearly_below(
        projected_score(looks, total), projected_score(best, total), CONFIRMED
    )


def projected_score(looks: Looks, total: int) -> ProjectedScore:
    """What a score will be on all rows.

    The excess error of a fitted regression falls as 1/n: what it gained since the look before, at n/2, times
    (1 − n/N), is still to come. So a wide checkpoint, whose regression starts slowly, isn't stopped for that.

    Args:
        looks: at the checkpoint.
        total: N.
    """
    rows, _ = looks[-1]
    now = _latest(looks)
    if len(looks) < 2 or len(looks[-2][1].folds) != len(now.folds):
        return now
    before_rows, before = looks[-2]
    # Of an error c/n the gain between two looks is c·(1/n₁ − 1/n₂), what is to come c·(1/n₂ − 1/N).
    ahead = (1 / rows - 1 / total) / (1 / before_rows - 1 / rows)
    gained = now.folds - np.array(before.folds)
    return ProjectedScore(now.value + ahead * (now.value - before.value), now.folds + ahead * gained)


def clearly_below(its: ProjectedScore, mark: ProjectedScore, confidence: float) -> bool:
    """Whether the paired difference over folds is below zero, by a one-sided t-test."""
    if len(its.folds) != len(mark.folds) or len(its.folds) < 2:
        return False
    differences = mark.folds - its.folds
    stderr = float(differences.std(ddof=1)) / math.sqrt(len(differences))
    width = float(stdtrit(len(differences) - 1, confidence))
    return mark.value - its.value > width * stderr


def _latest(looks: Looks) -> ProjectedScore:
    _, score = looks[-1]
    return ProjectedScore(score.value, np.array(score.folds))


# Weights that may wait for the next round, packed copies included: what a race takes beside its largest checkpoint.
MOST_BYTES = 10**9


class ExtractorPool:
    """Loaded checkpoints by name.

    Args:
        most_bytes: of weights that may wait.
    """

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._most_bytes = most_bytes
        self._waiting: dict[str, Extractor] = {}

    @contextmanager
    def lent(self, name: str, load: Callable[[], Extractor]) -> Iterator[Extractor]:
        """A checkpoint to be run: the one that waits, else a newly loaded one. Closed where the run fails."""
        extractor = self._waiting.pop(name, None) or load()
        try:
            yield extractor
        except BaseException:
            extractor.close()
            raise
        self._waiting[name] = extractor

    def keep(self, names: Sequence[str]) -> None:
        """Closes all but those of these names that fit; the first ones go before the others."""
        left = self._most_bytes
        kept = {}
        for name in names:
            extractor = self._waiting.get(name)
            if extractor is not None and extractor.weight_bytes <= left:
                left -= extractor.weight_bytes
                kept[name] = self._waiting.pop(name)
        for extractor in self._waiting.values():
            extractor.close()
        self._waiting = kept

    def close(self) -> None:
        """Closes all."""
        self.keep(())


_LOG = logging.getLogger(__name__)


@dataclass
class Racer:
    """A checkpoint in the race, and what is known of it so far.

    Attributes:
        name: in the ranking.
        repo: the checkpoint.
        inputs: how many inputs it has been fed.
        rows: how many rows these feed.
        features: float32 (m, D1), one array a round.
        moments: of all rows so far.
        about: what its row tells.
        cached: whether its features came from the cache.
        looks: rows and score of every look at it.
        verdict: scores by all estimators and notes, once it has seen all rows.
        seconds: of features and of scoring.
    """

    name: str
    repo: Repo
    inputs: int = 0
    rows: int = 0
    features: list[np.ndarray] = field(default_factory=list)
    moments: Moments | None = None
    about: FeatureInfo | None = None
    cached: bool = False
    looks: list[tuple[int, Score]] = field(default_factory=list)
    verdict: tuple[dict[str, Score], tuple[str, ...]] | None = None
    seconds: list[float] = field(default_factory=lambda: [0.0, 0.0])


class RaceEngine:
    """Runs checkpoints in this process, in rounds.

    Args:
        top: K: how many checkpoints must be told apart on all rows.
        estimator: the first one, which decides.
        layers: as asked for.

    Raises:
        EmmsError: nobody would win: K below 1, scores without folds, or scores of several layers.
    """

    def __init__(self, top: int, estimator: Estimator, layers: Sequence[str] = ()) -> None:
        if top < 1:
            raise EmmsError(f"a race for the best {top} has no winner", "--top 3")
        if not estimator.folds:
            raise EmmsError(
                f"a race needs a score with folds, which {estimator.name} does not have",
                "--estimator emms first, or leave --race out",
            )
        if len(layers) > 1:
            raise EmmsError(
                f"a race runs checkpoints at one layer, not at {' and '.join(layers)}",
                "one --layer, or leave --race out",
            )
        self._top = top

    def rows(self, work: Work) -> Generator[Row, None, None]:
        """See `Engine.rows`. Rows of checkpoints that stopped early say after how many rows (`Row.n`)."""
        work = sharing_pictures(work)
        inputs = len(work.sample.inputs)
        sizes = iter(growing(inputs, FEWEST_INPUTS * inputs // max(1, work.sample.n_read)))
        size = 0
        with downloads_ahead(work) as prefetch, closing(ExtractorPool()) as loaded:
            labels = work.labels()
            racing = [Racer(name, repo) for name, repo in work.checkpoints.items()]
            while racing:
                # Once only the best are left nobody can be stopped: they see all the rest at once.
                size = next(sizes) if len(racing) > self._top else inputs
                for racer in list(racing):
                    error = _advance(racer, size, work, labels, prefetch, loaded)
                    if error is not None or size == inputs:
                        racing.remove(racer)
                        yield _finished(racer, work, labels, error)
                    loaded.keep(_best_first(racing, len(work.sample)))
                for racer in self._out_of_reach(racing, len(work.sample)):
                    racing.remove(racer)
                    yield _finished(racer, work, labels)

    def _out_of_reach(self, racing: Sequence[Racer], total: int) -> list[Racer]:
        seen = sorted(
            (racer for racer in racing if racer.looks), key=lambda racer: -projected_score(racer.looks, total).value
        )
        return [racer for racer in seen[self._top :] if is_eliminated(racer.looks, seen[self._top - 1].looks, total)]


def _best_first(racing: Sequence[Racer], total: int) -> list[str]:
    """Names of those that have been looked at, and of the others behind them."""

    def expected(racer: Racer) -> float:
        return projected_score(racer.looks, total).value if racer.looks else -math.inf

    return [racer.name for racer in sorted(racing, key=expected, reverse=True)]


def _advance(
    racer: Racer, size: int, work: Work, labels: LabelTable, prefetch: Prefetch, loaded: ExtractorPool
) -> str | None:
    """Feeds a racer up to so many inputs and looks at it; at the start also half way. Returns why it failed."""
    work.progress.started(racer.name, size - racer.inputs)
    # Two looks tell where a score goes, if there is more to come.
    begins = racer.inputs == 0 and size < len(work.sample.inputs)
    try:
        prefetch.take(racer.repo)
        _feed(racer, [size // 2, size] if begins else [size], work, labels, loaded)
    except failures() as error:
        _LOG.debug("%s failed", racer.name, exc_info=True)
        return one_line(error)
    return None


def _feed(racer: Racer, stops: Sequence[int], work: Work, labels: LabelTable, loaded: ExtractorPool) -> None:
    """Runs a checkpoint up to each stop. It is not loaded where the cache has its features, or where it still is."""
    started = time.perf_counter()
    (layer,) = work.options.read_layers
    kept = CachedFeatures(racer.repo, work.sample, work.options, work.cache)
    stored = kept.load(layer)
    if stored is not None and stored.features is not None:
        racer.about, racer.cached = stored.about, True
        for stop in stops:
            work.progress.advanced(racer.name, stop - racer.inputs)
            _take(racer, stored.features[racer.inputs : stop], work, labels)
        return
    inputs = work.sample.inputs
    with loaded.lent(racer.name, lambda: load(racer.repo, work.sample.task, work.options, inputs)) as extractor:
        extractor.reset_counts()
        part = shard_of(work.sample, slice(racer.inputs, stops[-1]))
        told = partial(work.progress.advanced, racer.name)
        features = filled(batches_of(extractor, part, work.options, told), len(part.inputs), extractor.width)
        about = extractor.info(layer)
    racer.about = about if racer.about is None else racer.about.merge(about)
    racer.seconds[0] += time.perf_counter() - started
    before = racer.inputs
    for stop in stops:
        _take(racer, features[racer.inputs - before : stop - before], work, labels)
    if racer.inputs == len(work.sample.inputs):
        kept.store(np.concatenate(racer.features), racer.about, layer)


def _take(racer: Racer, features: np.ndarray, work: Work, labels: LabelTable) -> None:
    """Folds in the features of the next inputs, and looks at the racer."""
    started = time.perf_counter()
    part = shard_of(work.sample, slice(racer.inputs, racer.inputs + len(features)))
    moments = moments_of(features, part, labels, work.options)
    racer.moments = moments if racer.moments is None else racer.moments.merge(moments)
    racer.features.append(features)
    racer.inputs, racer.rows = racer.inputs + len(features), racer.rows + len(part.rows)
    note = memory_note(racer.rows, moments.d1, labels, work.options)
    if note is not None:
        work.progress.noted(f"{racer.name}: {note}")
    _look(racer, work, labels)
    racer.seconds[1] += time.perf_counter() - started


def _look(racer: Racer, work: Work, labels: LabelTable) -> None:
    first, *_ = estimators = work.options.estimators
    if racer.inputs == len(work.sample.inputs):
        # All estimators at once: they share what is dear.
        racer.verdict = _scores(racer, work, labels, estimators)
        racer.looks.append((racer.rows, racer.verdict[0][first]))
        return
    try:
        scores, _ = _scores(racer, work, labels, (first,))
    except EmmsError:
        return  # part of the rows may show one label only; more of them will tell
    racer.looks.append((racer.rows, scores[first]))


def _scores(
    racer: Racer, work: Work, labels: LabelTable, estimators: tuple[str, ...]
) -> tuple[dict[str, Score], tuple[str, ...]]:
    options = replace(work.options, estimators=estimators)
    part = shard_of(work.sample, slice(0, racer.inputs))
    features = np.concatenate(racer.features) if needs_rows(options) else None
    rows, score = racer.looks[-1] if racer.looks else (0, None)
    known = {work.options.estimators[0]: score} if score is not None and rows == racer.rows else {}
    return scores_of(scoring_inputs(features, racer.moments, part, labels, options), options, known)


def _finished(racer: Racer, work: Work, labels: LabelTable, error: str | None = None) -> Row:
    """The row of a racer that has come to its end, at the last round or before."""
    row = _row(racer, work, labels) if error is None else Row(racer.name, racer.repo.revision, error=error)
    work.progress.finished(row)
    return row


def _row(racer: Racer, work: Work, labels: LabelTable) -> Row:
    started = time.perf_counter()
    try:
        scores, notes = racer.verdict or _scores(racer, work, labels, work.options.estimators)
    except failures() as error:
        return Row(racer.name, racer.repo.revision, error=one_line(error))
    scoring = racer.seconds[1] + time.perf_counter() - started
    about = racer.about
    assert about is not None
    (layer,) = work.options.read_layers
    return Row(
        racer.name,
        racer.repo.revision,
        n=racer.rows if racer.rows < len(work.sample) else None,
        seconds=Seconds(round(racer.seconds[0], 3), round(scoring, 3)),
        cached="features" if racer.cached else "none",
        **row_fields(LayerScores({layer: scores}, {layer: notes}, {}), {layer: about}, work.options),
    )
