"""Find reasons to doubt the first rank of a ranking, or its completeness. Each has a code."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from hf_emms.errors import Note
from hf_emms.formatting import pluralize
from hf_emms.ranking.candidates import best_by, comparable, explains, names_of
from hf_emms.ranking.columns import ScoreFormatter, estimator_named
from hf_emms.ranking.records import TIE_WIDTH, RankingData, Row, gain_and_stderr

# With fewer rows, one of five folds has fewer than 20.
_FEW_ROWS = 100


def caveats(ranking: RankingData, first: Sequence[Row]) -> tuple[Note, ...]:
    """Return the caveats of a ranking.

    Fine-tuned scores replace the estimate, and all caveats but the failed checkpoints.

    Args:
        ranking: The ranking.
        first: The rows of the first rank, see `comparable`; empty if no checkpoint can be fine-tuned.
    """
    is_estimate = bool(first) and not ranking.fine_tuned
    explained = is_estimate and any(explains(row, ranking.estimators[0]) for row in first)
    return (
        *(_of_scores(ranking, first) if explained else ()),
        *(_of_rows(ranking, first[0]) if is_estimate else ()),
        *_failed(ranking),
    )


def _of_scores(ranking: RankingData, first: Sequence[Row]) -> Iterator[Note]:
    """Yield what other scores of the ranking say against the first rank."""
    estimator, best = ranking.estimators[0], first[0]
    for baseline in ranking.baselines:
        if estimator in baseline.scores:
            gain, stderr = gain_and_stderr(best.scores[estimator], baseline.scores[estimator])
            if gain <= TIE_WIDTH * stderr:
                code = "baseline-ahead" if gain < 0 else "baseline-near"
                where = "is ahead of every checkpoint" if gain < 0 else "is within the noise of the first checkpoint"
                score = ScoreFormatter(ranking, estimator).sentence(baseline.scores[estimator])
                text = f"{baseline.checkpoint} {where}, {score}; without fine-tuning, you do not need a model"
                yield Note(code, text)
    second = estimator_named(estimator).second_opinion
    leader = best_by(second, comparable(ranking))
    if leader is not None and leader.rank != best.rank:
        shown = ScoreFormatter(ranking, second)
        yield Note(
            "second-opinion",
            f"{shown.title}, which reflects fine-tuning more closely, prefers {leader.checkpoint}: "
            f"{shown.text(leader.scores[second])} ({best.checkpoint}: {shown.text(best.scores.get(second))}); "
            "fine-tune both",
        )
    yield from _published(ranking, first)
    if best.scores[estimator].stderr is None:
        yield Note("error-unknown", f"the standard error of {ScoreFormatter(ranking, estimator).title} is unknown")


def _published(ranking: RankingData, first: Sequence[Row]) -> Iterator[Note]:
    """Yield that the published order disagrees, if at least half of the candidates have a published value."""
    rows, table = comparable(ranking), ranking.published_table
    values = {row.checkpoint: row.published for row in rows if row.published is not None}
    if table is None or 2 * len(values) < len(rows):
        return
    better = min if table.lower_is_better else max
    of_first = [row.checkpoint for row in first if row.checkpoint in values]
    if not of_first:
        return
    best = better(values, key=lambda checkpoint: values[checkpoint])
    if better(values[checkpoint] for checkpoint in of_first) != values[best]:
        yield Note(
            "published-order",
            f"the published order disagrees: {best} has the best {table.title}, {values[best]:.1f} "
            f"({of_first[0]}: {values[of_first[0]]:.1f}); {len(values)} of {len(rows)} checkpoints have a value",
        )


def _of_rows(ranking: RankingData, best: Row) -> Iterator[Note]:
    """Yield why the rows of the sample may say little."""
    if ranking.n < _FEW_ROWS:
        yield Note("few-rows", f"{pluralize(ranking.n, 'row')} are few: the standard errors are themselves uncertain")
    share = ranking.largest_group or 0.0
    if share * len(best.scores[ranking.estimators[0]].folds) > 1:
        yield Note("one-group", f"{share:.0%} of the rows share inputs, so that one fold is larger than the others")


def _failed(ranking: RankingData) -> Iterator[Note]:
    failed = [row for row in ranking.rows if row.error is not None]
    if failed:
        text = f"{pluralize(len(failed), 'checkpoint')} of {len(ranking.rows)} failed: {names_of(failed)}"
        yield Note("checkpoints-failed", text)
