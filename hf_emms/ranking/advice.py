"""Describe a ranking in sentences: which checkpoint to fine-tune, the fine-tuned scores, and how to resolve a tie."""

from __future__ import annotations

import math
from collections.abc import Sequence

from hf_emms.formatting import pluralize
from hf_emms.ranking.candidates import best_by, comparable, direct_measure, label_with_size, names_of, smallest_of
from hf_emms.ranking.columns import (
    ScoreFormatter,
    estimator_named,
    format_measured,
    measured_in_words,
    metric_title,
)
from hf_emms.ranking.records import FineTuned, RankingData, Row, gain_and_stderr
from hf_emms.ranking.verdict import NO_QUERIES, Verdict, is_above_baseline, pick, verdict
from hf_emms.scoring import Score
from hf_emms.texts import setting_ref

_ORDINALS = ("first", "second", "third", "fourth", "fifth")
# The noise of the folds falls with the square root of the rows: this many times the rows halve it.
_HALVES_NOISE = 4
# From this share of unknown tokens or truncated texts on, they may be the reason for low scores.
_MANY = 0.1


# ---- fine-tuned scores ---------------------------------------------------------------------------------------------


def finetuning_summary(ranking: RankingData) -> str | None:
    """Return the results of fine-tuning in a sentence; None if nothing was fine-tuned.

    "Confirmed by fine-tuning: swin-tiny: accuracy 91.2 (resnet-50: 84.9), after up to 5 epochs; the estimate's first
    was second."
    """
    rows, decision = ranking.fine_tuned, verdict(ranking)
    results = [row.fine_tuned for row in rows if row.fine_tuned is not None]
    if decision.outcome is None:
        return None
    if decision.outcome == "no better than the baseline":
        return _nothing_learned(results)
    best = results[0]
    scores = "; ".join(
        f"{row.checkpoint}: {format_measured(result.metric, result.value)}"
        for row, result in zip(rows[1:], results[1:], strict=True)
    )
    sentence = f"{decision.outcome.capitalize()} by fine-tuning: {rows[0].checkpoint}: {measured_in_words(best)}"
    sentence += (f" ({scores})" if scores else "") + f", {_budget(best)}"
    near = [row for row in rows[1:] if row.checkpoint in decision.near]
    place = next((place for place, row in enumerate(rows) if row.rank == 1), None)
    if place is not None and len(rows) > 1 and (rows[place] not in near if place else not near):
        first = "one of the estimate's first" if rows[place].tied else "the estimate's first"
        ordinal = _ORDINALS[place] if place < len(_ORDINALS) else f"number {place + 1}"
        sentence += f"; {first} " + (f"was {ordinal}" if place else "is the best")
    if near:
        sentence += f"; {names_of(near)} {'is' if len(near) == 1 else 'are'} not significantly worse"
    if best.baseline is not None and not is_above_baseline(best):
        sentence += f"; it is not better than the baseline ({_baseline(best)})"
    return sentence + "."


def _budget(result: FineTuned) -> str:
    if result.is_untrained:
        trained = format_measured(result.metric, result.discarded_value)
        return f"with its original weights, because fine-tuning did not help (fine-tuned: {trained})"
    steps, epochs = (result.recipe.get(name) for name in ("steps", "epochs"))
    budget = f"up to {pluralize(epochs, 'epoch')}" if epochs else "fine-tuning"
    quick = " (a quick budget)" if result.recipe.get("budget") else ""
    return f"after {steps:,} steps{quick}" if steps else f"after {budget}{quick}"


def _nothing_learned(results: Sequence[FineTuned]) -> str:
    """Return a sentence if no fine-tuned checkpoint is significantly above the baseline."""
    best = results[0]
    scores = ", ".join(format_measured(result.metric, result.value) for result in results)
    sentence = f"Fine-tuning did not beat the baseline: {metric_title(best.metric)} {scores}, {_budget(best)}"
    return sentence + (f"; the baseline ({_baseline(best)})." if best.baseline is not None else ".")


def _baseline(result: FineTuned) -> str:
    assert result.baseline is not None
    return f"{result.baseline.name}: {format_measured(result.metric, result.baseline.value)}"


# ---- estimates -----------------------------------------------------------------------------------------------------


def baselines_in_words(ranking: RankingData) -> list[str]:
    """Return the scores of each baseline, for pages whose table rows are links to checkpoints."""
    shown = {estimator: ScoreFormatter(ranking, estimator) for estimator in ranking.estimators}
    return [
        f"{row.checkpoint}: "
        + ", ".join(f"{shown[name].title} {shown[name].text(row.scores[name])}" for name in row.scores)
        for row in ranking.baselines
    ]


def recommendation(ranking: RankingData) -> str:
    """Return which checkpoint to fine-tune: by fine-tuned scores if there are any, else by the estimate."""
    return " ".join([_first_sentence(ranking), *explanation(ranking)])


def explanation(ranking: RankingData) -> list[str]:
    """Return what must stand next to the recommended checkpoint: how certain it is, what decides, and all caveats."""
    decision = verdict(ranking)
    certainty = certainty_in_words(ranking)
    return [*([f"{certainty}{_deciding(decision)}."] if certainty else []), *caveats_in_words(decision)]


def caveats_in_words(decision: Verdict) -> list[str]:
    """Return a sentence per caveat."""
    return [f"Caveat: {note.text}." for note in decision.caveats]


def certainty_in_words(ranking: RankingData) -> str:
    """Return the certainty of an estimate, without a full stop. Empty if fine-tuning decided, or nothing is named."""
    decision = verdict(ranking)
    word, rivals = decision.certainty.capitalize(), ranking.rows_of(decision.rivals)
    if decision.outcome is not None or decision.checkpoint is None:
        return ""
    if decision.reason is not None:
        return f"{word}: {decision.reason.text}"
    if rivals:
        return f"{word}: {names_of(rivals)} could also win"
    if decision.certainty == "probable":
        return f"{word}: the 80 % interval of its gap to each other checkpoint after fine-tuning excludes 0"
    return f"{word}: no other checkpoint can be compared"


def _deciding(decision: Verdict) -> str:
    """Return which option fine-tunes the checkpoints that could win."""
    if not decision.rivals or (decision.reason is not None and decision.reason.code == NO_QUERIES):
        return ""
    if decision.reason is not None:
        return f"; {setting_ref('confirm', 2)} decides between the first two"
    return f"; {setting_ref('confirm', 1 + len(decision.rivals))} decides"


def _first_sentence(ranking: RankingData) -> str:
    """Return the recommended checkpoint with its score, or why there is none."""
    if measured := finetuning_summary(ranking):
        return measured
    decision = verdict(ranking)
    if decision.certainty == "no score":
        return "No checkpoint has a score."
    if decision.certainty == "no head":
        unfit = next(row for row in ranking.rows if row.no_head is not None)
        return f"None of these checkpoints can be fine-tuned for {ranking.task}. {unfit.checkpoint}: {unfit.no_head}."
    best = pick(ranking)
    if best is None:
        return _nothing_explained(ranking)
    rows = comparable(ranking)
    if decision.certainty == "tie":
        answer = f"{names_of(ranking.rows_of(decision.first))} tie: take {_choice(ranking, best)}"
    elif len(rows) == 1:
        answer = f"Only {label_with_size(best)} has a score"
    else:
        answer = f"{advised_verb(ranking)} {label_with_size(best)}: {_ahead(ranking, best, rows[1])}"
    return f"{answer}{_direct(ranking, best)}{_left_out(ranking, best)}."


def advised_verb(ranking: RankingData) -> str:
    """Return what to do with the first checkpoint: "Fine-tune", or "Use" if the estimate is not for fine-tuning."""
    return "Use" if estimator_named(ranking.estimators[0]).warning else "Fine-tune"


def _ahead(ranking: RankingData, best: Row, second: Row) -> str:
    """Return how far the first checkpoint leads the second."""
    estimator = ranking.estimators[0]
    shown = ScoreFormatter(ranking, estimator)
    first, other = best.scores[estimator], second.scores[estimator]
    return f"{shown.sentence(first)}, ahead of {second.checkpoint} ({shown.text(other)})"


def _direct(ranking: RankingData, best: Row) -> str:
    """Return the checkpoint's score by an estimator that ran it, compared with the best such score."""
    estimator = direct_measure(ranking)
    leader = best_by(estimator, comparable(ranking))
    if estimator is None or leader is None:
        return ""
    shown = ScoreFormatter(ranking, estimator)
    of_best = f"; {shown.sentence(best.scores[estimator])}" if estimator in best.scores else ""
    if leader.checkpoint == best.checkpoint:
        return of_best
    return f"{of_best}; the best {shown.title} is {shown.text(leader.scores[estimator])}, of {leader.checkpoint}"


def _left_out(ranking: RankingData, best: Row) -> str:
    """Name the checkpoints with a better or equal rank that cannot be fine-tuned."""
    rows = [
        row for row in ranking.rows if row.no_head is not None and (row.rank or math.inf) <= (best.rank or math.inf)
    ]
    return f"; {names_of(rows)} cannot be fine-tuned for {ranking.task}" if rows else ""


def _nothing_explained(ranking: RankingData) -> str:
    """Return a sentence if no estimate is above its own noise, with possible reasons."""
    best = ranking.row(verdict(ranking).first[0])
    shown = ScoreFormatter(ranking, ranking.estimators[0])
    sentence = (
        f"No checkpoint's features predict the labels: {shown.sentence(best.scores[ranking.estimators[0]])} "
        f"at best. Check that the labels match their inputs, and that {pluralize(ranking.n, 'row')} are enough for "
        f"{pluralize(ranking.n_labels, 'label text')}."
    )
    reasons = {
        "of the tokens are unknown to these tokenizers: rank checkpoints for this language": "unknown_tokens",
        "of the texts are truncated, so that the deciding part may be missing": "truncated_texts",
    }
    for reason, name in reasons.items():
        share = max((getattr(row, name) or 0.0 for row in ranking.rows), default=0.0)
        sentence += f" Up to {share:.0%} {reason}." * (share >= _MANY)
    return sentence


def _choice(ranking: RankingData, row: Row) -> str:
    """Choose a checkpoint among those that share the first rank, and return whether it is the smallest."""
    is_smallest = row.parameters is not None and row is smallest_of(ranking.rows_of(verdict(ranking).first))
    by_size = is_smallest and direct_measure(ranking) not in row.scores
    return "the smallest, " * by_size + label_with_size(row)


# ---- whether more rows would help ------------------------------------------------------------------------------------


def advice(ranking: RankingData) -> str | None:
    """Return which checkpoints share the first rank, and whether more rows may separate them.

    If nothing is explained, return this instead. Return None if one checkpoint is first, fine-tuning decided, or the
    first estimator has no folds.
    """
    decision, best = verdict(ranking), pick(ranking)
    if decision.outcome is not None:
        return None
    if decision.certainty == "nothing explained":
        return _nothing_explained(ranking)
    leaders = ranking.rows_of(decision.first)
    scores = [row.scores[ranking.estimators[0]] for row in leaders]
    if best is None or decision.certainty != "tie" or any(len(score.folds) < 2 for score in scores):
        return None
    shared = f"{names_of(leaders)} share the first rank"
    are_equal = any(gain_and_stderr(scores[0], other) == (0.0, 0.0) for other in scores[1:])
    obstacle = _obstacle(ranking, scores[0], are_equal=are_equal)
    choice = f"{_choice(ranking, best)}{_direct(ranking, best)}"
    if obstacle is not None:
        return f"{shared}: more rows are unlikely to separate them ({obstacle}); take {choice}"
    sampled, available = _rows(ranking)
    more = _HALVES_NOISE * sampled
    help = f"{more:,} rows halve the noise and"
    if available is not None and available < more:
        more, help = available, f"the split has {available:,} rows, which"
    return f"{shared}; {help} may separate them: {setting_ref('max_samples', more)}; else take {choice}"


def _rows(ranking: RankingData) -> tuple[int, int | None]:
    """Return the rows of the sample and of the split as `max_samples` counts them: each word, but all spans of a
    question together. The words of a split are extrapolated from the sample.
    """
    if ranking.settings.get("sampled") == "words":
        available = ranking.available and round(ranking.available * ranking.n / max(1, ranking.n_inputs))
        return ranking.n, available
    is_span = ranking.settings.get("label_form") == "spans"
    return ranking.n_inputs if is_span else ranking.n, ranking.available


def _obstacle(ranking: RankingData, score: Score, *, are_equal: bool) -> str | None:
    """Return why more rows would not help to separate checkpoints, or None."""
    limit = score.details.get("row_limit")
    sampled, available = _rows(ranking)
    if limit is not None:
        return f"the score uses at most {limit} rows"
    if available is not None and sampled >= available:
        return f"all {sampled:,} rows are used"
    return "their scores are equal" if are_equal else None
