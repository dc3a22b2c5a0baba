"""A ranking in sentences: which checkpoint to fine-tune, what fine-tuning measured, and how to resolve a tie."""

from __future__ import annotations

import math
from collections.abc import Sequence

from hf_emms.errors import use
from hf_emms.formatting import format_count
from hf_emms.ranking.columns import ShownScores, format_points
from hf_emms.ranking.records import TIE_WIDTH, FineTuned, RankingData, Row, gain_and_stderr

_ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")


def finetuning_summary(ranking: RankingData) -> str | None:
    """Return the results of fine-tuning in a sentence; None where nothing was fine-tuned.

    "swin-tiny: accuracy 91.2 (resnet-50: 89.9; dinov2-small: 89.4), up to 5 epochs; the estimate's first was second."
    """
    rows = ranking.fine_tuned
    results = [row.fine_tuned for row in rows if row.fine_tuned is not None]
    if not results:
        return None
    best = results[0]
    others = "; ".join(
        f"{row.checkpoint}: {format_points(result.value)}" for row, result in zip(rows[1:], results[1:], strict=True)
    )
    sentence = f"{rows[0].checkpoint}: {best.metric} {format_points(best.value)}" + (f" ({others})" if others else "")
    recipe = best.recipe
    budget = f"{recipe['steps']:,} steps" if recipe.get("steps") else f"up to {recipe.get('epochs')} epochs"
    sentence += f", after {budget}" + (" (a quick budget)" if recipe.get("budget") else "")
    if len(results) > 1:
        place = next((place for place, row in enumerate(rows) if row.rank == 1), None)
        shared = (
            "one of the estimate's first" if any(row.tied and row.rank == 1 for row in rows) else "the estimate's first"
        )
        if place is not None:
            where = "is the best" if place == 0 else f"was {_ORDINALS[min(place, len(_ORDINALS) - 1)]}"
            sentence += f"; {shared} {where}"
        if _within_noise(best, results[1]):
            sentence += "; the first two differ by less than the noise of the test rows"
    return sentence + "."


def _within_noise(first: FineTuned, second: FineTuned) -> bool:
    if first.value is None or second.value is None or first.spread is None or second.spread is None:
        return False
    return abs(first.value - second.value) < TIE_WIDTH * math.hypot(first.spread, second.spread)


def recommendation(ranking: RankingData) -> str:
    """Return a sentence on which checkpoint to fine-tune: by fine-tuned scores if any, else by the estimate."""
    if measured := finetuning_summary(ranking):
        return f"Confirmed by fine-tuning: {measured}"
    scored = [row for row in ranking.rows if row.rank is not None]
    if not scored:
        return "No checkpoint has a score here."
    best, others = scored[0], scored[1:]
    equal = [row for row in scored if row.rank == best.rank]
    if len(equal) > 1:
        return f"{_names(equal)} are not told apart: take {_smallest(equal)}."
    if not others:
        return f"Only {label_with_size(best)} has a score."
    return f"Fine-tune {label_with_size(best)}: {_lead(ranking, best, others[0])}."


def _lead(ranking: RankingData, best: Row, second: Row) -> str:
    """Return in words how far the first checkpoint is ahead of the second, whose rank differs."""
    if best.n != second.n:
        return f"a race stopped {second.checkpoint} and all others before it"
    estimator = ranking.estimators[0]
    shown = ShownScores(ranking, estimator)
    first, other = best.scores[estimator], second.scores[estimator]
    clearly = "clearly ahead of" if gain_and_stderr(first, other)[1] else "ahead of"
    return f"{shown.title} {shown.text(first)}, {clearly} {second.checkpoint} ({shown.text(other)})"


def _smallest(rows: Sequence[Row]) -> str:
    smallest = smallest_of(rows)
    return "the smallest" + (f", {label_with_size(smallest)}" if smallest.parameters is not None else "")


def smallest_of(rows: Sequence[Row]) -> Row:
    """Return the row with the fewest parameters; rows without a number of parameters count as the largest."""
    return min(rows, key=lambda row: math.inf if row.parameters is None else row.parameters)


def label_with_size(row: Row) -> str:
    """Return a checkpoint's name with its number of parameters, where the row has it."""
    return row.checkpoint + (f" ({format_count(row.parameters)} parameters)" if row.parameters is not None else "")


def _names(rows: Sequence[Row]) -> str:
    names = [row.checkpoint for row in rows[:_NAMED]]
    more = len(rows) - len(names)
    return f"{', '.join(names)} and {more} more" if more else f"{', '.join(names[:-1])} and {names[-1]}"


_NAMED = 3
# An estimate from a handful of folds is too rough for more than so many times the rows of the sample.
_TOO_MANY = 20


def advice(ranking: RankingData) -> str | None:
    """Return a line on which checkpoints share the first rank, and whether more rows would tell them apart.

    None where the first rank isn't shared, a race stopped its checkpoints, or the first estimator has no folds.
    """
    leaders = [row for row in ranking.rows if row.rank == 1]
    scores = [row.scores[ranking.estimators[0]] for row in leaders]
    if len(leaders) < 2 or leaders[0].n is not None or any(len(score.folds) < 2 for score in scores):
        return None
    shared = _names(leaders)
    needed = max(_rows_to_resolve(_sampled_rows(ranking), *gain_and_stderr(scores[0], other)) for other in scores[1:])
    obstacle = _obstacle(ranking, needed, scores[0].details.get("row_limit"))
    if obstacle is None:
        rows = min(_rounded_up(needed), _available_rows(ranking) or math.inf)
        return f"{shared} share the first rank: about {rows:,} rows may tell them apart, {use('max_samples', rows)}"
    return (
        f"{shared} share the first rank: more rows will hardly tell them apart ({obstacle}); take {_smallest(leaders)}"
    )


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


def _rows_to_resolve(n: int, gain: float, stderr: float) -> float:
    """Return how many rows make a difference of this size significant: the standard error falls as 1/√n."""
    return n * (TIE_WIDTH * stderr / gain) ** 2 if gain > 0 else math.inf


def _obstacle(ranking: RankingData, needed: float, limit: int | None) -> str | None:
    """Return why more rows do not help, or None; a score sees no more than `limit` rows of any sample."""
    drawn = _sampled_rows(ranking)
    if limit is not None:
        return f"{limit} are judged, however many there are"
    available = _available_rows(ranking)
    if available is not None and drawn >= available:
        return f"all {drawn:,} were used"
    if math.isinf(needed):
        return "their scores are equal"
    estimate = f"it would take about {_rounded_up(needed):,}"
    if available is not None and needed > available:
        return f"{estimate}, the split has {'about ' * _counts_items(ranking)}{available:,}"
    return estimate if needed > _TOO_MANY * drawn else None


def _rounded_up(rows: float) -> int:
    """Return the number of rows rounded up to two digits."""
    whole = math.ceil(round(rows, 6))
    unit = 10 ** max(0, len(str(whole)) - 2)
    return -(-whole // unit) * unit
