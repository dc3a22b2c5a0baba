"""What to do where the first rank is shared: take more rows, or stop asking."""

from __future__ import annotations

import math

import msgspec

from hf_emms.ranking import TIE_WIDTH, Ranking, gain_and_stderr

NAMED = 3
# Beyond so many times the rows, an estimate from a handful of folds says "many", not how many.
_ABSURD = 20


def unresolved(ranking: Ranking) -> str | None:
    """Says which checkpoints share the first rank, and whether more rows would tell them apart.

    Returns:
        One line; None where the first rank isn't shared, a race stopped its checkpoints, or the first estimator has no
        folds, whose ties are equal values.
    """
    leaders = [row for row in ranking.rows if row.rank == 1]
    scores = [row.scores[ranking.estimators[0]] for row in leaders]
    if len(leaders) < 2 or leaders[0].n is not None or any(len(score.folds) < 2 for score in scores):
        return None
    names = [row.checkpoint for row in leaders[:NAMED]]
    more = len(leaders) - len(names)
    told = f"{', '.join(names)} and {more} more" if more else f"{', '.join(names[:-1])} and {names[-1]}"
    needed = max(_rows_to_resolve(_drawn(ranking), *gain_and_stderr(scores[0], other)) for other in scores[1:])
    obstacle = _obstacle(ranking, needed)
    if obstacle is None:
        rows = min(_rounded_up(needed), ranking.available or math.inf)
        return f"{told} share the first rank: about {rows:,} rows may tell them apart, --max-samples {rows}"
    way_out = "either is a good choice, or fine-tune both" if len(leaders) == 2 else "each is a good choice"
    return f"{told} share the first rank: more rows will hardly tell them apart ({obstacle}); {way_out}"


def with_advice(ranking: Ranking) -> Ranking:
    """The ranking with its advice as the last of its notes, where there is some."""
    advice = unresolved(ranking)
    return ranking if advice is None else msgspec.structs.replace(ranking, notes=(*ranking.notes, advice))


def without_advice(ranking: Ranking) -> Ranking:
    """The ranking without what `with_advice` adds: other rows call for other advice."""
    advice = unresolved(ranking)
    return msgspec.structs.replace(ranking, notes=tuple(note for note in ranking.notes if note != advice))


def _drawn(ranking: Ranking) -> int:
    """Rows as --max-samples counts them: the spans of one question are one."""
    return ranking.n_inputs if ranking.label_form == "spans" else ranking.n


def _rows_to_resolve(n: int, gain: float, stderr: float) -> float:
    """Rows on which a difference that stays as it is would count: the standard error falls as 1/√n."""
    return n * (TIE_WIDTH * stderr / gain) ** 2 if gain > 0 else math.inf


def _obstacle(ranking: Ranking, needed: float) -> str | None:
    """Why more rows are no way out."""
    drawn = _drawn(ranking)
    if ranking.available is not None and drawn >= ranking.available:
        return f"all {drawn:,} were used"
    if math.isinf(needed):
        return "their scores are equal"
    told = f"it would take about {_rounded_up(needed):,}"
    if ranking.available is not None and needed > ranking.available:
        return f"{told}, the split has {ranking.available:,}"
    return told if needed > _ABSURD * drawn else None


def _rounded_up(rows: float) -> int:
    """At least so many rows, in two digits."""
    whole = math.ceil(round(rows, 6))
    unit = 10 ** max(0, len(str(whole)) - 2)
    return -(-whole // unit) * unit
