"""The built-in estimators, and `score`, which runs them. A new estimator is a function and an entry of `ESTIMATORS`.

The leaderboard Space contains this module for the titles, so heavy imports happen only when an estimator runs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Set
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, get_args

from hf_emms.errors import EmmsError, Note
from hf_emms.scoring import EmmsResult, Score
from hf_emms.scoring.generative import (
    preference_accuracy,
    preference_run,
    short_run,
    word_error_rate,
    zero_shot,
)
from hf_emms.scoring.quantity import BITS_PER_BYTE, ERROR_RATE, POINTS, PREFERENCES, SCORE, Quantity

if TYPE_CHECKING:
    from hf_emms.scoring.cross_validation import RidgeFit
    from hf_emms.scoring.moments import Moments
    from hf_emms.scoring.standardize import Standardized


NO_VARIATION = "the features are the same in every row and explain nothing. All weights of the checkpoint may be zero"

Need = Literal["rows", "folds", "model", "search", "training"]
# The estimators that compute EMMS.
EMMS_ESTIMATORS = ("emms_knn", "emms", "emms_exact", "emms_one_pass", "emms_alternating")


@dataclass(frozen=True)
class ScoringInputs:
    """The data that estimators score. `Estimator.score` checks that what an estimator needs is not None.

    Attributes:
        moments: Sums over all rows.
        rows: Features (N, D1), the `LabelTable` of the N rows, and their group ids (N,).
        model: A `CheckpointModel`, for estimators that generate labels or rerank documents.
        search: `SearchScores`, for estimators of searches.
    """

    moments: Moments
    rows: Any = None
    model: Any = None
    search: Any = None

    @cached_property
    def statistics(self) -> Standardized:
        from hf_emms.scoring.standardize import standardize

        return standardize(self.moments)

    @cached_property
    def fit(self) -> RidgeFit:
        from hf_emms.scoring.cross_validation import fit_ridge

        return fit_ridge(self.statistics)


@dataclass(frozen=True)
class Estimator:
    """A named way to score features.

    Attributes:
        name: The name in options and results.
        summary: One line for help and cards.
        function: Computes the score.
        needs: A set of "rows" (the features of all rows, not only their moments), "folds" (the score has a value per
            fold), "model" (the checkpoint itself, which it runs), "search" (a search of queries in a corpus), and
            "training" (it fine-tunes the checkpoint). With "model" and "search", the checkpoint reranks documents,
            and no features are needed.
        forwards: Upper limit of the rows that the checkpoint reads. A training step counts as three. For searches see
            `reranking.count_pairs`.
        title: Heading in tables. Defaults to the name.
        reason: Why a ranking may be ordered by it and not by EMMS, in one sentence.
        quantity: Unit and direction of the values of `function`.
        warning: What a reader of a verdict by this estimator must know. Checkpoints are then not fine-tuned.
        second_opinion: The estimator whose best checkpoint is mentioned too if it is another one.
    """

    name: str
    summary: str
    function: Callable[[ScoringInputs], Score]
    needs: Set[Need] = frozenset()
    forwards: int = 0
    title: str = ""
    reason: str = ""
    second_opinion: str = ""
    warning: str = ""
    quantity: Quantity = SCORE

    def __post_init__(self) -> None:
        object.__setattr__(self, "title", self.title or self.name)
        if unknown := sorted(set(self.needs) - set(get_args(Need))):
            what, choices = f"{self.name} has unknown needs: {', '.join(unknown)}", ", ".join(get_args(Need))
            raise EmmsError("unknown-need", what, f"choose from {choices}")

    @property
    def reranks(self) -> bool:
        """Whether the checkpoint itself reranks documents, without features."""
        return self.needs >= {"model", "search"}

    def score(self, inputs: ScoringInputs) -> Score:
        """Compute the score, with the sign for which higher is better.

        Raises:
            EmmsError: These inputs cannot be scored, or the score is NaN or Inf.
        """
        reads = {"rows": "rows", "model": "model", "search": "model" if self.reranks else "search"}
        if missing := [need for need in reads if need in self.needs and getattr(inputs, reads[need]) is None]:
            what = f"{self.name} needs more than was passed: {', '.join(missing)}"
            raise EmmsError("inputs-missing", what, "pass features and labels, or use hf-emms rank")
        result = self.function(inputs)
        numbers = [result.value, *result.folds, *([] if result.stderr is None else [result.stderr])]
        if not all(map(math.isfinite, numbers)):
            spread = "" if result.stderr is None else f" ± {result.stderr}"
            raise EmmsError("not-finite", f"{self.name} is {result.value}{spread}, which is not a finite number")
        if self.quantity.higher_is_better:
            return result
        return replace(result, value=-result.value, folds=tuple(-value for value in result.folds))


class EstimatorList(tuple[Estimator, ...]):
    """The estimators of a ranking. The first one orders the rows."""

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(estimator.name for estimator in self)

    @property
    def needs(self) -> Set[Need]:
        """All needs of these estimators, see `Estimator`."""
        return frozenset[Need]().union(*(estimator.needs for estimator in self))

    @property
    def need_features(self) -> bool:
        """Whether features are computed: all estimators but rerankers use or report them."""
        return not all(estimator.reranks for estimator in self)

    @property
    def need_label_embeddings(self) -> bool:
        return not all(estimator.needs & {"model", "search"} for estimator in self)


def score(
    features: Any, labels: Any = None, *, estimators: EstimatorList, groups: Any = None, folds: int, seed: int
) -> tuple[Score, ...]:
    """Score features (N, D1), or `Moments`, by each estimator.

    For `labels` see `arrays.as_labels`. The other arguments are the same as in `hf_emms.score`.
    """
    import numpy as np

    from hf_emms.scoring import arrays
    from hf_emms.scoring.moments import Moments

    if isinstance(features, Moments):
        inputs = ScoringInputs(features)
        return tuple(estimator.score(inputs) for estimator in estimators)
    arrays.check_folds(folds, seed, fewest=2 if "folds" in estimators.needs else 1)
    x = arrays.as_matrix(features, "features")
    table = arrays.as_labels(labels, len(x))
    ids = np.zeros(len(x), dtype=np.uint64)  # unused without folds and neighbors
    if groups is not None:
        ids = arrays.group_ids(groups, len(x))
    elif estimators.needs & {"folds", "rows"}:
        ids = arrays.groups_by_content([x])
    moments = Moments.like(table, x.shape[1], folds=folds if "folds" in estimators.needs else 1, seed=seed)
    moments.update_checked(x, table, ids)
    inputs = ScoringInputs(moments, (x, table, ids))
    return tuple(estimator.score(inputs) for estimator in estimators)


def _with_notes(name: str, score: Score, inputs: ScoringInputs) -> EmmsResult:
    """Convert the score of an EMMS method to an `EmmsResult` with notes."""
    moments, constant = inputs.moments, inputs.statistics.constant_columns
    held_out, filled = name in ("emms", "emms_knn"), len(inputs.statistics.filled)
    notes = []
    if constant == moments.d1:
        notes.append(Note("features-without-variation", NO_VARIATION))
    elif constant:
        text = f"{constant} of {moments.d1} feature columns are constant and were ignored"
        notes.append(Note("constant-columns", text))
    if not held_out and moments.n <= moments.d1:
        text = f"{moments.n} rows for {moments.d1} features: the in-sample residual is 0; use the estimator emms"
        notes.append(Note("fewer-rows-than-features", text))
    if held_out and filled < moments.folds:
        text = f"{filled} of {moments.folds} folds contain rows; use more groups or fewer folds"
        notes.append(Note("empty-folds", text))
    trace = score.details.pop("trace", ())
    return EmmsResult(
        *(score.value, score.stderr, score.folds, score.details),
        estimator=name,
        n=moments.n,
        d1=moments.d1,
        trace=trace,
        notes=tuple(notes),
    )


def _emms(inputs: ScoringInputs) -> EmmsResult:
    from hf_emms.scoring.cross_validation import ridge_score

    return _with_notes("emms", ridge_score(inputs.statistics, inputs.fit), inputs)


def _emms_knn(inputs: ScoringInputs) -> EmmsResult:
    from hf_emms.scoring.neighbors import stack

    statistics = inputs.statistics
    rows = statistics.rotated or inputs.moments.sample_of(*inputs.rows)
    return _with_notes("emms_knn", stack(statistics, inputs.fit, rows), inputs)


def _emms_exact(inputs: ScoringInputs) -> EmmsResult:
    from hf_emms.scoring.in_sample import exact

    return _with_notes("emms_exact", exact(inputs.statistics), inputs)


def _emms_one_pass(inputs: ScoringInputs) -> EmmsResult:
    from hf_emms.scoring.in_sample import one_pass

    return _with_notes("emms_one_pass", one_pass(inputs.statistics), inputs)


def _emms_alternating(inputs: ScoringInputs) -> EmmsResult:
    from hf_emms.scoring.in_sample import alternating

    return _with_notes("emms_alternating", alternating(inputs.statistics), inputs)


def _logme(inputs: ScoringInputs) -> Score:
    from hf_emms.scoring.in_sample import logme

    return logme(inputs.moments)


def _logme_flabels(inputs: ScoringInputs) -> Score:
    from hf_emms.scoring.in_sample import logme_flabels

    return logme_flabels(inputs.moments)


def _hscore(inputs: ScoringInputs) -> Score:
    from hf_emms.scoring.in_sample import hscore

    return hscore(inputs.moments)


def _knn(inputs: ScoringInputs) -> Score:
    from hf_emms.scoring.neighbors import knn

    return knn(inputs.rows)


def _zero_shot_ndcg(inputs: ScoringInputs) -> Score:
    from hf_emms.scoring.retrieval import zero_shot_ndcg

    return zero_shot_ndcg(inputs.search)


def _adapted_ndcg(inputs: ScoringInputs) -> Score:
    from hf_emms.scoring.retrieval import adapted_ndcg

    return adapted_ndcg(inputs.search)


def _sentence_search(inputs: ScoringInputs) -> Score:
    from hf_emms.scoring.retrieval import sentence_search

    return sentence_search(inputs.search)


def _mrr(inputs: ScoringInputs) -> Score:
    from hf_emms.scoring.retrieval import mrr

    return mrr(inputs.search)


def _recall(inputs: ScoringInputs) -> Score:
    from hf_emms.scoring.retrieval import recall

    return recall(inputs.search)


def _reranked_ndcg(inputs: ScoringInputs) -> Score:
    from hf_emms.scoring.reranking import reranked_ndcg

    return reranked_ndcg(inputs.model.reranked())


def _reranked_mrr(inputs: ScoringInputs) -> Score:
    from hf_emms.scoring.reranking import reranked_mrr

    return reranked_mrr(inputs.model.reranked())


ESTIMATORS: tuple[Estimator, ...] = (
    Estimator("emms", "EMMS, held-out residual", _emms, needs={"folds"}, title="EMMS"),
    Estimator(
        "emms_knn",
        "EMMS with neighbors: held-out, ridge and 3 nearest rows",
        _emms_knn,
        needs={"rows", "folds"},
        title="EMMS + k-NN",
    ),
    Estimator("emms_exact", "EMMS, the paper's objective at its optimum", _emms_exact),
    Estimator("emms_one_pass", "EMMS as in the official function", _emms_one_pass),
    Estimator("emms_alternating", "EMMS, the paper's Algorithm 1", _emms_alternating),
    Estimator("logme", "LogME, corrected evidence", _logme, title="LogME"),
    Estimator("logme_flabels", "LogME on the label embeddings", _logme_flabels),
    Estimator("hscore", "H-score", _hscore, title="H-score"),
    Estimator("knn", "10 nearest neighbors, leave-one-out", _knn, needs={"rows"}, title="k-NN"),
    Estimator(
        "short_run",
        "bits per byte of held-out responses after fine-tuning on at most 200 rows; stored with a minus sign",
        lambda inputs: short_run(inputs.model),
        needs={"model", "training"},
        forwards=2056,  # 256 held-out rows, and three epochs of 200 rows
        quantity=BITS_PER_BYTE,
        title="Short run",
        reason=(
            "Checkpoints are ordered by their loss after a short run. Among cheap estimators, it predicted the best "
            "of 30 language models most reliably (arXiv 2402.02314; docs/rank-language-models.md)."
        ),
    ),
    Estimator(
        "zero_shot",
        "bits per byte of held-out responses before any fine-tuning; stored with a minus sign",
        lambda inputs: zero_shot(inputs.model),
        needs={"model"},
        forwards=256,
        quantity=BITS_PER_BYTE,
        title="Zero-shot",
    ),
    Estimator(
        "preference_accuracy",
        "share of held-out pairs whose chosen response has the higher log-likelihood per byte, before any fine-tuning",
        lambda inputs: preference_accuracy(inputs.model),
        needs={"model"},
        forwards=512,  # 256 held-out pairs
        quantity=PREFERENCES,
        title="Preference accuracy",
        reason=(
            "Checkpoints are ordered by how often the chosen response is more likely per byte than the rejected one, "
            "before any fine-tuning. Whether a short run orders better was not measured (docs/recipe-preferences.md)."
        ),
    ),
    Estimator(
        "preference_total",
        "share of held-out pairs whose chosen response has the higher log-likelihood in total, a control for length",
        lambda inputs: preference_accuracy(inputs.model, per_byte=False),
        needs={"model"},
        quantity=PREFERENCES,
        title="by total likelihood",
    ),
    Estimator(
        "preference_run",
        "accuracy of the implicit reward on held-out pairs after DPO on at most 200 pairs",
        lambda inputs: preference_run(inputs.model),
        needs={"model", "training"},
        # Three epochs of 200 pairs with the frozen start, and 256 held-out pairs after each.
        forwards=6848,
        quantity=PREFERENCES,
        title="Short DPO run",
    ),
    Estimator(
        "word_error_rate",
        "word error rate of ASR checkpoints before any fine-tuning; stored with a minus sign",
        lambda inputs: word_error_rate(inputs.model),
        needs={"model"},
        forwards=512,  # 256 rows; decoding takes about as long as encoding
        quantity=ERROR_RATE,
        title="word error rate",
    ),
    Estimator(
        "zero_shot_ndcg",
        "nDCG@10 over the sample's corpus, before any fine-tuning",
        _zero_shot_ndcg,
        needs={"search"},
        quantity=POINTS,
        title="nDCG@10",
        reason=(
            "Checkpoints are ordered by nDCG@10 before any fine-tuning (docs/rank-search.md). "
            "EMMS is a control: it ignores the similarity that a search uses."
        ),
        second_opinion="adapted_ndcg",
    ),
    Estimator(
        "adapted_ndcg",
        "nDCG@10 of held-out queries after a ridge map from queries to documents",
        _adapted_ndcg,
        needs={"search"},
        quantity=POINTS,
        title="adapted",
    ),
    Estimator(
        "sentence_search",
        "nDCG@10 of sentences that search for the rest of their documents, for a corpus without queries",
        _sentence_search,
        needs={"search"},
        quantity=POINTS,
        title="sentence search",
        reason=(
            "The dataset has no queries. Checkpoints are ordered by how well a sentence finds the document it was "
            "taken from, which does not estimate the nDCG of a search (docs/recipe-corpus.md)."
        ),
        warning=(
            "no queries: ordered by how well a sentence finds the document it was taken from. This does not estimate "
            "the nDCG of your search. Of pairs of published models and shortened ones, a gap of 6 points or more had "
            "the right sign in 26 of 26, 3 to 6 points in 2 of 3, less in 1 of 1. Write 50 queries before you decide "
            "between close ones"
        ),
    ),
    Estimator(
        "mrr",
        "mean reciprocal rank of the first relevant document among ten",
        _mrr,
        needs={"search"},
        quantity=POINTS,
        title="MRR@10",
    ),
    Estimator(
        "recall",
        "share of the relevant documents among the first 100",
        _recall,
        needs={"search"},
        quantity=POINTS,
        title="recall@100",
    ),
    Estimator(
        "reranked_ndcg",
        "nDCG@10 after reranking the first 100 documents by BM25, before any fine-tuning",
        _reranked_ndcg,
        needs={"model", "search"},
        quantity=POINTS,
        title="nDCG@10",
        reason=(
            "Checkpoints are ordered by nDCG@10 before any fine-tuning, after reranking the first 100 documents of "
            "BM25 (docs/rank-search.md)."
        ),
    ),
    Estimator(
        "reranked_mrr",
        "mean reciprocal rank of the first relevant document among the ten best reranked ones",
        _reranked_mrr,
        needs={"model", "search"},
        quantity=POINTS,
        title="MRR@10",
    ),
)
