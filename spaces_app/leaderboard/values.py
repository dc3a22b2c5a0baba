"""The values by which the browser filters and orders the rows of a table, and names the checkpoint to fine-tune."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hf_emms.ranking import Ranking
from hf_emms.ranking.advice import label_with_size
from hf_emms.ranking.columns import ScoreFormatter, measured_in_words
from hf_emms.ranking.verdict import Preference, comparable, preferences
from leaderboard.lines import Line
from leaderboard.selection import SIZES

# Tables with more rows are filtered and ordered by the server, which sends the first rows only.
MOST_ROWS = 1000


def of_filters(lines: Sequence[Line]) -> dict[str, Any]:
    """Return the facts of checkpoints by which filters decide, a list for each, and the order of the rows."""
    return {
        "sizes": SIZES,
        "parameters": [line.row.parameters for line in lines],
        "library": [[line.facts.library] for line in lines],
        "license": [[line.facts.license] for line in lines],
        "language": [line.facts.languages for line in lines],
        "seen": [bool(line.seen) for line in lines],
        "orders": {"rank": [*range(len(lines))]},
        "bands": [None] * len(lines),
    }


def of_answer(ranking: Ranking) -> dict[str, Any]:
    """Return what decides which of some checkpoints to fine-tune (see `verdict.pick`), and the sentence on each.

    A list for each value, with an item per row: place among all preferences (None if it cannot be fine-tuned), whether
    it is measured and convincing, its rank among those that can be fine-tuned, and the end of a sentence.
    """
    preferred = {each.row.checkpoint: (place, each) for place, each in enumerate(preferences(ranking))}
    ranks = {row.checkpoint: row.rank for row in comparable(ranking)}
    found = [preferred.get(row.checkpoint, (None, None)) for row in ranking.rows]
    shown = ScoreFormatter(ranking, ranking.estimators[0])
    return {
        "preferred": [place for place, _ in found],
        "measured": [each is not None and each.is_measured for _, each in found],
        "convincing": [each is not None and each.is_convincing for _, each in found],
        "ranks": [ranks.get(row.checkpoint) for row in ranking.rows],
        "said": ["" if each is None else said(ranking.estimators[0], each, shown) for _, each in found],
    }


def said(estimator: str, preferred: Preference, shown: ScoreFormatter) -> str:
    """Return the end of a sentence on a checkpoint: its size, and its fine-tuned score or else its estimate."""
    row = preferred.row
    size = label_with_size(row).removeprefix(row.checkpoint)
    if preferred.is_measured and row.fine_tuned is not None:
        return f"{size}: {measured_in_words(row.fine_tuned)} after fine-tuning"
    return f"{size}: {shown.sentence(row.scores[estimator])}"
