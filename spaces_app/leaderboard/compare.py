"""Compare chosen checkpoints on every dataset of a task: their differences, and whether these exceed the noise."""

from __future__ import annotations

from dataclasses import replace

from markupsafe import Markup

from hf_emms.formatting import MISSING, pluralize
from hf_emms.ranking import Ranking, Row
from hf_emms.ranking.columns import ScoreFormatter, format_rank, measured_in_words
from hf_emms.ranking.records import is_ahead
from hf_emms.scoring import Score
from leaderboard import markup
from leaderboard.selection import View, checkpoint_link, ranking_link, to_query
from leaderboard.store import Snapshot

MOST = 5


def table(view: View, snapshot: Snapshot) -> Markup:
    """Render the comparison; empty if fewer than two checkpoints are chosen."""
    names = view.compare[:MOST]
    if len(names) < 2:
        return Markup()
    leads, rows = dict.fromkeys(names, 0), []
    entries = [(entry, _scored(entry.ranking, names)) for entry in snapshot.of_task(view.task)]
    both = [(entry, found) for entry, found in entries if len(found) > 1]
    for entry, found in both:
        estimator = entry.ranking.estimators[0]
        leader, *others = sorted(found.values(), key=lambda row: -row.scores[estimator].value)
        leads[leader.checkpoint] += all(is_ahead(leader.scores[estimator], row.scores[estimator]) for row in others)
        cells = [_cell(entry.ranking, found[name], leader) if name in found else MISSING for name in names]
        rows.append((ranking_link(entry, snapshot), *cells))
    return markup.draw(
        "compare.html",
        heads=["Dataset", *names],
        rows=rows,
        leads=[(checkpoint_link(name, view), pluralize(count, "dataset")) for name, count in leads.items()],
        unclear=pluralize(len(both) - sum(leads.values()), "dataset"),
        clear=to_query(replace(view, compare=())),
    )


def _scored(ranking: Ranking, names: tuple[str, ...]) -> dict[str, Row]:
    return {row.checkpoint: row for row in ranking.rows_of(names) if row.rank is not None}


def noise_in_words(first: Score, second: Score) -> str:
    """Return whether the difference of two scores exceeds their noise."""
    return "more than the noise" if is_ahead(first, second) else "within the noise"


def _cell(ranking: Ranking, row: Row, leader: Row) -> tuple[str, str]:
    """Return the rank and score of a row, and its difference to the best of the compared checkpoints."""
    estimator = ranking.estimators[0]
    shown, best, score = ScoreFormatter(ranking, estimator), leader.scores[estimator], row.scores[estimator]
    words = (
        "best of these" if row is leader else f"{shown.difference(best, score)} behind, {noise_in_words(best, score)}"
    )
    measured = "" if row.fine_tuned is None or row.fine_tuned.value is None else measured_in_words(row.fine_tuned)
    text = f"rank {format_rank(row)}, {shown.title} {shown.text(score)}"
    return ", ".join(filter(None, [text, measured])), words
