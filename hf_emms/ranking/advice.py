"""A ranking in sentences: which checkpoint to fine-tune, what fine-tuning measured, and how to resolve a tie."""

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
    is_told_apart,
    verdict,
)
from hf_emms.scoring.generative import CUT_RESPONSES

_ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")
_NAMED = 3
# The noise of the folds falls with the root of the rows: so many times the rows have half of it.
_HALVES_NOISE = 4
# The share of unknown tokens from which a tokenizer may be made for another language.
_MANY_UNKNOWN = 0.1
# The share of cut responses from which a ranking is one of their beginnings.
_MANY_CUT = 0.25


# ---- what fine-tuning measured ---------------------------------------------------------------------------------------


def finetuning_summary(ranking: RankingData) -> str | None:
    """Return the results of fine-tuning in a sentence; None where nothing was fine-tuned.

    "Confirmed by fine-tuning: swin-tiny: accuracy 91.2 (resnet-50: 84.9), after up to 5 epochs; the estimate's first
    was second."
    """
    rows = ranking.fine_tuned
    results = [row.fine_tuned for row in rows if row.fine_tuned is not None]
    outcome = verdict(ranking).outcome
    if outcome is None:
        return None
    if outcome == "no better than the baseline":
        return _nothing_learnt(results)
    best = results[0]
    pairs = list(zip(rows, results, strict=True))
    scores = "; ".join(f"{row.checkpoint}: {format_measured(result.metric, result.value)}" for row, result in pairs[1:])
    sentence = f"{outcome.capitalize()} by fine-tuning: {rows[0].checkpoint}: {measured_in_words(best)}"
    budget = "as it was: fine-tuning did not help" if best.is_untrained else f"after {_budget(best)}"
    sentence += (f" ({scores})" if scores else "") + f", {budget}"
    better = [row for row, result in pairs if is_told_apart(result, best)]
    near = [row for row, result in pairs[1:] if not is_told_apart(best, result) and row not in better]
    place, doubtful = next((place for place, row in enumerate(rows) if row.rank == 1), None), [*near, *better]
    if place is not None and len(rows) > 1 and (rows[place] not in doubtful if place else not doubtful):
        first = "one of the estimate's first" if rows[place].tied else "the estimate's first"
        ordinal = _ORDINALS[place] if place < len(_ORDINALS) else f"number {place + 1}"
        sentence += f"; {first} " + (f"was {ordinal}" if place else "is the best")
    relations = ((near, "not told apart from it"), (better, "better on the test rows, which choose nothing"))
    for others, relation in relations:
        if others:
            sentence += f"; {_names(others)} {'is' if len(others) == 1 else 'are'} {relation}"
    if best.baseline is None and len(rows) > 1 and not doubtful:
        sentence += "; no baseline was measured"
    if best.baseline is not None and not is_above_baseline(best):
        baseline = format_measured(best.metric, best.baseline.value)
        sentence += f"; it is no better than the baseline ({best.baseline.name}: {baseline})"
    return sentence + "."


def _budget(result: FineTuned) -> str:
    steps, epochs = (result.recipe.get(name) for name in ("steps", "epochs"))
    budget = f"up to {pluralize(epochs, 'epoch')}" if epochs else "fine-tuning"
    return (f"{steps:,} steps" if steps else budget) + (" (a quick budget)" if result.recipe.get("budget") else "")


def _nothing_learnt(results: Sequence[FineTuned]) -> str:
    """Return the sentence on fine-tunings of which none is above the baseline."""
    best = results[0]
    runs = [run for result in results for run in result.runs if run.validation is not None]
    tests: list[float | None] = [run.scores[best.metric] for run in runs]
    tests = tests or [result.value for result in results]
    validations = [run.validation for run in runs] or [result.validation for result in results]
    rates = sorted({run.learning_rate for run in runs})
    sentence = f"Fine-tuning did not learn this: {metric_title(best.metric)} {_span(best.metric, tests)} of every run, "
    sentence += f"validation {_span(best.metric, validations)}, after {_budget(best)}"
    if len(rates) > 1:
        sentence += f" at learning rates from {rates[0]:g} to {rates[-1]:g}"
    if best.baseline is not None:
        sentence += f"; the baseline ({best.baseline.name}) is {format_measured(best.metric, best.baseline.value)}"
    return sentence + "."


def _span(metric: str, shares: Sequence[float | None]) -> str:
    """Return the worst and the best of scores, or the score that all are."""
    values = [share for share in shares if share is not None]
    low, high = format_measured(metric, min(values)), format_measured(metric, max(values))
    return low if low == high else f"{low} to {high}"


# ---- what is estimated -----------------------------------------------------------------------------------------------


def caveats(ranking: RankingData) -> list[str]:
    """Return sentences on what speaks against the first place: a row without a checkpoint, or another estimator."""
    estimator, rows = ranking.estimators[0], comparable(ranking)
    if not rows or ranking.fine_tuned:
        return []
    sentences, shown = [], ScoreFormatter(ranking, estimator)
    for baseline in ranking.baselines:
        if estimator in baseline.scores:
            gain, stderr = gain_and_stderr(rows[0].scores[estimator], baseline.scores[estimator])
            if gain <= TIE_WIDTH * stderr:
                where = "is ahead of every checkpoint" if gain < 0 else "is within the noise of the first checkpoint"
                sentences.append(
                    f"{baseline.checkpoint} {where}, {shown.sentence(baseline.scores[estimator])}: without "
                    "fine-tuning you need no model."
                )
    second = estimator_named(estimator).second_opinion
    best = best_by(second, rows)
    if best is not None and best.rank != rows[0].rank:
        shown = ScoreFormatter(ranking, second)
        sentences.append(
            f"{shown.title}, which sees more of what fine-tuning changes, has another first: {best.checkpoint}, "
            f"{shown.text(best.scores[second])} ({rows[0].checkpoint}: {shown.text(rows[0].scores.get(second))}); "
            f"{setting_ref('confirm', best.rank)} measures both."
        )
    return sentences


def baselines_in_words(ranking: RankingData) -> list[str]:
    """Return the scores of each row without a checkpoint, for where the rows of tables are links to checkpoints."""
    shown = {estimator: ScoreFormatter(ranking, estimator) for estimator in ranking.estimators}
    return [
        f"{row.checkpoint}: "
        + ", ".join(f"{shown[name].title} {shown[name].text(row.scores[name])}" for name in row.scores)
        for row in ranking.baselines
    ]


def recommendation(ranking: RankingData) -> str:
    """Return a sentence on which checkpoint to fine-tune: by fine-tuned scores if any, else by the estimate."""
    if measured := finetuning_summary(ranking):
        return measured
    judgement = verdict(ranking)
    if judgement.lead == "no score":
        return "No checkpoint has a score here."
    if judgement.lead == "no head":
        return f"None of these checkpoints can be fine-tuned for {ranking.task}."
    if judgement.checkpoint is None:
        return _nothing_explained(ranking)
    best, rows = ranking.row(judgement.checkpoint), comparable(ranking)
    if judgement.lead == "shared":
        answer = f"{_names(ranking.rows_of(judgement.first))} are not told apart: take {_choice(ranking)}"
    elif judgement.lead == "alone":
        answer = f"Only {label_with_size(best)} has a score"
    else:
        answer = f"Fine-tune {label_with_size(best)}: {_ahead(ranking, judgement, best, rows[1])}"
    first = f"{answer}{_direct(ranking, best)}{_left_out(ranking, best)}{_cut_responses(ranking)}."
    return " ".join([first, *caveats(ranking)])


def _ahead(ranking: RankingData, judgement: Verdict, best: Row, second: Row) -> str:
    """Return in words how far the first checkpoint is ahead of the second, whose rank differs."""
    if judgement.lead == "race":
        return f"a race stopped {second.checkpoint} and all others before it"
    estimator = ranking.estimators[0]
    shown = ScoreFormatter(ranking, estimator)
    first, other = best.scores[estimator], second.scores[estimator]
    return f"{shown.sentence(first)}, {judgement.lead} of {second.checkpoint} ({shown.text(other)})"


def _direct(ranking: RankingData, best: Row) -> str:
    """Return what was measured of a checkpoint beside its estimate, and of the best by that; empty without."""
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
    """Return which checkpoints that rank as high cannot be fine-tuned; empty where all can."""
    rows = [
        row for row in ranking.rows if row.no_head is not None and (row.rank or math.inf) <= (best.rank or math.inf)
    ]
    return f"; {_names(rows)} cannot be fine-tuned for {ranking.task}" if rows else ""


def _cut_responses(ranking: RankingData) -> str:
    """Return that many responses were cut; empty where few were."""
    scores = (score for row in ranking.rows for score in row.scores.values())
    share = max((score.details.get(CUT_RESPONSES, 0.0) for score in scores), default=0.0)
    return f"; up to {format_percent(share)} of the responses are cut: only their beginnings count" * (
        share > _MANY_CUT
    )


def _nothing_explained(ranking: RankingData) -> str:
    """Return that no estimate is above its own noise, and what may be wrong."""
    best = ranking.row(verdict(ranking).first[0])
    shown = ScoreFormatter(ranking, ranking.estimators[0])
    sentence = (
        f"No candidate's features predict these labels: {shown.sentence(best.scores[ranking.estimators[0]])} "
        f"at best. Do the labels belong to their inputs, and are {pluralize(ranking.n, 'row')} enough for "
        f"{pluralize(ranking.n_labels, 'label text')}?"
    )
    unknown = max((row.unknown_tokens or 0.0 for row in ranking.rows), default=0.0)
    if unknown >= _MANY_UNKNOWN:
        sentence += (
            f" Up to {format_percent(unknown)} of the tokens are unknown to these tokenizers: rank checkpoints that "
            "were trained on this language."
        )
    cut = max((row.cut_texts or 0.0 for row in ranking.rows), default=0.0)
    if cut >= _MANY_UNKNOWN:
        sentence += f" Up to {format_percent(cut)} of the texts are cut: what decides may be in what is not read."
    return sentence


def _choice(ranking: RankingData) -> str:
    """Return which checkpoint of a shared first rank to take, and why."""
    judgement = verdict(ranking)
    if judgement.checkpoint is None:
        return "none"
    row = ranking.row(judgement.checkpoint)
    if direct_measure(ranking) in row.scores:
        return label_with_size(row)
    return "the smallest" + (f", {label_with_size(row)}" if row.parameters is not None else "")


def label_with_size(row: Row) -> str:
    """Return a checkpoint's name with its number of parameters, where the row has it."""
    return row.checkpoint + (f" ({format_count(row.parameters)} parameters)" if row.parameters is not None else "")


def _names(rows: Sequence[Row]) -> str:
    names = [row.checkpoint for row in rows[:_NAMED]]
    more = len(rows) - len(names)
    if more:
        return f"{', '.join(names)} and {more} more"
    return f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else "".join(names)


# ---- whether more rows would help ------------------------------------------------------------------------------------


def advice(ranking: RankingData) -> str | None:
    """Return a line on which checkpoints share the first rank, and whether more rows may tell them apart.

    Where nothing is explained it says so. None where a single checkpoint is first, a race stopped others, or the first
    estimator has no folds.
    """
    judgement = verdict(ranking)
    if judgement.lead == "nothing explained":
        return _nothing_explained(ranking)
    leaders = ranking.rows_of(judgement.first)
    scores = [row.scores[ranking.estimators[0]] for row in leaders]
    if len(leaders) < 2 or leaders[0].n is not None or any(len(score.folds) < 2 for score in scores):
        return None
    shared = f"{_names(leaders)} share the first rank"
    are_equal = any(gain_and_stderr(scores[0], other) == (0.0, 0.0) for other in scores[1:])
    obstacle = _obstacle(ranking, scores[0].details.get("row_limit"), are_equal=are_equal)
    measured = _direct(ranking, ranking.row(judgement.checkpoint or judgement.first[0]))
    end = f"{_choice(ranking)}{measured}{_cut_responses(ranking)}"
    if obstacle is not None:
        return f"{shared}: more rows will hardly tell them apart ({obstacle}); take {end}"
    available, more = _available_rows(ranking), _HALVES_NOISE * _sampled_rows(ranking)
    if available is not None and available < more:
        about = "about " * _counts_items(ranking)
        more_rows = setting_ref("max_samples", available)
        help = f"the split has {about}{available:,} rows, which may tell them apart: {more_rows}"
    else:
        help = f"{more:,} rows have half the noise and may tell them apart: {setting_ref('max_samples', more)}"
    return f"{shared}; {help}; else take {end}"


def _sampled_rows(ranking: RankingData) -> int:
    """Return the sample's rows as `max_samples` counts them: words each, but the spans of a question together."""
    is_items = ranking.settings.get("label_form") == "spans"
    return ranking.n_inputs if is_items and not _counts_items(ranking) else ranking.n


def _available_rows(ranking: RankingData) -> int | None:
    """Return the split's rows as `max_samples` counts them; words are extrapolated from the sampled sentences."""
    if ranking.available is None or not _counts_items(ranking):
        return ranking.available
    return round(ranking.available * ranking.n / max(1, ranking.n_inputs))


def _counts_items(ranking: RankingData) -> bool:
    return ranking.settings.get("sampled") == "words"


def _obstacle(ranking: RankingData, limit: int | None, *, are_equal: bool) -> str | None:
    """Return why more rows do not help, or None; a score sees no more than `limit` rows of any sample."""
    drawn, available = _sampled_rows(ranking), _available_rows(ranking)
    if limit is not None:
        return f"{limit} are judged, however many there are"
    if available is not None and drawn >= available:
        return f"all {drawn:,} were used"
    return "their scores are equal" if are_equal else None
