"""The page of a checkpoint: facts, and its rank in every ranking."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from hf_emms.errors import MISSING, format_count, pluralize
from hf_emms.ranking import Ranking, Row
from hf_emms.ranking.columns import (
    ScoreFormatter,
    format_finetuned,
    format_number,
    format_rank,
    metric_title,
    single_line,
    title_of,
)
from hf_emms.scoring import Score
from leaderboard import markup
from leaderboard.compare import back
from leaderboard.lines import Line, places
from leaderboard.markup import escape
from leaderboard.selection import View, label, to_query
from leaderboard.store import Entry, Snapshot

_MAX_NAMED = 3


def page(view: View, snapshot: Snapshot, *, compares: bool = True) -> str:
    """Render the page: the best rankings of the checkpoint, facts, and all its rankings, best rank first.

    Args:
        view: Has the name of the checkpoint.
        snapshot: The data.
        compares: Whether to link comparisons, which a static Space does not have.
    """
    best_first = sorted(places(snapshot).get(view.checkpoint, []), key=_share)
    if not best_first:
        return f'<p class="empty">No ranking contains the checkpoint {escape(view.checkpoint)}. {back(view)}</p>'
    newest = max(best_first, key=lambda place: place[0].ranking.created)[1]
    rows = [(entry, _place(entry, line, snapshot, compares)) for entry, line in best_first]
    columns = [title for title in rows[0][1] if any(cells[title] != MISSING for _, cells in rows)]
    body = "".join(
        markup.row(_ranking_link(entry, snapshot), (cells[title] for title in columns), "") for entry, cells in rows
    )
    return (
        f'<p class="small">{back(view)}</p><h2>{markup.hub_link(view.checkpoint, newest.row.revision)}</h2>'
        f'<p class="answer">{_strengths(best_first, snapshot)}</p>'
        f'<dl class="facts">{"".join(f"<dt>{title}</dt><dd>{value}</dd>" for title, value in _facts(newest))}</dl>'
        + "".join(_layers(entry, line, snapshot) for entry, line in best_first if line.row.layers)
        + markup.boxed_table("Its rankings", markup.header("Dataset", *columns), body)
    )


def _share(place: tuple[Entry, Line]) -> float:
    """Return the checkpoint's rank as a share of the ranked checkpoints; beyond 1 without a rank."""
    entry, line = place
    return line.row.rank / _count_ranked(entry) if line.row.rank is not None else 2.0


def _count_ranked(entry: Entry) -> int:
    return sum(row.rank is not None for row in entry.ranking.rows)


def _strengths(best_first: Sequence[tuple[Entry, Line]], snapshot: Snapshot) -> str:
    """Render a sentence on the rankings in which the checkpoint is first, or else on its best ranking."""
    first = [entry for entry, line in best_first if line.row.rank == 1]
    entry, line = best_first[0]
    if first:
        names = ", ".join(_ranking_link(entry, snapshot) for entry in first[:_MAX_NAMED])
        more = f" and {len(first) - _MAX_NAMED} more" if len(first) > _MAX_NAMED else ""
        return f"First in {len(first)} of {pluralize(len(best_first), 'ranking')}: {names}{more}."
    if line.row.rank is None:
        return "It failed in all of its rankings."
    return f"Best on {_ranking_link(entry, snapshot)}: {format_rank(line.row)} of {_count_ranked(entry)}."


def _facts(line: Line) -> Iterator[tuple[str, str]]:
    row = line.row
    yield "Revision", f"<code>{escape(row.revision or MISSING)}</code>"
    yield "Parameters", format_count(row.parameters)
    yield "Features", f"{row.width or MISSING} wide, {escape(row.pooling or MISSING)}"
    yield "Architecture", escape(row.architecture or MISSING)
    yield "Library", escape(line.facts.library or MISSING)
    yield "License", escape(line.facts.license or MISSING)
    if line.facts.datasets:
        yield "Trained on", escape(", ".join(line.facts.datasets))
    if line.facts.downloads is not None:
        yield "Downloads", format_count(line.facts.downloads)
    if address := markup.hub_address(row.checkpoint, row.revision):
        yield "Model card", f'<a href="{address}" target="_blank" rel="noopener">on the Hub</a>'
    for note in row.notes:
        yield "Note", escape(single_line(note))


def _ranking_link(entry: Entry, snapshot: Snapshot) -> str:
    query = to_query(View(task=entry.ranking.task, ranking=entry.id))
    return markup.view_link(query, markup.breakable(label(entry, snapshot)))


def _place(entry: Entry, line: Line, snapshot: Snapshot, compares: bool) -> dict[str, str]:
    """Return column → cell for a ranking of the checkpoint."""
    ranking, row = entry.ranking, line.row
    won = snapshot.wins[ranking.task].get(row.checkpoint)
    shown = ScoreFormatter(ranking, ranking.estimators[0])
    return {
        "Task": escape(ranking.task),
        "Rank": f"failed: {escape(row.error)}" if row.error else f"{format_rank(row)} of {_count_ranked(entry)}",
        "Score": _score(shown, line.score(ranking.estimators[0])),
        "Fine-tuned": _fine_tuned(ranking, row),
        "Behind the best": _behind(entry, line, shown, compares),
        "Wins in its task": f"{won.share:.0%} ({won.low:.0%}–{won.high:.0%}, {won.rankings})" if won else MISSING,
        "Seconds": MISSING if line.seconds is None else markup.seconds(line.seconds),
    }


def _score(shown: ScoreFormatter, score: Score | None) -> str:
    return MISSING if score is None else escape(shown.sentence(score))


def _fine_tuned(ranking: Ranking, row: Row) -> str:
    """Render the fine-tuned score, and its rank among the fine-tuned checkpoints of the ranking."""
    result = row.fine_tuned
    if result is None:
        return MISSING
    if result.value is None:
        return f"failed: {escape(result.error or MISSING)}"
    names = [other.checkpoint for other in ranking.fine_tuned]
    place = f", {names.index(row.checkpoint) + 1} of {len(names)}" if row.checkpoint in names else ""
    return f"{escape(metric_title(result.metric))} {format_finetuned(result)}{place}"


def _behind(entry: Entry, line: Line, shown: ScoreFormatter, compares: bool) -> str:
    """Render the gap to the best checkpoint, linked to the comparison of both if there is one."""
    ranking, row = entry.ranking, line.row
    best = next((other for other in ranking.rows if other.rank is not None), None)
    if best is None or row.rank is None or best.n != row.n:
        return MISSING
    if best.checkpoint == row.checkpoint:
        return "it is the best"
    first = ranking.estimators[0]
    text = "tied" if row.rank == best.rank else f"by {shown.gap(best.scores[first], row.scores[first])}"
    if not compares:
        return text
    both = View(task=ranking.task, ranking=entry.id, compare=(best.checkpoint, row.checkpoint))
    return markup.view_link(to_query(both), text)


def _layers(entry: Entry, line: Line, snapshot: Snapshot) -> str:
    estimators = entry.ranking.estimators
    head = markup.header("Layer") + markup.header(*(escape(title_of(name)) for name in estimators), css="number")
    body = "".join(
        markup.row(
            escape(layer) + (" (ranked by)" if layer == line.row.layer else ""),
            (format_number(scores.get(name)) for name in estimators),
            "",
            "number",
        )
        for layer, scores in line.row.layers.items()
    )
    return f"<h3>Layers, {escape(label(entry, snapshot))}</h3>" + markup.boxed_table("Layers", head, body)
