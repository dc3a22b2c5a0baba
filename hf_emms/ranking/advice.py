"""Describe a ranking in sentences: which checkpoint to fine-tune, the fine-tuned scores, and how to resolve a tie."""

from __future__ import annotations

import math
from collections.abc import Sequence

from hf_emms.errors import format_count, pluralize, setting_ref
from hf_emms.ranking.columns import (
    ScoreFormatter,
    estimator_named,
    format_measured,
    format_percent,
    measured_in_words,
    metric_title,
)
from hf_emms.ranking.records import TIE_WIDTH, FineTuned, RankingData, Row, gain_and_stderr
from hf_emms.ranking.verdict import (
    Verdict,
    best_by,
    comparable,
    direct_measure,
    is_above_baseline,
    is_significantly_better,
    pick,
    smallest_of,
    verdict,
)
from hf_emms.scoring import SMALLEST_GAP, Score
from hf_emms.scoring.generative import CUT_RESPONSES

_ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")
_NAMED = 3
# The noise of the folds falls with the square root of the rows: this many times the rows halve it.
_HALVES_NOISE = 4
# From this share of unknown tokens on, the tokenizer may be for another language.
_MANY_UNKNOWN = 0.1
# From this share on, truncated responses are reported.
_MANY_CUT = 0.25


# ---- fine-tuned scores ---------------------------------------------------------------------------------------------


def finetuning_summary(ranking: RankingData) -> str | None:
    """Return the results of fine-tuning in a sentence; None if nothing was fine-tuned.

    "Confirmed by fine-tuning: swin-tiny: accuracy 91.2 (resnet-50: 84.9), after up to 5 epochs; the estimate's first
    was second."
    """
    rows = ranking.fine_tuned
    results = [row.fine_tuned for row in rows if row.fine_tuned is not None]
    decision = verdict(ranking)
    outcome = decision.outcome
    if outcome is None:
        return None
    if outcome == "no better than the baseline":
        return _nothing_learnt(results)
    best = results[0]
    pairs = list(zip(rows, results, strict=True))
    scores = "; ".join(f"{row.checkpoint}: {format_measured(result.metric, result.value)}" for row, result in pairs[1:])
    sentence = f"{outcome.capitalize()} by fine-tuning: {rows[0].checkpoint}: {measured_in_words(best)}"
    budget = f"after {_budget(best)}"
    if best.is_untrained:
        trained = format_measured(best.metric, best.discarded_value)
        budget = f"with its original weights, because fine-tuning did not help (fine-tuned: {trained})"
    sentence += (f" ({scores})" if scores else "") + f", {budget}"
    better = [row for row, result in pairs if is_significantly_better(result, best)]
    near = [row for row in rows[1:] if row.checkpoint in decision.near and row not in better]
    place, doubtful = next((place for place, row in enumerate(rows) if row.rank == 1), None), [*near, *better]
    if place is not None and len(rows) > 1 and (rows[place] not in doubtful if place else not doubtful):
        first = "one of the estimate's first" if rows[place].tied else "the estimate's first"
        ordinal = _ORDINALS[place] if place < len(_ORDINALS) else f"number {place + 1}"
        sentence += f"; {first} " + (f"was {ordinal}" if place else "is the best")
    relations = ((near, "not significantly worse"), (better, "better on the test rows, which do not decide"))
    for others, relation in relations:
        if others:
            sentence += f"; {_names(others)} {'is' if len(others) == 1 else 'are'} {relation}"
    if best.baseline is None and len(rows) > 1 and not doubtful:
        sentence += "; no baseline was measured"
    if best.baseline is not None and not is_above_baseline(best):
        baseline = format_measured(best.metric, best.baseline.value)
        sentence += f"; it is not better than the baseline ({best.baseline.name}: {baseline})"
    return sentence + "."


def _budget(result: FineTuned) -> str:
    steps, epochs = (result.recipe.get(name) for name in ("steps", "epochs"))
    budget = f"up to {pluralize(epochs, 'epoch')}" if epochs else "fine-tuning"
    return (f"{steps:,} steps" if steps else budget) + (" (a quick budget)" if result.recipe.get("budget") else "")


def _nothing_learnt(results: Sequence[FineTuned]) -> str:
    """Return the sentence for fine-tunings that are all not significantly above the baseline."""
    best = results[0]
    runs = [run for result in results for run in result.runs if run.validation is not None]
    tests: list[float | None] = [run.scores[best.metric] for run in runs]
    tests = tests or [result.value for result in results]
    validations = [run.validation for run in runs] or [result.validation for result in results]
    rates = sorted({run.learning_rate for run in runs})
    name = metric_title(best.metric)
    sentence = f"Fine-tuning did not beat the baseline: {name} {_span(best.metric, tests)} over all runs, "
    sentence += f"validation {_span(best.metric, validations)}, after {_budget(best)}"
    if len(rates) > 1:
        sentence += f" at learning rates from {rates[0]:g} to {rates[-1]:g}"
    if best.baseline is not None:
        sentence += f"; the baseline ({best.baseline.name}) is {format_measured(best.metric, best.baseline.value)}"
    return sentence + "."


def _span(metric: str, shares: Sequence[float | None]) -> str:
    """Return the worst and the best of scores, or the score if all are equal."""
    values = [share for share in shares if share is not None]
    low, high = format_measured(metric, min(values)), format_measured(metric, max(values))
    return low if low == high else f"{low} to {high}"


# ---- estimates -----------------------------------------------------------------------------------------------------


def caveats(ranking: RankingData) -> list[str]:
    """Return sentences that question the first place: a baseline that is as good, or the first of another order."""
    estimator, rows = ranking.estimators[0], comparable(ranking)
    if not rows or ranking.fine_tuned:
        return []
    warning, shown = estimator_named(estimator).warning, ScoreFormatter(ranking, estimator)
    sentences = [warning] if warning else []
    for baseline in ranking.baselines:
        if estimator in baseline.scores:
            gain, stderr = gain_and_stderr(rows[0].scores[estimator], baseline.scores[estimator])
            if gain <= TIE_WIDTH * stderr:
                where = "is ahead of every checkpoint" if gain < 0 else "is within the noise of the first checkpoint"
                sentences.append(
                    f"{baseline.checkpoint} {where}, {shown.sentence(baseline.scores[estimator])}. "
                    "Without fine-tuning, you do not need a model."
                )
    second = estimator_named(estimator).second_opinion
    best = best_by(second, rows)
    if best is not None and best.rank != rows[0].rank:
        shown = ScoreFormatter(ranking, second)
        sentences.append(
            f"{shown.title}, which reflects fine-tuning more closely, prefers {best.checkpoint}: "
            f"{shown.text(best.scores[second])} ({rows[0].checkpoint}: {shown.text(rows[0].scores.get(second))}); "
            f"{setting_ref('confirm', best.rank)} fine-tunes both."
        )
    static = verdict(ranking).static
    if static is not None and ranking.static_table is not None:
        first = next(row for row in rows if row.static is not None)
        sentences.append(
            f"The static order disagrees: {static} has the best {ranking.static_table.title}, "
            f"{ranking.row(static).static:.1f} ({first.checkpoint}: {first.static:.1f})."
        )
    return sentences


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
    if measured := finetuning_summary(ranking):
        return measured
    decision = verdict(ranking)
    if decision.lead == "no score":
        return "No checkpoint has a score."
    if decision.lead == "no head":
        unfit = next(row for row in ranking.rows if row.no_head is not None)
        return f"None of these checkpoints can be fine-tuned for {ranking.task}. {unfit.checkpoint}: {unfit.no_head}."
    best = pick(ranking)
    if best is None:
        return _nothing_explained(ranking)
    rows = comparable(ranking)
    if decision.lead == "shared":
        answer = f"{_names(ranking.rows_of(decision.first))} tie: take {_choice(ranking, best)}"
    elif decision.lead == "alone":
        answer = f"Only {label_with_size(best)} has a score"
    else:
        answer = f"{advised_verb(ranking)} {label_with_size(best)}: {_ahead(ranking, decision, best, rows[1])}"
    first = f"{answer}{_direct(ranking, best)}{_left_out(ranking, best)}{_cut_responses(ranking)}."
    return " ".join([first, *caveats(ranking)])


def advised_verb(ranking: RankingData) -> str:
    """Return what to do with the first checkpoint: "Fine-tune", or "Use" if the estimate is not for fine-tuning."""
    return "Use" if estimator_named(ranking.estimators[0]).warning else "Fine-tune"


def _ahead(ranking: RankingData, decision: Verdict, best: Row, second: Row) -> str:
    """Return how far the first checkpoint leads the second, whose rank differs."""
    estimator = ranking.estimators[0]
    shown = ScoreFormatter(ranking, estimator)
    first, other = best.scores[estimator], second.scores[estimator]
    return f"{shown.sentence(first)}, {decision.lead} of {second.checkpoint} ({shown.text(other)})"


def _direct(ranking: RankingData, best: Row) -> str:
    """Return the direct measure of a checkpoint, and of the best checkpoint by this measure; empty without one."""
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
    """Return which checkpoints of the same or a better rank cannot be fine-tuned; empty if there are none."""
    rows = [
        row for row in ranking.rows if row.no_head is not None and (row.rank or math.inf) <= (best.rank or math.inf)
    ]
    return f"; {_names(rows)} cannot be fine-tuned for {ranking.task}" if rows else ""


def _cut_responses(ranking: RankingData) -> str:
    """Return the share of truncated responses; empty if it is small."""
    scores = (score for row in ranking.rows for score in row.scores.values())
    share = max((score.details.get(CUT_RESPONSES, 0.0) for score in scores), default=0.0)
    return f"; up to {format_percent(share)} of the responses are truncated" * (share > _MANY_CUT)


def _nothing_explained(ranking: RankingData) -> str:
    """Return that no estimate is above its own noise, and possible reasons."""
    best = ranking.row(verdict(ranking).first[0])
    shown = ScoreFormatter(ranking, ranking.estimators[0])
    sentence = (
        f"No checkpoint's features predict the labels: {shown.sentence(best.scores[ranking.estimators[0]])} "
        f"at best. Check that the labels match their inputs, and that {pluralize(ranking.n, 'row')} are enough for "
        f"{pluralize(ranking.n_labels, 'label text')}."
    )
    unknown = max((row.unknown_tokens or 0.0 for row in ranking.rows), default=0.0)
    if unknown >= _MANY_UNKNOWN:
        sentence += (
            f" Up to {format_percent(unknown)} of the tokens are unknown to these tokenizers: rank checkpoints for "
            "this language."
        )
    cut = max((row.cut_texts or 0.0 for row in ranking.rows), default=0.0)
    if cut >= _MANY_UNKNOWN:
        sentence += (
            f" Up to {format_percent(cut)} of the texts are truncated, so that the deciding part may be missing."
        )
    return sentence


def _choice(ranking: RankingData, row: Row) -> str:
    """Return which checkpoint of a shared first rank to take, and whether it is the smallest of them."""
    is_smallest = row.parameters is not None and row is smallest_of(ranking.rows_of(verdict(ranking).first))
    by_size = is_smallest and direct_measure(ranking) not in row.scores
    return "the smallest, " * by_size + label_with_size(row)


def label_with_size(row: Row) -> str:
    """Return a checkpoint's name with its number of parameters, if the row has it."""
    return row.checkpoint + (f" ({format_count(row.parameters)} parameters)" if row.parameters is not None else "")


def _names(rows: Sequence[Row]) -> str:
    names = [row.checkpoint for row in rows[:_NAMED]]
    more = len(rows) - len(names)
    if more:
        return f"{', '.join(names)} and {more} more"
    return f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else "".join(names)


# ---- whether more rows would help ------------------------------------------------------------------------------------


def advice(ranking: RankingData) -> str | None:
    """Return which checkpoints share the first rank, and whether more rows may separate them.

    If nothing is explained, return this instead. Return None if one checkpoint is first, fine-tuning decided, or the
    first estimator has no folds.
    """
    decision, best = verdict(ranking), pick(ranking)
    if decision.outcome is not None:
        return None
    if decision.lead == "nothing explained":
        return _nothing_explained(ranking)
    leaders = ranking.rows_of(decision.first)
    scores = [row.scores[ranking.estimators[0]] for row in leaders]
    if best is None or len(leaders) < 2 or any(len(score.folds) < 2 for score in scores):
        return None
    shared = f"{_names(leaders)} share the first rank"
    are_equal = any(gain_and_stderr(scores[0], other) == (0.0, 0.0) for other in scores[1:])
    obstacle = _obstacle(ranking, scores[0], are_equal=are_equal)
    end = f"{_choice(ranking, best)}{_direct(ranking, best)}{_cut_responses(ranking)}"
    if obstacle is not None:
        return f"{shared}: more rows are unlikely to separate them ({obstacle}); take {end}"
    available, more = _available_rows(ranking), _HALVES_NOISE * _sampled_rows(ranking)
    if available is not None and available < more:
        about = "about " * _counts_items(ranking)
        more_rows = setting_ref("max_samples", available)
        help = f"the split has {about}{available:,} rows, which may separate them: {more_rows}"
    else:
        help = f"{more:,} rows halve the noise and may separate them: {setting_ref('max_samples', more)}"
    return f"{shared}; {help}; else take {end}"


def _sampled_rows(ranking: RankingData) -> int:
    """Return the rows of the sample as `max_samples` counts them: each word, but all spans of a question together."""
    is_items = ranking.settings.get("label_form") == "spans"
    return ranking.n_inputs if is_items and not _counts_items(ranking) else ranking.n


def _available_rows(ranking: RankingData) -> int | None:
    """Return the rows of the split as `max_samples` counts them. Words are extrapolated from the sample."""
    if ranking.available is None or not _counts_items(ranking):
        return ranking.available
    return round(ranking.available * ranking.n / max(1, ranking.n_inputs))


def _counts_items(ranking: RankingData) -> bool:
    return ranking.settings.get("sampled") == "words"


def _obstacle(ranking: RankingData, score: Score, *, are_equal: bool) -> str | None:
    """Return why more rows than those of a score do not help, or None."""
    limit = score.details.get("row_limit")
    if SMALLEST_GAP in score.details:
        smallest = ScoreFormatter(ranking, ranking.estimators[0]).format(score.details[SMALLEST_GAP])
        return f"gaps below {smallest} points are ties"
    drawn, available = _sampled_rows(ranking), _available_rows(ranking)
    if limit is not None:
        return f"the score uses at most {limit} rows"
    if available is not None and drawn >= available:
        return f"all {drawn:,} rows are used"
    return "their scores are equal" if are_equal else None
